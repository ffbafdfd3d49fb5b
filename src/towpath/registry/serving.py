"""What inference services serve: the version they are for, and each time it was deployed."""

from sqlalchemy import Connection

from towpath.errors import NotFoundError
from towpath.registry import store
from towpath.registry.events import Stamp
from towpath.registry.kinds import (
    INFERENCE_SERVICE,
    MODEL_VERSION,
    REGISTERED_MODEL,
    SERVE_MODEL,
)
from towpath.registry.paging import Paging
from towpath.registry.records import Record, bad_request, identifier
from towpath.spec._wire import JsonObject

__all__ = ["serve", "served_model", "served_version"]


def served_model(tx: Connection, service: Record) -> Record:
    """The model that an inference service serves. Raises NotFoundError."""
    return store.get(tx, (REGISTERED_MODEL,), int(service.body["registeredModelId"]))


def served_version(tx: Connection, service: Record) -> Record:
    """The version that an inference service serves: the one it names, or its model's latest.

    Raises:
        NotFoundError: it names none and the model has none.
    """
    named = service.body.get("modelVersionId")
    if named:
        return store.get(tx, (MODEL_VERSION,), int(named))
    model = int(service.body["registeredModelId"])
    latest = Paging(size=1, order="CREATE_TIME", descending=True)
    found, _ = store.page(tx, (MODEL_VERSION,), store.Filter(parent=model), latest)
    if not found:
        raise NotFoundError(f"no model version found for registered model {model}: not found")
    return found[0]


def serve(tx: Connection, service: int, fields: JsonObject, stamp: Stamp) -> Record:
    """Store that a version is deployed by an inference service (registry specification 1.4).

    Args:
        tx: The transaction.
        service: Id of the inference service.
        fields: Accepted fields of a ServeModel.
        stamp: Who, and when.

    Raises:
        NotFoundError: the service or the version is not there.
        InvalidError: the version's weights may not be had without a key to Hugging Face.
        ConflictError: the name or the external id is taken.
    """
    parent = store.get(tx, (INFERENCE_SERVICE,), service)
    named = identifier(fields["modelVersionId"], MODEL_VERSION.title)
    _check_open(store.get(tx, (MODEL_VERSION,), named))
    found = {
        "inferenceServiceId": str(parent.id),
        "registeredModelId": parent.body["registeredModelId"],
        "servingEnvironmentId": str(parent.parent),
    }
    return store.create(tx, SERVE_MODEL, {**fields, **found}, stamp)


def _check_open(version: Record) -> None:
    custom = version.body.get("customProperties", {})
    gated = custom.get("hf_gated", {}).get("string_value", "")
    private = custom.get("hf_private", {}).get("string_value", "")
    for name, value, closed in (
        ("hf_gated", gated, gated not in ("", "false")),
        ("hf_private", private, private == "true"),
    ):
        if closed:
            raise bad_request(
                f"model version {version.id} cannot be served: its {name} is '{value[:40]}'"
            )

"""A small client of any Kubeflow model registry: what shipping a model needs of one.

Writing is idempotent: ``upsert_…`` finds before it creates, and takes what another writer created
meanwhile. Entities come and go as their wire types, so fields unknown here survive.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final, Self, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx2
import orjson
from pydantic import ValidationError

from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.registry.properties import Plain, wire
from towpath.spec._wire import JsonObject
from towpath.spec.registry import (
    PREFIXES,
    ArtifactState,
    ModelArtifact,
    ModelVersion,
    RegisteredModel,
    Resource,
)
from towpath.telemetry import redact

__all__ = ["Client"]

R = TypeVar("R", bound=Resource)

ANSWER_BYTES: Final = 256 * 1024 * 1024
"""Largest answer read: a page of entities with long readmes."""
PAGE: Final = 100

_GENERATED: Final = {"id", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"}

_KNOWN: Final[Mapping[int, tuple[type[TowpathError], Reason]]] = {
    401: (DeniedError, Reason.UNAUTHENTICATED),
    403: (DeniedError, Reason.FORBIDDEN),
    404: (NotFoundError, Reason.NOT_FOUND),
    409: (ConflictError, Reason.ALREADY_EXISTS),
    412: (ConflictError, Reason.PRECONDITION_FAILED),
    413: (InvalidError, Reason.TOO_LARGE),
    429: (UnavailableError, Reason.TOO_MANY),
}


class Client:
    """Talks to one registry. Use as an asynchronous context manager, or close it.

    Every call raises UnavailableError when the registry does not answer, DeniedError when it
    refuses the token, and InvalidError when it refuses the input.

    Args:
        base_url: Address of the server, without the path of the API.
        token: Bearer token, if the registry wants one.
        timeout: Seconds that one call may take, answer included.

    Raises:
        InvalidError: the address is none.
    """

    def __init__(self, base_url: str, token: str | None = None, *, timeout: float = 10.0) -> None:
        self._where = redact(_address(base_url))
        self._timeout = timeout
        self._http = httpx2.AsyncClient(
            base_url=base_url.rstrip("/") + PREFIXES[0],
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=timeout,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    async def find_model(self, name: str) -> RegisteredModel | None:
        """The model of a name, if there is one."""
        return await self._find(RegisteredModel, "/registered_model", {"name": name})

    async def find_version(self, model_id: str, name: str) -> ModelVersion | None:
        """The version of a name in a model, if there is one."""
        query = {"name": name, "parentResourceId": model_id}
        return await self._find(ModelVersion, "/model_version", query)

    async def find_artifact(self, version_id: str, name: str) -> ModelArtifact | None:
        """The model artifact of a name in a version, if there is one."""
        query = {"name": name, "parentResourceId": version_id}
        return await self._find(ModelArtifact, "/model_artifact", query)

    async def upsert_model(self, model: RegisteredModel) -> RegisteredModel:
        """The model of this name as it is there, or this one, created."""
        name = _name(model)
        found = await self.find_model(name)
        if found is not None:
            return found
        try:
            return await self._post("/registered_models", model)
        except ConflictError:
            return _there(await self.find_model(name))

    async def upsert_version(self, version: ModelVersion) -> ModelVersion:
        """The version of this name as it is in its model, or this one, created."""
        name, model_id = _name(version), version.registeredModelId
        if not model_id:
            raise InvalidError("a model version without registeredModelId cannot be stored")
        found = await self.find_version(model_id, name)
        if found is not None:
            return found
        try:
            return await self._post("/model_versions", version)
        except ConflictError:
            return _there(await self.find_version(model_id, name))

    async def upsert_artifact(self, version_id: str, artifact: ModelArtifact) -> ModelArtifact:
        """The artifact of this name as it is in the version, or this one, created."""
        name = _name(artifact)
        found = await self.find_artifact(version_id, name)
        if found is not None:
            return found
        try:
            return await self._post(f"/model_versions/{version_id}/artifacts", artifact)
        except ConflictError:
            return _there(await self.find_artifact(version_id, name))

    async def update_model(
        self, ident: str, *, properties: Mapping[str, Plain] | None = None, **changes: str
    ) -> RegisteredModel:
        """Change fields of a model, and set some of its custom properties, keeping the others."""
        path = f"/registered_models/{ident}"
        return await self._update(RegisteredModel, path, changes, properties)

    async def update_version(
        self, ident: str, *, properties: Mapping[str, Plain] | None = None, **changes: str
    ) -> ModelVersion:
        """Change fields of a version, and set some of its custom properties, keeping the others."""
        path = f"/model_versions/{ident}"
        return await self._update(ModelVersion, path, changes, properties)

    async def update_artifact(
        self,
        ident: str,
        *,
        state: ArtifactState | None = None,
        uri: str | None = None,
        properties: Mapping[str, Plain] | None = None,
    ) -> ModelArtifact:
        """Change an artifact, and set some of its custom properties, keeping the others.

        Raises:
            NotFoundError: there is no such artifact.
        """
        changes = {"state": state, "uri": uri}
        path = f"/model_artifacts/{ident}"
        return await self._update(
            ModelArtifact, path, {k: v for k, v in changes.items() if v is not None}, properties
        )

    def models(self) -> AsyncIterator[RegisteredModel]:
        """Every model, by id, page after page."""
        return self._list(RegisteredModel, "/registered_models")

    def versions(self, model_id: str) -> AsyncIterator[ModelVersion]:
        """Every version of a model, by id, page after page."""
        return self._list(ModelVersion, f"/registered_models/{model_id}/versions")

    def artifacts(self, version_id: str) -> AsyncIterator[ModelArtifact]:
        """Every model artifact of a version, by id, page after page."""
        query = {"artifactType": "model-artifact"}
        return self._list(ModelArtifact, f"/model_versions/{version_id}/artifacts", query)

    async def link(self, subject: str, relation: str, target: str) -> None:
        """Say that an entity, as ``ModelVersion/12``, relates to another or to a URI; once.

        Raises:
            NotFoundError: there is no such entity, or this registry keeps no links.
        """
        told = {"subject": subject, "relation": relation, "object": target}
        await self._call("POST", "/links", content=told)

    async def link_only(self, subject: str, relation: str, target: str) -> None:
        """Say so, and that no other entity relates to this target like that any more."""
        await self.link(subject, relation, target)
        query = {"relation": relation, "object": target}
        for link in (await self._call("GET", "/links", query=query))["items"]:
            if link["subject"] != subject:
                with suppress(NotFoundError):  # somebody else was faster
                    await self._call("DELETE", f"/links/{link['id']}")

    async def _find(self, shape: type[R], path: str, query: Mapping[str, str]) -> R | None:
        try:
            return self._read(shape, await self._call("GET", path, query=query))
        except NotFoundError:
            return None

    async def _post(self, path: str, entity: R) -> R:
        content = entity.model_dump(exclude_none=True, exclude=_GENERATED)
        return self._read(type(entity), await self._call("POST", path, content=content))

    async def _update(
        self,
        shape: type[R],
        path: str,
        changes: Mapping[str, str],
        properties: Mapping[str, Plain] | None,
    ) -> R:
        content: JsonObject = dict(changes)
        if properties:
            entity = self._read(shape, await self._call("GET", path))
            there = entity.customProperties or {}
            merged = {**there, **wire(properties)}
            if merged == there and not changes:
                return entity
            content["customProperties"] = {k: v.model_dump() for k, v in merged.items()}
        return self._read(shape, await self._call("PATCH", path, content=content))

    async def _list(
        self, shape: type[R], path: str, query: Mapping[str, str] | None = None
    ) -> AsyncIterator[R]:
        asked = {**(query or {}), "pageSize": str(PAGE)}
        while True:
            answer = await self._call("GET", path, query=asked)
            for item in answer.get("items", []):
                yield self._read(shape, item)
            after = answer.get("nextPageToken") or ""
            if not after or after == asked.get("nextPageToken"):
                return
            asked["nextPageToken"] = after

    def _read(self, shape: type[R], answer: JsonObject) -> R:
        try:
            return shape.model_validate(answer)
        except ValidationError as exc:
            raise UnavailableError(
                f"the model registry at {self._where} gave an answer that is no {shape.__name__}"
            ) from exc

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        content: JsonObject | None = None,
    ) -> JsonObject:
        headers = {"Content-Type": "application/json"} if content is not None else {}
        data = orjson.dumps(content) if content is not None else None
        answer = bytearray()
        try:
            with anyio.fail_after(self._timeout):
                async with self._http.stream(
                    method, path, params=query, content=data, headers=headers
                ) as response:
                    async for chunk in response.aiter_bytes():
                        answer += chunk
                        if len(answer) > ANSWER_BYTES:
                            raise UnavailableError(
                                f"the model registry at {self._where} gave an answer without end"
                            )
        except (httpx2.RequestError, OSError) as exc:
            raise UnavailableError(
                f"the model registry at {self._where} does not answer",
                hint="Is the platform running?",
            ) from exc
        return self._decoded(response.status_code, bytes(answer))

    def _decoded(self, status: int, answer: bytes) -> JsonObject:
        try:
            body = orjson.loads(answer)
        except orjson.JSONDecodeError:
            body = None
        if status == 204:
            return {}
        if status < 300 and isinstance(body, dict):
            return body
        said = body.get("message") if isinstance(body, dict) else None
        if status < 400 or status >= 500:
            detail = f": {said}" if said else f" with status {status}"
            raise UnavailableError(f"the model registry at {self._where} failed{detail}")
        kind, reason = _KNOWN.get(status, (InvalidError, Reason.BAD_REQUEST))
        raise kind(str(said or f"the model registry answered {status}"), reason=reason)


def _address(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise InvalidError(
            f"{redact(url) or 'nothing'} is no address of a model registry",
            hint="It looks like http://127.0.0.1:8080.",
        )
    return url.rstrip("/")


def _name(entity: Resource) -> str:
    if not entity.name:
        raise InvalidError(f"a {type(entity).__name__} without a name cannot be stored")
    return entity.name


def _there(found: R | None) -> R:
    if found is None:
        raise ConflictError(
            "the registry holds another entity with this externalId",
            hint="Choose another externalId, or leave it out.",
        )
    return found

"""What to do for one InferenceService: a pure function from desired and running to steps.

Nothing here knows a clock, a network or a disk. The controller carries the steps out and asks
again; each step brings the world nearer, and a world that fits yields no steps.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from towpath.errors import InvalidError
from towpath.kube import annotations, mapping
from towpath.spec.kserve import DEPLOYMENT_MODE
from towpath.spec.kube import Object
from towpath.spec.names import DIGEST, Digest, ImageRef
from towpath.spec.towpath import MODEL_VERSION

__all__ = [
    "Await",
    "Desired",
    "Fetch",
    "Instance",
    "Retire",
    "Route",
    "SpecError",
    "Start",
    "Step",
    "desired",
    "plan",
]

FORMATS: Final = frozenset({"onnx"})
"""Model formats that the built-in runtime serves."""


class SpecError(InvalidError):
    """A service that cannot run as written; ``failure`` is KServe's reason for it."""

    def __init__(self, failure: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.failure = failure


@dataclass(frozen=True)
class Desired:
    """What an InferenceService asks for.

    ``version`` is what answers call the model's version. ``revision`` names everything that needs
    a new process when it changes.
    """

    namespace: str
    name: str
    model_format: str
    image: ImageRef
    digest: Digest
    version: str = "1"

    @property
    def revision(self) -> str:
        """Name of this revision: of the service, the image, and what the model is called."""
        told = hashlib.sha256(f"{self.digest} {self.version}".encode()).hexdigest()
        return f"{self.name}-{told[:12]}"

    @property
    def process(self) -> str:
        """Name of the process that serves this revision."""
        return f"{self.namespace}.{self.revision}"


@dataclass(frozen=True)
class Instance:
    """A runtime process of the service: which revision it serves, and where."""

    process: str
    revision: str
    address: str
    ready: bool


@dataclass(frozen=True)
class Fetch:
    """Bring the image's files to this machine; nothing that runs is touched."""

    image: ImageRef


@dataclass(frozen=True)
class Start:
    """Start a runtime beside whatever runs."""

    desired: Desired


@dataclass(frozen=True)
class Await:
    """Look again soon: the runtime is loading."""

    instance: Instance


@dataclass(frozen=True)
class Route:
    """Send new requests to this instance; None: to nobody."""

    instance: Instance | None


@dataclass(frozen=True)
class Retire:
    """Let open requests end, then stop the process."""

    instance: Instance


Step = Fetch | Start | Await | Route | Retire


def desired(service: Object) -> Desired:
    """Read an InferenceService (serving.kserve.io/v1beta1, ``spec.predictor.model``).

    Raises:
        SpecError: it asks for something that cannot run here.
    """
    metadata = service["metadata"]
    notes = annotations(service)
    model = mapping(service, "spec", "predictor", "model")
    if not model:
        raise SpecError(
            "InvalidPredictorSpec",
            "spec.predictor.model is missing",
            "Name a modelFormat and a storageUri there.",
        )
    mode = notes.get(DEPLOYMENT_MODE, "RawDeployment")
    if mode not in ("RawDeployment", "Standard", "Serverless", "Knative"):
        raise SpecError("InvalidPredictorSpec", f"deployment mode {mode!r} is not available here")
    model_format = str(mapping(model, "modelFormat").get("name", ""))
    if model_format not in FORMATS:
        raise SpecError(
            "NoSupportingRuntime",
            f"no runtime here serves the model format {model_format!r}",
            f"Formats served: {', '.join(sorted(FORMATS))}.",
        )
    uri = str(model.get("storageUri") or "")
    reference, _, digest = uri.removeprefix("oci://").rpartition("@")
    if not uri.startswith("oci://") or not reference or not DIGEST.fullmatch(digest):
        raise SpecError(
            "InvalidPredictorSpec",
            f"spec.predictor.model.storageUri {uri!r} is not an image by digest",
            "Use oci://HOST/REPOSITORY@sha256:DIGEST.",
        )
    return Desired(
        namespace=metadata.get("namespace", ""),
        name=metadata["name"],
        model_format=model_format,
        image=ImageRef(f"{reference}@{digest}"),
        digest=Digest(digest),
        version=str(notes.get(MODEL_VERSION, "1")),
    )


def plan(
    wanted: Desired | None, instances: Sequence[Instance], *, local: bool, routed: str | None
) -> list[Step]:
    """The steps that bring the world nearer to what is wanted, in order.

    Args:
        wanted: None when the service is gone.
        instances: Its running processes.
        local: Whether the wanted image's files are on this machine.
        routed: Address that new requests go to.
    """
    if wanted is None:
        unroute: list[Step] = [Route(None)] if routed is not None else []
        return [*unroute, *(Retire(instance) for instance in instances)]
    current = next((i for i in instances if i.revision == wanted.revision), None)
    if current is None:
        return [Start(wanted)] if local else [Fetch(wanted.image), Start(wanted)]
    if not current.ready:
        return [Await(current)]
    move: list[Step] = [Route(current)] if routed != current.address else []
    return [*move, *(Retire(instance) for instance in instances if instance is not current)]

"""What goes in and comes out of the road: the order, who watches, the shipment."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from towpath.app.rollout import Endpoint
from towpath.spec.names import Digest, ImageRef, Revision

__all__ = ["Order", "Progress", "Shipment"]


@dataclass(frozen=True)
class Order:
    """What to ship, and where to.

    Args:
        source: URI or path of a model file or folder.
        name: The model's name, and that of its InferenceService.
        version: The version's name, and the image's tag.
        model_format: None takes it from the files.
        replace: Whether other bytes may take the place of this version's.
        patience: Seconds to wait for the endpoints.
    """

    source: str
    name: str
    version: str
    model_format: str | None = None
    replace: bool = False
    patience: float = 120.0


class Progress(Protocol):
    """Who watches."""

    def begin(self, stage: str) -> None:
        """A stage begins."""
        ...

    def bytes(self, done: int, total: int) -> None:
        """So many bytes of the stage have moved."""
        ...

    def end(self, stage: str, what: str, seconds: float) -> None:
        """A stage is done."""
        ...

    def fail(self, stage: str) -> None:
        """A stage broke off."""
        ...


@dataclass
class Shipment:
    """What became of an order; :meth:`to_json` is what ``ship -o json`` prints."""

    name: str
    version: str
    changed: bool = False
    ids: tuple[str, str, str] = ("", "", "")
    artifact_uri: str = ""
    artifact_digest: Digest = Digest("")
    size: int = 0
    model_format: str = ""
    image: ImageRef = ImageRef("")
    revision: Revision = Revision("")
    endpoints: tuple[Endpoint, ...] = ()
    stages: list[tuple[str, float]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """One object, for scripts."""
        model, version, artifact = self.ids
        return {
            "model": {
                "name": self.name,
                "version": self.version,
                "registeredModelId": model,
                "modelVersionId": version,
                "modelArtifactId": artifact,
            },
            "artifact": {
                "uri": self.artifact_uri,
                "digest": self.artifact_digest,
                "size": self.size,
            },
            "image": {"ref": self.image, "digest": self.image.rpartition("@")[2]},
            "revision": self.revision,
            "endpoints": [endpoint.to_json() for endpoint in self.endpoints],
            "stages": [{"name": name, "seconds": round(s, 3)} for name, s in self.stages],
        }

"""The entities as a table: what each may hold, what it must, and what it hangs on.

Every rule that differs between entities stands here as data, so that the code that creates,
updates, finds and lists is written once. Adding an entity is adding a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, TypeAlias

from towpath.spec.registry import (
    DocArtifact,
    InferenceService,
    ModelArtifact,
    ModelVersion,
    RegisteredModel,
    Resource,
    ServingEnvironment,
)

__all__ = [
    "ARTIFACTS",
    "DOC_ARTIFACT",
    "INFERENCE_SERVICE",
    "KINDS",
    "MODEL_ARTIFACT",
    "MODEL_VERSION",
    "REGISTERED_MODEL",
    "SERVING_ENVIRONMENT",
    "Kind",
    "Kinds",
    "title_of",
]

Place: TypeAlias = Literal["context", "artifact", "execution"]
"""Kinds of one place share one sequence of ids, and one space of external ids."""

GENERATED: Final = frozenset({"id", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"})
_RUN_LINKS: Final = frozenset({"experimentId", "experimentRunId"})


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of entity.

    Args:
        wire: Its shape.
        title: How messages name it.
        place: Which sequence of ids it belongs to.
        required: Fields that a create must hold.
        parent: Field that holds the id of the context it belongs to, and that context's kind.
        references: Other fields that hold the id of a context, which must exist.
        fixed: Fields that a create sets for good, besides the name and the parent.
        defaults: What a create without the field stores.
        searchable: Fields that filters reach by their own name.
    """

    wire: type[Resource]
    title: str
    place: Place = "context"
    required: tuple[str, ...] = ()
    parent: "tuple[str, Kind] | None" = None
    references: "Mapping[str, Kind]" = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    defaults: Mapping[str, str] = field(default_factory=dict)
    searchable: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """Its name in the database."""
        return self.wire.__name__

    @cached_property
    def artifact_type(self) -> str | None:
        """The ``artifactType`` of an artifact; nothing for other kinds."""
        declared = self.wire.model_fields.get("artifactType")
        return declared.default if declared else None

    @cached_property
    def fields(self) -> frozenset[str]:
        """Every field of it."""
        return frozenset(self.wire.model_fields)

    @cached_property
    def creatable(self) -> frozenset[str]:
        """Fields that a create may hold."""
        return self.fields - GENERATED - _RUN_LINKS

    @cached_property
    def updatable(self) -> frozenset[str]:
        """Fields that an update may hold."""
        parent = {self.parent[0]} if self.parent else set()
        return self.creatable - self.fixed - parent - {"name"}


Kinds: TypeAlias = tuple[Kind, ...]
"""One kind, or several of one place that a route treats alike."""


def title_of(kinds: Kinds) -> str:
    """How messages name one of these."""
    return kinds[0].title if len(kinds) == 1 else "artifact"


REGISTERED_MODEL: Final = Kind(
    RegisteredModel,
    "registered model",
    required=("name",),
    defaults={"state": "LIVE"},
    searchable=("state", "owner"),
)
MODEL_VERSION: Final = Kind(
    ModelVersion,
    "model version",
    required=("name", "registeredModelId"),
    parent=("registeredModelId", REGISTERED_MODEL),
    defaults={"state": "LIVE"},
    searchable=("state", "author"),
)
MODEL_ARTIFACT: Final = Kind(
    ModelArtifact,
    "model artifact",
    place="artifact",
    defaults={"state": "UNKNOWN"},
    searchable=(
        "uri",
        "state",
        "modelFormatName",
        "modelFormatVersion",
        "storageKey",
        "storagePath",
        "serviceAccountName",
        "modelSourceKind",
        "modelSourceClass",
        "modelSourceGroup",
        "modelSourceId",
        "modelSourceName",
    ),
)
DOC_ARTIFACT: Final = Kind(
    DocArtifact,
    "doc artifact",
    place="artifact",
    defaults={"state": "UNKNOWN"},
    searchable=("uri", "state"),
)
SERVING_ENVIRONMENT: Final = Kind(
    ServingEnvironment,
    "serving environment",
    required=("name",),
)
INFERENCE_SERVICE: Final = Kind(
    InferenceService,
    "inference service",
    required=("registeredModelId", "servingEnvironmentId"),
    parent=("servingEnvironmentId", SERVING_ENVIRONMENT),
    references={"registeredModelId": REGISTERED_MODEL, "modelVersionId": MODEL_VERSION},
    fixed=frozenset({"registeredModelId"}),
    defaults={"desiredState": "DEPLOYED"},
    searchable=("registeredModelId", "modelVersionId", "runtime", "desiredState"),
)

ARTIFACTS: Final[Kinds] = (MODEL_ARTIFACT, DOC_ARTIFACT)

KINDS: Final[Mapping[str, Kind]] = {
    kind.type: kind
    for kind in (
        REGISTERED_MODEL,
        MODEL_VERSION,
        *ARTIFACTS,
        SERVING_ENVIRONMENT,
        INFERENCE_SERVICE,
    )
}

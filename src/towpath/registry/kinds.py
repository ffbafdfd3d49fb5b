"""The entities as a table: what each may hold, what it must, and what it hangs on.

Every rule that differs between entities stands here as data, so that the code that creates,
updates, finds and lists is written once. Adding an entity is adding a row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias

from towpath.spec.registry import (
    DataSet,
    DocArtifact,
    Experiment,
    ExperimentRun,
    InferenceService,
    Metric,
    ModelArtifact,
    ModelVersion,
    Parameter,
    RegisteredModel,
    Resource,
    ServeModel,
    ServingEnvironment,
)

__all__ = [
    "ARTIFACTS",
    "DATA_SET",
    "DOC_ARTIFACT",
    "EXPERIMENT",
    "EXPERIMENT_RUN",
    "INFERENCE_SERVICE",
    "KINDS",
    "METRIC",
    "METRIC_POINT",
    "MODEL_ARTIFACT",
    "MODEL_VERSION",
    "PARAMETER",
    "REGISTERED_MODEL",
    "RUN_LINKS",
    "SERVE_MODEL",
    "SERVING_ENVIRONMENT",
    "Kind",
    "Kinds",
    "Property",
    "Type",
    "title_of",
]

Place: TypeAlias = Literal["context", "artifact", "execution"]
"""Kinds of one place share one sequence of ids, and one space of external ids."""

Type: TypeAlias = Literal["string", "int", "double"]
"""What a field compares as: an ``int`` is often a text of digits on the wire."""

GENERATED: Final = frozenset({"id", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"})
RUN_LINKS: Final = ("experimentId", "experimentRunId")
"""Which run an artifact comes from; set by the server, never by a body."""


@dataclass(frozen=True)
class Property:
    """A field that filters reach by its own name.

    Args:
        name: As on the wire, and in the table of properties.
        type: What it compares as.
        column: Its column of the entity's table; nothing when it is a row of properties.
        lone: Whether the name means this field only, and no custom property that is called so.
    """

    name: str
    type: Type = "string"
    column: str | None = None
    lone: bool = True


_COLUMNS: Final = (
    Property("id", "int", "id"),
    Property("name", "string", "name"),
    Property("externalId", "string", "external_id"),
    Property("createTimeSinceEpoch", "int", "created"),
    Property("lastUpdateTimeSinceEpoch", "int", "updated"),
)


_SHARED: Final = frozenset(
    {"description", "maturity", "provider", "license", "licenseLink", "libraryName"}
)
"""Fields that filters reach though the specification does not tell so."""


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind of entity.

    Args:
        wire: Its shape.
        title: How messages name it.
        stored: Its name in the database, where that is not its shape's.
        place: Which sequence of ids it belongs to.
        required: Fields that a create must hold, by the specification.
        told: Fields that a create must hold, as clients cannot read an entity without.
        filled: Those of them that are never empty either.
        parent: Name of the id of the context it belongs to, and that context's kind.
        references: Other fields that hold the id of a context, which must exist.
        fixed: Fields that a create sets for good, besides the name and the parent.
        ordered: Two times, of which the second is not before the first.
        unique: Whether its name is its own, below its parent or everywhere.
        inherited: Fields that it takes over from its parent, for filters only.
        defaults: What a create without the field stores.
        searchable: Fields that filters reach by their own name, and what each compares as;
            besides those that are columns.
    """

    wire: type[Resource]
    title: str
    stored: str = ""
    place: Place = "context"
    required: tuple[str, ...] = ()
    told: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    parent: "tuple[str, Kind] | None" = None
    references: "Mapping[str, Kind]" = field(default_factory=dict)
    fixed: frozenset[str] = frozenset()
    ordered: tuple[str, str] | None = None
    unique: bool = True
    inherited: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)
    searchable: Mapping[str, Type] = field(default_factory=dict)

    @cached_property
    def type(self) -> str:
        """Its name in the database."""
        return self.stored or self.wire.__name__

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
        links = RUN_LINKS if self.place == "artifact" else ()
        return self.fields - GENERATED - frozenset(links)

    @cached_property
    def updatable(self) -> frozenset[str]:
        """Fields that an update may hold."""
        parent = {self.parent[0]} if self.parent else set()
        return self.creatable - self.fixed - parent - {"name"}

    @cached_property
    def integers(self) -> frozenset[str]:
        """Fields that hold 64-bit integers and are no ids."""
        ids = {*self.references, *self.inherited, *RUN_LINKS}
        return frozenset(name for name, kind in self.searchable.items() if kind == "int") - ids

    @cached_property
    def properties(self) -> Mapping[str, Property]:
        """What filters reach by name: each as on the wire, and also in snake case.

        In snake case, and where the specification does not tell the name, it is shared with a
        custom property.
        """
        found = [
            *_COLUMNS,
            *(
                Property(name, type_, lone=name not in _SHARED)
                for name, type_ in self.searchable.items()
            ),
        ]
        if self.parent is not None:
            found.append(Property(self.parent[0], "int", "parent_id"))
        spelt = {_snake(known.name): replace(known, lone=False) for known in found}
        return spelt | {known.name: known for known in found}

    def searched(self, body: Mapping[str, Any]) -> dict[str, str | int | float]:
        """The searchable fields of a stored body, each as what it compares as."""
        return {
            name: _CASTS[kind](body[name])
            for name, kind in self.searchable.items()
            if body.get(name) is not None and (body[name] != "" or kind == "string")
        }


_CASTS: Final[Mapping[Type, Any]] = {"string": str, "int": int, "double": float}

Kinds: TypeAlias = tuple[Kind, ...]
"""One kind, or several of one place that a route treats alike."""


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def title_of(kinds: Kinds) -> str:
    """How messages name one of these."""
    return kinds[0].title if len(kinds) == 1 else "artifact"


def _strings(*names: str) -> dict[str, Type]:
    return dict.fromkeys(names, "string")


def _ints(*names: str) -> dict[str, Type]:
    return dict.fromkeys(names, "int")


_ARTIFACT: Final[dict[str, Type]] = {**_strings("description", "state"), **_ints(*RUN_LINKS)}

REGISTERED_MODEL: Final = Kind(
    RegisteredModel,
    "registered model",
    required=("name",),
    defaults={"state": "LIVE"},
    searchable=_strings(
        "description",
        "state",
        "owner",
        "maturity",
        "provider",
        "license",
        "licenseLink",
        "libraryName",
    ),
)
MODEL_VERSION: Final = Kind(
    ModelVersion,
    "model version",
    required=("name", "registeredModelId"),
    parent=("registeredModelId", REGISTERED_MODEL),
    defaults={"state": "LIVE"},
    searchable=_strings("description", "state", "author"),
)
MODEL_ARTIFACT: Final = Kind(
    ModelArtifact,
    "model artifact",
    place="artifact",
    told=("uri",),
    filled=("uri",),
    defaults={"state": "UNKNOWN"},
    searchable={
        **_ARTIFACT,
        **_strings(
            "uri",
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
    },
)
DOC_ARTIFACT: Final = Kind(
    DocArtifact,
    "doc artifact",
    place="artifact",
    defaults={"state": "UNKNOWN"},
    searchable={**_ARTIFACT, **_strings("uri")},
)
DATA_SET: Final = Kind(
    DataSet,
    "dataset artifact",
    place="artifact",
    defaults={"state": "UNKNOWN"},
    searchable={
        **_ARTIFACT,
        **_strings("uri", "digest", "sourceType", "source", "schema", "profile"),
    },
)
METRIC: Final = Kind(
    Metric,
    "metric",
    place="artifact",
    told=("value",),
    defaults={"state": "UNKNOWN"},
    searchable={**_ARTIFACT, "value": "double", **_ints("timestamp", "step")},
)
METRIC_POINT: Final = Kind(
    Metric,
    "metric",
    stored="MetricPoint",
    place="artifact",
    unique=False,
    defaults={"state": "UNKNOWN"},
    searchable=METRIC.searchable,
)
"""One value that a metric of a run has had: what its history lists, and no other list."""
PARAMETER: Final = Kind(
    Parameter,
    "parameter",
    place="artifact",
    told=("value",),
    defaults={"state": "UNKNOWN", "parameterType": "string"},
    searchable={**_ARTIFACT, **_strings("value", "parameterType")},
)
SERVING_ENVIRONMENT: Final = Kind(
    ServingEnvironment,
    "serving environment",
    required=("name",),
    searchable=_strings("description"),
)
INFERENCE_SERVICE: Final = Kind(
    InferenceService,
    "inference service",
    required=("registeredModelId", "servingEnvironmentId"),
    parent=("servingEnvironmentId", SERVING_ENVIRONMENT),
    references={"registeredModelId": REGISTERED_MODEL, "modelVersionId": MODEL_VERSION},
    fixed=frozenset({"registeredModelId"}),
    defaults={"desiredState": "DEPLOYED"},
    searchable={
        **_strings("description", "runtime", "desiredState"),
        **_ints("registeredModelId", "modelVersionId"),
    },
)
SERVE_MODEL: Final = Kind(
    ServeModel,
    "serve model",
    place="execution",
    required=("modelVersionId",),
    parent=("inferenceServiceId", INFERENCE_SERVICE),
    references={"modelVersionId": MODEL_VERSION},
    fixed=frozenset({"modelVersionId"}),
    inherited=("registeredModelId", "servingEnvironmentId"),
    defaults={"lastKnownState": "UNKNOWN"},
    searchable={
        **_strings("description", "lastKnownState"),
        **_ints("modelVersionId", "registeredModelId", "servingEnvironmentId"),
    },
)
EXPERIMENT: Final = Kind(
    Experiment,
    "experiment",
    required=("name",),
    defaults={"state": "LIVE"},
    searchable=_strings("description", "state", "owner"),
)
EXPERIMENT_RUN: Final = Kind(
    ExperimentRun,
    "experiment run",
    required=("experimentId",),
    parent=("experimentId", EXPERIMENT),
    fixed=frozenset({"startTimeSinceEpoch"}),
    ordered=("startTimeSinceEpoch", "endTimeSinceEpoch"),
    defaults={"state": "LIVE", "status": "RUNNING"},
    searchable={
        **_strings("description", "state", "status", "owner"),
        **_ints("startTimeSinceEpoch", "endTimeSinceEpoch"),
    },
)

ARTIFACTS: Final[Kinds] = (MODEL_ARTIFACT, DOC_ARTIFACT, DATA_SET, METRIC, PARAMETER)
"""Those that a body's or a query's ``artifactType`` names; ``artifacts`` lists them together."""

KINDS: Final[Mapping[str, Kind]] = {
    kind.type: kind
    for kind in (
        REGISTERED_MODEL,
        MODEL_VERSION,
        *ARTIFACTS,
        METRIC_POINT,
        SERVING_ENVIRONMENT,
        INFERENCE_SERVICE,
        SERVE_MODEL,
        EXPERIMENT,
        EXPERIMENT_RUN,
    )
}

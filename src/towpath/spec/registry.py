"""Kubeflow Model Registry REST API: the entities, spelt as on the wire.

One class per entity carries every field of it; which of them a create or an update may set is a
rule of the registry, not a shape. Fields left out are ``None``, fields unknown here are kept.
"""

import warnings
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

__all__ = [
    "PREFIXES",
    "SPEC_VERSION",
    "ArtifactState",
    "DataSet",
    "DocArtifact",
    "ExecutionState",
    "Experiment",
    "ExperimentRun",
    "ExperimentRunStatus",
    "InferenceService",
    "InferenceServiceState",
    "MetadataBoolValue",
    "MetadataDoubleValue",
    "MetadataIntValue",
    "MetadataProtoValue",
    "MetadataStringValue",
    "MetadataStructValue",
    "MetadataValue",
    "Metric",
    "ModelArtifact",
    "ModelVersion",
    "Parameter",
    "ParameterType",
    "RegisteredModel",
    "RegisteredModelState",
    "Resource",
    "ServeModel",
    "ServingEnvironment",
]

SPEC_VERSION: Final = "v1alpha3"

PREFIXES: Final = ("/api/model_registry/v1alpha3", "/api/model_registry/v1")
"""Both generations of the API. The second has no experiments, and steps of metrics as texts."""

RegisteredModelState: TypeAlias = Literal["LIVE", "ARCHIVED"]
"""Also the states of a ModelVersion, an Experiment and an ExperimentRun."""

ArtifactState: TypeAlias = Literal[
    "UNKNOWN", "PENDING", "LIVE", "MARKED_FOR_DELETION", "DELETED", "ABANDONED", "REFERENCE"
]

InferenceServiceState: TypeAlias = Literal["DEPLOYED", "UNDEPLOYED"]

ExecutionState: TypeAlias = Literal[
    "UNKNOWN", "NEW", "RUNNING", "COMPLETE", "FAILED", "CACHED", "CANCELED"
]

ExperimentRunStatus: TypeAlias = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]

ParameterType: TypeAlias = Literal["string", "number", "boolean", "object"]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True, strict=True)


class MetadataStringValue(_Shape):
    """A text."""

    metadataType: Literal["MetadataStringValue"] = "MetadataStringValue"
    string_value: str


class MetadataIntValue(_Shape):
    """An integer in a string, at most nine digits."""

    metadataType: Literal["MetadataIntValue"] = "MetadataIntValue"
    int_value: str


class MetadataDoubleValue(_Shape):
    """A finite number."""

    metadataType: Literal["MetadataDoubleValue"] = "MetadataDoubleValue"
    double_value: FiniteFloat


class MetadataBoolValue(_Shape):
    """True or false."""

    metadataType: Literal["MetadataBoolValue"] = "MetadataBoolValue"
    bool_value: bool


class MetadataStructValue(_Shape):
    """A JSON object, in base64."""

    metadataType: Literal["MetadataStructValue"] = "MetadataStructValue"
    struct_value: str


class MetadataProtoValue(_Shape):
    """A protobuf message, in base64; in the specification, but no server stores it."""

    metadataType: Literal["MetadataProtoValue"] = "MetadataProtoValue"
    type: str
    proto_value: str


MetadataValue: TypeAlias = Annotated[
    MetadataStringValue
    | MetadataIntValue
    | MetadataDoubleValue
    | MetadataBoolValue
    | MetadataStructValue
    | MetadataProtoValue,
    Field(discriminator="metadataType"),
]


class Resource(_Shape):
    """What every entity has. Times are milliseconds since the epoch, in strings."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    externalId: str | None = None
    customProperties: dict[str, MetadataValue] | None = None
    createTimeSinceEpoch: str | None = None
    lastUpdateTimeSinceEpoch: str | None = None


class RegisteredModel(Resource):
    """A model, whatever its versions."""

    owner: str | None = None
    state: RegisteredModelState | None = None
    readme: str | None = None
    maturity: str | None = None
    language: list[str] | None = None
    tasks: list[str] | None = None
    provider: str | None = None
    logo: str | None = None
    license: str | None = None
    licenseLink: str | None = None
    libraryName: str | None = None


class ModelVersion(Resource):
    """One version of a RegisteredModel."""

    registeredModelId: str | None = None
    author: str | None = None
    state: RegisteredModelState | None = None


class _Artifact(Resource):
    state: ArtifactState | None = None
    experimentId: str | None = None
    experimentRunId: str | None = None


class ModelArtifact(_Artifact):
    """Where the bytes of a version lie, and in which format."""

    artifactType: Literal["model-artifact"] = "model-artifact"
    uri: str | None = None
    modelFormatName: str | None = None
    modelFormatVersion: str | None = None
    storageKey: str | None = None
    storagePath: str | None = None
    serviceAccountName: str | None = None
    modelSourceKind: str | None = None
    modelSourceClass: str | None = None
    modelSourceGroup: str | None = None
    modelSourceId: str | None = None
    modelSourceName: str | None = None


class DocArtifact(_Artifact):
    """A document about a version."""

    artifactType: Literal["doc-artifact"] = "doc-artifact"
    uri: str | None = None


with warnings.catch_warnings(action="ignore"):  # DataSet.schema hides a deprecated method

    class DataSet(_Artifact):
        """Data that a model is trained or tested with."""

        artifactType: Literal["dataset-artifact"] = "dataset-artifact"
        uri: str | None = None
        digest: str | None = None
        sourceType: str | None = None
        source: str | None = None
        schema: str | None = None  # type: ignore[assignment] # see above
        profile: str | None = None


class Metric(_Artifact):
    """A number measured by a run. ``step`` is a number in v1alpha3 and a text in v1."""

    artifactType: Literal["metric"] = "metric"
    value: FiniteFloat | None = None
    timestamp: str | None = None
    step: int | str | None = None


class Parameter(_Artifact):
    """A setting of a run."""

    artifactType: Literal["parameter"] = "parameter"
    value: str | None = None
    parameterType: ParameterType | None = None


class ServingEnvironment(Resource):
    """A place where models are served."""


class InferenceService(Resource):
    """A model served in a ServingEnvironment: a record, not the Kubernetes object."""

    registeredModelId: str | None = None
    servingEnvironmentId: str | None = None
    modelVersionId: str | None = None
    runtime: str | None = None
    desiredState: InferenceServiceState | None = None


class ServeModel(Resource):
    """One deployment of a ModelVersion by an InferenceService."""

    modelVersionId: str | None = None
    lastKnownState: ExecutionState | None = None


class Experiment(Resource):
    """A question that ExperimentRuns try to answer."""

    owner: str | None = None
    state: RegisteredModelState | None = None


class ExperimentRun(Resource):
    """One try within an Experiment. Times are milliseconds since the epoch, in strings."""

    experimentId: str | None = None
    owner: str | None = None
    state: RegisteredModelState | None = None
    status: ExperimentRunStatus | None = None
    startTimeSinceEpoch: str | None = None
    endTimeSinceEpoch: str | None = None

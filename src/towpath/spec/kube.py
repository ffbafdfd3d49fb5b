"""Kubernetes API conventions: object shapes, verbs and the kinds every cluster has.

Objects are plain dicts, so that fields unknown here survive a read and a write.
"""

from typing import Final, NamedTuple, TypedDict

from towpath.spec._wire import JsonObject

SPEC_VERSION: Final = "1.32"


class Kind(NamedTuple):
    """Where a kind of object lives: its group, version, kind and plural.

    ``group`` is empty for the core group. ``status_apart`` tells whether status is a subresource,
    which only its own requests write.
    """

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool = True
    status_apart: bool = True

    @property
    def api_version(self) -> str:
        """``v1`` or ``group/version``, as in an object's ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version


class OwnerReference(TypedDict, total=False):
    apiVersion: str
    kind: str
    name: str
    uid: str
    controller: bool
    blockOwnerDeletion: bool


class ObjectMeta(TypedDict, total=False):
    name: str
    generateName: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]
    resourceVersion: str
    uid: str
    generation: int
    creationTimestamp: str
    deletionTimestamp: str
    finalizers: list[str]
    ownerReferences: list[OwnerReference]
    managedFields: list[JsonObject]


class Object(TypedDict, total=False):
    """Any Kubernetes object."""

    apiVersion: str
    kind: str
    metadata: ObjectMeta
    spec: JsonObject
    status: JsonObject
    data: dict[str, str]
    type: str


class Condition(TypedDict, total=False):
    """One entry of ``status.conditions`` (API conventions, "Typical status properties")."""

    type: str
    status: str
    reason: str
    message: str
    lastTransitionTime: str
    observedGeneration: int


NAMESPACE: Final = Kind("", "v1", "Namespace", "namespaces", namespaced=False)
CONFIG_MAP: Final = Kind("", "v1", "ConfigMap", "configmaps", status_apart=False)
SECRET: Final = Kind("", "v1", "Secret", "secrets", status_apart=False)
SERVICE: Final = Kind("", "v1", "Service", "services")
SERVICE_ACCOUNT: Final = Kind("", "v1", "ServiceAccount", "serviceaccounts", status_apart=False)
EVENT: Final = Kind("", "v1", "Event", "events", status_apart=False)
CRD: Final = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", False
)
LEASE: Final = Kind("coordination.k8s.io", "v1", "Lease", "leases", status_apart=False)

"""The least that a body must be: types of the fields that the server itself, or the rows it prints,
look into. What stands nowhere here may be anything.

Source: Kubernetes API reference, ObjectMeta, DeleteOptions and the built-in kinds.
"""

from collections.abc import Mapping
from typing import Final

from towpath.apiserver import failures
from towpath.apiserver.kinds import Resource
from towpath.spec._wire import Json, JsonObject

__all__ = ["DELETE_OPTIONS", "check", "of"]

_ANY: Final = "*"
"""Stands for every member that is not named."""
_NAMES: Final[Mapping[type, str]] = {str: "a string", int: "a number", bool: "a boolean"}

_TEXTS: Final[JsonObject] = {_ANY: str}
_OBJECTS: Final[Json] = [{}]
_CONDITIONED: Final[JsonObject] = {"conditions": [{"type": str}]}

_METADATA: Final[JsonObject] = {
    "name": str,
    "generateName": str,
    "namespace": str,
    "uid": str,
    "resourceVersion": str,
    "labels": _TEXTS,
    "annotations": _TEXTS,
    "finalizers": [str],
    "ownerReferences": [{"apiVersion": str, "kind": str, "name": str, "uid": str}],
    "managedFields": [{"manager": str, "operation": str, "apiVersion": str, "fieldsV1": {}}],
}
_CONTAINERS: Final[Json] = [{"name": str, "env": [{"name": str}], "ports": _OBJECTS}]

_BUILTIN: Final[Mapping[str, JsonObject]] = {
    "Namespace": {"spec": {"finalizers": [str]}, "status": {**_CONDITIONED, "phase": str}},
    "CustomResourceDefinition": {
        "spec": {"names": {"shortNames": [str], "categories": [str]}, "versions": _OBJECTS},
        "status": {**_CONDITIONED, "storedVersions": [str]},
    },
    "ConfigMap": {"data": _TEXTS, "binaryData": _TEXTS, "immutable": bool},
    "Secret": {"type": str, "data": _TEXTS, "stringData": _TEXTS, "immutable": bool},
    "Service": {
        "spec": {
            "type": str,
            "clusterIP": str,
            "externalName": str,
            "externalIPs": [str],
            "ports": [{"name": str, "port": int, "protocol": str}],
            "selector": _TEXTS,
        },
        "status": _CONDITIONED,
    },
    "ServiceAccount": {"secrets": [{"name": str}], "imagePullSecrets": [{"name": str}]},
    "Event": {
        "involvedObject": _TEXTS,
        "reason": str,
        "message": str,
        "type": str,
        "count": int,
        "lastTimestamp": str,
        "eventTime": str,
        "source": {},
    },
    "Lease": {"spec": {"holderIdentity": str}},
    "Pod": {
        "spec": {
            "nodeName": str,
            "nodeSelector": _TEXTS,
            "containers": _CONTAINERS,
            "initContainers": _CONTAINERS,
            "ephemeralContainers": _CONTAINERS,
            "volumes": [{"name": str}],
        },
        "status": {
            **_CONDITIONED,
            "phase": str,
            "containerStatuses": [{"ready": bool, "restartCount": int}],
        },
    },
    "PersistentVolumeClaim": {
        "spec": {"accessModes": [str], "volumeName": str},
        "status": {**_CONDITIONED, "phase": str, "capacity": {}},
    },
}
_OBJECT: Final[JsonObject] = {"apiVersion": str, "kind": str, "metadata": _METADATA}

DELETE_OPTIONS: Final[JsonObject] = {
    "preconditions": {"uid": str, "resourceVersion": str},
    "propagationPolicy": str,
    "orphanDependents": bool,
    "dryRun": [str],
}


def of(resource: Resource) -> JsonObject:
    """The shape of an object of this kind; of a custom one only its metadata is known here."""
    return _OBJECT if resource.custom else {**_OBJECT, **_BUILTIN[resource.kind.kind]}


def check(kind: str, value: Json, shape: Json, path: str = "") -> None:
    """Refuse a value that is not of a shape.

    Args:
        kind: What it should be, for the message.
        value: The value; null is of every shape, but an item of a list is not null.
        shape: A map of the members whose shape is known, a list of one item's shape, or a type.
        path: Where the value stands.

    Raises:
        InvalidError: it is not (reason ``BadRequest``).
    """
    if value is None:
        return
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            raise _refused(kind, path, "an object")
        for name, member in value.items():
            inner = shape.get(name, shape.get(_ANY))
            if inner is not None:
                check(kind, member, inner, f"{path}.{name}" if path else name)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise _refused(kind, path, "a list")
        for index, item in enumerate(value):
            where = f"{path}[{index}]"
            if item is None:
                raise _refused(kind, where, "present")
            check(kind, item, shape[0], where)
    elif not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        raise _refused(kind, path, _NAMES[shape])


def _refused(kind: str, path: str, wanted: str) -> Exception:
    where = path[:300] or "it"
    return failures.bad_request(f"this cannot be handled as a {kind}: {where} must be {wanted}")

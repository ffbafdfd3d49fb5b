"""What metadata must be: the name each kind allows, labels, annotations, owners, finalizers.

Pure: metadata in, problems out; a caller refuses with all of them at once.

Source: Kubernetes documentation, "Object Names and IDs", "Labels and Selectors", "Annotations";
API reference, ObjectMeta.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from towpath.apiserver.kinds import Resource
from towpath.apiserver.schema import Problem
from towpath.spec._wire import Json, JsonObject

__all__ = ["FIELDS", "label_1035", "mistyped", "problems", "subdomain"]

_INVALID: Final = "FieldValueInvalid"
_ANNOTATIONS: Final = 256 * 1024
"""Most bytes of all annotations of an object."""
_MANAGERS: Final = 128
_SHOWN: Final = 300
"""Characters of a bad value that a message repeats."""

_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035: Final = "[a-z]([-a-z0-9]*[a-z0-9])?"
_PART: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE: Final = "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"

_AN_END: Final = "must start and end with an alphanumeric character"
_SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    f"'.', and {_AN_END} (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and "
    f"{_AN_END} (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_LABEL_1035_RULE: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
    f"regex used for validation is '{_LABEL_1035}')"
)
_PART_RULE: Final = (
    f"must consist of alphanumeric characters, '-', '_' or '.', and {_AN_END} (e.g. 'MyName',  or "
    f"'my.name',  or '123-abc', regex used for validation is '{_PART}')"
)
_VALUE_RULE: Final = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    f"and {_AN_END} (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_VALUE}')"
)

_GO_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "string": str,
    "int64": int,
    "bool": bool,
    "map[string]string": dict,
    "[]string": list,
    "[]v1.OwnerReference": list,
    "[]v1.ManagedFieldsEntry": list,
    "v1.Time": str,
}
FIELDS: Final[Mapping[str, str]] = {
    "name": "string",
    "generateName": "string",
    "namespace": "string",
    "selfLink": "string",
    "uid": "string",
    "resourceVersion": "string",
    "generation": "int64",
    "creationTimestamp": "v1.Time",
    "deletionTimestamp": "v1.Time",
    "deletionGracePeriodSeconds": "int64",
    "labels": "map[string]string",
    "annotations": "map[string]string",
    "ownerReferences": "[]v1.OwnerReference",
    "finalizers": "[]string",
    "managedFields": "[]v1.ManagedFieldsEntry",
}
"""Fields of ObjectMeta and their types, as messages write them."""
_OWNER: Final[Mapping[str, str]] = {
    "apiVersion": "string",
    "kind": "string",
    "name": "string",
    "uid": "string",
    "controller": "bool",
    "blockOwnerDeletion": "bool",
}
_MANAGED: Final[Mapping[str, str]] = {
    "manager": "string",
    "operation": "string",
    "apiVersion": "string",
    "time": "v1.Time",
    "fieldsType": "string",
    "subresource": "string",
}
_JSON_NAMES: Final[Mapping[type, str]] = {
    bool: "bool",
    dict: "object",
    float: "number",
    int: "number",
    list: "array",
    str: "string",
}


def mistyped(metadata: JsonObject) -> str:
    """What cannot be read as ObjectMeta, as a decoder says it; empty where all can."""
    for path, value, wanted in _typed(metadata):
        if value is None:
            continue
        found = _GO_TYPES[wanted]
        if not isinstance(value, found) or (found is int and isinstance(value, bool)):
            given = _JSON_NAMES.get(type(value), "null")
            return f"cannot unmarshal {given} into Go struct field {path} of type {wanted}"
    return ""


def _typed(metadata: JsonObject) -> Iterator[tuple[str, Json, str]]:
    """Each value whose type matters: where it stands, itself, its type."""
    for name, value in metadata.items():
        wanted = FIELDS.get(name)
        if wanted is None:
            continue
        path = f"ObjectMeta.metadata.{name}"
        yield path, value, wanted
        if wanted == "map[string]string" and isinstance(value, dict):
            for inner in value.values():
                yield path, "" if inner is None else inner, "string"
        elif isinstance(value, list):
            inner_fields = {"ownerReferences": _OWNER, "managedFields": _MANAGED}.get(name)
            for item in value:
                if inner_fields is None:
                    yield path, {} if item is None else item, "string"
                elif not isinstance(item, dict):
                    yield path, [] if item is None else item, "map[string]string"
                else:
                    for key, inner in item.items():
                        if key in inner_fields:
                            yield f"{path}.{key}", inner, inner_fields[key]


def problems(resource: Resource, metadata: JsonObject, *, new: bool) -> list[Problem]:
    """Everything that is illegal in metadata.

    Args:
        resource: Kind of the object.
        metadata: Of the right types: :func:`mistyped` says nothing about it.
        new: Whether the object is being created; a name never changes later.
    """
    found: list[Problem] = []
    if new:
        found += _names(resource, metadata)
    for key, value in (metadata.get("labels") or {}).items():
        found += _refused("metadata.labels", key, _qualified(key))
        found += _refused("metadata.labels", value, _label_value(value))
    annotations = metadata.get("annotations") or {}
    size = 0
    for key, value in annotations.items():
        found += _refused("metadata.annotations", key, _qualified(key.lower()))
        size += len(key.encode()) + len(value.encode())
    if size > _ANNOTATIONS:
        problem = f"Too long: may not be more than {_ANNOTATIONS} bytes"
        found.append(Problem("metadata.annotations", "FieldValueTooLong", problem))
    found += _owners(metadata)
    finalizers = metadata.get("finalizers") or ()
    for finalizer in finalizers:
        found += _refused("metadata.finalizers", finalizer, _qualified(finalizer))
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        text = ", ".join(f'"{f}"' for f in finalizers)
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        problem = f"Invalid value: []string{{{text}}}: {why}"
        found.append(Problem("metadata.finalizers", _INVALID, problem))
    return found


def _refused(field: str, value: str, whys: list[str]) -> list[Problem]:
    shown = value if len(value) <= _SHOWN else value[:_SHOWN] + "..."
    return [Problem(field, _INVALID, f'Invalid value: "{shown}": {why}') for why in whys]


def _matched(value: str, rule: str, longest: int, why: str) -> list[str]:
    found = []
    if len(value) > longest:
        found.append(f"must be no more than {longest} characters")
    if not re.fullmatch(rule, value):
        found.append(why)
    return found


def _qualified(key: str) -> list[str]:
    """Why a key of labels or annotations, or a finalizer, is not a qualified name."""
    prefix, slash, name = key.rpartition("/")
    if "/" in prefix:
        why = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a qualified name {_PART_RULE} {why}"]
    found = []
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash:
        found += [f"prefix part {w}" for w in _matched(prefix, _SUBDOMAIN, 253, _SUBDOMAIN_RULE)]
    if not name:
        found.append("name part must be non-empty")
    return found + [f"name part {why}" for why in _matched(name, _PART, 63, _PART_RULE)]


def _label_value(value: str) -> list[str]:
    return _matched(value, _VALUE, 63, _VALUE_RULE)


def subdomain(name: str) -> list[str]:
    """Why a text is no DNS subdomain."""
    return _matched(name, _SUBDOMAIN, 253, _SUBDOMAIN_RULE)


def _label(name: str) -> list[str]:
    return _matched(name, _LABEL, 63, _LABEL_RULE)


def label_1035(name: str) -> list[str]:
    """Why a text is no DNS-1035 label."""
    return _matched(name, _LABEL_1035, 63, _LABEL_1035_RULE)


def _segment(name: str) -> list[str]:
    """Names of roles and their bindings: anything that can be a part of a path."""
    if name in (".", ".."):
        return [f"may not be '{name}'"]
    return [f"may not contain '{bad}'" for bad in "/%" if bad in name]


_NAMES: Final = {
    "namespaces": _label,
    "services": label_1035,
    "clusterrolebindings.rbac.authorization.k8s.io": _segment,
    "clusterroles.rbac.authorization.k8s.io": _segment,
    "rolebindings.rbac.authorization.k8s.io": _segment,
    "roles.rbac.authorization.k8s.io": _segment,
}
"""Rules of the kinds whose names are not subdomains."""


def _names(resource: Resource, metadata: JsonObject) -> list[Problem]:
    rule = _NAMES.get(resource.key, subdomain)
    found = []
    if prefix := metadata.get("generateName"):
        # What follows the prefix may end it, so that a dash at its end is no problem.
        masked = prefix[:-1] + "a" if len(prefix) > 1 and prefix.endswith("-") else prefix
        found += _refused("metadata.generateName", prefix, rule(masked))
    name = metadata.get("name")
    if not name:
        problem = "Required value: name or generateName is required"
        return [*found, Problem("metadata.name", "FieldValueRequired", problem)]
    return found + _refused("metadata.name", name, rule(name))


def _owners(metadata: JsonObject) -> Iterator[Problem]:
    field = "metadata.ownerReferences"
    controller = ""
    for reference in metadata.get("ownerReferences") or ():
        for required in ("apiVersion", "kind", "name", "uid"):
            if not reference.get(required):
                what = "version " if required == "apiVersion" else ""
                problem = f'Invalid value: "": {what}must not be empty'
                yield Problem(f"{field}.{required}", _INVALID, problem)
        if (reference.get("apiVersion"), reference.get("kind")) == ("v1", "Event"):
            why = "/v1, Kind=Event is disallowed from being an owner"
            yield Problem(field, _INVALID, f"Invalid value: {reference.get('name')}: {why}")
        if reference.get("controller"):
            found = f"{reference.get('kind')}/{reference.get('name')}"
            if controller:
                why = (
                    "Only one reference can have Controller set to true. Found "
                    f'"true" in references for {controller} and {found}'
                )
                yield Problem(field, _INVALID, f"Invalid value: {why}")
            controller = controller or found

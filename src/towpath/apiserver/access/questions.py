"""What a review asks, read from its object; everything that is wrong with it is told at once.

Source: Kubernetes API reference, authorization.k8s.io/v1 and authentication.k8s.io/v1.
"""

from collections.abc import Sequence
from typing import Final

from towpath.apiserver import failures
from towpath.apiserver.access.attributes import Attributes, quoted
from towpath.apiserver.schema import Problem
from towpath.auth import Identity
from towpath.errors import InvalidError
from towpath.spec._wire import Json, JsonObject

__all__ = ["access", "checked", "identity", "illegal", "mapping", "text", "texts"]

_RESOURCE: Final = "resourceAttributes"
_PATH: Final = "nonResourceAttributes"
_KEPT: Final = ("managedFields", "creationTimestamp")


def mapping(of: JsonObject, field: str) -> JsonObject:
    """A field that holds fields; empty when it is not there."""
    value = of.get(field)
    if value is not None and not isinstance(value, dict):
        raise failures.bad_request(f"{field}: must be an object")
    return value or {}


def text(of: JsonObject, field: str) -> str:
    """A field that holds a text; empty when it is not there."""
    value = of.get(field)
    if value is not None and not isinstance(value, str):
        raise failures.bad_request(f"{field}: must be a string")
    return value or ""


def texts(of: JsonObject, field: str) -> tuple[str, ...]:
    """A field that holds texts; empty when it is not there."""
    value = of.get(field)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise failures.bad_request(f"{field}: must be a list of strings")
    return tuple(value)


def illegal(group: str, kind: str, name: str, problems: Sequence[Problem]) -> InvalidError:
    """422: everything that is wrong with a question."""
    told = list(dict.fromkeys(f"{problem.field}: {problem.message}" for problem in problems))
    summary = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    error = InvalidError(f"{kind}.{group} {quoted(name)} is invalid: {summary}")
    causes = [{"reason": p.reason, "message": p.message, "field": p.field} for p in problems]
    details: JsonObject = {"name": name, "group": group, "kind": kind, "causes": causes}
    vars(error)["details"] = {key: value for key, value in details.items() if value}
    return error


def _invalid(field: str, value: Json, message: str) -> Problem:
    shown = "null" if value is None else quoted(value) if isinstance(value, str) else str(value)
    return Problem(field, "FieldValueInvalid", f"Invalid value: {shown}: {message}")


def checked(kind: str, obj: JsonObject, namespace: str | None = None) -> JsonObject:
    """The ``spec`` of an access review.

    Args:
        kind: ``SubjectAccessReview`` or one of its siblings.
        obj: The review.
        namespace: Where it is asked, for a review of one namespace.

    Raises:
        InvalidError: it is not one.
    """
    spec, metadata = mapping(obj, "spec"), mapping(obj, "metadata")
    found: list[Problem] = []
    resource, path = spec.get(_RESOURCE), spec.get(_PATH)
    if resource is not None and path is not None:
        message = f"cannot be specified in combination with {_RESOURCE}"
        found.append(_invalid(f"spec.{_PATH}", path, message))
    if resource is None and path is None:
        message = f"exactly one of {_PATH} or {_RESOURCE} must be specified"
        found.append(_invalid(f"spec.{_RESOURCE}", None, message))
    if kind != "SelfSubjectAccessReview" and not (text(spec, "user") or texts(spec, "groups")):
        message = "at least one of user or group must be specified"
        found.append(_invalid("spec.user", "", message))
    kept = (*_KEPT, "namespace") if namespace is not None else _KEPT
    if {key: value for key, value in metadata.items() if key not in kept and value}:
        apart = " except for namespace" if namespace is not None else ""
        found.append(_invalid("metadata", metadata, f"must be empty{apart}"))
    if namespace is not None:
        if resource is not None and text(mapping(spec, _RESOURCE), "namespace") != namespace:
            where = text(mapping(spec, _RESOURCE), "namespace")
            found.append(
                _invalid(f"spec.{_RESOURCE}.namespace", where, "must match metadata.namespace")
            )
        if path is not None:
            message = "disallowed on this kind of request"
            found.append(_invalid(f"spec.{_PATH}", path, message))
    if found:
        raise illegal("authorization.k8s.io", kind, text(metadata, "name"), found)
    return spec


def access(spec: JsonObject) -> Attributes:
    """What is asked about."""
    if spec.get(_PATH) is not None:
        path = mapping(spec, _PATH)
        return Attributes(text(path, "verb"), path=text(path, "path"))
    resource = mapping(spec, _RESOURCE)
    fields = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    return Attributes(*(text(resource, field) for field in fields))


def identity(spec: JsonObject) -> Identity:
    """About whom."""
    held = mapping(spec, "extra")
    extra = tuple((key.lower(), texts(held, key)) for key in held)
    user, groups = text(spec, "user"), frozenset(texts(spec, "groups"))
    return Identity(user, groups, text(spec, "uid"), extra)

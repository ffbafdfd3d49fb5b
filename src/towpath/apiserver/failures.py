"""The API server's errors, in the words its clients know, with the details they read."""

from collections.abc import Sequence
from typing import TypeVar

from towpath.apiserver.kinds import Resource
from towpath.apiserver.schema import Problem
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.spec._wire import JsonObject

__all__ = [
    "already_exists",
    "apply_conflict",
    "bad_request",
    "expired",
    "forbidden",
    "illegal",
    "illegal_options",
    "invalid",
    "method_not_allowed",
    "modified",
    "not_found",
    "other_uid",
    "patch_failed",
    "precondition",
    "too_large_revision",
    "vanished",
]

E = TypeVar("E", bound=TowpathError)


def _detailed(error: E, resource: Resource, name: str, **more: object) -> E:
    details: JsonObject = {"name": name, "group": resource.kind.group}
    details["kind"] = resource.kind.plural
    details.update(more)
    vars(error)["details"] = {key: value for key, value in details.items() if value}
    return error


def not_found(resource: Resource, name: str) -> NotFoundError:
    """404."""
    return _detailed(NotFoundError(f'{resource.key} "{name}" not found'), resource, name)


def already_exists(
    resource: Resource, name: str, why: str = "", *, going: bool = False
) -> ConflictError:
    """409, reason AlreadyExists; ``going`` tells that what is there is being deleted."""
    message = f'{resource.key} "{name}" already exists{why}'
    if going:
        message = f"object is being deleted: {message}"
    return _detailed(ConflictError(message, reason=Reason.ALREADY_EXISTS), resource, name)


def modified(resource: Resource, name: str) -> ConflictError:
    """409: the resourceVersion that was read is no longer the current one."""
    message = (
        f'Operation cannot be fulfilled on {resource.key} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return _detailed(ConflictError(message), resource, name)


def vanished(resource: Resource, name: str, uid: str) -> ConflictError:
    """409: the object that is to be changed, known by its uid, is not there."""
    message = (
        f'Operation cannot be fulfilled on {resource.key} "{name}": uid mismatch: the provided '
        f"object specified uid {uid}, and no existing object was found"
    )
    return _detailed(ConflictError(message), resource, name)


def other_uid(resource: Resource, name: str, wanted: str, found: str) -> ConflictError:
    """409: a write is meant for another object of this name."""
    message = (
        f'Operation cannot be fulfilled on {resource.key} "{name}": Precondition failed: '
        f"UID in precondition: {wanted}, UID in object meta: {found}"
    )
    return _detailed(ConflictError(message), resource, name)


def precondition(
    resource: Resource, name: str, field: str, wanted: str, found: str
) -> ConflictError:
    """409: a deletion is meant for another object of this name, or another state of it."""
    what = "deleted and then recreated" if field == "UID" else "modified"
    message = (
        f'Operation cannot be fulfilled on {resource.qualified_kind} "{name}": the {field} in the '
        f"precondition ({wanted}) does not match the {field} in record ({found}). The object might "
        f"have been {what}"
    )
    return _detailed(ConflictError(message), resource, name, kind=resource.kind.kind)


def apply_conflict(conflicts: Sequence[tuple[str, str]]) -> ConflictError:
    """409 of server-side apply: fields that others manage, as (field, manager as written)."""
    if len(conflicts) == 1:
        ((field, manager),) = conflicts
        message = f"Apply failed with 1 conflict: conflict with {manager}: {field}"
    else:
        lines = []
        for manager in sorted({manager for _, manager in conflicts}):
            lines.append(f"conflicts with {manager}:")
            lines += [f"- {field}" for field, owner in conflicts if owner == manager]
        message = f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
    error = ConflictError(message, reason=Reason.CONFLICT)
    causes = [
        {"reason": "FieldManagerConflict", "message": f"conflict with {manager}", "field": field}
        for field, manager in conflicts
    ]
    vars(error)["details"] = {"causes": causes}
    return error


def invalid(
    resource: Resource, name: str, field: str, problem: str, kind: str = "FieldValueInvalid"
) -> InvalidError:
    """422: one field is wrong."""
    return illegal(resource, name, [Problem(field, kind, problem)])


def illegal(resource: Resource, name: str, problems: Sequence[Problem]) -> InvalidError:
    """422: everything that is wrong with an object."""
    error = InvalidError(f'{resource.qualified_kind} "{name}" is invalid: {_all(problems)}')
    kind = resource.kind.kind
    return _detailed(error, resource, name, kind=kind, causes=_causes(problems))


def illegal_options(kind: str, problems: Sequence[Problem]) -> InvalidError:
    """422: everything that is wrong with the options of a request, such as ``DeleteOptions``."""
    error = InvalidError(f'{kind}.meta.k8s.io "" is invalid: {_all(problems)}')
    details = {"group": "meta.k8s.io", "kind": kind, "causes": _causes(problems)}
    vars(error)["details"] = details
    return error


def patch_failed(problem: str, field: str = "") -> InvalidError:
    """422: a patch that cannot be applied to the object; with a field, what it makes is illegal."""
    if field:
        error = InvalidError(f' "" is invalid: {field}: {problem}')
        causes = _causes([Problem(field, "FieldValueInvalid", problem)])
    else:
        error = InvalidError("the server rejected our request due to an error in our request")
        causes = [{"reason": "UnexpectedServerResponse", "message": problem}]
    vars(error)["details"] = {"causes": causes}
    return error


def _all(problems: Sequence[Problem]) -> str:
    texts = list(dict.fromkeys(f"{problem.field}: {problem.message}" for problem in problems))
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _causes(problems: Sequence[Problem]) -> list[JsonObject]:
    return [{"reason": p.reason, "message": p.message, "field": p.field} for p in problems]


def forbidden(resource: Resource, name: str, why: str, **more: object) -> DeniedError:
    """403."""
    return _detailed(
        DeniedError(f'{resource.key} "{name}" is forbidden: {why}'), resource, name, **more
    )


def bad_request(message: str) -> InvalidError:
    """400."""
    return InvalidError(message, reason=Reason.BAD_REQUEST)


def expired(message: str, token: str = "") -> ConflictError:
    """410: what was asked for is no longer kept; a token lets a list go on all the same."""
    error = ConflictError(message, reason=Reason.EXPIRED)
    if token:
        vars(error)["metadata"] = {"continue": token}
    return error


def too_large_revision(wanted: int, current: int) -> UnavailableError:
    """504: a revision that is not reached yet."""
    short = "Too large resource version"
    error = UnavailableError(
        f"Timeout: {short}: {wanted}, current: {current}", reason=Reason.TIMEOUT, retry_after=1
    )
    causes = [{"reason": "ResourceVersionTooLarge", "message": short}]
    vars(error)["details"] = {"causes": causes, "retryAfterSeconds": 1}
    return error


def method_not_allowed() -> InvalidError:
    """405."""
    return InvalidError(
        "the server does not allow this method on the requested resource",
        reason=Reason.METHOD_NOT_ALLOWED,
    )

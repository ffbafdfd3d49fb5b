"""The API server's errors, in the words its clients know, with the details they read."""

from collections.abc import Sequence
from typing import TypeVar

from towpath.apiserver.kinds import Resource
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
)
from towpath.spec._wire import JsonObject

__all__ = [
    "already_exists",
    "apply_conflict",
    "bad_request",
    "forbidden",
    "invalid",
    "modified",
    "not_found",
    "precondition",
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


def already_exists(resource: Resource, name: str) -> ConflictError:
    """409, reason AlreadyExists."""
    message = f'{resource.key} "{name}" already exists'
    return _detailed(ConflictError(message, reason=Reason.ALREADY_EXISTS), resource, name)


def modified(resource: Resource, name: str) -> ConflictError:
    """409: the resourceVersion that was read is no longer the current one."""
    message = (
        f'Operation cannot be fulfilled on {resource.key} "{name}": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    return _detailed(ConflictError(message), resource, name)


def precondition(
    resource: Resource, name: str, field: str, wanted: str, found: str
) -> ConflictError:
    """409: the caller asked for another uid or resourceVersion."""
    message = (
        f'Operation cannot be fulfilled on {resource.key} "{name}": Precondition failed: '
        f"{field} in precondition: {wanted}, {field} in object meta: {found}"
    )
    return _detailed(ConflictError(message), resource, name)


def apply_conflict(conflicts: Sequence[tuple[str, str]]) -> ConflictError:
    """409 of server-side apply: fields that others manage, as (field, manager)."""
    managers = dict.fromkeys(manager for _, manager in conflicts)
    plural = "conflict" if len(conflicts) == 1 else "conflicts"
    lines = [
        f'conflict with "{manager}": {", ".join(f for f, m in conflicts if m == manager)}'
        if len(conflicts) == 1
        else f'conflicts with "{manager}":\n'
        + "\n".join(f"- {field}" for field, owner in conflicts if owner == manager)
        for manager in managers
    ]
    error = ConflictError(
        f"Apply failed with {len(conflicts)} {plural}: " + "\n".join(lines), reason=Reason.CONFLICT
    )
    causes = [
        {
            "reason": "FieldManagerConflict",
            "message": f'conflict with "{manager}"',
            "field": field,
        }
        for field, manager in conflicts
    ]
    vars(error)["details"] = {"causes": causes}
    return error


def invalid(
    resource: Resource, name: str, field: str, problem: str, kind: str = "FieldValueInvalid"
) -> InvalidError:
    """422: one field is wrong."""
    message = f'{resource.qualified_kind} "{name}" is invalid: {field}: {problem}'
    causes = [{"reason": kind, "message": problem, "field": field}]
    error = InvalidError(message)
    return _detailed(error, resource, name, kind=resource.kind.kind, causes=causes)


def forbidden(resource: Resource, name: str, why: str, **more: object) -> DeniedError:
    """403."""
    return _detailed(
        DeniedError(f'{resource.key} "{name}" is forbidden: {why}'), resource, name, **more
    )


def bad_request(message: str) -> InvalidError:
    """400."""
    return InvalidError(message, reason=Reason.BAD_REQUEST)

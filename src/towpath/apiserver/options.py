"""What the query of a request, or the body of a deletion, says besides the object itself.

Source: Kubernetes API reference, CreateOptions, UpdateOptions, PatchOptions, DeleteOptions and
ListOptions.
"""

from collections.abc import Mapping
from typing import Final, Literal, cast

from starlette.datastructures import QueryParams

from towpath.apiserver import failures, intake
from towpath.apiserver.deletion import Policy
from towpath.apiserver.schema import Problem
from towpath.apiserver.terms import Options, Preconditions
from towpath.errors import InvalidError
from towpath.spec._wire import Json, JsonObject

__all__ = ["Written", "ending", "flag", "seconds", "writing"]

Written = Literal["CreateOptions", "UpdateOptions", "PatchOptions"]

_LEVELS: Final = ("", "Ignore", "Strict", "Warn")
_POLICIES: Final = ("Foreground", "Background", "Orphan")
_MANAGER: Final = 128
"""Most bytes of a field manager's name."""


def flag(query: QueryParams, name: str) -> bool:
    """Whether a query says yes; to name an option at all is to say so."""
    return name in query and query[name].lower() not in ("0", "false")


def seconds(query: QueryParams, name: str) -> int | None:
    """A whole number, or None where there is none.

    Raises:
        InvalidError: it is not a number (reason ``BadRequest``).
    """
    text = query.get(name, "")
    if not text:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 15):
        raise failures.bad_request(
            f'strconv.ParseInt: parsing "{text[:100]}": invalid syntax for {name}'
        )
    return int(text)


def writing(
    kind: Written,
    query: QueryParams,
    agent: str,
    found: tuple[str, ...] = (),
    *,
    apply: bool = False,
) -> Options:
    """The options of a creation, an update or a patch.

    Args:
        kind: Which.
        query: Of the request.
        agent: Its ``User-Agent``, by which a manager without a name is known.
        found: What reading the body found to warn of.
        apply: Whether it is a server-side apply.

    Raises:
        InvalidError: an option is not legal.
    """
    manager, level = query.get("fieldManager", ""), query.get("fieldValidation", "")
    problems = _dry_run(query.getlist("dryRun"))
    if apply and not manager:
        problem = "Required value: is required for apply patch"
        problems.append(Problem("fieldManager", "FieldValueRequired", problem))
    if kind == "PatchOptions" and not apply and "force" in query:
        problem = "Forbidden: may not be specified for non-apply patch"
        problems.append(Problem("force", "FieldValueForbidden", problem))
    problems += _manager(manager)
    if level not in _LEVELS:
        problems.append(_unsupported("fieldValidation", f'"{level[:100]}"', _LEVELS))
    if problems:
        raise failures.illegal_options(kind, problems)
    patched = kind == "PatchOptions" and not apply
    scrutiny = intake.Scrutiny(cast(intake.Level, level or "Warn"), found, patched)
    return Options(
        manager or _known_as(agent),
        dry_run=bool(query.getlist("dryRun")),
        force=flag(query, "force"),
        scrutiny=scrutiny,
    )


def _known_as(agent: str) -> str:
    name = agent.partition("/")[0]
    return "".join(c for c in name if c.isprintable())[:_MANAGER] or "unknown"


def _manager(name: str) -> list[Problem]:
    found = []
    if len(name.encode()) > _MANAGER:
        problem = f"Too long: may not be more than {_MANAGER} bytes"
        found.append(Problem("fieldManager", "FieldValueTooLong", problem))
    for at, char in enumerate(name[: _MANAGER + 1]):
        if not char.isprintable():
            shown = name[:_MANAGER].encode("unicode_escape").decode()
            problem = (
                f'Invalid value: "{shown}": invalid character U+{ord(char):04X} (at position {at})'
            )
            found.append(Problem("fieldManager", "FieldValueInvalid", problem))
    return found


def _unsupported(field: str, value: str, supported: tuple[str, ...]) -> Problem:
    quoted = ", ".join(f'"{name}"' for name in supported)
    problem = f"Unsupported value: {value}: supported values: {quoted}"
    return Problem(field, "FieldValueNotSupported", problem)


def _dry_run(values: list[str]) -> list[Problem]:
    if all(value == "All" for value in values):
        return []
    shown = ", ".join(f'"{value[:100]}"' for value in values)
    return [_unsupported("dryRun", f"[]string{{{shown}}}", ("All",))]


_ENDING: Final[Mapping[str, type]] = {
    "gracePeriodSeconds": int,
    "orphanDependents": bool,
    "propagationPolicy": str,
    "preconditions": dict,
    "dryRun": list,
}


def ending(query: QueryParams, body: Json, agent: str) -> tuple[Preconditions, Options]:
    """The options of a deletion: those of its body; of its query where it has none.

    Raises:
        InvalidError: an option is not legal, or of the wrong type (reason ``BadRequest``).
    """
    wishes = _of_query(query) if body is None else _checked(body)
    policy, orphan = wishes.get("propagationPolicy"), wishes.get("orphanDependents")
    problems = []
    if policy is not None and orphan is not None:
        problem = (
            f'Invalid value: "{str(policy)[:100]}": '
            "orphanDependents and deletionPropagation cannot be both set"
        )
        problems.append(Problem("propagationPolicy", "FieldValueInvalid", problem))
    if policy is not None and policy not in _POLICIES:
        shown = f'"{str(policy)[:100]}"'
        problems.append(_unsupported("propagationPolicy", shown, (*_POLICIES, "nil")))
    dry = wishes.get("dryRun") or []
    problems += _dry_run(dry)
    if problems:
        raise failures.illegal_options("DeleteOptions", problems)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    conditions = wishes.get("preconditions") or {}
    preconditions = Preconditions(
        conditions.get("uid") or "", conditions.get("resourceVersion") or ""
    )
    options = Options(_known_as(agent), dry_run=bool(dry), policy=cast(Policy, policy or ""))
    return preconditions, options


def _of_query(query: QueryParams) -> JsonObject:
    found: JsonObject = {"dryRun": query.getlist("dryRun")}
    if "propagationPolicy" in query:
        found["propagationPolicy"] = query["propagationPolicy"]
    if "orphanDependents" in query:
        found["orphanDependents"] = flag(query, "orphanDependents")
    seconds(query, "gracePeriodSeconds")
    return found


def _checked(body: Json) -> JsonObject:
    if not isinstance(body, dict):
        raise _mistyped("the body")
    for name, kind in _ENDING.items():
        value = body.get(name)
        if value is not None and (
            not isinstance(value, kind) or (kind is int and isinstance(value, bool))
        ):
            raise _mistyped(name)
    conditions = body.get("preconditions") or {}
    for name in ("uid", "resourceVersion"):
        if not isinstance(conditions.get(name) or "", str):
            raise _mistyped(f"preconditions.{name}")
    if not all(isinstance(value, str) for value in body.get("dryRun") or ()):
        raise _mistyped("dryRun")
    return body


def _mistyped(field: str) -> InvalidError:
    return failures.bad_request(
        f'DeleteOptions in version "v1" cannot be handled as a DeleteOptions: json: {field} is of '
        "another type"
    )

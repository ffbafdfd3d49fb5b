"""What becomes of an object between a request and the store, the same for every kind: unknown
fields are told and dropped, defaults filled in, and what is illegal is refused, all at once.

Pure: objects in; objects, warnings or a refusal out.

Source: Kubernetes API concepts, "Field validation"; CustomResourceDefinition documentation, "Field
pruning", "Defaulting", "Validation ratcheting".
"""

from dataclasses import dataclass
from typing import Final, Literal

import orjson

from towpath.apiserver import completion, decoding, failures, invariants, metadata
from towpath.apiserver.kinds import Resource
from towpath.errors import InvalidError
from towpath.spec._wire import JsonObject

__all__ = ["TRUSTED", "Level", "Scrutiny", "check", "completed", "converted", "declared", "pruned"]

Level = Literal["Ignore", "Warn", "Strict"]

_SHOWN: Final = 4096
"""Characters of a patched object that a refusal repeats."""
_MISTYPED: Final = "FieldValueTypeInvalid"


@dataclass(frozen=True)
class Scrutiny:
    """What is done about fields that are unknown, or stand in a body twice.

    Attributes:
        level: ``fieldValidation`` of the request.
        found: What reading the body has found already, as ``duplicate field "a.b"``.
        patched: Whether the object is what a patch made.
    """

    level: Level = "Ignore"
    found: tuple[str, ...] = ()
    patched: bool = False

    def judge(self, resource: Resource, obj: JsonObject, unknown: list[str]) -> list[str]:
        """Warnings about an object.

        Raises:
            InvalidError: there would be some, and the level is ``Strict``.
        """
        if self.level == "Ignore":
            return []
        found = [*self.found, *(f'unknown field "{path}"' for path in unknown)]
        if not found or self.level == "Warn":
            return found
        problem = f"strict decoding error: {', '.join(found)}"
        if self.patched:
            text = orjson.dumps(orjson.dumps(obj).decode()[:_SHOWN]).decode()
            raise failures.patch_failed(f"Invalid value: {text}: {problem}", "patch")
        raise _unreadable(resource, problem)


TRUSTED: Final = Scrutiny()
"""For what the server itself writes."""


def _unreadable(resource: Resource, problem: str) -> InvalidError:
    kind = resource.kind
    return failures.bad_request(
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {problem}'
    )


def pruned(resource: Resource, obj: JsonObject) -> tuple[JsonObject, list[str]]:
    """An object without the fields its kind does not know, and the paths of those.

    Raises:
        InvalidError: its metadata cannot be read (reason ``BadRequest``).
    """
    found = obj.get("metadata") or {}
    if problem := metadata.mistyped(found):
        raise _unreadable(resource, f"json: {problem}")
    unknown = [f"metadata.{name}" for name in found if name not in metadata.FIELDS]
    if unknown:
        known = {name: value for name, value in found.items() if name in metadata.FIELDS}
        obj = {**obj, "metadata": known}
    if resource.schema is None:
        return obj, unknown
    if not resource.custom:
        schema = resource.schema
        try:
            obj = decoding.decoded(schema.document, schema.types, obj)
        except ValueError as exc:
            raise _unreadable(resource, str(exc)) from exc
    obj, more = resource.schema.prune(obj)
    return obj, unknown + [path for path in more if path not in unknown]


def declared(resource: Resource, wanted: JsonObject, namespace: str) -> JsonObject:
    """What is to be applied, if it names only fields of its kind.

    Raises:
        InvalidError: it names others, or its metadata cannot be read (reason ``BadRequest``).
    """
    known, unknown = pruned(resource, wanted)
    if unknown:
        kind, name = resource.kind, (wanted.get("metadata") or {}).get("name", "")
        fields = ", ".join(f".{path}: field not declared in schema" for path in unknown)
        raise failures.bad_request(
            f"failed to create typed patch object ({namespace}/{name}; {kind.api_version}, "
            f"Kind={kind.kind}): {fields if len(unknown) == 1 else f'errors: {fields}'}"
        )
    return known


def completed(resource: Resource, obj: JsonObject) -> JsonObject:
    """An object with the defaults of its kind."""
    if resource.schema is not None:
        obj = resource.schema.complete(obj)
    return obj if resource.custom else completion.completed(resource, obj)


def converted(resource: Resource, obj: JsonObject) -> JsonObject:
    """A stored object in the version of a resource (conversion None), as its schema is now."""
    if not resource.mixed:
        return obj
    obj = {**obj, "apiVersion": resource.kind.api_version}
    if resource.schema is not None:
        obj = resource.schema.complete(resource.schema.prune(obj)[0])
    return obj


def check(resource: Resource, obj: JsonObject, old: JsonObject | None = None) -> None:
    """Refuse an object for everything that is illegal about it.

    Args:
        resource: Its kind.
        obj: Pruned and completed, with the metadata it will be stored with.
        old: What it replaces: what was wrong with it before, in a part that is as it was, does not
            stand against a change of something else.

    Raises:
        InvalidError: it is illegal.
    """
    found = metadata.problems(resource, obj["metadata"], new=old is None)
    if resource.schema is not None:
        problems = resource.schema.check(obj, old)
        if problems and not resource.custom:
            for problem in problems:
                if problem.reason == _MISTYPED:
                    raise _unreadable(resource, f"{problem.field}: {problem.message}")
        found += problems
    if not resource.custom:
        before = None if old is None else completed(resource, old)
        found += invariants.problems(resource, obj, before)
    if found:
        raise failures.illegal(resource, obj["metadata"].get("name", ""), found)

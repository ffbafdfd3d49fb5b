"""Structural schemas: what a kind's objects look like, and what is done about it.

Reads an OpenAPI v3 schema. Writes nothing: objects in, objects and problems out.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from towpath.spec._wire import JsonObject

__all__ = ["Problem", "Schema", "flaws"]

_NONE: Final[Mapping[str, JsonObject]] = MappingProxyType({})


class Problem(NamedTuple):
    """One thing that is wrong: a cause of a 422, as Kubernetes tells it."""

    field: str
    reason: str
    message: str


class Schema:
    """A schema, ready to use.

    Args:
        document: OpenAPI v3 schema of a whole object.
        types: Named types that ``{"$ref": "#/types/Name"}`` stands for (built-in kinds only).

    Attributes:
        document: As given.
        types: As given.
    """

    def __init__(self, document: JsonObject, types: Mapping[str, JsonObject] = _NONE) -> None:
        self.document = document
        self.types = types

    def prune(self, obj: JsonObject) -> tuple[JsonObject, list[str]]:
        """The object without fields the schema does not know, and the paths of those."""
        return obj, []

    def complete(self, obj: JsonObject) -> JsonObject:
        """The object with the schema's defaults."""
        return obj

    def check(self, obj: JsonObject, old: JsonObject | None = None) -> list[Problem]:
        """What is wrong with a (pruned, completed) object; ``old`` is what an update replaces."""
        return []


def flaws(document: JsonObject, path: str) -> list[Problem]:
    """Why a schema cannot be that of a CustomResourceDefinition: not structural, rules unknown."""
    return []

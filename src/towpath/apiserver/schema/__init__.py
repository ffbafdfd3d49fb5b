"""Structural schemas: what a kind's objects look like, and what is done about it.

Reads an OpenAPI v3 schema. Writes nothing: objects in, objects and problems out.
"""

import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, TypeVar

import orjson

from towpath.apiserver.schema import rules, values
from towpath.apiserver.schema.defaults import complete
from towpath.apiserver.schema.flaws import flaws
from towpath.apiserver.schema.problem import Problem
from towpath.apiserver.schema.pruning import prune
from towpath.apiserver.schema.structural import ABSENT, Node, compiled, types_of
from towpath.errors import InvalidError, Reason
from towpath.spec._wire import Json, JsonObject

__all__ = ["Problem", "Schema", "flaws"]

T = TypeVar("T")

_NONE: Final[Mapping[str, JsonObject]] = MappingProxyType({})
_SMALL: Final = 16 * 1024
"""Bytes of a document that is not worth being compressed."""


class Schema:
    """A schema, ready to use.

    It keeps the document as compressed bytes, and is made into what it works with at the first
    object: most schemas of a cluster never see one.

    Args:
        document: OpenAPI v3 schema of a whole object.
        types: Named types that ``{"$ref": "#/types/Name"}`` stands for (built-in kinds only).

    Attributes:
        types: As given.
    """

    def __init__(self, document: JsonObject, types: Mapping[str, JsonObject] = _NONE) -> None:
        data = orjson.dumps(document)
        self._packed = len(data) > _SMALL
        self._data = zlib.compress(data, 1) if self._packed else data
        self._node: Node | None = None
        self.types = types

    @property
    def document(self) -> JsonObject:
        """The document: a new copy each time."""
        found: JsonObject = orjson.loads(
            zlib.decompress(self._data) if self._packed else self._data
        )
        return found

    def _root(self) -> Node:
        if self._node is None:
            self._node = compiled(self.document, types_of(self.types))
        return self._node

    def prune(self, obj: JsonObject) -> tuple[JsonObject, list[str]]:
        """The object without fields the schema does not know, and the paths of those.

        Null goes where it is no value and nothing takes its place.

        Raises:
            InvalidError: it is nested too deeply (reason ``BadRequest``), as with all others.
        """
        unknown: list[str] = []
        pruned = _shallow(lambda: prune(obj, self._root(), "", unknown))
        return pruned, sorted(unknown)

    def complete(self, obj: JsonObject) -> JsonObject:
        """The object with the schema's defaults."""
        completed: JsonObject = _shallow(lambda: complete(obj, self._root()))
        return completed

    def check(self, obj: JsonObject, old: JsonObject | None = None) -> list[Problem]:
        """What is wrong with a (pruned, completed) object.

        Args:
            obj: The object.
            old: What an update replaces: what was wrong before, in a part that is as it was, is
                not told again; and rules about changes are asked.
        """
        return _shallow(lambda: self._check(obj, ABSENT if old is None else old))

    def _check(self, obj: JsonObject, old: Json) -> list[Problem]:
        node = self._root()
        found = values.check(obj, node, old)
        if node.ruling:
            if any(problem.reason in rules.BLOCKING for problem in found):
                return [*found, rules.SKIPPED]
            found += rules.broken(obj, node, old)
        return found


def _shallow(work: Callable[[], T]) -> T:
    try:
        return work()
    except RecursionError as exc:
        raise InvalidError("the object is nested too deeply", reason=Reason.BAD_REQUEST) from exc

"""Whether a value is what its schema says, with all that is wrong, as Kubernetes tells it.

What an update leaves as it was is not looked at again: a rule that came later does not stand
against changes elsewhere.

Source: CustomResourceDefinition documentation, "Validation", "Validation ratcheting"; the messages
are those of kube-openapi, which users know.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import orjson

from towpath.apiserver.schema import problem
from towpath.apiserver.schema.patterns import matcher
from towpath.apiserver.schema.problem import Problem, below, number
from towpath.apiserver.schema.structural import ABSENT, Node
from towpath.spec._wire import Json, JsonObject

__all__ = ["check", "entries", "identity"]

_JSON_NAMES: Final[Mapping[type, str]] = {
    bool: "boolean",
    dict: "object",
    float: "number",
    int: "integer",
    list: "array",
    str: "string",
}
_NOWHERE: Final = "<nil>"
"""Where Kubernetes says a problem stands that is no single field's."""
_KIND: Final = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?")
_MOST: Final = 100
"""Problems of one object that are told."""


def check(value: Json, node: Node, old: Json = ABSENT, path: str = "") -> list[Problem]:
    """What is wrong with a value.

    Args:
        value: Pruned and completed.
        node: What must hold.
        old: What it replaces; ``ABSENT`` where it is new.
        path: Where it stands.
    """
    checker = _Checker()
    checker.visit(node, value, path, old)
    return [*checker.wrong, *checker.embedded, *checker.doubles][:_MOST]


class _Checker:
    """Collects problems: of values, of resources in the object, of lists that are sets or maps."""

    def __init__(self) -> None:
        self.wrong: list[Problem] = []
        self.embedded: list[Problem] = []
        self.doubles: list[Problem] = []

    def visit(self, node: Node, value: Json, path: str, old: Json) -> None:
        """Collect what is wrong with a value, but for what was wrong with the same before."""
        if node.pending is not None:
            node.settle()
        wrong, doubles = len(self.wrong), len(self.doubles)
        if wrong > _MOST:
            return
        self._look(node, value, path, old)
        if old is ABSENT or (len(self.wrong), len(self.doubles)) == (wrong, doubles):
            return
        if identity(old) == identity(value):
            del self.wrong[wrong:], self.doubles[doubles:]

    def _look(self, node: Node, value: Json, path: str, old: Json) -> None:
        if type(value) not in node.types:
            self._type(node, value, path)
        if value is None:
            if node.facts.get("enum"):
                self._enum(node, value, path)
            return
        if node.all_of or node.any_of or node.one_of or node.negated:
            self._junctors(node, value, path)
        if isinstance(value, str):
            self._text(node, value, path)
        elif isinstance(value, int | float):
            if node.facts and not isinstance(value, bool):
                self._number(node, value, path)
        elif isinstance(value, list):
            self._list(node, value, path, old)
        if node.facts and "enum" in node.facts:
            self._enum(node, value, path)
        if isinstance(value, dict):
            if node.embedded and path:
                self.embedded += _resource(value, path)
            self._fields(node, value, path, old)

    def _type(self, node: Node, value: Json, path: str) -> None:
        types = node.types
        if not types:
            return
        if value is None:
            if not node.nullable:
                self._mistyped(path, node.kind, "null")
        elif not (isinstance(value, float) and int in types and value.is_integer()):
            self._mistyped(path, node.kind, _JSON_NAMES.get(type(value), ""))

    def _mistyped(self, path: str, wanted: str, given: str) -> None:
        why = f"{path} in body must be of type {wanted}: {problem.shown(given)}"
        self.wrong.append(problem.mistyped(path or _NOWHERE, given, why))

    def _say(self, path: str, value: Json, why: str) -> None:
        self.wrong.append(problem.invalid(path or _NOWHERE, value, f"{path} in body {why}"))

    def _enum(self, node: Node, value: Json, path: str) -> None:
        values = node.facts["enum"]
        if not any(type(one) is type(value) and one == value for one in values) and not (
            isinstance(value, float) and value in values
        ):
            self.wrong.append(problem.unsupported(path or _NOWHERE, value, values))

    def _text(self, node: Node, value: str, path: str) -> None:
        facts = node.facts
        if facts:
            longest, shortest = facts.get("maxLength"), facts.get("minLength")
            if longest is not None and len(value) > longest:
                self.wrong.append(problem.too_long(path or _NOWHERE, int(longest)))
            if shortest is not None and len(value) < shortest:
                self._say(path, value, f"should be at least {number(shortest)} chars long")
            if (pattern := facts.get("pattern")) is not None:
                matches = matcher(pattern)
                if matches is None:
                    self._say(path, value, f"should match '{pattern}, but pattern is invalid'")
                elif not matches(value):
                    self._say(path, value, f"should match '{pattern}'")
        if node.format is not None and not node.format(value):
            why = f"{path} in body must be of type {node.format_name}: {problem.shown(value)}"
            self.wrong.append(problem.mistyped(path or _NOWHERE, value, why))

    def _number(self, node: Node, value: float, path: str) -> None:
        facts = node.facts
        whole = isinstance(value, int)
        if (factor := facts.get("multipleOf")) is not None:
            factor = int(factor) if whole and int(factor) else factor
            if factor and not (value / factor).is_integer():
                self._say(path, value, f"should be a multiple of {number(factor)}")
        if (most := facts.get("maximum")) is not None:
            most = int(most) if whole else most
            if value > most or (value == most and facts.get("exclusiveMaximum")):
                than = "" if facts.get("exclusiveMaximum") else " or equal to"
                self._say(path, value, f"should be less than{than} {number(most)}")
        if (least := facts.get("minimum")) is not None:
            least = int(least) if whole else least
            if value < least or (value == least and facts.get("exclusiveMinimum")):
                than = "" if facts.get("exclusiveMinimum") else " or equal to"
                self._say(path, value, f"should be greater than{than} {number(least)}")

    def _list(self, node: Node, value: list[Json], path: str, old: Json) -> None:
        if (item := node.items) is not None:
            before = _before(node, old)
            plain = item.plain
            for index, found in enumerate(value):
                if type(found) not in plain:
                    was = before(found) if before is not None else ABSENT
                    self.visit(item, found, f"{path}[{index}]", was)
        facts = node.facts
        if facts:
            least, most = facts.get("minItems"), facts.get("maxItems")
            if least is not None and len(value) < least:
                self._say(path, len(value), f"should have at least {number(least)} items")
            if most is not None and len(value) > most:
                self.wrong.append(problem.too_many(path or _NOWHERE, len(value), int(most)))
            if facts.get("uniqueItems") and len(set(map(identity, value))) < len(value):
                self._say(path, "", "shouldn't contain duplicates")
        if node.unique:
            self.doubles += _doubles(value, value, path)
        elif node.keys is not None:
            self.doubles += _same_keys(node.keys, value, path)

    def _fields(self, node: Node, value: JsonObject, path: str, old: Json) -> None:
        facts = node.facts
        if facts:
            least, most = facts.get("minProperties"), facts.get("maxProperties")
            if least is not None and len(value) < least:
                self._say(path, len(value), f"should have at least {number(least)} properties")
                return
            if most is not None and len(value) > most:
                self.wrong.append(problem.too_many(path or _NOWHERE, len(value), int(most)))
                return
        properties, additional = node.properties, node.additional
        before = old if isinstance(old, dict) and not node.atomic else {}
        for name, found in value.items():
            inner = properties.get(name, additional)
            if inner is not None:
                if type(found) not in inner.plain:
                    self.visit(inner, found, below(path, name), before.get(name, ABSENT))
            elif node.closed:
                why = f"{path}.{name} in body is a forbidden property"
                self.wrong.append(problem.invalid(path or _NOWHERE, name, why))
        for name in node.required:
            if name not in value:
                self.wrong.append(problem.required(below(path, name)))

    def _junctors(self, node: Node, value: Json, path: str) -> None:
        def tried(nodes: Sequence[Node]) -> list[list[Problem]]:
            return [check(value, one, path=path) for one in nodes]

        def refuse(why: str) -> None:
            self.wrong.append(problem.invalid(_NOWHERE, "", f'"{path}" {why}'))

        covered = type(value) in node.covered
        if node.any_of and not covered and all(failures := tried(node.any_of)):
            refuse("must validate at least one schema (anyOf)")
            self.wrong += _fewest(failures)
        if node.one_of:
            failures = tried(node.one_of)
            if (valid := failures.count([])) != 1:
                found = f"Found {valid} valid alternatives" if valid else "Found none valid"
                refuse(f"must validate one and only one schema (oneOf). {found}")
                if not valid:
                    self.wrong += _fewest(failures)
        if node.all_of and any(failures := tried(node.all_of)):
            self.wrong += [each for one in failures for each in one]
            refuse(
                "must validate all the schemas (allOf)"
                + (". None validated" if all(failures) else "")
            )
        if node.negated is not None and not check(value, node.negated, path=path):
            refuse("must not validate the schema (not)")


def _fewest(failures: list[list[Problem]]) -> list[Problem]:
    """The problems of what came closest."""
    return sorted(failures, key=len)[0]


def entries(keys: tuple[str, ...], items: Json) -> dict[bytes, Json]:
    """The items of a list that is a map, by what tells them apart."""
    if not isinstance(items, list):
        return {}
    return {
        identity([item.get(key) for key in keys]): item for item in items if isinstance(item, dict)
    }


def _before(node: Node, old: Json) -> Callable[[Json], Json] | None:
    """What finds the item that one replaces, where that can be told."""
    if old is ABSENT or node.keys is None:
        return None
    keys, found = node.keys, entries(node.keys, old)

    def before(item: Json) -> Json:
        if not isinstance(item, dict):
            return ABSENT
        return found.get(identity([item.get(key) for key in keys]), ABSENT)

    return before


def identity(value: Json) -> bytes:
    """What two values have in common that are the same."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _doubles(values: Sequence[Json], told: Sequence[Json], path: str) -> list[Problem]:
    """A problem for each value that is there a second time."""
    if len(values) < 2:
        return []
    counts: dict[bytes, int] = {}
    found = []
    for index, value in enumerate(values):
        key = identity(value)
        counts[key] = counts.get(key, 0) + 1
        if counts[key] == 2:
            found.append(problem.duplicate(f"{path}[{index}]", told[index]))
    return found


def _same_keys(keys: tuple[str, ...], items: list[Json], path: str) -> list[Problem]:
    for index, item in enumerate(items):
        if item is not None and not isinstance(item, dict):
            why = "must be an object for an array of list-type map"
            return [problem.invalid(f"{path}[{index}]", item, why)]
    told = [{key: item[key] for key in keys if key in item} if item else {} for item in items]
    return _doubles(told, told, path)


def _resource(value: JsonObject, path: str) -> list[Problem]:
    """What is wrong with what every resource has, where one stands in another."""
    found = []
    for name in ("apiVersion", "kind"):
        where, text = below(path, name), value.get(name)
        if text is None or text == "":
            found.append(problem.required(where))
        elif not isinstance(text, str):
            found.append(problem.invalid(where, text, "must be a string"))
        elif name == "apiVersion" and text.count("/") > 1:
            why = f"unexpected GroupVersion string: {text}"
            found.append(problem.invalid(where, text, why))
        elif name == "kind" and not (len(text) <= 63 and _KIND.fullmatch(text.lower())):
            why = (
                "may have mixed case, but should otherwise match: a DNS-1035 label must consist "
                "of lower case alphanumeric characters or '-', start with an alphabetic character, "
                "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used "
                f"for validation is '{_KIND.pattern}')"
            )
            found.append(problem.invalid(where, text, why))
    metadata = value.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        why = "must be an object"
        found.append(problem.invalid(below(path, "metadata"), metadata, why))
    return found

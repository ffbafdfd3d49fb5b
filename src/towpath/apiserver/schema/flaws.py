"""Why a schema cannot be that of a CustomResourceDefinition: it is not structural, says what is
not supported, gives defaults that are not legal, or has rules that cannot be run.

Source: CustomResourceDefinition documentation, "Specifying a structural schema", "Defaulting",
"Validation rules"; ``apiextensions-apiserver`` for what is told and how.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Final

from towpath.apiserver.schema import patterns, problem, values
from towpath.apiserver.schema.defaults import complete
from towpath.apiserver.schema.lists import list_flaws
from towpath.apiserver.schema.problem import Problem
from towpath.apiserver.schema.pruning import prune
from towpath.apiserver.schema.ruling import rule_flaws
from towpath.apiserver.schema.shape import misshapen
from towpath.apiserver.schema.structural import META, Node, Types
from towpath.spec._wire import Json, JsonObject

__all__ = ["flaws"]

_ROOT: Final = "at the root"
_ITEM: Final = "for specified array items"
_FIELD: Final = "for specified object fields"
_KINDS: Final = ("array", "boolean", "integer", "number", "object", "string")
_UNSUPPORTED: Final = (
    "additionalItems",
    "definitions",
    "dependencies",
    "id",
    "patternProperties",
    "$ref",
)
_NESTED: Final = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
_INT_OR_STRING: Final = [{"type": "integer"}, {"type": "string"}]
_MOST: Final = 100
"""Problems that are told."""


def flaws(document: Json, path: str) -> list[Problem]:
    """Everything that is wrong with a schema, as far as anybody would read.

    Args:
        document: OpenAPI v3 schema of a whole object.
        path: Where it stands in the definition.
    """
    try:
        found = list(islice(misshapen(document, path), _MOST))
        if not found:
            found = list(islice(_Inspector().root(document, path), _MOST))
    except RecursionError:
        found = [problem.invalid(path, "", "the schema is nested too deeply")]
    return list(dict.fromkeys(found))


class _Inspector:
    """Walks a schema; knows the nodes of its parts, which defaults and rules are tried on."""

    def __init__(self) -> None:
        self._types = Types({})

    def root(self, raw: JsonObject, path: str) -> Iterator[Problem]:
        if "additionalProperties" in raw:
            where = f"{path}.additionalProperties"
            yield problem.forbidden(where, "must not be used at the root")
        yield from self._schema(raw, path, _ROOT, "")

    def _schema(
        self, raw: JsonObject, path: str, level: str, undefaulted: str
    ) -> Iterator[Problem]:
        """What is wrong with a schema; ``undefaulted`` says why it may not have a default."""
        yield from _said(raw, path, level)
        yield from list_flaws(raw, path)
        yield from self._resource(raw, path, level)
        yield from _junctors(raw, path, raw.get("x-kubernetes-int-or-string") is True)
        yield from self._default(raw, path, undefaulted)
        node: Node | None = None
        if raw.get("x-kubernetes-validations"):
            node = self._types.node(raw)
            yield from rule_flaws(raw, node, path, whole=level == _ROOT)
        whole = level == _ROOT or raw.get("x-kubernetes-embedded-resource") is True
        for name, child in _fields(raw, "properties"):
            where = f"{path}.properties[{name}]"
            meta = level == _ROOT and name in META
            why = f"must not be set in top-level {name}" if meta else undefaulted
            if not (whole and name == "metadata"):
                yield from self._schema(child, where, _FIELD, why)
        rest = raw.get("additionalProperties")
        if isinstance(rest, dict):
            where = f"{path}.additionalProperties"
            yield from self._schema(rest, where, _FIELD, undefaulted)
        items = raw.get("items")
        if isinstance(items, dict):
            yield from self._schema(items, f"{path}.items", _ITEM, undefaulted)

    def _resource(self, raw: JsonObject, path: str, level: str) -> Iterator[Problem]:
        """What every resource has may not be said anew."""
        embedded = raw.get("x-kubernetes-embedded-resource") is True
        if not (embedded or level == _ROOT):
            return
        properties = _map(raw.get("properties"))
        for name, kind in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
            child = properties.get(name)
            if isinstance(child, dict) and child.get("type") != kind:
                where = f"{path}.properties[{name}].type"
                yield problem.invalid(where, child.get("type") or "", f"must be {kind}")
        metadata = _map(properties.get("metadata"))
        said = metadata.keys() - {"type", "description", "properties"}
        if level == _ROOT and (said or _map(metadata.get("properties")).keys() - _NAMES):
            why = (
                "must not specify anything other than name and generateName, "
                "but metadata is implicitly specified"
            )
            yield problem.forbidden(f"{path}.properties[metadata]", why)

    def _default(self, raw: JsonObject, path: str, undefaulted: str) -> Iterator[Problem]:
        default = raw.get("default")
        if default is None:
            return
        where = f"{path}.default"
        if undefaulted:
            yield problem.forbidden(where, undefaulted)
            return
        node = self._types.node(raw)
        unknown: list[str] = []
        prune(default, node, where, unknown)
        if unknown:
            yield problem.invalid(where, default, "must not have unknown fields")
        yield from values.check(complete(default, node), node, path=where)


_NAMES: Final = frozenset({"name", "generateName"})


def _map(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _fields(raw: JsonObject, name: str) -> Iterator[tuple[str, JsonObject]]:
    for key, child in _map(raw.get(name)).items():
        if isinstance(child, dict):
            yield key, child


def _said(raw: JsonObject, path: str, level: str) -> Iterator[Problem]:
    """What is wrong with the keywords of one schema, without those below it."""
    yield from _keywords(raw, path)
    kind = raw.get("type") or ""
    loose = raw.get("x-kubernetes-int-or-string") is True
    preserve = raw.get("x-kubernetes-preserve-unknown-fields")
    embedded = raw.get("x-kubernetes-embedded-resource") is True
    if embedded and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield _typed(f"{path}.type", kind, why)
    elif not kind and not loose and preserve is not True:
        yield problem.required(f"{path}.type", f"must not be empty {level}")
    if level == _ROOT and kind and kind != "object":
        yield problem.invalid(f"{path}.type", kind, f"must be object {level}")
    if preserve is False:
        where = f"{path}.x-kubernetes-preserve-unknown-fields"
        yield problem.invalid(where, False, "must be true or undefined")
    for name, said in (("preserve-unknown-fields", preserve), ("embedded-resource", embedded)):
        if loose and said:
            why = "must be false if x-kubernetes-int-or-string is true"
            yield problem.invalid(f"{path}.x-kubernetes-{name}", True, why)
    if embedded and "additionalProperties" in raw:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        yield problem.forbidden(f"{path}.additionalProperties", why)
    if embedded and not preserve and not raw.get("properties"):
        why = (
            "must not be empty if x-kubernetes-embedded-resource is true "
            "without x-kubernetes-preserve-unknown-fields"
        )
        yield problem.required(f"{path}.properties", why)


def _typed(path: str, kind: str, why: str) -> Problem:
    return problem.invalid(path, kind, why) if kind else problem.required(path, why)


def _keywords(raw: JsonObject, path: str) -> Iterator[Problem]:
    kind, items = raw.get("type"), raw.get("items")
    if kind == "null":
        why = "type cannot be set to null, use nullable as an alternative"
        yield problem.forbidden(f"{path}.type", why)
    elif kind and kind not in _KINDS:
        yield problem.unsupported(f"{path}.type", kind, _KINDS)
    if isinstance(items, list):
        why = "items must be a schema object and not an array"
        yield problem.forbidden(f"{path}.items", why)
    elif kind == "array" and items is None:
        yield problem.required(f"{path}.items", "must be specified")
    for name in _UNSUPPORTED:
        if raw.get(name):
            yield problem.forbidden(f"{path}.{name}", f"{name} is not supported")
    if raw.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield problem.forbidden(f"{path}.uniqueItems", why)
    rest = raw.get("additionalProperties")
    if raw.get("properties") and rest is not None and rest is not True:
        why = "additionalProperties and properties are mutual exclusive"
        yield problem.forbidden(f"{path}.additionalProperties", why)
    if (pattern := raw.get("pattern")) and (why := patterns.flaw(str(pattern))):
        why = f"must be a valid regular expression, but isn't: {why}"
        yield problem.invalid(f"{path}.pattern", pattern, why)


def _junctors(raw: JsonObject, path: str, loose: bool) -> Iterator[Problem]:
    """What is wrong with what a schema puts together; ``loose``: integer or string may stand."""
    for name in ("anyOf", "allOf", "oneOf"):
        inner = raw.get(name)
        if not isinstance(inner, list) or (loose and name == "anyOf" and inner == _INT_OR_STRING):
            continue
        for index, each in enumerate(inner):
            if isinstance(each, dict):
                first = loose and name == "allOf" and index == 0
                yield from _nested(each, f"{path}.{name}[{index}]", loose=first)
    if isinstance(raw.get("not"), dict):
        yield from _nested(raw["not"], f"{path}.not", loose=False)


def _nested(raw: JsonObject, path: str, *, loose: bool) -> Iterator[Problem]:
    yield from _keywords(raw, path)
    for name, why in _NESTED:
        if raw.get(name):
            yield problem.forbidden(f"{path}.{name}", why)
    if "metadata" in _map(raw.get("properties")):
        why = "must not be specified in a nested context"
        yield problem.forbidden(f"{path}.properties[metadata]", why)
    yield from _junctors(raw, path, loose)
    for name, child in _fields(raw, "properties"):
        yield from _nested(child, f"{path}.properties[{name}]", loose=False)
    if isinstance(raw.get("items"), dict):
        yield from _nested(raw["items"], f"{path}.items", loose=False)

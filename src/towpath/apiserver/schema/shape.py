"""Whether a schema's keywords are of the types they must be: nothing else is asked before.

Source: Kubernetes API reference, JSONSchemaProps.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from towpath.apiserver.schema import problem
from towpath.apiserver.schema.problem import Problem
from towpath.spec._wire import Json

__all__ = ["misshapen"]

_BOOLEANS: Final = (
    "exclusiveMaximum",
    "exclusiveMinimum",
    "nullable",
    "uniqueItems",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-preserve-unknown-fields",
)
_INTEGERS: Final = (
    "maxItems",
    "maxLength",
    "maxProperties",
    "minItems",
    "minLength",
    "minProperties",
)
_NUMBERS: Final = ("maximum", "minimum", "multipleOf")
_TEXTS: Final = (
    "$ref",
    "description",
    "format",
    "pattern",
    "title",
    "type",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
)
_WORDS: Final = ("required", "x-kubernetes-list-map-keys")
_MANY: Final = ("allOf", "anyOf", "enum", "oneOf", "x-kubernetes-validations")
_TYPES: Final[Mapping[str, tuple[tuple[type, ...], str]]] = {
    **dict.fromkeys(_BOOLEANS, ((bool,), "boolean")),
    **dict.fromkeys(_INTEGERS, ((int,), "integer")),
    **dict.fromkeys(_NUMBERS, ((int, float), "number")),
    **dict.fromkeys(_TEXTS, ((str,), "string")),
    **dict.fromkeys((*_WORDS, *_MANY), ((list,), "array")),
    "additionalProperties": ((dict, bool), "schema or boolean"),
    "items": ((dict, list), "schema"),
    "not": ((dict,), "schema"),
    "properties": ((dict,), "map of schemas"),
}


def misshapen(schema: Json, path: str) -> Iterator[Problem]:
    """Keywords of a schema, and of all in it, whose values are of a wrong type."""
    if not isinstance(schema, dict):
        yield problem.mistyped(path, schema, "must be of type schema")
        return
    for name, value in schema.items():
        wanted = _TYPES.get(name)
        if wanted is None or value is None:
            continue
        where = f"{path}.{name}"
        if type(value) not in wanted[0]:
            yield problem.mistyped(where, value, f"must be of type {wanted[1]}")
        elif name == "properties":
            for key, inner in value.items():
                yield from misshapen(inner, f"{where}[{key}]")
        elif isinstance(value, dict):
            yield from misshapen(value, where)
        elif name in ("allOf", "anyOf", "oneOf"):
            for index, inner in enumerate(value):
                yield from misshapen(inner, f"{where}[{index}]")
        elif name in _WORDS and not all(isinstance(word, str) for word in value):
            yield problem.mistyped(where, value, "must be of type array of strings")

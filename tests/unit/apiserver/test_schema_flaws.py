"""Why a schema is refused, word for word."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.apiserver.schema import flaws

STRING: dict[str, Any] = {"type": "string"}


def of(schema: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": schema}}


def keyed(items: Any, *keys: str) -> dict[str, Any]:
    return {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": list(keys),
        "items": items,
    }


ITEM = {"type": "object", "properties": {"k": STRING}, "required": ["k"]}
OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@pytest.mark.parametrize(
    "schema",
    [
        STRING,
        {"x-kubernetes-preserve-unknown-fields": True},
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        {
            "x-kubernetes-int-or-string": True,
            "allOf": [{"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "a"}],
        },
        {"type": "object", "additionalProperties": STRING},
        {"type": "object", "additionalProperties": True, "properties": {"a": STRING}},
        keyed(ITEM, "k"),
        keyed({"type": "object", "properties": {"k": {**STRING, "default": ""}}}, "k"),
        {**STRING, "default": "a", "enum": ["a"]},
        {**OPEN, "x-kubernetes-embedded-resource": True},
        {"type": "object", "properties": {"a": STRING}, "oneOf": [{"required": ["a"]}]},
    ],
)
def test_structural(schema: Any) -> None:
    before = copy.deepcopy(schema)
    assert flaws(of(schema), "s") == []
    assert schema == before


@pytest.mark.parametrize(
    ("schema", "field", "message"),
    [
        ({}, ".type", "Required value: must not be empty for specified object fields"),
        (
            {"type": "array", "items": {}},
            ".items.type",
            "Required value: must not be empty for specified array items",
        ),
        ({"type": "array"}, ".items", "Required value: must be specified"),
        (
            {"type": "array", "items": [STRING]},
            ".items",
            "Forbidden: items must be a schema object and not an array",
        ),
        (
            {"type": "null"},
            ".type",
            "Forbidden: type cannot be set to null, use nullable as an alternative",
        ),
        (
            {"type": "text"},
            ".type",
            'Unsupported value: "text": supported values: "array", "boolean", "integer", '
            '"number", "object", "string"',
        ),
        (
            {"type": "object", "properties": {"a": STRING}, "additionalProperties": STRING},
            ".additionalProperties",
            "Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        ({**STRING, "$ref": "#/x"}, ".$ref", "Forbidden: $ref is not supported"),
        ({**STRING, "id": "x"}, ".id", "Forbidden: id is not supported"),
        (
            {"type": "array", "items": STRING, "uniqueItems": True},
            ".uniqueItems",
            "Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes "
            "quadratic",
        ),
        (
            {**STRING, "pattern": "("},
            ".pattern",
            'Invalid value: "(": must be a valid regular expression, but isn\'t: error parsing',
        ),
        (
            {**STRING, "anyOf": [{"type": "string"}]},
            ".anyOf[0].type",
            "Forbidden: must be empty to be structural",
        ),
        (
            {**STRING, "allOf": [{"not": {"default": "a"}}]},
            ".allOf[0].not.default",
            "Forbidden: must be undefined to be structural",
        ),
        (
            {**STRING, "oneOf": [{"properties": {"a": {"description": "d"}}}]},
            ".oneOf[0].properties[a].description",
            "Forbidden: must be empty to be structural",
        ),
        (
            {**STRING, "not": {"properties": {"metadata": {}}}},
            ".not.properties[metadata]",
            "Forbidden: must not be specified in a nested context",
        ),
        (
            {"type": "object", "x-kubernetes-preserve-unknown-fields": False},
            ".x-kubernetes-preserve-unknown-fields",
            "Invalid value: false: must be true or undefined",
        ),
        (
            {"x-kubernetes-int-or-string": True, "x-kubernetes-preserve-unknown-fields": True},
            ".x-kubernetes-preserve-unknown-fields",
            "Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True},
            ".properties",
            "Required value: must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields",
        ),
        (
            {**STRING, "x-kubernetes-list-type": "set"},
            ".type",
            'Invalid value: "string": must be array if x-kubernetes-list-type is specified',
        ),
        (
            {"type": "array", "items": STRING, "x-kubernetes-list-type": "bag"},
            ".x-kubernetes-list-type",
            'Unsupported value: "bag": supported values: "atomic", "set", "map"',
        ),
        (
            {**STRING, "x-kubernetes-map-type": "atomic"},
            ".type",
            'Invalid value: "string": must be object if x-kubernetes-map-type is specified',
        ),
        (
            {"type": "array", "items": ITEM, "x-kubernetes-list-map-keys": ["k"]},
            ".x-kubernetes-list-type",
            "Required value: must be map if x-kubernetes-list-map-keys is non-empty",
        ),
        (
            keyed(ITEM),
            ".x-kubernetes-list-map-keys",
            "Required value: must not be empty if x-kubernetes-list-type is map",
        ),
        (
            keyed(STRING, "k"),
            ".items.type",
            'Invalid value: "string": must be object if parent array\'s x-kubernetes-list-type '
            "is map",
        ),
        (
            keyed(ITEM, "l"),
            ".x-kubernetes-list-map-keys",
            'Invalid value: []interface {}{"l"}: entries must all be names of item properties',
        ),
        (
            keyed(ITEM, "k", "k"),
            ".x-kubernetes-list-map-keys",
            'Invalid value: []interface {}{"k", "k"}: must not contain duplicate entries',
        ),
        (
            keyed({"type": "object", "properties": {"k": STRING}}, "k"),
            ".items.properties[k].default",
            "Required value: this property is in x-kubernetes-list-map-keys, so it must have a "
            "default or be a required property",
        ),
        (
            keyed({**ITEM, "nullable": True}, "k"),
            ".items.nullable",
            "Forbidden: cannot be nullable when x-kubernetes-list-type is map",
        ),
        (
            {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}},
            ".items.x-kubernetes-map-type",
            'Invalid value: "null": must be atomic as item of a list with '
            "x-kubernetes-list-type=set",
        ),
        (
            {**STRING, "default": 1},
            ".default",
            'Invalid value: "integer": s.properties[x].default in body must be of type string: '
            '"integer"',
        ),
        (
            {"type": "object", "properties": {"a": STRING}, "default": {"b": 1}},
            ".default",
            'Invalid value: map[string]interface {}{"b":1}: must not have unknown fields',
        ),
        (
            {"type": "object", "properties": {"a": STRING}, "required": ["a"], "default": {}},
            ".default.a",
            "Required value",
        ),
    ],
)
def test_not_structural(schema: Any, field: str, message: str) -> None:
    (problem,) = flaws(of(schema), "s")
    assert problem.field == f"s.properties[x]{field}"
    assert problem.message.startswith(message)


@pytest.mark.parametrize(
    ("schema", "field", "message"),
    [
        ({}, "s.type", "Required value: must not be empty at the root"),
        ({"type": "string"}, "s.type", 'Invalid value: "string": must be object at the root'),
        (
            {"type": "object", "additionalProperties": STRING},
            "s.additionalProperties",
            "Forbidden: must not be used at the root",
        ),
        (
            {"type": "object", "properties": {"kind": {"type": "integer"}}},
            "s.properties[kind].type",
            'Invalid value: "integer": must be string',
        ),
        (
            {
                "type": "object",
                "properties": {
                    "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}
                },
            },
            "s.properties[metadata]",
            "Forbidden: must not specify anything other than name and generateName, but metadata "
            "is implicitly specified",
        ),
        (
            {"type": "object", "properties": {"kind": {**STRING, "default": "a"}}},
            "s.properties[kind].default",
            "Forbidden: must not be set in top-level kind",
        ),
    ],
)
def test_not_structural_at_the_root(schema: Any, field: str, message: str) -> None:
    assert [(p.field, p.message) for p in flaws(schema, "s")] == [(field, message)]


def test_metadata_may_restrict_the_name() -> None:
    name = {"type": "object", "properties": {"name": {**STRING, "maxLength": 5}}}
    assert flaws({"type": "object", "properties": {"metadata": name}}, "s") == []


def test_not_all_of_a_thousand_problems_are_told() -> None:
    many: dict[str, Any] = {"type": "object", "properties": {f"f{i}": {} for i in range(1000)}}
    assert len(flaws(many, "s")) == 100


def test_a_schema_without_end_is_refused() -> None:
    schema: dict[str, Any] = STRING
    for _ in range(3000):
        schema = {"type": "array", "items": schema}
    assert "nested too deeply" in flaws(of(schema), "s")[-1].message


KEYWORDS = st.sampled_from(
    [
        "type", "properties", "items", "additionalProperties", "required", "default", "enum",
        "pattern", "minimum", "maxLength", "allOf", "not", "nullable", "format",
        "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-int-or-string",
        "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource",
        "x-kubernetes-validations",
    ]
)  # fmt: skip
WORDS = st.sampled_from(["object", "array", "string", "integer", "map", "set", "a", "", "self.a"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(KEYWORDS | WORDS, inner, max_size=4)
    ),
    max_leaves=20,
)


@given(st.dictionaries(KEYWORDS, ANYTHING, max_size=6))
def test_anything_is_a_schema_or_refused(schema: dict[str, Any]) -> None:
    flaws(of(schema), "s")
    flaws(schema, "s")

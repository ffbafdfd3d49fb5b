"""Pruning and defaults, and how they go together with what is checked."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.apiserver.schema import Schema, flaws
from towpath.apiserver.schema.structural import compiled, types_of
from towpath.errors import InvalidError

STRING: dict[str, Any] = {"type": "string"}


def of(**properties: Any) -> Schema:
    return Schema({"type": "object", "properties": properties})


def fields(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


OPEN = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


@pytest.mark.parametrize(
    ("schema", "value", "kept", "unknown"),
    [
        (fields(a=STRING), {"a": "1", "b": "2"}, {"a": "1"}, ["x.b"]),
        (
            {"type": "array", "items": fields(a=STRING)},
            [{"a": "1"}, {"b": {"c": 1}}],
            [{"a": "1"}, {}],
            ["x[1].b"],
        ),
        (
            {"type": "object", "additionalProperties": fields(a=STRING)},
            {"k.l": {"a": "1", "b": 2}},
            {"k.l": {"a": "1"}},
            ["x.k.l.b"],
        ),
        ({"type": "object", "additionalProperties": True}, {"a": {"b": 1}}, {"a": {}}, ["x.a.b"]),
        ({"type": "object"}, {"a": 1}, {}, ["x.a"]),
        (STRING, {"a": 1}, {}, ["x.a"]),
        (OPEN, {"a": {"b": 1}}, {"a": {"b": 1}}, []),
        (
            {**OPEN, "properties": {"a": fields(b=STRING)}},
            {"a": {"b": "1", "c": 2}, "d": {"e": 1}},
            {"a": {"b": "1"}, "d": {"e": 1}},
            ["x.a.c"],
        ),
        (
            {**fields(spec=fields(a=STRING)), "x-kubernetes-embedded-resource": True},
            {"apiVersion": "v1", "kind": "A", "metadata": {"q": 1}, "spec": {"b": 1}, "z": 1},
            {"apiVersion": "v1", "kind": "A", "metadata": {"q": 1}, "spec": {}},
            ["x.spec.b", "x.z"],
        ),
        ({"x-kubernetes-int-or-string": True}, 1, 1, []),
        (fields(a=STRING), {"a": None}, {}, []),
        (fields(a={**STRING, "nullable": True}), {"a": None}, {"a": None}, []),
        ({"type": "array", "items": STRING}, [None], [None], []),
    ],
)
def test_what_is_not_known_goes(schema: Any, value: Any, kept: Any, unknown: list[str]) -> None:
    before = copy.deepcopy(value)
    assert of(x=schema).prune({"x": value}) == ({"x": kept}, unknown)
    assert value == before, "what is given is not changed"


def test_what_every_object_has_is_kept() -> None:
    obj = {"apiVersion": "v1", "kind": "A", "metadata": {"anything": 1}, "other": 1}
    kept, unknown = of(spec=STRING).prune(obj)
    assert kept == {"apiVersion": "v1", "kind": "A", "metadata": {"anything": 1}}
    assert unknown == ["other"]


def test_what_is_known_is_given_back_itself() -> None:
    obj = {"x": {"a": ["1"]}}
    schema = of(x=fields(a={"type": "array", "items": STRING}))
    assert schema.prune(obj)[0] is obj
    assert schema.complete(obj) is obj


@pytest.mark.parametrize(
    ("schema", "value", "complete"),
    [
        ({**STRING, "default": "d"}, ..., "d"),
        ({**STRING, "default": "d"}, "e", "e"),
        ({**STRING, "default": "d"}, None, "d"),
        ({**STRING, "default": "d", "nullable": True}, None, None),
        (fields(a={**STRING, "default": "d"}), ..., ...),
        ({**fields(a={**STRING, "default": "d"}), "default": {}}, ..., {"a": "d"}),
        (fields(a={**STRING, "default": "d"}), {"b": 1}, {"b": 1, "a": "d"}),
        (
            {"type": "array", "items": fields(a={**STRING, "default": "d"})},
            [{}, {"a": "e"}],
            [{"a": "d"}, {"a": "e"}],
        ),
        (
            {"type": "object", "additionalProperties": fields(a={"type": "integer", "default": 0})},
            {"k": {}, "l": {"a": 1}},
            {"k": {"a": 0}, "l": {"a": 1}},
        ),
        ({"type": "array", "items": {**STRING, "default": "d"}}, [None, "e"], ["d", "e"]),
        ({"type": "boolean", "default": False}, ..., False),
        ({"type": "array", "items": STRING, "default": ["a"]}, ..., ["a"]),
    ],
)
def test_what_is_not_said_is_given(schema: Any, value: Any, complete: Any) -> None:
    given_ = {} if value is ... else {"x": value}
    before = copy.deepcopy(given_)
    assert of(x=schema).complete(given_) == ({} if complete is ... else {"x": complete})
    assert given_ == before


def test_a_default_is_a_new_one_each_time() -> None:
    schema = of(x={**fields(a={"type": "array", "items": STRING}), "default": {"a": []}})
    schema.complete({})["x"]["a"].append("mine")
    assert schema.complete({}) == {"x": {"a": []}}


TYPES = {
    "Tree": fields(
        name={**STRING, "default": "leaf"},
        children={"type": "array", "items": {"$ref": "#/types/Tree"}},
    ),
    "Top": {**fields(spec={"$ref": "#/types/Tree", "default": {}}), "required": ["spec"]},
}


def test_types_that_hold_themselves() -> None:
    schema = Schema({"$ref": "#/types/Top"}, TYPES)
    assert schema.complete({}) == {"spec": {"name": "leaf"}}
    obj = {"spec": {"children": [{"children": [{"q": 1}]}]}}
    pruned, unknown = schema.prune(obj)
    assert unknown == ["spec.children[0].children[0].q"]
    assert schema.complete(pruned)["spec"]["children"][0]["children"] == [{"name": "leaf"}]
    assert [p.field for p in schema.check({})] == ["spec"]
    assert [p.field for p in schema.check({"spec": {"children": [{"name": 1}]}})] == [
        "spec.children[0].name"
    ]


def test_types_are_shared_by_those_who_use_them() -> None:
    one, two = types_of(TYPES), types_of(TYPES)
    assert one is two
    assert types_of(dict(TYPES)) is not one


def test_equal_parts_are_one() -> None:
    part = fields(a=fields(b=STRING), c=STRING)
    node = compiled(fields(x=part, y=copy.deepcopy(part), z=fields(a=STRING)), types_of({}))
    assert node.properties["x"] is node.properties["y"]
    assert node.properties["x"] is not node.properties["z"]
    assert node.properties["z"].properties["a"] is node.properties["x"].properties["c"]


def test_an_object_without_end_is_refused() -> None:
    schema = Schema({"$ref": "#/types/Tree"}, TYPES)
    obj: dict[str, Any] = {}
    for _ in range(3000):
        obj = {"children": [obj]}
    for use in (schema.prune, schema.complete, schema.check):
        with pytest.raises(InvalidError, match="nested too deeply"):
            use(obj)


def test_the_document_stays_as_it_was_given() -> None:
    for document in (fields(a=STRING), fields(**{f"f{i}": STRING for i in range(2000)})):
        assert Schema(document).document == document


SCALARS: list[tuple[dict[str, Any], st.SearchStrategy[Any]]] = [
    ({"type": "string"}, st.text(max_size=3)),
    ({"type": "string", "enum": ["a", "b"]}, st.sampled_from(["a", "b"])),
    ({"type": "string", "default": "d", "minLength": 1}, st.text(min_size=1, max_size=3)),
    ({"type": "integer", "minimum": 0, "maximum": 9}, st.integers(0, 9)),
    ({"type": "integer", "default": 5}, st.integers(-(2**53), 2**53)),
    ({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False)),
    ({"type": "boolean", "default": True}, st.booleans()),
    ({"type": "string", "nullable": True}, st.none() | st.text(max_size=2)),
    (
        {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        st.integers(0, 99) | st.just("50%"),
    ),
    ({"type": "object", "x-kubernetes-preserve-unknown-fields": True}, st.just({"any": ["thing"]})),
]
NAMES = st.sampled_from(["a", "b", "c", "d"])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
Pair = tuple[dict[str, Any], st.SearchStrategy[Any]]


@st.composite
def pairs(draw: st.DrawFn, depth: int = 2) -> Pair:
    """A structural schema, and what makes values that fit it."""
    kind = draw(st.sampled_from(["scalar", "object", "array", "map"])) if depth else "scalar"
    if kind == "scalar":
        return draw(st.sampled_from(SCALARS))
    if kind == "array":
        schema, values = draw(pairs(depth - 1))
        return {"type": "array", "items": schema, "maxItems": 2}, st.lists(values, max_size=2)
    if kind == "map":
        schema, values = draw(pairs(depth - 1))
        return (
            {"type": "object", "additionalProperties": schema},
            st.dictionaries(NAMES, values, max_size=2),
        )
    inner = draw(st.dictionaries(NAMES, pairs(depth - 1), max_size=3))
    required = draw(st.lists(st.sampled_from(sorted(inner)), unique=True)) if inner else []
    schema = fields(**{name: pair[0] for name, pair in inner.items()})
    return (
        {**schema, "required": required} if required else schema,
        st.fixed_dictionaries(
            {name: pair[1] for name, pair in inner.items() if name in required},
            optional={name: pair[1] for name, pair in inner.items() if name not in required},
        ),
    )


@given(pairs(), st.data())
def test_what_fits_has_no_problems(pair: Pair, data: st.DataObject) -> None:
    schema = of(x=pair[0])
    assert flaws(schema.document, "") == []
    obj = {"x": data.draw(pair[1])}
    assert schema.check(obj) == []
    assert schema.prune(obj) == (obj, [])
    completed = schema.complete(obj)
    assert schema.check(completed) == []
    assert schema.check(completed, obj) == []


@given(pairs(), JUNK)
def test_what_is_done_twice_is_done_once(pair: Pair, junk: Any) -> None:
    schema, obj = of(x=pair[0]), {"x": junk}
    before = orjson.dumps(obj)
    pruned, _ = schema.prune(obj)
    assert schema.prune(pruned) == (pruned, [])
    completed = schema.complete(pruned)
    assert schema.complete(completed) == completed
    assert schema.prune(completed) == (completed, [])
    assert orjson.dumps(obj) == before
    schema.check(completed)
    assert schema.check(completed, completed) == []

"""The three patches: the examples of their specifications, and the rules behind them."""

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towpath.apiserver.fields import Topology
from towpath.apiserver.patch import json_patch, merge_patch, strategic_merge
from towpath.errors import InvalidError, Reason

KEYED = Topology({("spec", "containers"): ("name",), ("spec", "ports"): ("port", "protocol")})
few = settings(max_examples=40)
names = st.text("abc/~0", min_size=1, max_size=3)
scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("xyz", max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)
documents = st.dictionaries(names, values, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return value


def difference(old: Any, new: Any) -> Any:
    """The merge patch from one document to another, as RFC 7386 describes it."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    patch: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    for name, value in new.items():
        if name not in old:
            patch[name] = value
        elif old[name] != value or type(old[name]) is not type(value):
            patch[name] = difference(old[name], value)
    return patch


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch_examples(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@few
@given(documents, documents)
def test_merge_patch_reaches_what_it_was_made_for(old: Any, new: Any) -> None:
    old, new = without_nulls(old), without_nulls(new)
    assert merge_patch(old, difference(old, new)) == new


@few
@given(documents, documents)
def test_patches_change_nothing_they_were_given(old: Any, patch: Any) -> None:
    before = copy.deepcopy((old, patch))
    merge_patch(old, patch)
    strategic_merge(old, patch, KEYED)
    assert (old, patch) == before


@few
@given(documents, documents)
def test_merge_patch_twice_is_once(old: Any, patch: Any) -> None:
    once = merge_patch(old, patch)
    assert merge_patch(once, patch) == once


def pointer(*tokens: str) -> str:
    return "".join("/" + t.replace("~", "~0").replace("/", "~1") for t in tokens)


@few
@given(documents, names, values)
def test_json_patch_add_then_remove(document: Any, name: str, value: Any) -> None:
    document.pop(name, None)
    added = json_patch(document, [{"op": "add", "path": pointer(name), "value": value}])
    assert added[name] == value
    assert json_patch(added, [{"op": "remove", "path": pointer(name)}]) == document


@few
@given(documents, values)
def test_json_patch_replaces_the_document(document: Any, value: Any) -> None:
    assert json_patch(document, [{"op": "replace", "path": "", "value": value}]) == value


@few
@given(documents)
def test_json_patch_copies_apart(document: Any) -> None:
    before = copy.deepcopy(document)
    operations = [
        {"op": "add", "path": "/new", "value": {"list": [1]}},
        {"op": "copy", "from": "/new", "path": "/copy"},
        {"op": "add", "path": "/copy/list/-", "value": 2},
    ]
    patched = json_patch(document, operations)
    assert patched["new"] == {"list": [1]}
    assert patched["copy"] == {"list": [1, 2]}
    assert document == before


@pytest.mark.parametrize(
    ("document", "operation", "result"),
    [
        ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
        ({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/0"}, {"a": [2]}),
        ({"a": {"b": 1}}, {"op": "move", "from": "/a/b", "path": "/c"}, {"a": {}, "c": 1}),
        ({"a": [1, 2]}, {"op": "move", "from": "/a/0", "path": "/a/1"}, {"a": [2, 1]}),
        ({"m~n": 1, "/": 2}, {"op": "test", "path": "/m~0n", "value": 1}, {"m~n": 1, "/": 2}),
        ({"/": 2}, {"op": "replace", "path": "/~1", "value": 3}, {"/": 3}),
    ],
)
def test_json_patch_examples(document: Any, operation: Any, result: Any) -> None:
    assert json_patch(document, [operation]) == result


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/missing"},
        {"op": "remove", "path": ""},
        {"op": "replace", "path": "/missing", "value": 1},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "add", "path": "/list/01", "value": 1},
        {"op": "add", "path": "/list/5", "value": 1},
        {"op": "add", "path": "/list/-1", "value": 1},
        {"op": "remove", "path": "/list/-"},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/true", "value": 1},
        {"op": "move", "from": "/a", "path": "/a/b"},
        {"op": "add", "path": "/a"},
        {"op": "add", "path": "a", "value": 1},
        {"op": "jump", "path": "/a"},
        {"op": ["add"], "path": "/a", "value": 1},
        {"path": "/a"},
    ],
)
def test_json_patch_refuses(operation: Any) -> None:
    document = {"a": {"b": 1}, "list": [1], "true": True}
    before = copy.deepcopy(document)
    if operation == {"op": "remove", "path": ""}:
        with pytest.raises(InvalidError):
            json_patch(document, [operation])
    else:
        with pytest.raises(InvalidError):
            json_patch(document, [operation])
    assert document == before


def test_json_patch_cannot_copy_without_bound() -> None:
    operations = [{"op": "copy", "from": "", "path": f"/{i}"} for i in range(60)]
    with pytest.raises(InvalidError) as caught:
        json_patch({"a": "x" * 1000}, operations)
    assert caught.value.reason is Reason.TOO_LARGE


def test_json_patch_cannot_nest_without_bound() -> None:
    wrap = [
        {"op": "add", "path": "/new", "value": {}},
        {"op": "move", "from": "/a", "path": "/new/x"},
        {"op": "move", "from": "/new", "path": "/a"},
    ]
    copy_of_it = {"op": "copy", "from": "/a", "path": "/b"}
    with pytest.raises(InvalidError) as caught:
        json_patch({"a": {}}, [*wrap * 400, copy_of_it])
    assert caught.value.reason is Reason.BAD_REQUEST


def test_strategic_merge_by_key() -> None:
    pod = {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}]}}
    patch = {"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "c"}]}}
    assert strategic_merge(pod, patch, KEYED)["spec"]["containers"] == [
        {"name": "a", "image": "1"},
        {"name": "b", "image": "2"},
        {"name": "c"},
    ]


def test_strategic_merge_directives() -> None:
    pod = {
        "metadata": {"finalizers": ["x"]},
        "spec": {
            "containers": [{"name": "a"}, {"name": "b"}],
            "strategy": {"type": "Rolling", "rolling": {"max": 1}},
            "nodeSelector": {"a": "1", "b": "2"},
            "args": ["p", "q"],
            "dropped": {"a": 1},
        },
    }
    patch = {
        "metadata": {
            "finalizers": ["y"],
            "$setElementOrder/finalizers": ["x", "y"],
        },
        "spec": {
            "$setElementOrder/containers": [{"name": "b"}],
            "containers": [{"name": "a", "$patch": "delete"}],
            "strategy": {"$retainKeys": ["type"], "type": "Recreate"},
            "nodeSelector": {"$patch": "replace", "c": "3"},
            "$deleteFromPrimitiveList/args": ["p"],
            "dropped": {"$patch": "delete"},
        },
    }
    assert strategic_merge(pod, patch, KEYED) == {
        "metadata": {"finalizers": ["x", "y"]},
        "spec": {
            "containers": [{"name": "b"}],
            "strategy": {"type": "Recreate"},
            "nodeSelector": {"c": "3"},
            "args": ["q"],
        },
    }


@few
@given(documents, documents)
def test_strategic_merge_of_maps_is_merge_patch(old: Any, patch: Any) -> None:
    assert strategic_merge(old, patch, KEYED) == merge_patch(old, patch)


containers = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcd")}, optional={"image": scalars}),
    max_size=4,
    unique_by=lambda item: item["name"],
)


@few
@given(containers, containers)
def test_strategic_merge_of_a_list_by_its_key(old: Any, patch: Any) -> None:
    live, wanted = {"spec": {"containers": old}}, {"spec": {"containers": patch}}
    merged = strategic_merge(live, wanted, KEYED)
    assert strategic_merge(merged, wanted, KEYED) == merged
    found = {item["name"]: item for item in merged["spec"]["containers"]}
    assert found.keys() == {item["name"] for item in (*old, *patch)}
    assert [i["name"] for i in merged["spec"]["containers"]][: len(old)] == [i["name"] for i in old]
    for item in patch:
        kept = {k: v for k, v in item.items() if v is not None}
        assert kept.items() <= found[item["name"]].items()


@few
@given(containers, st.permutations("abcd"))
def test_an_order_moves_items_and_loses_none(old: Any, order: list[str]) -> None:
    patch = {"spec": {"$setElementOrder/containers": [{"name": name} for name in order]}}
    merged = strategic_merge({"spec": {"containers": old}}, patch, KEYED)
    assert merged["spec"]["containers"] == sorted(old, key=lambda i: order.index(i["name"]))


def test_an_order_leaves_others_where_they_are() -> None:
    pod = {"spec": {"containers": [{"name": "a"}, {"name": "x"}, {"name": "b"}]}}
    patch = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    merged = strategic_merge(pod, patch, KEYED)
    assert [c["name"] for c in merged["spec"]["containers"]] == ["b", "x", "a"]


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "other"},
        {"spec": {"containers": [{"image": "x"}]}},
        {"spec": {"containers": ["x"]}},
        {"spec": {"$setElementOrder/containers": "x"}},
        {"spec": {"$deleteFromPrimitiveList/containers": 1}},
        {"spec": {"$retainKeys": {}}},
    ],
)
def test_a_strategic_merge_that_cannot_be_read(patch: Any) -> None:
    pod = {"spec": {"containers": [{"name": "a"}]}}
    with pytest.raises(InvalidError) as caught:
        strategic_merge(pod, patch, KEYED)
    assert caught.value.reason is Reason.BAD_REQUEST


SETS = Topology({("items",): ("name",), ("set",): ()})
MANY = 20_000


def test_strategic_merge_of_long_lists() -> None:
    old = {
        "items": [{"name": str(i), "a": i} for i in range(MANY)],
        "set": [str(i) for i in range(MANY)],
        "plain": list(range(MANY)),
    }
    patch = {
        "items": [
            {"name": str(i), "$patch": "delete"} if i % 2 else {"name": str(i), "b": i}
            for i in range(MANY + 10)
        ],
        "set": [str(i) for i in range(MANY // 2, MANY + 10)],
        "$setElementOrder/items": [{"name": str(i)} for i in reversed(range(MANY + 10))],
        "$setElementOrder/set": [str(i) for i in reversed(range(MANY + 10))],
        "$deleteFromPrimitiveList/plain": list(range(1, MANY)),
    }
    assert strategic_merge(old, patch, SETS) == {
        "items": [
            {"name": str(i), "a": i, "b": i} if i < MANY else {"name": str(i), "b": i}
            for i in reversed(range(0, MANY + 10, 2))
        ],
        "set": [str(i) for i in reversed(range(MANY + 10))],
        "plain": [0],
    }


@pytest.mark.parametrize(
    ("old", "patch", "result"),
    [
        (
            {"set": [{"a": [1]}]},
            {"set": [{"a": [1]}, {"a": [2]}]},
            {"set": [{"a": [1]}, {"a": [2]}]},
        ),
        ({"set": [1]}, {"set": [True, 1]}, {"set": [1, True]}),
        (
            {"items": [{"name": "a"}, {"name": "a"}, {"name": "b"}]},
            {"items": [{"name": "a", "$patch": "delete"}, {"name": "a", "x": 1}]},
            {"items": [{"name": "b"}, {"name": "a", "x": 1}]},
        ),
        (
            {"items": []},
            {"items": [{"name": "a", "x": 1}, {"name": "a", "y": 2}]},
            {"items": [{"name": "a", "x": 1, "y": 2}]},
        ),
        ({"a": 1, "b": 2}, {"$retainKeys": ["b", {"a": 1}]}, {"b": 2}),
    ],
)
def test_strategic_merge_tells_items_apart(old: Any, patch: Any, result: Any) -> None:
    merged = strategic_merge(old, patch, SETS)
    assert repr(merged) == repr(result)

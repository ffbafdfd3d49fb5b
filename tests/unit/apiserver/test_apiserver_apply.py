"""Server-side apply: what a manager owns, loses, takes and leaves behind."""

import copy
import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from towpath.apiserver.apply import Manager, apply, tracked
from towpath.apiserver.fields import Topology, decode, encode, flatten, topology_of
from towpath.errors import ConflictError

KEYED = Topology({("spec", "items"): ("name",), ("spec", "set"): ()})
BASE = {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "x"}}

few = settings(max_examples=40)
names = st.text("abc", min_size=1, max_size=2)
scalars = st.booleans() | st.integers(-5, 5) | st.text("xyz", max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=10,
)
items = st.lists(
    st.fixed_dictionaries({"name": names}, optional={"value": values}),
    max_size=3,
    unique_by=lambda item: item["name"],
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "a": values,
        "b": values,
        "items": items,
        "set": st.lists(st.text("xyz", min_size=1, max_size=2), max_size=3, unique=True),
    },
)


def by(name: str) -> Manager:
    return Manager(name, "v1", "2026-01-01T00:00:00Z")


def thing(spec: Any) -> Any:
    return {**copy.deepcopy(BASE), "spec": copy.deepcopy(spec)}


def applied(live: Any, name: str, spec: Any, *, force: bool = False) -> Any:
    return apply(copy.deepcopy(live), thing(spec), by(name), KEYED, force=force)


def owners(obj: Any) -> dict[str, Any]:
    return {e["manager"]: decode(e["fieldsV1"]) for e in obj["metadata"].get("managedFields") or []}


def firm(leaves: Any) -> Any:
    """Without empty maps and merging lists, which others may fill."""
    mergeable = (("f:spec", "f:items"), ("f:spec", "f:set"))
    return {p: v for p, v in leaves.items() if v != {} and not (v == [] and p in mergeable)}


def no_empty(value: Any) -> Any:
    """Without empty maps and lists, which removal may tidy away."""
    if isinstance(value, dict):
        return {k: v for k, v in ((k, no_empty(v)) for k, v in value.items()) if v not in ({}, [])}
    return value


@few
@given(specs)
def test_sets_of_fields_survive_the_wire(spec: Any) -> None:
    fields = frozenset(flatten(thing(spec), KEYED))
    assert decode(encode(fields)) == fields


@few
@given(specs)
def test_applying_twice_changes_nothing(spec: Any) -> None:
    once = applied(BASE, "me", spec)
    assert applied(once, "me", spec) == once


@few
@given(specs, specs)
def test_a_lone_manager_gets_exactly_what_it_wants(first: Any, second: Any) -> None:
    live = applied(applied(BASE, "me", first), "me", second)
    wanted, found = no_empty(second), no_empty(live.get("spec") or {})
    for field in ("items", "set"):
        for spec in (wanted, found):
            if isinstance(spec.get(field), list):
                spec[field] = sorted(spec[field], key=lambda i: json.dumps(i, sort_keys=True))
    assert found == wanted


@few
@given(specs)
def test_wanting_nothing_any_more_removes_what_was_applied(spec: Any) -> None:
    live = applied(applied(BASE, "me", spec), "me", {})
    assert no_empty(live.get("spec") or {}) == {}


@few
@given(specs, specs)
def test_force_wins_and_then_owns(first: Any, second: Any) -> None:
    live = applied(applied(BASE, "one", first), "two", second, force=True)
    wanted = flatten(thing(second), KEYED)
    found = flatten(live, KEYED)
    assert {path: found[path] for path in firm(wanted)} == firm(wanted)
    assert owners(live).get("two", frozenset()) == frozenset(wanted)


@few
@given(specs, specs)
def test_without_force_nobody_else_loses_a_value(first: Any, second: Any) -> None:
    live = applied(BASE, "one", first)
    try:
        after = applied(live, "two", second)
    except ConflictError:
        return
    found, mine = flatten(after, KEYED), flatten(thing(first), KEYED)
    assert {path: found[path] for path in firm(mine)} == firm(mine)
    assert owners(after).get("one") == owners(live).get("one")


@few
@given(specs, specs)
def test_the_same_value_is_shared(spec: Any, other: Any) -> None:
    live = applied(applied(BASE, "one", spec), "two", spec)
    assert owners(live).get("one") == owners(live).get("two")
    left = applied(live, "two", {})
    assert left.get("spec") == live.get("spec")


@few
@given(specs, specs)
def test_an_update_takes_what_it_changes(first: Any, second: Any) -> None:
    assume(first != second)
    live = applied(BASE, "one", first)
    changed = {**live, "spec": copy.deepcopy(second)}
    after = tracked(live, changed, by("two"), KEYED)
    old, new = flatten(live, KEYED), flatten(after, KEYED)
    differing = {p for p in new if p not in old or old[p] != new[p]}
    assert owners(after).get("two", frozenset()) == differing
    assert not owners(after).get("one", frozenset()) & differing
    assert owners(after).get("one", frozenset()) <= new.keys()


def test_conflict_names_field_and_manager() -> None:
    live = applied(BASE, "one", {"items": [{"name": "x", "value": 1}], "a": 1})
    with pytest.raises(ConflictError) as caught:
        applied(live, "two", {"items": [{"name": "x", "value": 2}]})
    assert caught.value.message == (
        'Apply failed with 1 conflict: conflict with "one": .spec.items[name="x"].value'
    )
    assert vars(caught.value)["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "one"',
            "field": '.spec.items[name="x"].value',
        }
    ]


def test_a_scalar_over_somebody_elses_map_is_a_conflict() -> None:
    live = applied(BASE, "one", {"a": {"b": 1}})
    with pytest.raises(ConflictError):
        applied(live, "two", {"a": 1})
    assert applied(live, "two", {"a": 1}, force=True)["spec"] == {"a": 1}


def test_list_items_of_two_managers_live_side_by_side() -> None:
    live = applied(BASE, "one", {"items": [{"name": "x"}], "set": ["p"]})
    live = applied(live, "two", {"items": [{"name": "y"}], "set": ["q"]})
    assert live["spec"] == {"items": [{"name": "x"}, {"name": "y"}], "set": ["p", "q"]}
    live = applied(live, "one", {})
    assert live["spec"] == {"items": [{"name": "y"}], "set": ["q"]}


def test_status_is_another_entry() -> None:
    live = applied(BASE, "me", {"a": 1})
    status = Manager("me", "v1", "2026-01-01T00:00:00Z", "status")
    live = apply(live, {**BASE, "status": {"ready": True}}, status, KEYED, force=False)
    entries = live["metadata"]["managedFields"]
    assert [e.get("subresource") for e in entries] == [None, "status"]
    assert live["spec"] == {"a": 1}


def test_topology_comes_from_the_schema() -> None:
    schema = {
        "properties": {
            "spec": {
                "properties": {
                    "ports": {
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["port", "protocol"],
                        "items": {"properties": {"tags": {"x-kubernetes-list-type": "set"}}},
                    },
                    "blob": {"x-kubernetes-map-type": "atomic"},
                }
            }
        }
    }
    topology = topology_of(schema)
    assert topology.keys(("spec", "ports")) == ("port", "protocol")
    assert topology.keys(("spec", "ports", "tags")) == ()
    assert topology.keys(("spec", "blob")) is None
    assert topology.atomic == {("spec", "blob")}
    assert topology.keys(("metadata", "finalizers")) == ()


left = st.fixed_dictionaries(
    {}, optional={"a": scalars, "m": st.fixed_dictionaries({"x": scalars})}
)
right = st.fixed_dictionaries({}, optional={"b": values, "n": st.dictionaries(names, scalars)})
changes = st.lists(
    st.tuples(st.sampled_from(["one", "two", "three"]), st.booleans(), specs), max_size=6
)


@few
@given(left, right)
def test_managers_of_different_fields_never_conflict(first: Any, second: Any) -> None:
    live = applied(applied(BASE, "one", first), "two", second)
    one, two = owners(live).get("one", frozenset()), owners(live).get("two", frozenset())
    assert one == frozenset(flatten(thing(first), KEYED))
    assert two == frozenset(flatten(thing(second), KEYED))
    back = applied(live, "two", {})
    assert owners(back).get("one", frozenset()) == one
    assert no_empty(back.get("spec") or {}) == no_empty(first)


@few
@given(changes)
def test_nobody_owns_what_is_not_there(wishes: Any) -> None:
    live: Any = {**BASE, "metadata": {"name": "x", "uid": "u"}}
    for name, applies, spec in wishes:
        if applies:
            live = applied(live, name, spec, force=True)
        else:
            live = tracked(live, {**live, "spec": copy.deepcopy(spec)}, by(name), KEYED)
    there = flatten(live, KEYED).keys()
    inner = {path[:length] for path in there for length in range(len(path))}
    for entry in live["metadata"].get("managedFields") or ():
        owned = decode(entry["fieldsV1"])
        assert owned
        assert owned <= there | inner


def test_an_account_is_begun_by_the_first_who_applies() -> None:
    live: Any = {**BASE, "metadata": {"name": "x", "uid": "u"}, "spec": {"a": 1, "b": 2}}
    silent = tracked(live, {**live, "spec": {"a": 3, "b": 2}}, by("one"), KEYED)
    assert "managedFields" not in silent["metadata"]
    with pytest.raises(
        ConflictError, match=r'conflict with "before-first-apply" using v1: \.spec\.a'
    ):
        applied(silent, "two", {"a": 4})
    shared = applied(silent, "two", {"a": 3})
    assert owners(shared).keys() == {"before-first-apply", "two"}


def test_an_account_can_be_taken_away_and_not_by_chance() -> None:
    live = applied(BASE, "one", {"a": 1})
    for given_up, kept in (([{}], False), ([], True), (None, True), ([{"manager": "x"}], True)):
        metadata = {**live["metadata"], "managedFields": given_up}
        after = tracked(live, {**live, "metadata": metadata}, by("two"), KEYED)
        assert ("managedFields" in after["metadata"]) is kept


def test_only_so_many_updaters_are_kept_apart() -> None:
    live: Any = tracked({}, thing({}), by("m00"), KEYED)
    for index in range(1, 30):
        new = {**live, "spec": {**live["spec"], f"k{index}": index}}
        now = Manager(f"m{index:02}", "v1", f"2026-01-01T00:00:{index:02}Z")
        live = tracked(live, new, now, KEYED)
    found = owners(live)
    assert len(found) == 10
    assert ("f:spec", "f:k1") in found["ancient-changes"]
    assert frozenset().union(*found.values()) >= {("f:spec", f"f:k{i}") for i in range(1, 30)}


def test_versions_of_one_updater_are_entries_of_their_own() -> None:
    first = tracked({}, thing({"a": 1}), by("one"), KEYED)
    later = Manager("one", "v2", "2026-01-01T00:00:01Z")
    second = tracked(first, {**first, "spec": {"a": 1, "b": 2}}, later, KEYED)
    entries = second["metadata"]["managedFields"]
    assert [e["apiVersion"] for e in entries] == ["v1", "v2"]


@pytest.mark.parametrize(
    ("mine", "theirs", "wanted", "result"),
    [
        ("ab", "", "ba", "ba"),
        ("ab", "", "xba", "xba"),
        ("ab", "", "axb", "axb"),
        ("ab", "amb", "ba", "mba"),
        ("ab", "amb", "ab", "amb"),
        ("ab", "abm", "xab", "xabm"),
        ("abc", "abmc", "bac", "bmac"),
        ("ab", "amb", "b", "amb"),
    ],
)
def test_lists_take_the_order_that_is_applied(
    mine: str, theirs: str, wanted: str, result: str
) -> None:
    def spec(letters: str) -> Any:
        return {"items": [{"name": letter} for letter in letters], "set": list(letters)}

    live = applied(BASE, "me", spec(mine))
    if theirs:
        live = applied(live, "other", spec(theirs))
    once = applied(live, "me", spec(wanted))
    assert once["spec"] == spec(result)
    assert applied(once, "me", spec(wanted))["spec"] == spec(result)


orders = st.lists(st.sampled_from("abcdefg"), max_size=7, unique=True)


@few
@given(orders, orders)
def test_an_applied_order_is_reached_and_stays(first: Any, second: Any) -> None:
    once = applied(applied(BASE, "one", {"set": first}), "two", {"set": second})
    found = once["spec"].get("set", [])
    assert [item for item in found if item in second] == second
    assert [i for i in found if i not in second] == [i for i in first if i not in second]
    assert applied(once, "two", {"set": second}) == once

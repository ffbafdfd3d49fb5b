"""Kinds of one's own: what their schemas check, complete, drop and convert."""

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.conformance.kubernetes.conftest import Api, definition, eventually, refused

Define = Callable[..., str]
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def obj(**properties: Any) -> Any:
    return {"type": "object", "properties": properties}


def inside(**properties: Any) -> Any:
    """A whole schema with these properties in ``spec``."""
    return obj(spec=obj(**properties))


STRING, NUMBER = {"type": "string"}, {"type": "integer"}
RULED = {**obj(low=NUMBER, high=NUMBER), "x-kubernetes-validations": [
    {"rule": "self.low <= self.high", "message": "low is above high"},
    {"rule": "self.high < 100", "messageExpression": "'got ' + string(self.high)",
     "reason": "FieldValueForbidden", "fieldPath": ".high"},
]}  # fmt: skip

KINDS = inside(
    size={**NUMBER, "minimum": 1, "maximum": 9, "multipleOf": 3},
    open={"type": "number", "minimum": 0, "exclusiveMinimum": True},
    word={**STRING, "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
    color={**STRING, "enum": ["blue", "red"]},
    when={**STRING, "format": "date-time"},
    on={"type": "boolean"},
    port={"x-kubernetes-int-or-string": True},
    list={"type": "array", "items": STRING, "minItems": 1, "maxItems": 2},
    set={"type": "array", "items": STRING, "x-kubernetes-list-type": "set"},
    map={
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
        "items": {**obj(name=STRING, value=NUMBER), "required": ["name"]},
    },
    free={"type": "object", "additionalProperties": NUMBER, "maxProperties": 2},
    deep=obj(er={**obj(est=NUMBER), "required": ["est"]}),
    nullable={**STRING, "nullable": True},
    either={**obj(a=STRING, b=STRING), "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
)  # fmt: skip
RULES = inside(
    ruled=RULED,
    size=NUMBER,
    fixed={**STRING, "x-kubernetes-validations": [
        {"rule": "self == oldSelf", "message": "it is fixed"}]},
)  # fmt: skip

TYPE, VALUE = "FieldValueTypeInvalid", "FieldValueInvalid"
VIOLATIONS: Any = {
    "text for a number": (
        {"size": "a"}, TYPE, "spec.size",
        r'Invalid value: "string": spec\.size in body must be of type integer: "string"',
    ),
    "a fraction for a whole number": (
        {"deep": {"er": {"est": 1.5}}}, TYPE, "spec.deep.er.est",
        r'Invalid value: "number": spec\.deep\.er\.est in body must be of type integer: "number"',
    ),
    "too small": (
        {"size": 0}, VALUE, "spec.size",
        r"Invalid value: 0: spec\.size in body should be greater than or equal to 1",
    ),
    "too large": (
        {"size": 12}, VALUE, "spec.size",
        r"Invalid value: 12: spec\.size in body should be less than or equal to 9",
    ),
    "not a multiple": (
        {"size": 4}, VALUE, "spec.size",
        r"Invalid value: 4: spec\.size in body should be a multiple of 3",
    ),
    "at the bound that is out": (
        {"open": 0}, VALUE, "spec.open",
        r"Invalid value: 0: spec\.open in body should be greater than 0",
    ),
    "too short": (
        {"word": "a"}, VALUE, "spec.word",
        r'Invalid value: "a": spec\.word in body should be at least 2 chars long',
    ),
    "too long": (
        {"word": "abcdef"}, "FieldValueTooLong", "spec.word",
        r"Too long: (may not be (more|longer) than 5( bytes)?|must have at most 5 bytes)",
    ),
    "no match": (
        {"word": "ABC"}, VALUE, "spec.word",
        r"Invalid value: \"ABC\": spec\.word in body should match '\^\[a-z\]\+\$'",
    ),
    "none of those": (
        {"color": "pink"}, "FieldValueNotSupported", "spec.color",
        r'Unsupported value: "pink": supported values: "blue", "red"',
    ),
    "no time": (
        {"when": "soon"}, TYPE, "spec.when",
        r'Invalid value: "soon": spec\.when in body must be of type date-time: "soon"',
    ),
    "text for a truth": (
        {"on": "yes"}, TYPE, "spec.on",
        r'Invalid value: "string": spec\.on in body must be of type boolean: "string"',
    ),
    "neither number nor text": (
        {"port": True}, TYPE, "spec.port",
        r'Invalid value: "boolean": spec\.port in body must be of type '
        '(int-or-string|integer,string): "boolean"',
    ),
    "an object for a list": (
        {"list": {}}, TYPE, "spec.list",
        r'Invalid value: "object": spec\.list in body must be of type array: "object"',
    ),
    "too few": (
        {"list": []}, VALUE, "spec.list",
        r"Invalid value: 0: spec\.list in body should have at least 1 items",
    ),
    "too many": (
        {"list": ["a", "b", "c"]}, "FieldValueTooMany", "spec.list",
        r"Too many: 3: must have at most 2 items",
    ),
    "a wrong item": (
        {"list": ["a", 1]}, TYPE, "spec.list[1]",
        r'Invalid value: "integer": spec\.list\[1\] in body must be of type string: "integer"',
    ),
    "twice in a set": (
        {"set": ["a", "b", "a"]}, "FieldValueDuplicate", "spec.set[2]",
        r'Duplicate value: "a"',
    ),
    "twice under a key": (
        {"map": [{"name": "a", "value": 1}, {"name": "a", "value": 2}]},
        "FieldValueDuplicate", "spec.map[1]",
        r'Duplicate value: map\[string\]interface ?\{\}\{"name":"a"\}',
    ),
    "without a key": (
        {"map": [{"value": 1}]}, "FieldValueRequired", "spec.map[0].name", "Required value",
    ),
    "a wrong value under a free key": (
        {"free": {"x": "y"}}, TYPE, "spec.free.x",
        r'Invalid value: "string": spec\.free\.x in body must be of type integer: "string"',
    ),
    "too many keys": (
        {"free": {"a": 1, "b": 2, "c": 3}}, "FieldValueTooMany", "spec.free",
        r"Too many: 3: must have at most 2 items",
    ),
    "deep down": (
        {"deep": {"er": {}}}, "FieldValueRequired", "spec.deep.er.est", "Required value",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def checked(api: Api) -> Iterator[str]:
    """Where things with the large schema are; nobody leaves one there."""
    group = f"t{secrets.token_hex(4)}.example.com"
    made = api.made(DEFINITIONS, definition(group, KINDS))
    path = f"/apis/{group}/v1/things"
    eventually(lambda: api("GET", path).code == 200)
    yield path
    api("DELETE", f"{DEFINITIONS}/{made['metadata']['name']}")


@pytest.fixture
def things(define: Define) -> str:
    """Where things with the large schema are, for this test alone."""
    return define(KINDS)


def thing(group_path: str, spec: Any = None, name: str = "x", **more: Any) -> Any:
    _, _, group, version, *_ = group_path.split("/")
    body = {"apiVersion": f"{group}/{version}", "kind": "Thing", "metadata": {"name": name}, **more}
    return body if spec is None else {**body, "spec": spec}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_a_violation(api: Api, checked: str, name: str) -> None:
    spec, reason, field, message = VIOLATIONS[name]
    group = checked.split("/")[2]
    said = api("POST", checked, thing(checked, spec))

    whole = rf'Thing\.{group} "x" is invalid: {re.escape(field)}: {message}'
    refused(said, 422, "Invalid", whole, [(reason, field)], name="x", group=group, kind="Thing")


def test_both_of_either(api: Api, checked: str) -> None:
    said = api("POST", checked, thing(checked, {"either": {"a": "x", "b": "y"}}))
    refused(said, 422, "Invalid", r'Thing\.\S+ "x" is invalid: \[?(<nil>|spec\.either): Invalid '
            r'value: "[a-z]*": "spec\.either" must validate one and only one schema \(oneOf\)\. '
            "Found 2 valid alternatives.*")  # fmt: skip


def test_what_is_legal(api: Api, things: str) -> None:
    spec = {
        "size": 3, "open": 0.5, "word": "abc", "color": "red", "when": "2026-01-01T00:00:00Z",
        "on": True, "port": "http", "list": ["a"], "set": ["a", "b"], "map": [{"name": "a"}],
        "free": {"a": 1}, "deep": {"er": {"est": 1}}, "nullable": None, "either": {"b": "y"},
    }  # fmt: skip
    assert api.made(things, thing(things, spec))["spec"] == spec
    assert api.patched(f"{things}/x", {"spec": {"port": 80}})["spec"]["port"] == 80


def test_several_violations_at_once(api: Api, things: str, group: str) -> None:
    said = api("POST", things, thing(things, {"size": 0, "color": "pink"}))
    refused(said, 422, "Invalid", rf'Thing\.{group} "x" is invalid: \[spec\..+, spec\..+\]')
    assert {c["field"] for c in said["details"]["causes"]} == {"spec.size", "spec.color"}


def test_rules(api: Api, define: Define, group: str) -> None:
    things = define(RULES)
    head = rf'Thing\.{group} "x" is invalid: '

    def told(spec: Any, message: str, *causes: Any) -> None:
        said = api("POST", things, thing(things, spec))
        refused(said, 422, "Invalid", head + message, [*causes])

    told({"ruled": {"low": 2, "high": 1}}, r"spec\.ruled: Invalid value: .*: low is above high",
         (VALUE, "spec.ruled"))  # fmt: skip
    told({"ruled": {"low": 1, "high": 200}}, r"spec\.ruled\.high: Forbidden: got 200",
         ("FieldValueForbidden", "spec.ruled.high"))  # fmt: skip
    told({"ruled": {"low": 2, "high": 1}, "size": "a"},
         r'\[spec\.size: Invalid value: "string": .+, <nil>: Invalid value: "null": some '
         "validation rules were not checked because the object was invalid; correct the existing "
         r"errors to complete validation\]", (TYPE, "spec.size"), (VALUE, "<nil>"))  # fmt: skip

    api.made(things, thing(things, {"fixed": "a", "ruled": {"low": 1, "high": 2}}))
    merge = "application/merge-patch+json"
    said = api("PATCH", f"{things}/x", {"spec": {"fixed": "b"}}, merge)
    refused(said, 422, "Invalid", head + r"spec\.fixed: Invalid value: .+: it is fixed",
            [(VALUE, "spec.fixed")])  # fmt: skip
    assert api.patched(f"{things}/x", {"spec": {"size": 3}})["spec"]["fixed"] == "a"


def test_what_was_wrong_before_may_stay(api: Api, define: Define, group: str) -> None:
    """Ratcheting: a field that does not change is not judged by a stricter schema."""
    things = define(inside(word=STRING, other=STRING))
    api.made(things, thing(things, {"word": "ABC", "other": "a"}))
    stricter = definition(group, inside(word={**STRING, "pattern": "^[a-z]+$"}, other=STRING))
    api.patched(f"{DEFINITIONS}/things.{group}", {"spec": stricter["spec"]})
    eventually(lambda: api("POST", things, thing(things, {"word": "B"}, "y")).code == 422)

    assert api.patched(f"{things}/x", {"spec": {"other": "b"}})["spec"]["word"] == "ABC"
    said = api("PATCH", f"{things}/x", {"spec": {"word": "DE"}}, "application/merge-patch+json")
    assert said.code == 422


DEFAULTS: Any = inside(
    a={**STRING, "default": "A"},
    deep={**obj(b={**NUMBER, "default": 7}), "default": {}},
    absent=obj(c={**STRING, "default": "C"}),
    list={"type": "array", "items": obj(d={"type": "boolean", "default": True})},
    none={**STRING, "nullable": True, "default": "N"},
    plain=STRING,
)
DEFAULTS["properties"]["spec"]["default"] = {}


@pytest.mark.parametrize(
    ("given", "completed"),
    [
        (None, {"a": "A", "deep": {"b": 7}, "none": "N"}),
        ({"a": "mine", "deep": {"b": 1}}, {"a": "mine", "deep": {"b": 1}, "none": "N"}),
        (
            {"absent": {}, "list": [{}, {"d": False}], "none": None},
            {
                "a": "A", "absent": {"c": "C"}, "deep": {"b": 7},
                "list": [{"d": True}, {"d": False}], "none": None,
            },
        ),
        ({"a": None, "plain": None}, {"a": "A", "deep": {"b": 7}, "none": "N"}),
    ],
)  # fmt: skip
def test_defaults(api: Api, define: Define, given: Any, completed: Any) -> None:
    things = define(DEFAULTS)
    assert api.made(things, thing(things, given))["spec"] == completed
    assert api.got(f"{things}/x")["spec"] == completed


def test_defaults_of_what_is_stored_already(api: Api, define: Define, group: str) -> None:
    things = define(inside(word=STRING))
    api.made(things, thing(things, {}))
    later = definition(group, inside(word={**STRING, "default": "later"}))
    api.patched(f"{DEFINITIONS}/things.{group}", {"spec": later["spec"]})

    eventually(lambda: api.got(f"{things}/x")["spec"] == {"word": "later"})
    assert api.got(things)["items"][0]["spec"] == {"word": "later"}


PRUNED = inside(
    known=STRING,
    kept={**obj(inner=obj(x=STRING)), "x-kubernetes-preserve-unknown-fields": True},
    list={"type": "array", "items": obj(a=STRING)},
    embedded={"type": "object", "x-kubernetes-embedded-resource": True,
              "x-kubernetes-preserve-unknown-fields": True},
)  # fmt: skip


def test_unknown_fields_go(api: Api, define: Define, group: str) -> None:
    things = define(PRUNED)
    spec = {
        "known": "a", "unknown": 1, "kept": {"any": 1, "inner": {"x": "y", "z": 1}},
        "list": [{"a": "b", "c": "d"}],
        "embedded": {"apiVersion": "v1", "kind": "Any", "metadata": {"name": "n"}, "more": 1},
    }  # fmt: skip
    body = thing(things, spec, more=1)
    made = api("POST", things, body, fieldValidation="Warn")

    assert made.code == 201
    assert made["spec"] == {
        "known": "a", "kept": {"any": 1, "inner": {"x": "y"}}, "list": [{"a": "b"}],
        "embedded": spec["embedded"],
    }  # fmt: skip
    assert "more" not in made.body
    warned = made.headers.get_list("warning")
    assert {w.partition(' - "')[2] for w in warned} == {
        rf'unknown field \"{field}\""'
        for field in ("more", "spec.kept.inner.z", "spec.list[0].c", "spec.unknown")
    }
    strict = api("POST", things, thing(things, {"unknown": 1}, "y"), fieldValidation="Strict")
    refused(strict, 400, "BadRequest",
            r'Thing in version "v1" cannot be handled as a Thing: '
            r'strict decoding error: unknown field "spec\.unknown"')  # fmt: skip
    quiet = api("POST", things, thing(things, {"unknown": 1}, "z"), fieldValidation="Ignore")
    assert (quiet.code, quiet.headers.get_list("warning")) == (201, [])


def test_a_schema_that_keeps_everything(api: Api, define: Define) -> None:
    things = define()
    body = thing(things, {"any": [1, {"a": None}]}, anything="goes")
    made = api.made(things, body)
    assert made["spec"] == {"any": [1, {"a": None}]}
    assert made["anything"] == "goes"


def test_several_versions(api: Api, group: str) -> None:
    schema = inside(word=STRING)
    body = definition(group, schema)
    versions = [
        {"name": name, "served": name != "v3", "storage": name == "v1",
         "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
         **({"deprecated": True, "deprecationWarning": "use v1"} if name == "v2beta1" else {})}
        for name in ("v2beta1", "v1", "v3")
    ]  # fmt: skip
    body["spec"]["versions"] = versions
    api.made(DEFINITIONS, body)
    v1, v2, v3 = (f"/apis/{group}/{v}/things" for v in ("v1", "v2beta1", "v3"))
    eventually(lambda: api("GET", v1).code == api("GET", v2).code == 200)

    api.made(v1, thing(v1, {"word": "a"}))
    old = api("GET", f"{v2}/x")
    assert old["apiVersion"] == f"{group}/v2beta1"
    assert old.headers["warning"] == '299 - "use v1"'
    api.patched(f"{v2}/x", {"spec": {"word": "b"}})
    api.made(v2, thing(v2, {"word": "c"}, "y"))
    found = api.got(v1)
    assert {(i["apiVersion"], i["spec"]["word"]) for i in found["items"]} == {
        (f"{group}/v1", "b"), (f"{group}/v1", "c")
    }  # fmt: skip
    assert api("GET", v3).code == 404
    described = api.got(f"/apis/{group}")
    assert [v["version"] for v in described["versions"]] == ["v1", "v2beta1"]
    assert described["preferredVersion"]["version"] == "v1"
    events = api.watched(v2, resourceVersion="0")
    assert {e["object"]["apiVersion"] for e in events} == {f"{group}/v2beta1"}
    assert api.got(f"{DEFINITIONS}/things.{group}")["status"]["storedVersions"] == ["v1"]


def test_status_and_scale(api: Api, define: Define, group: str) -> None:
    schema = obj(spec=obj(n=NUMBER), status=obj(n=NUMBER, pods=STRING))
    paths = {
        "specReplicasPath": ".spec.n",
        "statusReplicasPath": ".status.n",
        "labelSelectorPath": ".status.pods",
    }
    things = define(schema, subresources={"status": {}, "scale": paths})
    made = api.made(things, thing(things, {"n": 1}, status={"n": 9}))
    assert "status" not in made
    changed = api.patched(
        f"{things}/x/status", {"spec": {"n": 5}, "status": {"n": 1, "pods": "a=b"}}
    )
    assert (changed["spec"]["n"], changed["status"]["n"]) == (1, 1)
    assert changed["metadata"]["generation"] == 1

    scale = api.got(f"{things}/x/scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 1}, {"replicas": 1, "selector": "a=b"})
    scale["spec"]["replicas"] = 4
    assert api("PUT", f"{things}/x/scale", scale).code == 200
    assert api.patched(f"{things}/x/scale", {"spec": {"replicas": 6}})["spec"]["replicas"] == 6
    found = api.got(f"{things}/x")
    assert (found["spec"]["n"], found["status"]["n"]) == (6, 1)
    assert found["metadata"]["generation"] == 3

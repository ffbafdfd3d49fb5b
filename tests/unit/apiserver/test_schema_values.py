"""What a schema says against a value, word for word."""

from typing import Any

import pytest

from towpath.apiserver.schema import Problem, Schema
from towpath.apiserver.schema.patterns import flaw, matcher

INVALID, TYPE = "FieldValueInvalid", "FieldValueTypeInvalid"
UUID = "123e4567-e89b-42d3-a456-426614174000"


def said(schema: dict[str, Any], value: Any, old: Any = None) -> list[Problem]:
    whole = Schema({"type": "object", "properties": {"x": schema}})
    return whole.check({"x": value}, None if old is None else {"x": old})


def messages(schema: dict[str, Any], value: Any) -> list[tuple[str, str]]:
    return [(problem.reason, problem.message) for problem in said(schema, value)]


STRING, INTEGER = {"type": "string"}, {"type": "integer"}
INT_OR_STRING = {"x-kubernetes-int-or-string": True}


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (INTEGER, "a", 'Invalid value: "string": x in body must be of type integer: "string"'),
        (INTEGER, True, 'Invalid value: "boolean": x in body must be of type integer: "boolean"'),
        (INTEGER, 1.5, 'Invalid value: "number": x in body must be of type integer: "number"'),
        (STRING, 1, 'Invalid value: "integer": x in body must be of type string: "integer"'),
        (STRING, None, 'Invalid value: "null": x in body must be of type string: "null"'),
        (STRING, {}, 'Invalid value: "object": x in body must be of type string: "object"'),
        ({"type": "boolean"}, [], 'Invalid value: "array": x in body must be of type boolean: '),
        ({"type": "array"}, {}, 'Invalid value: "object": x in body must be of type array: "obj'),
        (INT_OR_STRING, 1.5, 'Invalid value: "number": x in body must be of type integer,string'),
        (
            {**STRING, "format": "date-time"},
            "today",
            'Invalid value: "today": x in body must be of type date-time: "today"',
        ),
    ],
)
def test_types(schema: dict[str, Any], value: Any, message: str) -> None:
    ((reason, found),) = messages(schema, value)
    assert reason == TYPE
    assert found.startswith(message)


@pytest.mark.parametrize(
    ("schema", "value", "reason", "message"),
    [
        (
            {**STRING, "enum": ["a", "b"]},
            "c",
            "FieldValueNotSupported",
            'Unsupported value: "c": supported values: "a", "b"',
        ),
        (
            {**INTEGER, "enum": [1, 2]},
            3,
            "FieldValueNotSupported",
            'Unsupported value: 3: supported values: "1", "2"',
        ),
        (
            {**STRING, "maxLength": 2},
            "abc",
            "FieldValueTooLong",
            "Too long: may not be more than 2 bytes",
        ),
        (
            {**STRING, "minLength": 2},
            "a",
            INVALID,
            'Invalid value: "a": x in body should be at least 2 chars long',
        ),
        (
            {**STRING, "pattern": "^[a-z]+$"},
            "A",
            INVALID,
            "Invalid value: \"A\": x in body should match '^[a-z]+$'",
        ),
        (
            {**INTEGER, "minimum": 1},
            0,
            INVALID,
            "Invalid value: 0: x in body should be greater than or equal to 1",
        ),
        (
            {**INTEGER, "maximum": 9, "exclusiveMaximum": True},
            9,
            INVALID,
            "Invalid value: 9: x in body should be less than 9",
        ),
        (
            {"type": "number", "minimum": 0.5, "exclusiveMinimum": True},
            0.5,
            INVALID,
            "Invalid value: 0.5: x in body should be greater than 0.5",
        ),
        (
            {**INTEGER, "multipleOf": 3},
            7,
            INVALID,
            "Invalid value: 7: x in body should be a multiple of 3",
        ),
        (
            {"type": "array", "items": STRING, "minItems": 1},
            [],
            INVALID,
            "Invalid value: 0: x in body should have at least 1 items",
        ),
        (
            {"type": "array", "items": STRING, "maxItems": 1},
            ["a", "b"],
            "FieldValueTooMany",
            "Too many: 2: must have at most 1 item",
        ),
        (
            {"type": "array", "items": STRING, "uniqueItems": True},
            ["a", "a"],
            INVALID,
            'Invalid value: "": x in body shouldn\'t contain duplicates',
        ),
        (
            {"type": "object", "minProperties": 1},
            {},
            INVALID,
            "Invalid value: 0: x in body should have at least 1 properties",
        ),
        (
            {"type": "object", "maxProperties": 1},
            {"a": 1, "b": 2},
            "FieldValueTooMany",
            "Too many: 2: must have at most 1 item",
        ),
    ],
)
def test_facts(schema: dict[str, Any], value: Any, reason: str, message: str) -> None:
    assert messages(schema, value) == [(reason, message)]


def test_what_is_required_is_told_where_it_belongs() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": STRING}}
    assert said(schema, {}) == [Problem("x.a", "FieldValueRequired", "Required value")]
    listed = {"type": "array", "items": schema}
    assert said(listed, [{"a": "b"}, {}])[0].field == "x[1].a"
    mapped = {"type": "object", "additionalProperties": schema}
    assert said(mapped, {"k": {}})[0].field == "x.k.a"


@pytest.mark.parametrize(
    ("schema", "value", "told"),
    [
        ({"anyOf": [{"minLength": 3}, {"pattern": "^b"}]}, "a", "at least one schema (anyOf)"),
        (
            {"oneOf": [{"minLength": 3}, {"pattern": "^b"}]},
            "bbbb",
            "one and only one schema (oneOf). Found 2 valid alternatives",
        ),
        (
            {"oneOf": [{"minLength": 3}, {"pattern": "^b"}]},
            "a",
            "one and only one schema (oneOf). Found none valid",
        ),
        ({"allOf": [{"minLength": 3}]}, "a", "all the schemas (allOf). None validated"),
    ],
)
def test_schemas_put_together(schema: dict[str, Any], value: Any, told: str) -> None:
    composed = said({**STRING, **schema}, value)
    assert f'Invalid value: "": "x" must validate {told}' in [p.message for p in composed]
    assert "<nil>" in [p.field for p in composed]


def test_what_must_not_hold() -> None:
    (problem,) = said({**STRING, "not": {"pattern": "^a"}}, "abc")
    assert problem.message == 'Invalid value: "": "x" must not validate the schema (not)'
    assert said({**STRING, "not": {"pattern": "^a"}}, "b") == []


def test_lists_that_are_sets_or_maps() -> None:
    listed = {"type": "array", "x-kubernetes-list-type": "set", "items": STRING}
    assert said(listed, ["a", "b", "a", "a"]) == [
        Problem("x[2]", "FieldValueDuplicate", 'Duplicate value: "a"')
    ]
    item = {"type": "object", "properties": {"a": STRING, "b": INTEGER}}
    keyed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["a", "b"],
        "items": item,
    }
    assert said(keyed, [{"a": "1", "b": 1}, {"a": "1"}, {"a": "1", "b": 1}]) == [
        Problem(
            "x[2]",
            "FieldValueDuplicate",
            'Duplicate value: map[string]interface {}{"a":"1", "b":1}',
        )
    ]


def test_resources_in_objects() -> None:
    schema = {
        "type": "object",
        "x-kubernetes-embedded-resource": True,
        "x-kubernetes-preserve-unknown-fields": True,
    }
    assert said(schema, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}) == []
    assert [p.field for p in said(schema, {})] == ["x.apiVersion", "x.kind"]
    assert [p.field for p in said(schema, {"apiVersion": "a/b/c", "kind": "9"})] == [
        "x.apiVersion",
        "x.kind",
    ]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("byte", ["", "YWJj"], ["a", "@@@@"]),
        ("cidr", ["10.0.0.0/8", "fd00::/8"], ["10.0.0.0", "x/8"]),
        ("creditcard", ["4111 1111 1111 1111"], ["4111111111111112", "1"]),
        ("date", ["2026-01-31"], ["2026-02-31", "20260131"]),
        (
            "date-time",
            ["2026-01-31T10:00:00Z", "2026-01-31t10:00:00.123+01:00"],
            ["2026-01-31", "2026-01-31T25:00:00Z", "2026-01-31T10:00:00"],
        ),
        (
            "duration",
            ["1h30m", "5 minutes", "-1.5s"],
            ["1", "h", "1 fortnight", "1" * 60_000, "1h" * 51],
        ),
        ("email", ["a@b.c", "Ann <a@b.c>"], ["a", "a@", "a b@c"]),
        ("hexcolor", ["#fff", "a1b2c3"], ["#ffff", "red"]),
        ("hostname", ["a", "a-b.example"], ["-a", "a..b", "a_b"]),
        ("ipv4", ["10.0.0.1"], ["10.0.0", "::1"]),
        ("ipv6", ["::1"], ["10.0.0.1", "g::"]),
        ("isbn", ["0-306-40615-2", "9780306406157"], ["0306406153", "1"]),
        ("isbn10", ["0306406152"], ["9780306406157"]),
        ("mac", ["01:23:45:67:89:ab"], ["01:23:45:67:89"]),
        ("password", ["anything"], []),
        ("rgbcolor", ["rgb(1, 2, 255)"], ["rgb(1,2,256)"]),
        ("ssn", ["111-22-3333"], ["11-22-3333"]),
        ("uri", ["https://a/b", "/a"], ["a b", "a"]),
        ("uuid", [UUID], ["x"]),
        ("uuid4", [UUID], [UUID.replace("42d3", "32d3")]),
        ("nobody-knows", ["anything"], []),
        ("int32", ["anything"], []),
    ],
)
def test_formats(name: str, good: list[str], bad: list[str]) -> None:
    schema = {**STRING, "format": name}
    for text in good:
        assert said(schema, text) == [], text
    for text in bad:
        assert [p.reason for p in said(schema, text)] == [TYPE], text


def test_a_bad_value_is_not_repeated_in_full() -> None:
    for value in ("x" * 100_000, [["y" * 50] * 50] * 500, {"a" * 3000: 1}):
        for problem in said({"type": "object", "maxProperties": 0, "enum": [1]}, value):
            assert len(problem.message) < 6000


def test_there_are_not_more_problems_than_anybody_reads() -> None:
    assert len(said({"type": "array", "items": STRING}, list(range(5000)))) == 100


def test_what_stays_as_it_was_is_not_told_again() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {**STRING, "maxLength": 1}, "b": {**STRING, "maxLength": 1}},
    }
    assert said(schema, {"a": "long"}, {"a": "long"}) == []
    assert [p.field for p in said(schema, {"a": "long", "b": "long"}, {"a": "long"})] == ["x.b"]
    keyed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["a"],
        "items": {
            "type": "object",
            "properties": {"a": STRING, "b": {**INTEGER, "maximum": 1}},
        },
    }
    old = [{"a": "1", "b": 5}, {"a": "2", "b": 1}]
    assert said(keyed, [{"a": "2", "b": 0}, {"a": "1", "b": 5}], old) == []
    assert [p.field for p in said(keyed, [{"a": "1", "b": 6}], old)] == ["x[0].b"]
    flag = {"type": "boolean"}
    assert said(flag, 1, True)[0].reason == TYPE, "1 is not true"


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        ("^[a-z]$", "a", "a\n"),
        ("b", "abc", "ac"),
        (r"^\d+\z", "12", "1\n"),
        (r"^[[:alpha:]]+$", "abc", "a1"),
        (r"^\pL+$", "é", "1"),
        (r"^(?i)abc$", "ABC", "abd"),
        (r"^(?P<name>a)(?:b)?$", "ab", "abb"),
        (r"^[$]$", "$", ""),
        (r"^(a+)+$", "a" * 500, "a" * 500 + "b"),
        (r"^(a|a)*$", "a" * 40, "a" * 40 + "b"),
        (r"^a.*b.*c.*d$", "a" * 4000 + "bcd", "ab" * 4000),
    ],
)
def test_patterns_are_gos(pattern: str, good: str, bad: str) -> None:
    matches = matcher(pattern)
    assert matches is not None
    assert matches(good)
    assert not matches(bad)


@pytest.mark.parametrize("pattern", ["(", "[a", "a**", "(?=a)", r"(a)\1", "a{1001}", "(?<!a)b"])
def test_what_is_no_pattern_for_go(pattern: str) -> None:
    assert flaw(pattern).startswith("error parsing regexp: ")
    assert matcher(pattern) is None
    assert said({**STRING, "pattern": pattern}, "a")[0].reason == INVALID

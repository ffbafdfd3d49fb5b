"""Rules in CEL: what holds, what is said, what is refused, and how long it may take."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.apiserver.schema import Problem, Schema, flaws
from towpath.apiserver.schema.expressions import LONGEST, escaped

PROPERTIES: dict[str, Any] = {
    "a": {"type": "integer"},
    "b": {"type": "integer"},
    "text": {"type": "string"},
    "ratio": {"type": "number"},
    "when": {"type": "string", "format": "date-time"},
    "took": {"type": "string", "format": "duration"},
    "port": {"x-kubernetes-int-or-string": True},
    "list": {"type": "array", "items": {"type": "string"}},
    "numbers": {"type": "array", "items": {"type": "integer"}},
    "map": {"type": "object", "additionalProperties": {"type": "string"}},
    "x-y.z/w": {"type": "string"},
    "namespace": {"type": "string"},
    "a__b": {"type": "string"},
    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}


def schema(*rules: str | dict[str, Any]) -> dict[str, Any]:
    told = [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]
    spec = {"type": "object", "properties": PROPERTIES, "x-kubernetes-validations": told}
    return {"type": "object", "properties": {"spec": spec}}


def broken(rule: str | dict[str, Any], spec: Any, old: Any = None) -> list[Problem]:
    document = schema(rule)
    assert flaws(document, "") == []
    return Schema(document).check({"spec": spec}, None if old is None else {"spec": old})


@pytest.mark.parametrize(
    ("rule", "spec"),
    [
        ("self.a <= self.b", {"a": 1, "b": 1}),
        ("!has(self.a) || self.a > 0", {}),
        ("self.ratio > 0.5", {"ratio": 1}),
        ("self.ratio + 0.5 == 1.5", {"ratio": 1}),
        ("self.when < timestamp('2030-01-01T00:00:00Z')", {"when": "2026-01-01T00:00:00Z"}),
        ("self.took < duration('1h')", {"took": "30m"}),
        ("type(self.port) == int ? self.port > 0 : self.port.endsWith('%')", {"port": "5%"}),
        ("type(self.port) == int ? self.port > 0 : self.port.endsWith('%')", {"port": 5}),
        ("self.list.all(x, x.startsWith('a'))", {"list": ["a", "ab"]}),
        ("self.list.all(x, self.list.exists_one(y, y == x))", {"list": ["a", "b"]}),
        ("self.list.isSorted()", {"list": ["a", "b"]}),
        ("self.numbers.sum() == 6 && self.numbers.max() == 3", {"numbers": [1, 2, 3]}),
        ("self.numbers.min() == 1 && self.numbers.indexOf(3) == 2", {"numbers": [1, 2, 3]}),
        ("self.list.lastIndexOf('a') == 2", {"list": ["a", "b", "a"]}),
        ("'k' in self.map && self.map['k'] == 'v'", {"map": {"k": "v"}}),
        ("self.map.all(k, k.size() < 3)", {"map": {"k": "v"}}),
        ("self.x__dash__y__dot__z__slash__w == 'ok'", {"x-y.z/w": "ok"}),
        ("self.__namespace__ == 'ok'", {"namespace": "ok"}),
        ("self.a__underscores__b == 'ok'", {"a__b": "ok"}),
        ("size(self.text) == 2 && self.text.size() == 2", {"text": "éé"}),
        ("self.text.matches('^[a-z]+$')", {"text": "abc"}),
        ("self.text.find('[0-9]+') == '12'", {"text": "ab12c"}),
        ("self.text.findAll('[0-9]') == ['1', '2']", {"text": "1a2"}),
        ("self.text.lowerAscii() == 'é a' && self.text.upperAscii() == 'é A'", {"text": "é A"}),
        ("self.text.replace('a', 'b').split(',').join('-') == 'b-b'", {"text": "a,a"}),
        ("self.text.substring(1, 3) == 'bc' && self.text.charAt(0) == 'a'", {"text": "abcd"}),
        ("self.text.trim() == 'a' && self.text.indexOf('a') == 1", {"text": " a "}),
        ("string(self.a) + string(true) == '1true'", {"a": 1}),
        ("'%s has %d'.format([self.text, self.a]) == 'x has 1'", {"text": "x", "a": 1}),
        ("isQuantity(self.text) && quantity(self.text).isLessThan(quantity('1G'))", {"text": "1"}),
        ("quantity('1Gi') == quantity('1024Mi')", {}),
        ("quantity('1k').add(quantity('24')).asInteger() == self.a", {"a": 1024}),
        ("quantity('500m').compareTo(quantity('1')) == -1", {}),
        ("!isQuantity('much')", {}),
        ("url(self.text).getHost() == 'a:80'", {"text": "http://a:80/c"}),
        ("url(self.text).getPort() == '80'", {"text": "http://a:80/c"}),
        ("isURL(self.text) && url(self.text).getQuery()['q'] == ['1']", {"text": "http://a/?q=1"}),
        ("!isURL('not one')", {}),
        ("ip(self.text).family() == 4 && ip(self.text).isLoopback()", {"text": "127.0.0.1"}),
        ("ip.isCanonical('::1') && !ip.isCanonical('::0001') && !isIP('x')", {}),
        ("cidr('10.0.0.0/8').containsIP(self.text)", {"text": "10.1.2.3"}),
        ("cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !isCIDR('10.0.0.0')", {}),
        ("sets.contains(self.list, ['a']) && !sets.intersects(self.list, ['b'])", {"list": ["a"]}),
        ("sets.equivalent(self.list, ['b', 'a'])", {"list": ["a", "b"]}),
        ("self.?a.orValue(7) == 7 && !self.?a.hasValue()", {}),
        ("self.?map[?'k'].orValue('none') == 'v'", {"map": {"k": "v"}}),
        ("self.?map.k.orValue('none') == 'none'", {}),
        ("self.?a.optMap(v, v + 1).orValue(0) == 2", {"a": 1}),
    ],
)  # fmt: skip
def test_what_rules_can_say(rule: str, spec: dict[str, Any]) -> None:
    assert broken(rule, spec) == []
    assert len(broken(f"!({rule})", spec)) == 1, "and it is not true by accident"


def test_what_is_told() -> None:
    (problem,) = broken("self.a > 1", {"a": 1})
    expected = 'Invalid value: "object": failed rule: self.a > 1'
    assert problem == Problem("spec", "FieldValueInvalid", expected)
    (problem,) = broken({"rule": "self.a > 1", "message": "more!"}, {"a": 1})
    assert problem.message == 'Invalid value: "object": more!'
    telling = {"rule": "self.a > 1", "messageExpression": "'not ' + string(self.a)"}
    assert broken(telling, {"a": 1})[0].message == 'Invalid value: "object": not 1'
    failing = {**telling, "messageExpression": "self.text", "message": "more!"}
    assert broken(failing, {"a": 1})[0].message == 'Invalid value: "object": more!'


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("FieldValueInvalid", 'Invalid value: "object": no'),
        ("FieldValueForbidden", "Forbidden: no"),
        ("FieldValueRequired", "Required value: no"),
        ("FieldValueDuplicate", 'Duplicate value: "object"'),
    ],
)
def test_reason_and_field(reason: str, message: str) -> None:
    rule = {"rule": "false", "message": "no", "reason": reason, "fieldPath": ".map['k.l']"}
    assert broken(rule, {}) == [Problem("spec.map[k.l]", reason, message)]


@pytest.mark.parametrize(
    ("rule", "spec", "told"),
    [
        ("self.a > 1", {}, "no such key: a evaluating rule: self.a > 1"),
        ("self.list[5] == 'a'", {"list": []}, "index out of bounds: 5 evaluating rule"),
        ("1 / self.a == 1", {"a": 0}, "division by zero evaluating rule"),
        ("self.a + 9223372036854775807 > 0", {"a": 1}, "integer overflow evaluating rule"),
        ("self.port > 1", {"port": "a"}, "'no such overload': call arguments did not match"),
        ("self.a", {"a": 1}, "must evaluate to a bool"),
        ("quantity(self.text).sign() > 0", {"text": "much"}, "quantities must match"),
        ("self.text.find('(') == ''", {"text": "a"}, "error parsing regexp"),
    ],
)
def test_a_rule_that_cannot_run_is_a_problem(rule: str, spec: dict[str, Any], told: str) -> None:
    (problem,) = broken(rule, spec)
    assert problem.field == "spec"
    assert told in problem.message


def test_rules_about_changes() -> None:
    rule = {"rule": "self.a >= oldSelf.a", "message": "only up"}
    assert broken(rule, {"a": 1}) == [], "nothing was there before"
    assert broken(rule, {"a": 2}, {"a": 1}) == []
    assert broken(rule, {"a": 1}, {"a": 2})[0].message == 'Invalid value: "object": only up'
    either = {"rule": "oldSelf.hasValue() ? oldSelf.value().a == self.a : self.a == 0"}
    optional = {**either, "optionalOldSelf": True}
    assert broken(optional, {"a": 0}) == []
    assert len(broken(optional, {"a": 1})) == 1
    assert broken(optional, {"a": 1}, {"a": 1}) == []
    chained = {"rule": "oldSelf.?a.orValue(5) == self.a", "optionalOldSelf": True}
    assert broken(chained, {"a": 5}) == []


def test_what_stays_as_it_was_is_not_told_again() -> None:
    assert broken("self.a > 1", {"a": 1}, {"a": 1}) == []
    assert len(broken("self.a > 1", {"a": 1, "b": 2}, {"a": 1})) == 1


def test_rules_wait_for_what_they_stand_on() -> None:
    found = Schema(schema("self.a > 1")).check({"spec": {"a": "x"}})
    assert [p.reason for p in found] == ["FieldValueTypeInvalid", "FieldValueInvalid"]
    assert "some validation rules were not checked" in found[1].message


def test_rules_in_lists_and_maps() -> None:
    item = {
        "type": "object",
        "properties": {"k": {"type": "string"}, "n": {"type": "integer"}},
        "x-kubernetes-validations": [{"rule": "self.n >= oldSelf.n"}],
    }
    listed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "items": {**item, "required": ["k"]},
    }
    document = {
        "type": "object",
        "properties": {"l": listed, "m": {"type": "object", "additionalProperties": item}},
    }
    assert flaws(document, "") == []
    whole = Schema(document)
    old = {"l": [{"k": "a", "n": 5}, {"k": "b", "n": 1}], "m": {"x": {"n": 3}}}
    new = {"l": [{"k": "b", "n": 2}, {"k": "a", "n": 4}, {"k": "c", "n": 0}], "m": {"x": {"n": 2}}}
    assert [p.field for p in whole.check(new, old)] == ["l[1]", "m[x]"]
    assert whole.check(new) == []


def test_rules_see_what_the_schema_knows() -> None:
    rule = {"rule": "self.metadata.name == 'a' && self.kind == 'K' && self.spec.free == {}"}
    document = schema("true")
    document["x-kubernetes-validations"] = [rule]
    assert flaws(document, "") == []
    obj = {"kind": "K", "metadata": {"name": "a", "labels": {}}, "spec": {"free": {"any": 1}}}
    assert Schema(document).check(obj) == []


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("self.a +", "compilation failed: ERROR: <input>:1:9: Syntax error"),
        ("self.a.foo()", "1:8: undeclared reference to 'foo' (in container '')"),
        ("foo(self.a)", "1:1: undeclared reference to 'foo'"),
        ("self.a > 1 &&\n  b", "2:3: undeclared reference to 'b'"),
        ("self.list.all(x, y == x)", "undeclared reference to 'y'"),
        ("self.nope > 1", "1:5: undefined field 'nope'"),
        ("self.map.anything == 'a' && self.nope", "undefined field 'nope'"),
        ("__size(self.text) > 1", "undeclared reference to '__size'"),
        ("self.list.map(a, b, a == b) == []", "undeclared reference to 'b'"),
        ("'a' == 'b", "compilation failed"),
        ("true || " * LONGEST + "true", "longer than 5000 characters"),
    ],
)
def test_what_no_definition_may_say(rule: str, told: str) -> None:
    (problem,) = flaws(schema({"rule": rule, "message": "m"}), "s")
    assert problem.field == "s.properties[spec].x-kubernetes-validations[0].rule"
    assert told in problem.message


@pytest.mark.parametrize(
    ("rule", "field", "told"),
    [
        ({"rule": " "}, ".rule", "Required value: rule is not specified"),
        ({"rule": "true", "message": " "}, ".message", "must be non-empty if specified"),
        ({"rule": "true", "message": "a\nb"}, ".message", "must not contain line breaks"),
        ({"rule": "true &&\ntrue"}, ".message", "must be specified if rule contains line breaks"),
        ({"rule": "true", "messageExpression": " "}, ".messageExpression", "must be non-empty"),
        ({"rule": "true", "messageExpression": "nope"}, ".rule", "undeclared reference"),
        ({"rule": "true", "reason": "Because"}, ".reason", 'Unsupported value: "Because"'),
        ({"rule": "true", "fieldPath": ".nope"}, ".fieldPath", "does not refer to a valid field"),
        ({"rule": "true", "fieldPath": "a"}, ".fieldPath", "expected [ or . but got: a"),
        ({"rule": "true", "optionalOldSelf": True}, ".optionalOldSelf", "oldSelf is not used"),
        (5, "", "must be a rule"),
    ],
)
def test_what_rules_must_have(rule: Any, field: str, told: str) -> None:
    (problem,) = flaws(schema(rule), "s")
    assert problem.field == f"s.properties[spec].x-kubernetes-validations[0]{field}"
    assert told in problem.message


@pytest.mark.parametrize(
    "rule",
    [
        "self.numbers.all(a, self.numbers.all(b, self.numbers.all(c, a + b + c >= 0)))",
        "self.numbers.map(a, a).map(a, a).size() >= 0",
        "self.numbers.map(a, self.numbers.filter(b, b > a)).size() >= 0",
        "self.list" + ".map(a, a + a)" * 40 + ".size() > 0",
        "self.list.all(a, self.list.join(a).size() > 0)",
        "self.text.replace('', self.text).replace('', self.text).size() > 0",
        "self.numbers.all(a, self.text.matches('(x+x+)+y') || true)",
        "self.text.matches('(x+x+)+y') || true",
        "self.text.find('(x+x+)+y') == ''",
    ],
)
def test_no_rule_takes_long(rule: str) -> None:
    spec = {"numbers": list(range(20_000)), "list": ["x" * 9] * 9_000, "text": "x" * 40_000}
    start = time.monotonic()
    assert len(broken(rule, spec)) <= 1
    assert time.monotonic() - start < 5, "in a second at most, on a machine that is not busy"


@pytest.mark.parametrize(
    ("rule", "length"),
    [
        ("[self.text.split('')].all(l, l.map(x, l.map(y, y)).size() > 0)", 1500),
        ("[self.text.split('')].all(l, l.all(x, l.all(y, x == y || true)))", 3000),
        ("self.text.findAll('a').map(x, self.text).map(z, z + z).size() > 0", 3000),
        ("[self.text.replace('a', self.text)].all(q, q.split('').map(x, x).size() > 0)", 900),
        ("[self.text.split('').join(self.text)].all(q, q.split('').map(x, x) != [])", 900),
        ("self.text.split('').all(x, self.text.size() > 0)", 300_000),
        ("'" + "a" * 4000 + "'.split('').map(x, self.text).map(x, x).size() > 0", 1),
        ("[" + "+".join(["self.text"] * 400) + "].all(a, a.size() > 0)", 300_000),
        ("[self.text].all(a, [" + "+".join("a" * 999) + "].all(b, (b + b) != ''))", 30_000),
        ("[self.text.replace('a', self.text)]" + ".map(a, a + a)" * 12 + ".size() > 0", 1000),
        ("self.text.split('')" + ".map(a, [a])" * 300 + ".size() > 0", 3000),
        ("[1].all(a, " * 90 + "self.text.split('').size() > 0" + ")" * 90, 100_000),
    ],
)
def test_what_is_made_of_texts_is_counted(rule: str, length: int) -> None:
    start = time.monotonic()
    (problem,) = broken(rule, {"text": "a" * length})
    assert "cost budget" in problem.message
    assert time.monotonic() - start < 5, "it is not run at all"


def test_texts_that_would_be_too_long_are_not_made() -> None:
    spec = {"text": "a" * 20_000}
    for rule in (
        "self.text.split('').join(self.text) == ''",
        "self.text.replace('a', self.text) == ''",
        f"'{'%s' * 60}'.format([{','.join(['self.text'] * 60)}]) == ''",
    ):
        (problem,) = broken(rule, spec)
        assert "the text is too long" in problem.message


def test_rules_have_room_for_what_is_usual() -> None:
    parts = "self.text.replace('_', '-').split('.').all(x, x.size() <= 63 && x + '.' != '')"
    assert broken(parts, {"text": ".".join(["abc"] * 63)}) == []
    rule = "self.list.all(x, self.list.exists_one(y, y == x))"
    assert broken(rule, {"list": [str(i) for i in range(500)]}) == []
    once = "self.list.map(x, x + '/' + x).size() == 1000"
    assert broken(once, {"list": [str(i) for i in range(1000)]}) == []


@given(st.text(st.sampled_from("self.a?b[]()'\"+-*/%<>=!&|{},:0 1\n#é"), max_size=40))
def test_any_text_is_a_rule_or_refused(text: str) -> None:
    document = schema({"rule": text, "message": "m"})
    if not flaws(document, ""):
        Schema(document).check({"spec": {"a": 1, "b": 2, "text": "é"}})


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("plain", "plain"),
        ("a-b", "a__dash__b"),
        ("a.b/c", "a__dot__b__slash__c"),
        ("a__b", "a__underscores__b"),
        ("true", "__true__"),
        ("$ref", None),
        ("1a", None),
    ],
)
def test_names_in_expressions(name: str, written: str | None) -> None:
    assert escaped(name) == written


def test_a_rule_that_nothing_satisfies_but_a_change() -> None:
    rule = "self.a > oldSelf.a"
    assert broken(rule, {"a": 2}, {"a": 1}) == []
    assert len(broken(rule, {"a": 1}, {"a": 1})) == 1, "what stays as it was is no excuse here"

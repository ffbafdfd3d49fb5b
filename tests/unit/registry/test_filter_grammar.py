"""The language of filterQuery: what it accepts, what it refuses and where, and its bounds."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from towpath.errors import InvalidError, Reason
from towpath.registry.filters import And, Comparison, Expression, Or, parse
from towpath.registry.filters.grammar import DEPTH, LENGTH, TERMS, VALUES

A, B, C = (Comparison(name, "=", 1) for name in "abc")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a=1", A),
        ("  a  =  1  ", A),
        ("(((a = 1)))", A),
        ("a=1 AND b=1 AND c=1", And((A, B, C))),
        ("a=1 OR b=1 AND c=1", Or((A, And((B, C))))),
        ("(a=1 OR b=1) AND c=1", And((Or((A, B)), C))),
        ("a=1 and b=1 Or c=1", Or((And((A, B)), C))),
        ("a=1 -- the first\n AND b=1 --", And((A, B))),
        ("a=1--b=1", A),
        ("a <> 1", Comparison("a", "!=", 1)),
        ("a != 1", Comparison("a", "!=", 1)),
        ("a>=1", Comparison("a", ">=", 1)),
        ("a like '%x'", Comparison("a", "LIKE", "%x")),
        ("a iLike 'x_'", Comparison("a", "ILIKE", "x_")),
        ("a in (1, 2.5, 'x', TRUE)", Comparison("a", "IN", (1, 2.5, "x", True))),
        ("a IN()", Comparison("a", "IN", ())),
        ("a IN ( )", Comparison("a", "IN", ())),
        ("a = 'it''", None),
        ("a = 'it\\'s'", Comparison("a", "=", "it's")),
        ('a = "it\'s"', Comparison("a", "=", "it's")),
        ('a = "say \\"x\\""', Comparison("a", "=", 'say "x"')),
        ("a = '\"quoted\"'", Comparison("a", "=", '"quoted"')),
        (r"a = 'back\\slash'", Comparison("a", "=", "back\\slash")),
        (r"a LIKE '100\%'", Comparison("a", "LIKE", "100\\%")),
        ("a = ''", Comparison("a", "=", "")),
        ("a = 'a AND b = \n1 -- no comment'", Comparison("a", "=", "a AND b = \n1 -- no comment")),
        ("a = -12", Comparison("a", "=", -12)),
        ("a = +12", Comparison("a", "=", 12)),
        ("a = 1.5e-3", Comparison("a", "=", 0.0015)),
        ("a = 1E3", Comparison("a", "=", 1000.0)),
        ("a = .5", Comparison("a", "=", 0.5)),
        ("a = 5.", Comparison("a", "=", 5.0)),
        ("a = 9223372036854775807", Comparison("a", "=", 2**63 - 1)),
        ("a = true", Comparison("a", "=", True)),
        ("a = FALSE", Comparison("a", "=", False)),
        ("a.b.c = 1", Comparison("a.b.c", "=", 1)),
        ("a.5 = 1", Comparison("a.5", "=", 1)),
        ("`a-b c` = 1", Comparison("a-b c", "=", 1)),
        ("`mlflow.source.type` = 1", Comparison("mlflow.source.type", "=", 1)),
        ("a.`b-c`.d = 1", Comparison("a.b-c.d", "=", 1)),
        (r"`a\`b` = 1", Comparison("a`b", "=", 1)),
        ("a.int_value = 1", Comparison("a", "=", 1, "int_value")),
        ("a.b.string_value = 'x'", Comparison("a.b", "=", "x", "string_value")),
        ("`a-b`.double_value = 1", Comparison("a-b", "=", 1, "double_value")),
        ("a.bool_value = true", Comparison("a", "=", True, "bool_value")),
        ("`a.int_value` = 1", Comparison("a.int_value", "=", 1)),
        ("int_value = 1", Comparison("int_value", "=", 1)),
        ("and = 1 and or = 1", And((Comparison("and", "=", 1), Comparison("or", "=", 1)))),
        ("größe = 1", Comparison("größe", "=", 1)),
    ],
)
def test_what_a_filter_means(text: str, found: Expression | None) -> None:
    if found is None:
        with pytest.raises(InvalidError):
            parse(text)
        return
    assert repr(parse(text)) == repr(found)  # which tells 1 from 1.0 and from True


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "-- nothing", " -- a=1\n --"])
def test_a_blank_filter_is_none(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "told", "hint"),
    [
        ("name = fraud", "at character 8: expected a value, found fraud", "must be quoted"),
        ("name = s3://x", "at character 8: expected a value, found s3", "must be quoted"),
        ("a == 1", "at character 4: expected a value, found =", "Equality is one ="),
        ("a = ", "at character 5: expected a value, found the end", "must be quoted"),
        ("a 1", "at character 3: expected one of = != <> > < >= <= LIKE ILIKE IN, found 1", ""),
        ("a NOT IN (1)", "at character 3: expected one of", "use !="),
        ("a LIKE 1", "at character 8: expected a quoted pattern after LIKE, found 1", "quoted"),
        ("a ILIKE (1)", "at character 9: expected a quoted pattern after ILIKE", "quoted"),
        ("a IN 1", "at character 6: expected ( after IN, found 1", "('a', 'b')"),
        ("a IN (1", "at character 8: expected , or ), found the end", "('a', 'b')"),
        ("a IN (1,)", "at character 9: expected a value, found )", "quoted"),
        ("a IN (,1)", "at character 7: expected a value, found ,", "quoted"),
        ("a IN (1 2)", "at character 9: expected , or ), found 2", "('a', 'b')"),
        ("a IN ((1))", "at character 7: expected a value, found (", "quoted"),
        ("a = (1)", "at character 5: expected a value, found (", "quoted"),
        ("(a = 1", "at character 7: expected AND, OR or ), found the end", "looks like"),
        ("a = 1)", "at character 6: expected AND, OR or the end, found )", "looks like"),
        ("a = 1 b = 2", "at character 7: expected AND, OR or the end, found b", "looks like"),
        ("a = 1 AND", "at character 10: expected a property or (, found the end", "looks like"),
        ("OR a = 1", "at character 4: expected one of", "looks like"),
        ("1 = 1", "at character 1: expected a property or (, found 1", "looks like"),
        ("'a' = 1", "at character 1: expected a property or (, found 'a'", "looks like"),
        ("()", "at character 2: expected a property or (, found )", "looks like"),
        ("a-b = 1", "at character 2: '-' is out of place", "backquotes"),
        ("a = 1; b", "at character 6: ';' is out of place", "backquotes"),
        ("a! = 1", "at character 2: '!' is out of place", "backquotes"),
        ("a = 'x", "at character 5: a text begins with ' and does not end", "Close it with '"),
        ("a = 'x\\'", "at character 5: a text begins with ' and does not end", "Close it with '"),
        ("`a = 1", "at character 1: a property begins with ` and does not end", "Close it with `"),
        ("`` = 1", "at character 1: a property begins with ` and does not end", "`"),
        ("a = 5x", "at character 5: 5x is no number", "must be quoted"),
        ("a = 1.2.3", "at character 8: expected AND, OR or the end, found .3", ""),
        ("a = 9223372036854775808", "at character 5: the integer does not fit 64 bits", "exponent"),
        ("a = 1e999", "at character 5: the number is too large", "1.8e308"),
    ],
)
def test_a_syntax_error_tells_where_what_and_how(text: str, told: str, hint: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse(text)
    error = caught.value
    assert error.message.startswith(f"invalid filterQuery: {told}")
    assert error.message.endswith(": bad request")
    assert hint in error.hint
    assert error.reason is Reason.BAD_REQUEST


@pytest.mark.parametrize(
    ("fits", "does_not", "told"),
    [
        ("(" * DEPTH + "a=1" + ")" * DEPTH, "(" * 5000 + "a=1", "parentheses within each other"),
        (" OR ".join(["a=1"] * TERMS), " OR ".join(["a=1"] * (TERMS + 1)), "comparisons"),
        (f"a IN ({','.join('1' * VALUES)})", f"a IN ({','.join('1' * (VALUES + 1))})", "values"),
        ("a=1" + " " * (LENGTH - 3), "a=1" + " " * (LENGTH - 2), "longer than"),
    ],
)
def test_the_size_is_bounded(fits: str, does_not: str, told: str) -> None:
    assert parse(fits) is not None
    with pytest.raises(InvalidError, match=told):
        parse(does_not)


@pytest.mark.parametrize("text", ["a = '\0'", "a = '\ud800'"])
def test_what_is_no_character_is_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="no character"):
        parse(text)


LETTERS = st.characters(codec="utf-8", exclude_characters="\0")
NAMES = st.one_of(
    st.sampled_from(
        ["a", "a.b", "int_value", "a.int_value", "and", "IN", "a b", "`", "\\", "5", "."]
    ),
    st.text(LETTERS, min_size=1, max_size=8),
)
PLAIN = st.one_of(
    st.text(LETTERS, max_size=8),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
FORCED = st.sampled_from([None, "string_value", "double_value", "int_value", "bool_value"])
COMPARISONS = st.one_of(
    st.builds(Comparison, NAMES, st.sampled_from(["=", "!=", ">", "<", ">=", "<="]), PLAIN, FORCED),
    st.builds(Comparison, NAMES, st.sampled_from(["LIKE", "ILIKE"]), st.text(LETTERS), FORCED),
    st.builds(Comparison, NAMES, st.just("IN"), st.lists(PLAIN, max_size=4).map(tuple), FORCED),
)


def joined(terms: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    some = st.lists(terms, min_size=2, max_size=4).map(tuple)
    return st.builds(And, some) | st.builds(Or, some)


@given(st.recursive(COMPARISONS, joined, max_leaves=12))
def test_an_expression_is_read_back_from_its_text(expression: Expression) -> None:
    assert repr(parse(str(expression))) == repr(expression)


PIECES = st.sampled_from(
    [
        *("a", "b.", "`c-d`", ".int_value", "true", "IN", "AND", "or", "NOT", "LIKE", "ilike"),
        *("=", "==", "!=", "<>", "<", ">=", "(", ")", ",", ";", "*", "."),
        *("'x'", '"y"', "'", '"', "`", "\\", "--", "\n", "\t", "é", "😀"),
        *("1", "-2", "1.5e3", "1e999", "1x", "99999999999999999999"),
    ]
)


@settings(max_examples=600)
@given(st.lists(PIECES, max_size=14).map(" ".join) | st.lists(PIECES).map("".join) | st.text())
@example("a='" + "\\" * 5000)
@example("`" * 9999)
@example("a" + "." * 9999)
@example("9" * 9999)
@example("a IN (" + "1," * 999)
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    try:
        found = parse(text)
    except InvalidError:  # and nothing else
        return
    assert found is None or repr(parse(str(found))) == repr(found)

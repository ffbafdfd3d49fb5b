"""Golden requests: numbers are compared as numbers, and what is no answer never passes."""

import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.errors import InvalidError
from towpath.golden import Case, Expected, compare, parse

REQUEST = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [1.0]}]}


def case(*values: Any, datatype: str | None = "FP32", **bounds: float) -> Case:
    return Case("c", REQUEST, (Expected("y", values, datatype),), **bounds)


def answer(*values: Any, **fields: Any) -> dict[str, Any]:
    output = {"name": "y", "datatype": "FP32", "shape": [len(values)], "data": list(values)}
    return {"model_name": "m", "outputs": [output | fields]}


def file(**fields: Any) -> bytes:
    one = {"request": REQUEST, "expected": {"outputs": [{"name": "y", "data": [1, 2]}]}}
    return orjson.dumps({"cases": [one | fields]})


finite32 = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(finite32, max_size=6))
def test_the_same_floats_told_by_another_writer_are_the_same(values: list[float]) -> None:
    short = orjson.loads(orjson.dumps(np.array(values, "f4"), option=orjson.OPT_SERIALIZE_NUMPY))

    assert compare(case(*values), answer(*short)) == ()
    assert compare(case(*short), answer(*values)) == ()


@given(
    st.lists(st.tuples(finite32, finite32), min_size=1, max_size=6),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_equal_exactly_when_every_element_is_within_tolerance(
    pairs: list[tuple[float, float]], rtol: float, atol: float
) -> None:
    want, got = zip(*pairs, strict=True)

    differences = compare(case(*want, rtol=rtol, atol=atol), answer(*got))

    apart = [i for i, (w, g) in enumerate(pairs) if abs(w - g) > atol + rtol * abs(w)]
    assert len(differences) == len(apart)
    assert all(f"output 'y'[{i}]" in text for i, text in zip(apart, differences, strict=True))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["outputs", "name", "data", "shape", "datatype"]), inner
            )
        ),
    )
)
def test_what_is_no_answer_never_passes(anything: Any) -> None:
    assert compare(case(0.5), anything)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"error": "model failed"}, "the answer is an error: model failed"),
        ({"outputs": []}, "output 'y' is missing"),
        (answer(0.5, name="z"), "output 'y' is missing"),
        (answer(0.5, datatype="FP64"), "is FP64, expected FP32"),
        (answer(0.5, datatype=None), "no known datatype"),
        (answer(0.5, shape=None), "no shape"),
        (answer(0.5, shape=[2]), "as many elements as its shape"),
        (answer(0.5, 0.5), "has 2 elements, expected 1"),
        (answer(None), "[0] is None, expected 0.5"),
        (answer("0.5"), "[0] is '0.5', expected 0.5"),
        (answer(math.nan), "[0] is nan"),
        (answer(math.inf), "[0] is inf"),
        (answer(0.51), "[0] is 0.51, expected 0.5"),
    ],
)
def test_each_difference_is_told(wrong: Any, words: str) -> None:
    (told,) = compare(case(0.5), wrong)

    assert words in told


def test_numbers_are_not_text_and_nesting_and_further_outputs_mean_nothing() -> None:
    got = answer([331.0], [331.00001], shape=[2, 1])
    got["outputs"].insert(0, {"name": "other", "data": "anything"})

    assert compare(case(331, 331), got) == ()


def test_labels_are_compared_exactly() -> None:
    expected = case(100_000, datatype=None)

    assert compare(expected, answer(100_000, datatype="INT64")) == ()
    assert compare(expected, answer(100_001, datatype="INT64"))
    assert compare(case("cat", datatype=None), answer("dog", datatype="BYTES"))
    assert compare(case(True, datatype=None), answer(1, datatype="BOOL"))


def test_shape_is_compared_when_it_is_given() -> None:
    expected = Case("c", REQUEST, (Expected("y", (1.0, 2.0), "FP32", (1, 2)),))

    assert compare(expected, answer(1, 2, shape=[1, 2])) == ()
    assert compare(expected, answer(1, 2)) == ("output 'y' has the shape [2], expected [1, 2]",)


def test_many_differences_are_counted() -> None:
    told = compare(case(*range(100)), answer(*(n + 1 for n in range(100))))

    assert len(told) == 11
    assert told[-1] == "output 'y': 90 more elements differ"


def test_a_file_with_its_defaults() -> None:
    (one,) = parse(file())

    assert one == Case("case 1", REQUEST, (Expected("y", (1, 2)),), 1e-4, 1e-4)
    (one,) = parse(file(name="n", rtol=0, atol=0.5))
    assert (one.name, one.rtol, one.atol) == ("n", 0.0, 0.5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not valid JSON"),
        (b"[]", "no 'cases'"),
        (b'{"cases": []}', "no 'cases'"),
        (b'{"cases": [3]}', "cases[0]"),
        (file(request={}), "cases[0].request"),
        (file(expected={}), "cases[0].expected has no 'outputs'"),
        (file(expected={"outputs": []}), "cases[0].expected has no 'outputs'"),
        (file(expected={"outputs": [{"name": "y"}]}), "outputs[0].data"),
        (file(expected={"outputs": [{"name": "y", "data": [None]}]}), "outputs[0].data"),
        (file(expected={"outputs": [{"name": "y", "data": [1], "shape": [2]}]}), "1 elements"),
        (file(expected={"outputs": [{"name": "y", "data": [1], "shape": "2"}]}), "shape"),
        (file(expected={"outputs": [{"name": "y", "data": [1], "datatype": []}]}), "datatype"),
        (file(expected={"outputs": [{"name": "y", "data": [1]}] * 2}), "twice"),
        (file(rtol=-1), "cases[0].rtol"),
        (file(atol="much"), "cases[0].atol"),
        (file(name=3), "cases[0].name"),
    ],
)
def test_a_wrong_file_is_named(content: bytes, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        parse(content)

    assert words in str(caught.value)

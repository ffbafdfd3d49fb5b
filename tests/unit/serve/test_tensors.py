"""Tensors: every datatype there and back, and everything that does not fit refused by name."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from towpath.errors import InvalidError
from towpath.serve.tensors import Tensor, from_json, from_raw, shape_of, to_json, to_raw
from towpath.spec.inference import DATATYPES

NUMBERS = [name for name in DATATYPES if name not in ("BYTES", "BF16", "BOOL")]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


@st.composite
def arrays(draw: st.DrawFn, names: list[str]) -> tuple[str, np.ndarray]:
    name = draw(st.sampled_from(names))
    dtype = np.dtype(DATATYPES[name].numpy)
    finite = {"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else {}
    elements = hnp.from_dtype(dtype, **finite)
    return name, draw(hnp.arrays(dtype, draw(SHAPES), elements=elements))


@st.composite
def texts(draw: st.DrawFn, of: st.SearchStrategy[bytes]) -> np.ndarray:
    shape = draw(SHAPES)
    size = math.prod(shape)
    array = np.empty(size, dtype=object)
    array[:] = draw(st.lists(of, min_size=size, max_size=size))
    return array.reshape(shape)


def through_json(name: str, array: np.ndarray, *, nested: bool) -> np.ndarray:
    told = orjson.loads(
        orjson.dumps(to_json(array, Tensor("t", name, ())), option=orjson.OPT_SERIALIZE_NUMPY)
    )
    if nested and array.ndim:
        flat = np.empty(len(told), dtype=object)
        flat[:] = told
        told = flat.reshape(array.shape).tolist()
    return from_json(told, name, array.shape, "input 't'")


def outcome(
    read: Callable[[Any, str, tuple[int, ...], str], np.ndarray],
    data: object,
    name: str,
    shape: tuple[int, ...],
) -> np.ndarray | str:
    """The array, or the sentence that refuses it."""
    try:
        return read(data, name, shape, "input 't'")
    except InvalidError as error:
        return str(error)


@given(arrays([*NUMBERS, "BOOL"]), st.booleans())
def test_json_keeps_every_element(case: tuple[str, np.ndarray], nested: bool) -> None:
    name, array = case

    got = through_json(name, array, nested=nested and array.size > 0)

    assert got.dtype == array.dtype
    assert got.shape == array.shape
    assert np.array_equal(got, array)


@given(arrays([*NUMBERS, "BOOL", "BF16"]), st.integers(0, 9))
def test_raw_keeps_every_bit_at_any_offset(case: tuple[str, np.ndarray], offset: int) -> None:
    name, array = case
    sent = b"x" * offset + to_raw(array, Tensor("t", name, ()))

    got = from_raw(memoryview(sent)[offset:], name, array.shape, "input 't'")

    assert got.flags.aligned
    assert got.shape == array.shape
    assert got.tobytes() == array.tobytes()


@given(texts(st.binary(max_size=12)))
def test_raw_keeps_bytes(array: np.ndarray) -> None:
    got = from_raw(
        memoryview(to_raw(array, Tensor("t", "BYTES", ()))), "BYTES", array.shape, "input 't'"
    )

    assert got.tolist() == array.tolist()
    assert got.shape == array.shape


@given(texts(st.text(max_size=12).map(str.encode)), st.booleans())
def test_json_keeps_text(array: np.ndarray, nested: bool) -> None:
    assert through_json("BYTES", array, nested=nested and array.size > 0).tolist() == array.tolist()


@given(st.binary(max_size=64), st.sampled_from(sorted(DATATYPES)), SHAPES)
def test_raw_bytes_are_taken_whole_or_refused(
    data: bytes, name: str, shape: tuple[int, ...]
) -> None:
    got = outcome(from_raw, memoryview(data), name, shape)
    if isinstance(got, str):
        assert got.startswith("input 't'")
    else:
        assert got.shape == shape
        assert to_raw(got, Tensor("t", name, ())) == data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=1), inner),
    max_leaves=8,
)


@given(JSON, st.sampled_from(sorted(DATATYPES)), SHAPES)
def test_any_json_is_an_array_of_that_shape_or_refused(
    data: object, name: str, shape: tuple[int, ...]
) -> None:
    got = outcome(from_json, data, name, shape)
    if isinstance(got, str):
        assert got.startswith("input 't'")
    else:
        assert got.shape == shape
        assert got.dtype == np.dtype(DATATYPES[name].numpy)


@pytest.mark.parametrize(
    ("data", "name", "shape", "words"),
    [
        ([1, 2], "FP32", (3,), "2 elements"),
        ([1, 2, 3, 4], "FP32", (3,), "4 elements"),
        ("abc", "FP32", (3,), "must be an array"),
        ([1, None], "FP32", (2,), "element 1 (NoneType)"),
        ([1, "2"], "FP32", (2,), "element 1 (str)"),
        ([1e300], "FP32", (1,), "element 0 (1e+300)"),
        ([300], "UINT8", (1,), "element 0 (300)"),
        ([-1], "UINT64", (1,), "element 0 (-1)"),
        ([1.5], "INT64", (1,), "element 0 (1.5)"),
        ([1, 0], "BOOL", (2,), "element 0 (1)"),
        ([1], "BYTES", (1,), "element 0 (1)"),
        ([[1, 2], [3]], "FP32", (2, 2), "nested data"),
        ([[1], [2]], "FP32", (2,), "element 0 (list)"),
        ([[1, 2], 3], "FP32", (2, 2), "nested data"),
        ([1], "BF16", (1,), "no JSON form"),
    ],
)
def test_wrong_data_is_named(data: object, name: str, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        from_json(data, name, shape, "input 'rows'")

    assert str(caught.value).startswith("input 'rows'")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (None, "'shape' must be"),
        ([1] * 33, "at most 32"),
        ([-1, 7], "0 or more"),
        ([True, 7], "0 or more"),
        ([1.0, 7], "0 or more"),
        ([1, 6], "does not fit the model's [-1, 7]"),
        ([7], "does not fit"),
    ],
)
def test_wrong_shapes_are_named(shape: object, words: str) -> None:
    with pytest.raises(InvalidError, match="input 'rows'") as caught:
        shape_of(shape, Tensor("rows", "FP32", (-1, 7)), "input 'rows'")

    assert words in str(caught.value)


def test_a_hollow_shape_may_not_claim_much() -> None:
    free = Tensor("rows", "FP32", (-1, -1))

    assert shape_of([0, 7], free, "input 'rows'") == (0, 7)
    with pytest.raises(InvalidError, match="too large"):
        shape_of([0, 2**62], free, "input 'rows'")


def test_short_numbers_and_null_for_what_json_cannot_say() -> None:
    array = np.array([0.86280495, np.nan, np.inf], dtype=np.float32)

    told = orjson.dumps(to_json(array, Tensor("t", "FP32", ())), option=orjson.OPT_SERIALIZE_NUMPY)

    assert told == b"[0.86280495,null,null]"


def test_bytes_that_are_no_text_have_no_json_form() -> None:
    array = np.array([b"\xff"], dtype=object)

    with pytest.raises(InvalidError, match="output 't' is not UTF-8"):
        to_json(array, Tensor("t", "BYTES", ()))

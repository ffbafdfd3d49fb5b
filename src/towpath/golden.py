"""Golden requests: does this model, on this machine, still answer as it did where it was made?

Answers are compared as numbers and never as text: ``331`` equals ``331.0``, the order of keys
means nothing, and an answer that is no answer never passes. Pure: values in, values out; who sends
the request is somebody else's matter.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from towpath.errors import InvalidError
from towpath.spec._wire import Json, JsonObject
from towpath.spec.inference import DATATYPES

__all__ = ["Case", "Expected", "compare", "parse"]

MAX_BYTES: Final = 16 * 1024 * 1024
MAX_TOLD: Final = 10
"""Differing elements told for one output; a count stands for the rest."""

TOLERANCE: Final = 1e-4
"""Same model, other CPU or engine: FP32 answers agree to about 1e-6; bf16 arithmetic does not."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One output as it has to be.

    Args:
        name: Its name.
        data: Its elements, flat in row-major order.
        datatype: Checked when given; decides whether elements are compared within the tolerance
            (FP16, FP32, FP64, BF16) or exactly (all others).
        shape: Checked when given.
    """

    name: str
    data: tuple[Json, ...]
    datatype: str | None = None
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A request and what it has to answer.

    Args:
        name: What a report calls it.
        request: An inference request of the Open Inference Protocol, JSON form.
        expected: Outputs that the answer must have; others it may have.
        rtol: Tolerance relative to the expected element.
        atol: Tolerance added to that.
    """

    name: str
    request: JsonObject
    expected: tuple[Expected, ...]
    rtol: float = TOLERANCE
    atol: float = TOLERANCE


def parse(content: bytes) -> tuple[Case, ...]:
    """Read a file of golden requests.

    The file is a JSON object: ``{"cases": [{"name", "request", "expected", "rtol", "atol"}]}``.
    ``request`` and ``expected`` are the bodies of an inference request and of its answer; the name
    and the tolerances may be left out.

    Raises:
        InvalidError: it is not such a file, or it would check nothing; the message names the field.
    """
    if len(content) > MAX_BYTES:
        raise InvalidError(f"the golden requests are larger than {MAX_BYTES} bytes")
    try:
        file: Json = orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise InvalidError(f"the golden requests are not valid JSON: {exc}") from exc
    cases: Json = file.get("cases") if isinstance(file, dict) else None
    if not isinstance(cases, list) or not cases:
        raise InvalidError("the golden requests have no 'cases'")
    return tuple(_case(case, index) for index, case in enumerate(cases))


def compare(case: Case, answer: Json) -> tuple[str, ...]:
    """How an answer differs from what a case expects.

    Args:
        case: The case.
        answer: The decoded JSON body of the answer, whatever it is.

    Returns:
        One sentence for each difference; empty when the answer is as expected.
    """
    if not isinstance(answer, dict):
        return ("the answer is not a JSON object",)
    if "error" in answer:
        return (f"the answer is an error: {str(answer['error'])[:300]}",)
    outputs: Json = answer.get("outputs")
    if not isinstance(outputs, list):
        return ("the answer has no 'outputs'",)
    found = {
        name: output
        for output in outputs
        if isinstance(output, dict) and isinstance(name := output.get("name"), str)
    }
    differences: list[str] = []
    for expected in case.expected:
        if expected.name in found:
            differences += _output(case, expected, found[expected.name])
        else:
            differences.append(f"output {expected.name!r} is missing")
    return tuple(differences)


def _case(case: Json, index: int) -> Case:
    field = f"cases[{index}]"
    if not isinstance(case, dict):
        raise InvalidError(f"{field} is not an object")
    name = case.get("name", f"case {index + 1}")
    if not isinstance(name, str):
        raise InvalidError(f"{field}.name is not a string")
    request = case.get("request")
    if not isinstance(request, dict) or not isinstance(request.get("inputs"), list):
        raise InvalidError(f"{field}.request is not an inference request: it has no 'inputs'")
    expected = case.get("expected")
    outputs: Json = expected.get("outputs") if isinstance(expected, dict) else None
    if not isinstance(outputs, list) or not outputs:
        raise InvalidError(f"{field}.expected has no 'outputs'")
    told = tuple(_expected(one, f"{field}.expected.outputs[{n}]") for n, one in enumerate(outputs))
    if len({one.name for one in told}) < len(told):
        raise InvalidError(f"{field}.expected names an output twice")
    return Case(name, request, told, _bound(case, "rtol", field), _bound(case, "atol", field))


def _expected(output: Json, field: str) -> Expected:
    if not isinstance(output, dict) or not isinstance(name := output.get("name"), str):
        raise InvalidError(f"{field} has no 'name'")
    datatype = output.get("datatype")
    if datatype is not None and not (isinstance(datatype, str) and datatype in DATATYPES):
        raise InvalidError(f"{field}.datatype is not one of {', '.join(DATATYPES)}")
    shape = output.get("shape")
    if shape is not None and not _is_shape(shape):
        raise InvalidError(f"{field}.shape is not an array of integers of 0 or more")
    data: Json = output.get("data")
    if not isinstance(data, list):
        raise InvalidError(f"{field}.data is not an array")
    flat = tuple(_flat(data))
    if not all(isinstance(value, int | float | str) for value in flat):
        raise InvalidError(f"{field}.data holds something other than numbers, booleans and texts")
    if shape is not None and math.prod(shape) != len(flat):
        raise InvalidError(f"{field}.data has {len(flat)} elements, its shape {math.prod(shape)}")
    return Expected(name, flat, datatype, None if shape is None else tuple(shape))


def _bound(case: Mapping[str, Json], name: str, field: str) -> float:
    value = case.get(name, TOLERANCE)
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise InvalidError(f"{field}.{name} is not a number of 0 or more")
    return float(value)


def _output(case: Case, expected: Expected, got: Mapping[str, Json]) -> Iterator[str]:
    field = f"output {expected.name!r}"
    datatype: Json = got.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        yield f"{field} has no known datatype"
        return
    if expected.datatype not in (None, datatype):
        yield f"{field} is {datatype}, expected {expected.datatype}"
    shape: Json = got.get("shape")
    if not _is_shape(shape):
        yield f"{field} has no shape"
        return
    if expected.shape is not None and tuple(shape) != expected.shape:
        yield f"{field} has the shape {shape}, expected {list(expected.shape)}"
    data: Json = got.get("data")
    flat = tuple(_flat(data)) if isinstance(data, list) else ()
    if not isinstance(data, list) or len(flat) != math.prod(shape):
        yield f"{field} does not have as many elements as its shape says"
        return
    if len(flat) != len(expected.data):
        yield f"{field} has {len(flat)} elements, expected {len(expected.data)}"
        return
    close = "FP" in datatype or datatype == "BF16"
    wrong = [
        index
        for index, (want, value) in enumerate(zip(expected.data, flat, strict=True))
        if not _same(want, value, (case.rtol, case.atol) if close else None)
    ]
    for index in wrong[:MAX_TOLD]:
        yield f"{field}[{index}] is {_told(flat[index])}, expected {_told(expected.data[index])}"
    if len(wrong) > MAX_TOLD:
        yield f"{field}: {len(wrong) - MAX_TOLD} more elements differ"


def _same(want: Json, value: Json, tolerance: tuple[float, float] | None) -> bool:
    if isinstance(want, str | bool) or isinstance(value, str | bool) or value is None:
        return type(want) is type(value) and bool(want == value)
    if not isinstance(value, int | float) or not math.isfinite(value):
        return False
    if tolerance is None:
        return bool(want == value)
    rtol, atol = tolerance
    return bool(abs(want - value) <= atol + rtol * abs(want))


def _flat(data: Sequence[Json]) -> Iterator[Json]:
    """Elements in row-major order, however deep they are nested."""
    stack = [iter(data)]
    while stack:
        for value in stack[-1]:
            if isinstance(value, list):
                stack.append(iter(value))
                break
            yield value
        else:
            stack.pop()


def _is_shape(value: Json) -> bool:
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _told(value: Json) -> str:
    return repr(value)[:60]

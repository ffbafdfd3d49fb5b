"""What every backend of the serving runtime owes: one sample model of each format."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from towpath.errors import InvalidError
from towpath.serve.backends import FORMATS, Format, Model, find
from towpath.serve.tensors import Array
from towpath.spec.inference import DATATYPES

SAMPLES = {"onnx": Path(__file__).parents[2] / "examples" / "01-fraud" / "model.onnx"}


@pytest.fixture(params=FORMATS, ids=lambda known: known.name)
def known(request: pytest.FixtureRequest) -> Format:
    return request.param


@pytest.fixture
def model(known: Format) -> Model:
    return known.load(SAMPLES[known.name], 1)


def rows(model: Model, count: int) -> dict[str, Array]:
    """Ones of the model's own types, with this many rows."""
    return {
        one.name: np.ones(
            [count if size == -1 else size for size in one.shape], DATATYPES[one.datatype].numpy
        )
        for one in model.signature.inputs
    }


def test_its_file_is_found_by_name(known: Format) -> None:
    assert find(SAMPLES[known.name]) == (known, SAMPLES[known.name])
    assert find(SAMPLES[known.name].parent) == (known, SAMPLES[known.name])


@pytest.mark.parametrize("count", [0, 1, 5])
def test_every_output_as_the_signature_says(model: Model, count: int) -> None:
    outputs = model.predict(rows(model, count))

    assert list(outputs) == [one.name for one in model.signature.outputs]
    for one in model.signature.outputs:
        array = outputs[one.name]
        assert array.dtype == np.dtype(DATATYPES[one.datatype].numpy)
        assert array.shape == tuple(count if size == -1 else size for size in one.shape)


def test_inputs_may_be_read_only_and_are_not_changed(model: Model) -> None:
    given = rows(model, 3)
    for array in given.values():
        array.flags.writeable = False

    again = [model.predict(given) for _ in range(2)]

    assert all(np.array_equal(again[0][name], again[1][name]) for name in again[0])
    assert all((array == 1).all() for array in given.values())


def test_threads_may_share_it(model: Model) -> None:
    expected = model.predict(rows(model, 2))

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.predict(rows(model, 2)), range(40)))

    assert all(np.array_equal(expected[name], one[name]) for one in answers for name in expected)


def test_what_is_no_model_is_refused_in_one_sentence(known: Format, tmp_path: Path) -> None:
    for content in (b"text", b"\0" * 64, SAMPLES[known.name].read_bytes()[:50]):
        file = tmp_path / f"model{known.suffix}"
        file.write_bytes(content)
        with pytest.raises(InvalidError) as caught:
            known.load(file, 1)
        assert repr(file.name) in str(caught.value)
        assert "\n" not in str(caught.value)

"""Model folders: what is loaded from them, and what is refused with one plain sentence."""

import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from towpath.errors import InvalidError, NotFoundError, UnavailableError
from towpath.serve import Repository, Source, check
from towpath.serve.messages import Inference

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-fraud" / "model.onnx"


@pytest.fixture(scope="session")
def onnx() -> ModuleType:
    """The library that makes small models."""
    return pytest.importorskip("onnx", reason="the extra 'example' is not installed")


def identity(onnx: ModuleType, file: Path, element: str) -> None:
    """A model that answers its input ``x`` as ``y``."""
    helper, kind = onnx.helper, getattr(onnx.TensorProto, element)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", kind, ["n"])],
        [helper.make_tensor_value_info("y", kind, ["n"])],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), file)


def test_check_describes_a_file_and_a_folder() -> None:
    expected = {
        "format": "onnx",
        "inputs": [{"name": "transactions", "datatype": "FP32", "shape": [-1, 7]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]},
        ],
    }

    assert check(EXAMPLE) == expected
    assert check(EXAMPLE.parent) == expected


def test_shared_models_describe_themselves(shared: Path) -> None:
    fraud = check(shared / "models" / "fraud")
    mnist = check(shared / "models" / "mnist")

    assert fraud["inputs"] == [{"name": "dense_input", "datatype": "FP32", "shape": [-1, 7]}]
    assert fraud["outputs"] == [{"name": "dense_3", "datatype": "FP32", "shape": [-1, 1]}]
    assert mnist["inputs"] == [{"name": "Input3", "datatype": "FP32", "shape": [1, 1, 28, 28]}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("model.onnx", b"this is not a model\n", "'model.onnx' is not an ONNX model"),
        ("model.onnx", b"", "'model.onnx' is empty"),
        ("model.onnx", b"\x08\x08", "onnxruntime cannot load 'model.onnx'"),
        ("model.pkl", b"x", "'model.pkl' is not of a known model format"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(InvalidError) as caught:
        check(tmp_path / name)

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cut.onnx").write_bytes(EXAMPLE.read_bytes()[:-100])

    with pytest.raises(InvalidError, match="is not an ONNX model"):
        check(tmp_path)


def test_folders_that_leave_the_choice_open_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="holds no model file"):
        check(tmp_path)
    with pytest.raises(InvalidError, match="there is no model file"):
        check(tmp_path / "gone.onnx")
    shutil.copy(EXAMPLE, tmp_path / "a.onnx")
    shutil.copy(EXAMPLE, tmp_path / "b.onnx")
    with pytest.raises(InvalidError, match=r"more than one model: 'a.onnx', 'b.onnx'"):
        check(tmp_path)

    shutil.copy(EXAMPLE, tmp_path / "model.onnx")

    assert check(tmp_path)["format"] == "onnx"


def test_a_type_the_protocol_cannot_carry_is_refused(tmp_path: Path, onnx: ModuleType) -> None:
    identity(onnx, tmp_path / "model.onnx", "BFLOAT16")

    with pytest.raises(InvalidError) as caught:
        check(tmp_path)

    assert "bfloat16" in str(caught.value)


@pytest.mark.parametrize(
    ("element", "array"),
    [
        ("FLOAT", np.array([1.5, np.nan], "f4")),
        ("FLOAT16", np.array([1.5, -0.0], "f2")),
        ("DOUBLE", np.array([1e300], "f8")),
        ("INT8", np.array([-128], "i1")),
        ("UINT64", np.array([2**64 - 1], "u8")),
        ("BOOL", np.array([True, False])),
        ("STRING", np.array(["å".encode(), b""], dtype=object)),
        ("FLOAT", np.array([], "f4")),
    ],
)
def test_tensors_pass_through_a_model_unchanged(
    tmp_path: Path, onnx: ModuleType, element: str, array: np.ndarray
) -> None:
    identity(onnx, tmp_path / "model.onnx", element)
    repository = Repository([Source("m", tmp_path)])
    assert repository.load() == {}

    got = repository.get("m").predict(Inference(None, {"x": array}, ()))["y"]

    if element == "STRING":
        assert got.tolist() == ["å", ""]
    else:
        assert got.dtype == array.dtype
        assert got.tobytes() == array.tobytes()


def test_version_folders_newest_by_number_and_each_by_name(tmp_path: Path) -> None:
    for version in ("2", "10"):
        (tmp_path / version).mkdir()
        shutil.copy(EXAMPLE, tmp_path / version / "any.onnx")
    (tmp_path / "11").mkdir()
    (tmp_path / "11" / "model.onnx").write_text("damaged")
    repository = Repository([Source("fraud", tmp_path)])

    failed = repository.load()

    assert list(failed) == ["fraud"]
    assert repository.ready
    assert repository.get("fraud").version == "10"
    assert repository.get("fraud", "2").version == "2"
    assert repository.metadata("fraud")["versions"] == ["2", "10"]
    with pytest.raises(NotFoundError, match="has no version '3'"):
        repository.get("fraud", "3")
    with pytest.raises(UnavailableError, match="version '11' is not loaded"):
        repository.get("fraud", "11")
    assert [(one["version"], one["state"]) for one in repository.index()] == [
        ("2", "READY"),
        ("10", "READY"),
        ("11", "UNAVAILABLE"),
    ]


def test_a_damaged_model_does_not_touch_the_others(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("damaged")
    repository = Repository(
        [Source("bad", tmp_path), Source("good", EXAMPLE.parent, version="2024-06")]
    )

    with pytest.raises(UnavailableError, match="'good' is not loaded yet"):
        repository.get("good")
    failed = repository.load()

    assert "is not an ONNX model" in str(failed["bad"])
    assert not repository.ready
    assert repository.get("good").version == "2024-06"
    with pytest.raises(UnavailableError, match="is not an ONNX model"):
        repository.get("bad")
    with pytest.raises(NotFoundError, match="'none'"):
        repository.get("none")


def test_a_model_is_not_quick_before_it_was_measured() -> None:
    repository = Repository([Source("fraud", EXAMPLE.parent)])
    repository.load()
    served = repository.get("fraud")
    assert not served.quick(1)

    row = {"transactions": np.zeros((1, 7), "f4")}
    for _ in range(100):
        served.predict(Inference(None, row, ()))

    assert served.quick(1)


def test_one_name_one_model() -> None:
    with pytest.raises(InvalidError, match="two models are called 'm'"):
        Repository([Source("m", EXAMPLE), Source("m", EXAMPLE)])

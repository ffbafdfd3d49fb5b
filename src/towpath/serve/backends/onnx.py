"""ONNX models on onnxruntime's CPU provider."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from towpath.errors import InvalidError
from towpath.serve.backends import Model
from towpath.serve.tensors import Array, Signature, Tensor

__all__ = ["load"]

_DATATYPES: Final = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

_REFUSED: Final = (
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.NoModel,
    state.NoSuchFile,
    state.NotImplemented,
    state.RuntimeException,
)
_SILENT: Final = 4
"""Log level of onnxruntime: what it would say on stderr comes as an exception as well."""


def load(file: Path, threads: int) -> Model:
    """Load an ONNX file.

    Args:
        file: The file; its external data, if any, lies beside it.
        threads: Threads of one inference.

    Raises:
        InvalidError: it is no ONNX model, or not one that onnxruntime can run.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _SILENT
    # Idle threads sleep and do not spin: an edge has few cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )
    except state.InvalidProtobuf as exc:
        raise InvalidError(
            f"{file.name!r} is not an ONNX model: its content cannot be read as one",
            hint="Is it the file that was exported, and complete?",
        ) from exc
    except _REFUSED as exc:
        reason = _sentence(exc).removeprefix(f"Load model from {file} failed:")
        raise InvalidError(f"onnxruntime cannot load {file.name!r}: {reason}") from exc
    return _OnnxModel(session)


class _OnnxModel:
    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.signature = Signature(_tensors(session.get_inputs()), _tensors(session.get_outputs()))
        self._session = session
        self._outputs = [tensor.name for tensor in self.signature.outputs]
        self._texts = [one.name for one in self.signature.inputs if one.datatype == "BYTES"]

    def predict(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        if self._texts:
            inputs = {**inputs, **{name: _decode(inputs[name], name) for name in self._texts}}
        try:
            results = cast("list[Array]", self._session.run(self._outputs, inputs))
        except _REFUSED as exc:
            raise InvalidError(f"the model refused the input: {_sentence(exc)}") from exc
        return dict(zip(self._outputs, results, strict=True))


def _tensors(described: Sequence[onnxruntime.NodeArg]) -> tuple[Tensor, ...]:
    tensors = []
    for one in described:
        datatype = _DATATYPES.get(one.type)
        if datatype is None:
            raise InvalidError(
                f"tensor {one.name!r} of the model has the type {one.type}, "
                "which the Open Inference Protocol cannot carry",
                hint="Export the model with plain tensors (for scikit-learn: zipmap off).",
            )
        shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in one.shape)
        tensors.append(Tensor(one.name, datatype, shape))
    return tuple(tensors)


def _decode(array: Array, name: str) -> Array:
    """Onnxruntime takes its strings as text."""
    try:
        texts = [one.decode() for one in array.reshape(-1).tolist()]
    except UnicodeDecodeError as exc:
        raise InvalidError(f"input {name!r}: the model takes UTF-8 text") from exc
    decoded = np.empty(len(texts), dtype=object)
    decoded[:] = texts
    return decoded.reshape(array.shape)


def _sentence(exc: Exception) -> str:
    """What onnxruntime said, without its prefix, on one line."""
    text = " ".join(str(exc).split())
    return text.split(" : ", 3)[-1][:300] or type(exc).__name__

"""One tensor: its place in a model's signature, and its forms as JSON and as bytes.

A shape is compared with the signature and with the length of the data before anything of that size
is allocated. Values are packed by :mod:`struct`, which knows each type's range, so a number that
does not fit its datatype is refused and never wraps around.
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from towpath.errors import InvalidError
from towpath.spec._wire import Json
from towpath.spec.inference import DATATYPES, TensorMetadata

__all__ = ["Array", "Signature", "Tensor", "from_json", "from_raw", "shape_of", "to_json", "to_raw"]

Array = NDArray[np.generic]

MAX_RANK: Final = 32
MAX_HOLLOW: Final = 1 << 20
"""Elements that a tensor without elements may claim in its other dimensions: a model may build an
answer of that size from an empty input."""

_CODES: Final = {
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that a model takes or gives.

    Args:
        name: Its name in the model.
        datatype: One of :data:`towpath.spec.inference.DATATYPES`.
        shape: -1 for a dimension of any size; empty when the model does not say, and then any
            shape is let through to the model.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def metadata(self) -> TensorMetadata:
        """The protocol's form of it ("Model Metadata Response JSON Object")."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def shape_of(given: Json, tensor: Tensor, field: str) -> tuple[int, ...]:
    """Check a shape as a client sent it.

    Args:
        given: The JSON value of ``shape``.
        tensor: What the model takes.
        field: How an error names the tensor.

    Raises:
        InvalidError: it is no list of sizes, or the model does not take it.
    """
    if not isinstance(given, list) or len(given) > MAX_RANK:
        raise InvalidError(f"{field}: 'shape' must be an array of at most {MAX_RANK} integers")
    if not all(type(size) is int and size >= 0 for size in given):
        raise InvalidError(f"{field}: 'shape' must hold integers of 0 or more")
    wanted = tensor.shape
    if wanted and (
        len(given) != len(wanted)
        or any(want not in (-1, size) for size, want in zip(given, wanted, strict=True))
    ):
        raise InvalidError(f"{field}: shape {given} does not fit the model's {list(wanted)}")
    if 0 in given and math.prod(size or 1 for size in given) > MAX_HOLLOW:
        raise InvalidError(f"{field}: shape {given} is too large for a tensor without elements")
    return tuple(given)


def from_json(data: Json, datatype: str, shape: tuple[int, ...], field: str) -> Array:
    """An array from JSON data, flat in row-major order or nested like its shape ("Tensor Data").

    ``true`` and ``false`` count as 1 and 0 where numbers are wanted.

    Raises:
        InvalidError: the number of elements, the nesting or an element is wrong.
    """
    flat = _flatten(data, shape, field)
    count = math.prod(shape)
    if len(flat) != count:
        raise InvalidError(f"{field}: data has {len(flat)} elements, shape {list(shape)} {count}")
    if datatype == "BYTES":
        if not set(map(type, flat)) <= {str}:
            raise _wrong_element(flat, field, datatype)
        array = np.empty(count, dtype=object)
        array[:] = [_utf8(text, field) for text in flat]
        return array.reshape(shape)
    if datatype == "BOOL":
        if not set(map(type, flat)) <= {bool}:
            raise _wrong_element(flat, field, datatype)
        return np.array(flat, dtype=np.bool_).reshape(shape)
    code = _CODES.get(datatype)
    if code is None:
        raise InvalidError(
            f"{field}: datatype {datatype} has no JSON form",
            hint="Send it with the binary tensor extension.",
        )
    try:
        packed = struct.pack(f"<{count}{code}", *flat)
    except (struct.error, OverflowError) as exc:
        raise _wrong_element(flat, field, datatype) from exc
    return np.frombuffer(packed, dtype=DATATYPES[datatype].numpy).reshape(shape)


def from_raw(data: memoryview, datatype: str, shape: tuple[int, ...], field: str) -> Array:
    """An array from the bytes of the binary tensor extension; a view of them where it can be.

    Raises:
        InvalidError: the bytes are more or fewer than the shape needs.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _split(data, count, field).reshape(shape)
    dtype = DATATYPES[datatype]
    if len(data) != count * dtype.size:
        raise InvalidError(
            f"{field}: {len(data)} bytes were sent, "
            f"shape {list(shape)} of {datatype} needs {count * dtype.size}"
        )
    array: Array = np.frombuffer(data, dtype=dtype.numpy)
    if datatype == "BOOL" and len(data) and max(data) > 1:
        raise InvalidError(f"{field}: a BOOL is one byte, 0 or 1")
    return (array if array.flags.aligned else array.copy()).reshape(shape)


def to_json(array: Array, tensor: Tensor) -> Json:
    """The flat data of an answer, ready for orjson with ``OPT_SERIALIZE_NUMPY``.

    JSON knows neither NaN nor infinity: they become ``null``; a binary answer keeps them.

    Raises:
        InvalidError: the tensor has no JSON form; the caller must ask for a binary answer.
    """
    hint = "Ask for it with the binary tensor extension."
    if tensor.datatype == "BYTES":
        try:
            return [_bytes(one).decode() for one in array.reshape(-1).tolist()]
        except UnicodeDecodeError as exc:
            raise InvalidError(f"output {tensor.name!r} is not UTF-8 text", hint=hint) from exc
    if tensor.datatype == "BF16":
        raise InvalidError(f"output {tensor.name!r}: BF16 has no JSON form", hint=hint)
    return np.ascontiguousarray(array).reshape(-1)


def to_raw(array: Array, tensor: Tensor) -> bytes:
    """The bytes of an answer in the binary tensor extension."""
    if tensor.datatype == "BYTES":
        parts = [_bytes(one) for one in array.reshape(-1).tolist()]
        return b"".join(chain.from_iterable((struct.pack("<I", len(p)), p) for p in parts))
    return array.astype(DATATYPES[tensor.datatype].numpy, copy=False).tobytes()


def _flatten(data: Json, shape: tuple[int, ...], field: str) -> list[Json]:
    if not isinstance(data, list):
        raise InvalidError(f"{field}: 'data' must be an array")
    if not data or not isinstance(data[0], list):
        return data
    level: list[Json] = [data]
    for size in shape:
        if not set(map(type, level)) <= {list} or not set(map(len, level)) <= {size}:
            raise InvalidError(f"{field}: nested data does not have the shape {list(shape)}")
        level = list(chain.from_iterable(level))
    return level


def _wrong_element(flat: Sequence[Json], field: str, datatype: str) -> InvalidError:
    """Find the first element that is at fault; only after something was."""
    code = _CODES.get(datatype)
    for index, value in enumerate(flat):
        if code is None:
            good = type(value) is (bool if datatype == "BOOL" else str)
        else:
            try:
                struct.pack(f"<{code}", value)
                good = True
            except (struct.error, OverflowError):
                good = False
        if not good:
            shown = repr(value) if isinstance(value, int | float) else type(value).__name__
            return InvalidError(f"{field}: element {index} ({shown[:40]}) is no {datatype} value")
    return InvalidError(f"{field}: data holds a value that is no {datatype}")


def _utf8(text: str, field: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidError(f"{field}: data holds text that is not Unicode") from exc


def _bytes(one: bytes | str) -> bytes:
    return one if isinstance(one, bytes) else one.encode()


def _split(data: memoryview, count: int, field: str) -> Array:
    """Elements of 4 bytes of length and so many bytes each."""
    if len(data) < 4 * count:
        raise InvalidError(f"{field}: {len(data)} bytes cannot hold {count} BYTES elements")
    array = np.empty(count, dtype=object)
    at = 0
    for index in range(count):
        end = at + 4
        if end <= len(data):
            at, end = end, end + int.from_bytes(data[at:end], "little")
        if end > len(data):
            raise InvalidError(f"{field}: element {index} reaches beyond the bytes sent")
        array[index] = bytes(data[at:end])
        at = end
    if at != len(data):
        raise InvalidError(f"{field}: {len(data) - at} bytes are left over")
    return array

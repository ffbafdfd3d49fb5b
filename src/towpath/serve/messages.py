"""A whole inference request and its answer: JSON, with binary tensors behind it where asked.

Whether a body has a binary part is told by the header ``Inference-Header-Content-Length`` alone;
clients of the protocol do not agree on a ``Content-Type``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import orjson

from towpath.errors import InvalidError
from towpath.serve.tensors import (
    Array,
    Signature,
    Tensor,
    from_json,
    from_raw,
    shape_of,
    to_json,
    to_raw,
)
from towpath.spec._wire import Json, JsonObject
from towpath.spec.inference import DATATYPES

__all__ = ["Answer", "Inference", "Wanted", "decode", "dump", "encode", "load"]

_OPTIONS: Final = orjson.OPT_SERIALIZE_NUMPY


class Wanted(NamedTuple):
    """An output to answer, and in which form."""

    tensor: Tensor
    binary: bool


@dataclass(frozen=True, slots=True)
class Inference:
    """A checked request."""

    id: str | None
    inputs: Mapping[str, Array]
    outputs: tuple[Wanted, ...]


class Answer(NamedTuple):
    """A body, and the length of its JSON part where binary tensors follow."""

    content: bytes
    header_length: int | None


def load(body: bytes | memoryview) -> JsonObject:
    """A JSON object from a request body.

    Raises:
        InvalidError: it is no JSON, or no object.
    """
    try:
        value: Json = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise InvalidError(f"the request body is not valid JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise InvalidError("the request body is not a JSON object")
    return value


def dump(content: object) -> bytes:
    """JSON bytes; numpy arrays are written directly, each number as short as it can be."""
    return orjson.dumps(content, option=_OPTIONS)


def decode(body: bytes, header_length: str | None, signature: Signature) -> Inference:
    """Read and check an inference request ("Inference Request JSON Object").

    Args:
        body: The whole body, uncompressed.
        header_length: Value of the header ``Inference-Header-Content-Length``, if there is one.
        signature: What the model takes and gives.

    Raises:
        InvalidError: the request is not one that the model takes; the message names the field.
    """
    raw = memoryview(b"")
    if header_length is None:
        request = load(body)
    else:
        if not (header_length.isascii() and header_length.isdigit()):
            raise InvalidError("the header Inference-Header-Content-Length is not a number")
        length = int(header_length) if len(header_length) < 20 else len(body) + 1
        if length > len(body):
            raise InvalidError(
                f"the header Inference-Header-Content-Length is {header_length[:20]}, "
                f"and the body has {len(body)} bytes"
            )
        request, raw = load(memoryview(body)[:length]), memoryview(body)[length:]
    inputs, rest = _inputs(request.get("inputs"), raw, signature)
    if len(rest):
        raise InvalidError(f"{len(rest)} bytes follow the last binary input")
    identity = request.get("id")
    if identity is not None and not isinstance(identity, str):
        raise InvalidError("'id' must be a string")
    return Inference(identity, inputs, _outputs(request, signature))


def encode(model: tuple[str, str], inference: Inference, outputs: Mapping[str, Array]) -> Answer:
    """Write an answer ("Inference Response JSON Object").

    Args:
        model: Name and version of the model that answered.
        inference: The request it answers.
        outputs: What the model gave.

    Raises:
        InvalidError: an output cannot be told in the form asked for.
    """
    tensors: list[JsonObject] = []
    tail: list[bytes] = []
    for tensor, binary in inference.outputs:
        array = outputs[tensor.name]
        told: JsonObject = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(array.shape),
        }
        if binary:
            tail.append(to_raw(array, tensor))
            told["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            told["data"] = to_json(array, tensor)
        tensors.append(told)
    name, version = model
    answer: JsonObject = {"model_name": name, "model_version": version, "outputs": tensors}
    if inference.id is not None:
        answer["id"] = inference.id
    content = dump(answer)
    if not any(wanted.binary for wanted in inference.outputs):
        return Answer(content, None)
    return Answer(b"".join((content, *tail)), len(content))


def _inputs(
    given: Json, raw: memoryview, signature: Signature
) -> tuple[dict[str, Array], memoryview]:
    if not isinstance(given, list):
        raise InvalidError("'inputs' must be an array of tensors")
    known = {tensor.name: tensor for tensor in signature.inputs}
    arrays: dict[str, Array] = {}
    for index, item in enumerate(given):
        if not isinstance(item, dict) or not isinstance(name := item.get("name"), str):
            raise InvalidError(f"inputs[{index}] must be an object with a 'name'")
        field = f"input {name[:100]!r}"
        tensor = known.get(name)
        if tensor is None:
            raise InvalidError(f"{field} is not one of the model's: {_names(signature.inputs)}")
        if name in arrays:
            raise InvalidError(f"{field} is there twice")
        arrays[name], raw = _input(item, tensor, raw, field)
    missing = [tensor for tensor in signature.inputs if tensor.name not in arrays]
    if missing:
        raise InvalidError(f"input is missing: {_names(missing)}")
    return arrays, raw


def _input(
    item: JsonObject, tensor: Tensor, raw: memoryview, field: str
) -> tuple[Array, memoryview]:
    datatype = item.get("datatype")
    if datatype != tensor.datatype:
        known = isinstance(datatype, str) and datatype in DATATYPES
        raise InvalidError(
            f"{field}: datatype is {datatype if known else 'not known'}, "
            f"the model takes {tensor.datatype}"
        )
    shape = shape_of(item.get("shape"), tensor, field)
    size = _parameters(item, field).get("binary_data_size")
    if size is None:
        if "data" not in item:
            raise InvalidError(f"{field}: there is neither 'data' nor a 'binary_data_size'")
        return from_json(item["data"], datatype, shape, field), raw
    if type(size) is not int or size < 0:
        raise InvalidError(f"{field}: 'binary_data_size' must be an integer of 0 or more")
    if "data" in item:
        raise InvalidError(f"{field}: there are both 'data' and a 'binary_data_size'")
    if size > len(raw):
        raise InvalidError(f"{field}: {size} binary bytes are announced and {len(raw)} follow")
    return from_raw(raw[:size], datatype, shape, field), raw[size:]


def _outputs(request: JsonObject, signature: Signature) -> tuple[Wanted, ...]:
    binary = _parameters(request, "the request").get("binary_data_output", False) is True
    given: Json = request.get("outputs")
    if given is None or given == []:
        return tuple(Wanted(tensor, binary) for tensor in signature.outputs)
    if not isinstance(given, list):
        raise InvalidError("'outputs' must be an array of objects with a 'name'")
    known = {tensor.name: tensor for tensor in signature.outputs}
    wanted: dict[str, Wanted] = {}
    for index, item in enumerate(given):
        if not isinstance(item, dict) or not isinstance(name := item.get("name"), str):
            raise InvalidError(f"outputs[{index}] must be an object with a 'name'")
        if name not in known:
            raise InvalidError(
                f"output {name[:100]!r} is not one of the model's: {_names(signature.outputs)}"
            )
        own = _parameters(item, f"output {name!r}").get("binary_data", binary)
        wanted[name] = Wanted(known[name], own is True)
    return tuple(wanted.values())


def _parameters(item: JsonObject, field: str) -> JsonObject:
    parameters = item.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise InvalidError(f"{field}: 'parameters' must be an object")
    return parameters


def _names(tensors: tuple[Tensor, ...] | list[Tensor]) -> str:
    return ", ".join(repr(tensor.name) for tensor in tensors)

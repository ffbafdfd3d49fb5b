"""KServe's v1 prediction, told in terms of v2: rows under ``instances``, no names, no shapes.

A model with one input takes rows of it; a model with several takes objects of name and row. One
output answers rows of it; several answer objects of name and row.
"""

from typing import cast

import numpy as np
import orjson

from towpath.errors import InvalidError
from towpath.serve.messages import Inference, Wanted, dump, load
from towpath.serve.repository import Served
from towpath.serve.tensors import MAX_RANK, Array, Tensor, from_json, shape_of, to_json
from towpath.spec._wire import Json

__all__ = ["predict"]


def predict(served: Served, body: bytes) -> bytes:
    """Answer a v1 request from body to body (blocking).

    Raises:
        InvalidError: the request is not one that the model takes; the message names the field.
    """
    instances = load(body).get("instances")
    if not isinstance(instances, list) or not instances:
        raise InvalidError("'instances' must be an array of one row or more")
    signature = served.signature
    inputs = {
        tensor.name: _input(_column(instances, tensor, len(signature.inputs)), tensor)
        for tensor in signature.inputs
    }
    wanted = tuple(Wanted(tensor, False) for tensor in signature.outputs)
    outputs = served.predict(Inference(None, inputs, wanted))
    columns = {one.name: _shaped(outputs[one.name], one) for one in signature.outputs}
    if len(columns) == 1:
        return dump({"predictions": next(iter(columns.values()))})
    lists = {name: _rows(column) for name, column in columns.items()}
    if len({len(rows) for rows in lists.values()}) > 1:
        raise InvalidError(
            "the model's outputs differ in their number of rows",
            hint="Use /v2/models/{model}/infer.",
        )
    rows = zip(*lists.values(), strict=True)
    return dump({"predictions": [dict(zip(lists, row, strict=True)) for row in rows]})


def _column(instances: list[Json], tensor: Tensor, inputs: int) -> list[Json]:
    if inputs == 1 and not isinstance(instances[0], dict):
        return instances
    if not all(isinstance(row, dict) and tensor.name in row for row in instances):
        raise InvalidError(f"every instance must be an object with input {tensor.name!r}")
    return [row[tensor.name] for row in instances]


def _input(column: list[Json], tensor: Tensor) -> Array:
    field = f"input {tensor.name!r}"
    shape: list[int] = []
    level: Json = column
    while isinstance(level, list) and len(shape) <= MAX_RANK:
        shape.append(len(level))
        level = level[0] if level else None
    return from_json(column, tensor.datatype, shape_of(shape, tensor, field), field)


def _shaped(array: Array, tensor: Tensor) -> Array | list[Json]:
    told = to_json(array, tensor)
    shape = array.shape or (1,)
    if not isinstance(told, list):
        return cast("Array", told.reshape(shape))
    flat = np.empty(len(told), dtype=object)
    flat[:] = told
    return cast("list[Json]", flat.reshape(shape).tolist())


def _rows(column: Array | list[Json]) -> list[Json]:
    return column if isinstance(column, list) else cast("list[Json]", orjson.loads(dump(column)))

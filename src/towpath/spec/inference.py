"""Open Inference Protocol v2: datatypes, header names and the JSON shapes of its REST surface.

Numpy's type strings stand here as text, so that the control plane can read these shapes without
loading numpy.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypedDict

SPEC_VERSION: Final = "2"

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
"""Bytes of the JSON part of a body that has binary tensors behind it (binary tensor extension)."""

BINARY_EXTENSION: Final = "binary_tensor_data"


class Datatype(NamedTuple):
    """A tensor datatype ("Tensor Data Types").

    Args:
        name: As on the wire.
        numpy: Numpy's type string, little-endian as in the binary tensor extension; ``O`` holds
            ``bytes`` objects, and BF16 is held as the 16-bit words it came in.
        size: Bytes of one element; 0 where elements differ in size.
    """

    name: str
    numpy: str
    size: int


DATATYPES: Final[Mapping[str, Datatype]] = {
    one.name: one
    for one in (
        Datatype("BOOL", "|b1", 1),
        Datatype("UINT8", "|u1", 1),
        Datatype("UINT16", "<u2", 2),
        Datatype("UINT32", "<u4", 4),
        Datatype("UINT64", "<u8", 8),
        Datatype("INT8", "|i1", 1),
        Datatype("INT16", "<i2", 2),
        Datatype("INT32", "<i4", 4),
        Datatype("INT64", "<i8", 8),
        Datatype("FP16", "<f2", 2),
        Datatype("FP32", "<f4", 4),
        Datatype("FP64", "<f8", 8),
        Datatype("BF16", "<u2", 2),
        Datatype("BYTES", "|O", 0),
    )
}


class TensorMetadata(TypedDict):
    """``$metadata_tensor``: a dimension of -1 may have any size."""

    name: str
    datatype: str
    shape: list[int]


class ServerMetadata(TypedDict):
    """``$metadata_server_response``."""

    name: str
    version: str
    extensions: list[str]


class ModelMetadata(TypedDict):
    """``$metadata_model_response``."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class RepositoryModel(TypedDict):
    """One entry of the model repository extension's index."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str

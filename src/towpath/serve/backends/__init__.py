"""What a backend gives, and the table of those there are: one file each, loaded on first use.

A format is known by the name of its file. To add one, write its ``load`` and add a line here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from towpath.errors import InvalidError
from towpath.serve.tensors import Array, Signature

__all__ = ["FORMATS", "Format", "Model", "find"]


class Model(Protocol):
    """A model in memory."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        ...

    def predict(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Every output, from every input; safe to call from several threads.

        Raises:
            InvalidError: the model refuses these inputs.
        """
        ...


@dataclass(frozen=True)
class Format:
    """A model format.

    Args:
        name: As in ``modelFormat.name`` of an InferenceService.
        platform: As in the protocol's model metadata ("Platforms").
        suffix: How its files' names end.
        load: Loads a file, with this many threads for one inference; raises InvalidError when the
            file is not a model.
    """

    name: str
    platform: str
    suffix: str
    load: Callable[[Path, int], Model]


def _onnx(file: Path, threads: int) -> Model:
    from towpath.serve.backends import onnx

    return onnx.load(file, threads)


FORMATS: Final = (Format("onnx", "onnxruntime_onnx", ".onnx", _onnx),)


def find(path: Path) -> tuple[Format, Path]:
    """The model file at a path, and its format.

    Args:
        path: The file itself, or a folder with ``model.<suffix>`` or one single file of a format.

    Raises:
        InvalidError: there is none, more than one, or it is empty.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if _format(file) and file.is_file())
        named = [file for file in files if file.stem == "model"] or files
        if not named:
            raise InvalidError(f"folder {path.name!r} holds no model file", hint=_known())
        if len(named) > 1:
            raise InvalidError(
                f"folder {path.name!r} holds more than one model: "
                f"{', '.join(repr(file.name) for file in named[:5])}",
                hint=f"Name the one to serve 'model{named[0].suffix}'.",
            )
        path = named[0]
    found = _format(path)
    if found is None:
        raise InvalidError(f"{path.name!r} is not of a known model format", hint=_known())
    if not path.is_file():
        raise InvalidError(f"there is no model file {path.name!r}")
    if path.stat().st_size == 0:
        raise InvalidError(f"the model file {path.name!r} is empty")
    return found, path


def _format(path: Path) -> Format | None:
    return next((known for known in FORMATS if path.suffix.lower() == known.suffix), None)


def _known() -> str:
    return f"Known are files ending in {', '.join(known.suffix for known in FORMATS)}."

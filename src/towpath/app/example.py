"""The example model that comes with the package, and its golden request."""

from dataclasses import dataclass
from pathlib import Path

from towpath.errors import NotFoundError

__all__ = ["Example", "find_example"]

NAME = "01-fraud"


@dataclass(frozen=True)
class Example:
    """A model file and what it must answer."""

    model: Path
    golden: Path


def find_example() -> Example:
    """The fraud example: in the installed package, or in the source tree beside it.

    Raises:
        NotFoundError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_examples" / NAME, package.parents[1] / "examples" / NAME):
        if (folder / "model.onnx").is_file():
            return Example(folder / "model.onnx", folder / "golden.json")
    raise NotFoundError("the example model is not in this installation", hint="Install it anew.")

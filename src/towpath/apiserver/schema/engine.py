"""The CEL library, loaded when a rule or a pattern first needs it, and without its command line.

The package imports a terminal toolkit of 25 MB for a command that nobody calls here; its engine is
one extension module, which is all that is loaded.
"""

import importlib.util
import logging
import sys
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.machinery import PathFinder
from typing import Final, Protocol, cast

from towpath.spec._wire import Json

__all__ = ["Engine", "Optional", "Program", "cel"]


class Program(Protocol):
    """A compiled expression."""

    def execute(self, context: object) -> Json:
        """Its value where these variables and functions are known."""

    def variables(self) -> list[str]:
        """Names it uses, also those it binds itself."""

    def functions(self) -> list[str]:
        """Functions and operators it uses."""


class Optional(Protocol):
    """A value that may be missing."""

    @classmethod
    def of(cls, value: Json) -> "Optional":
        """One that is there."""

    @classmethod
    def none(cls) -> "Optional":
        """One that is not."""

    def has_value(self) -> bool:
        """Whether it is there."""

    def value(self) -> Json:
        """The value. Raises ValueError where there is none."""


class Engine(Protocol):
    """What is used of the library."""

    def compile(self, expression: str) -> Program:
        """Compile an expression. Raises ValueError."""

    def Context(  # noqa: N802 - the library's name
        self, variables: Mapping[str, Json], functions: Mapping[str, Callable[..., Json]] = ...
    ) -> object:
        """Variables and functions for an execution."""

    OptionalValue: "type[Optional]"


_LOADING: Final = threading.Lock()
"""The library must not be loaded twice in one process, nor by two threads at once."""


def cel() -> Engine:
    """The engine. A function that fails is told by its caller, so that the library need not."""
    with _LOADING:
        return _loaded()


@lru_cache(maxsize=1)
def _loaded() -> Engine:
    present = sys.modules.get("cel.cel")
    if present is not None:
        return cast(Engine, present)
    package = importlib.util.find_spec("cel")
    places = None if package is None else package.submodule_search_locations
    spec = PathFinder.find_spec("cel.cel", places) if places else None
    if spec is None or spec.loader is None:
        raise ImportError("the package common-expression-language is not installed")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    logging.getLogger("cel").setLevel(logging.ERROR)
    return cast(Engine, module)

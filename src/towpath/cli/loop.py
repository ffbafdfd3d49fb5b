"""The event loop of the processes that serve: which one it is, is decided here and nowhere else."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVarTuple

import anyio

__all__ = ["run"]

OPTIONS: Final[dict[str, Any]] = {"use_uvloop": True}
"""anyio's, for its asyncio backend: uvloop answers a request with an eighth less work, and
sends an event to 200 watchers in half the time (bench/api.py)."""

Arguments = TypeVarTuple("Arguments")


def run(main: Callable[[*Arguments], Awaitable[None]], *arguments: *Arguments) -> None:
    """Run an asynchronous function to its end."""
    anyio.run(main, *arguments, backend_options=OPTIONS)

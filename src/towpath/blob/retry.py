"""Trying again: how often, how long between, and how a read goes on where it broke off."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from towpath.blob.stream import Chunks, closing
from towpath.errors import Reason, UnavailableError

__all__ = ["delay", "persist", "resumed"]

T = TypeVar("T")

_FIRST: Final = 0.25
_FACTOR: Final = 4.0
_LONGEST: Final = 10.0
_LONGEST_ASKED: Final = 60.0


def delay(failure: int, retry_after: float | None = None) -> float:
    """Seconds before the next try.

    Args:
        failure: How many tries failed in a row, from 1.
        retry_after: What the other side asked for; obeyed up to a minute.
    """
    if retry_after is not None:
        return min(max(retry_after, 0.0), _LONGEST_ASKED)
    return min(_FIRST * _FACTOR ** min(failure - 1, 8), _LONGEST)


async def persist(call: Callable[[], Awaitable[T]], attempts: int) -> T:
    """The result of a call that may be repeated, tried again when it is unavailable.

    Raises:
        UnavailableError: the last try's; at once when space is missing, since waiting makes none.
    """
    failure = 0
    while True:
        try:
            return await call()
        except UnavailableError as exc:
            failure += 1
            if failure >= attempts or exc.reason is Reason.NO_SPACE:
                raise
            await anyio.sleep(delay(failure, exc.retry_after))


async def resumed(part: Callable[[int], Chunks], offset: int, attempts: int) -> Chunks:
    """A stream that goes on from where it broke off.

    Args:
        part: Gives the bytes from an offset to the end; raises UnavailableError when it breaks off.
        offset: Where to begin.
        attempts: Tries in a row without one new byte.

    Raises:
        UnavailableError: the last try's.
    """
    failure = 0
    while True:
        chunks = part(offset)
        try:
            async with closing(chunks):
                async for chunk in chunks:
                    offset += len(chunk)
                    failure = 0
                    yield chunk
            return
        except UnavailableError as exc:
            failure += 1
            if failure >= attempts:
                raise
            await anyio.sleep(delay(failure, exc.retry_after))

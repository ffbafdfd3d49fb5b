"""A stream of bytes: its type, how it is put away, and who is told how far it is.

An async generator that is left half read keeps its file or connection until it is collected;
whoever consumes a stream therefore enters :func:`closing` first.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

__all__ = ["Chunks", "Progress", "closing", "counted", "joined", "silent"]

Chunks: TypeAlias = AsyncGenerator[bytes, None]
"""Bytes in order, in pieces of any size."""

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes done and the bytes in all."""


def silent(_done: int, _total: int) -> None:
    """The progress nobody asked for."""


@asynccontextmanager
async def closing(chunks: AsyncIterable[bytes]) -> AsyncIterator[None]:
    """Close the stream at the end of the block, whatever happened in it."""
    try:
        yield
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


async def counted(chunks: AsyncIterable[bytes], count: Callable[[int], None]) -> Chunks:
    """The same chunks; after each, ``count`` is told how many bytes were taken."""
    taken = 0
    async with closing(chunks):
        async for chunk in chunks:
            yield chunk
            taken += len(chunk)
            count(taken)


async def joined(chunks: AsyncIterable[bytes], size: int) -> Chunks:
    """The same bytes in pieces of at least ``size`` (but the last): fewer, larger writes.

    When the stream breaks off, what had come is given out before its error is raised.
    """
    held = bytearray()
    async with closing(chunks):
        try:
            async for chunk in chunks:
                if not held and len(chunk) >= size:
                    yield chunk
                    continue
                held += chunk
                if len(held) >= size:
                    whole, held = bytes(held), bytearray()
                    yield whole
        except Exception:
            if held:
                yield bytes(held)
            raise
    if held:
        yield bytes(held)

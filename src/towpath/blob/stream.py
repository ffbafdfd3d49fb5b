"""A stream of bytes: its type, and how it is put away.

An async generator that is left half read keeps its file or connection until it is collected;
whoever consumes a stream therefore enters :func:`closing` first.
"""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

__all__ = ["Chunks", "closing", "joined"]

Chunks: TypeAlias = AsyncGenerator[bytes, None]
"""Bytes in order, in pieces of any size."""


@asynccontextmanager
async def closing(chunks: AsyncIterable[bytes]) -> AsyncIterator[None]:
    """Close the stream at the end of the block, whatever happened in it."""
    try:
        yield
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()


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

"""SHA-256 while bytes flow: every byte that passes through this plane is counted and hashed once.

Large chunks are hashed in a worker thread, so that a transfer never holds up the event loop.
"""

import hashlib
from collections.abc import AsyncIterable

from anyio import to_thread

from towpath.blob.stream import Chunks, closing
from towpath.errors import InvalidError, Reason
from towpath.spec.names import Digest

__all__ = ["Hasher", "of_bytes", "of_stream", "verified"]

_INLINE = 128 * 1024
"""Bytes whose hash costs less (about 0.1 ms) than the way to a thread and back."""


class Hasher:
    """An incremental SHA-256 that also counts.

    Attributes:
        size: Bytes seen so far.
    """

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self.size = 0

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Take in the next bytes."""
        self._sha.update(chunk)
        self.size += len(chunk)

    async def feed(self, chunk: bytes) -> None:
        """Take in the next bytes, in a thread when they are many."""
        if len(chunk) <= _INLINE:
            self.update(chunk)
        else:
            await to_thread.run_sync(self.update, chunk)

    @property
    def digest(self) -> Digest:
        """The digest of what was seen so far."""
        return Digest(f"sha256:{self._sha.hexdigest()}")

    def check(self, digest: Digest | None, size: int | None = None, what: str = "content") -> None:
        """Compare with what was promised; None promises nothing.

        Raises:
            InvalidError: size or digest differ (reason ``DigestMismatch``).
        """
        if size is not None and self.size != size:
            raise InvalidError(
                f"{what} has {self.size} bytes, not the promised {size}",
                reason=Reason.DIGEST_MISMATCH,
            )
        if digest is not None and self.digest != digest:
            raise InvalidError(
                f"{what} has digest {self.digest}, not the promised {digest}",
                reason=Reason.DIGEST_MISMATCH,
            )


def of_bytes(data: bytes) -> Digest:
    """The digest of bytes."""
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


async def of_stream(chunks: AsyncIterable[bytes]) -> tuple[Digest, int]:
    """Digest and size of a stream, which is consumed."""
    hasher = Hasher()
    async with closing(chunks):
        async for chunk in chunks:
            await hasher.feed(chunk)
    return hasher.digest, hasher.size


async def verified(
    chunks: AsyncIterable[bytes], digest: Digest | None, size: int | None = None
) -> Chunks:
    """The same chunks, checked at the end (and for excess at once).

    Args:
        chunks: The stream.
        digest: What it must hash to; None checks nothing.
        size: How many bytes it must have; None checks nothing.

    Raises:
        InvalidError: it is longer, shorter or other (reason ``DigestMismatch``).
    """
    hasher = Hasher()
    async with closing(chunks):
        async for chunk in chunks:
            await hasher.feed(chunk)
            if size is not None and hasher.size > size:
                hasher.check(None, size)
            yield chunk
    hasher.check(digest, size)

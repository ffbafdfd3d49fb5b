"""What every backend of this plane offers: listing and reading, or writing and deleting.

Reader and Writer are separate, so that a signature shows who may write.
"""

from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Protocol

from towpath.blob.stream import Chunks
from towpath.spec.names import Digest
from towpath.spec.oci import Descriptor

__all__ = ["Entry", "Reader", "Writer"]


@dataclass(frozen=True)
class Entry:
    """One file of a source.

    Attributes:
        path: Relative, POSIX; see :func:`towpath.blob.path.relative`.
        size: Bytes.
        digest: Where the source promises one.
    """

    path: str
    size: int
    digest: Digest | None = None


class Reader(Protocol):
    """Who may only look. A source of one file is one entry, named after the file."""

    async def list(self) -> list[Entry]:
        """All files, sorted by path. Raises NotFoundError, InvalidError, DeniedError."""
        ...

    def read(self, path: str, offset: int = 0) -> Chunks:
        """A file's bytes from an offset on. Raises NotFoundError when the path is not there,
        ConflictError when the file changed since it was listed or while it was read."""
        ...


class Writer(Protocol):
    """Who may write into a folder of some store."""

    async def put(
        self, path: str, chunks: AsyncIterable[bytes], *, digest: Digest | None = None
    ) -> Descriptor:
        """Write one file: whole and right, or not at all; an older one is replaced.

        Raises InvalidError (``DigestMismatch``), UnavailableError (``NoSpace``), DeniedError.
        """
        ...

    async def delete(self, path: str) -> None:
        """Delete one file; what is not there is deleted already."""
        ...

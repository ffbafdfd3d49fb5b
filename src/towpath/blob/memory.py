"""``memory://store/folder``: bytes of this process, for tests and simulations.

The same contract as every other store; what is put under a URI can be read under it.
"""

from collections.abc import AsyncIterable

from towpath.blob.digest import Hasher, of_bytes
from towpath.blob.path import relative
from towpath.blob.store import Entry
from towpath.blob.stream import Chunks, closing
from towpath.blob.uri import Uri
from towpath.errors import NotFoundError
from towpath.settings import Blob
from towpath.spec.names import Digest
from towpath.spec.oci import OCTET_STREAM, Descriptor

__all__ = ["Memory", "opened"]

_STORES: dict[str, dict[str, bytes]] = {}


class Memory:
    """A :class:`towpath.blob.Reader` and :class:`towpath.blob.Writer` over a dictionary.

    Args:
        files: Full name to bytes; shared with whoever else holds it.
        folder: Names begin with this and a ``/``; empty for the whole store. A full name of one
            file makes a source of one file.
        chunk_bytes: Size of the pieces that are read.
    """

    def __init__(
        self, files: dict[str, bytes] | None = None, folder: str = "", chunk_bytes: int = 65536
    ) -> None:
        self.files: dict[str, bytes] = {} if files is None else files
        self._folder = folder.strip("/")
        self._chunk_bytes = chunk_bytes

    def _name(self, path: str) -> str:
        relative(path)
        if self._folder in self.files and path == self._folder.rsplit("/", 1)[-1]:
            return self._folder
        return f"{self._folder}/{path}" if self._folder else path

    async def list(self) -> list[Entry]:
        """All files, sorted by path. Raises NotFoundError."""
        if (alone := self.files.get(self._folder)) is not None:
            return [Entry(self._folder.rsplit("/", 1)[-1], len(alone), of_bytes(alone))]
        prefix = f"{self._folder}/" if self._folder else ""
        found = [
            Entry(name.removeprefix(prefix), len(data), of_bytes(data))
            for name, data in sorted(self.files.items())
            if name.startswith(prefix)
        ]
        if not found and self._folder:
            raise NotFoundError(f"{self._folder} is not there")
        return found

    async def read(self, path: str, offset: int = 0) -> Chunks:
        """A file's bytes from an offset on. Raises NotFoundError."""
        name = self._name(path)
        if name not in self.files:
            raise NotFoundError(f"{name} is not there")
        data = self.files[name]
        for start in range(offset, len(data), self._chunk_bytes):
            yield data[start : start + self._chunk_bytes]

    async def put(
        self, path: str, chunks: AsyncIterable[bytes], *, digest: Digest | None = None
    ) -> Descriptor:
        """Keep one file. Raises InvalidError (``DigestMismatch``)."""
        name = self._name(path)
        hasher = Hasher()
        data = bytearray()
        async with closing(chunks):
            async for chunk in chunks:
                hasher.update(chunk)
                data += chunk
        hasher.check(digest, what=name)
        self.files[name] = bytes(data)
        return {"mediaType": OCTET_STREAM, "digest": hasher.digest, "size": hasher.size}

    async def delete(self, path: str) -> None:
        """Forget one file; what is not there is deleted already."""
        self.files.pop(self._name(path), None)


def opened(uri: Uri, settings: Blob) -> Memory:
    """The store that a ``memory`` URI names; the same one for the same authority."""
    files = _STORES.setdefault(uri.authority, {})
    return Memory(files, uri.path, settings.chunk_bytes)

"""The copy job: all files of a source into a destination, checked against what the source said."""

import json
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass

from towpath.blob import Entry, Reader, Writer
from towpath.blob.digest import of_bytes, of_stream, verified
from towpath.blob.stream import Progress, counted, silent
from towpath.errors import ConflictError, InvalidError, Reason
from towpath.spec.names import Digest
from towpath.spec.oci import OCTET_STREAM, Descriptor

__all__ = ["Copied", "Progress", "copy", "digest_of", "examine"]


@dataclass(frozen=True)
class Copied:
    """What arrived, or is there.

    Attributes:
        files: Every file with its digest, sorted by path.
        digest: Of the whole; see :func:`digest_of`.
        size: Bytes of the whole.
    """

    files: tuple[Entry, ...]
    digest: Digest
    size: int


def digest_of(files: Sequence[Entry]) -> Digest:
    """The digest of a model.

    Of one file it is that file's own, whatever its name, so that ``sha256sum`` gives the same. Of
    several it is the SHA-256 of one line of JSON: a list, sorted by path, of objects with the keys
    ``digest``, ``path`` and ``size`` in that order, without spaces, in UTF-8, non-ASCII unescaped,
    no line end.

    Args:
        files: At least one; each with its digest.
    """
    if len(files) == 1 and files[0].digest is not None:
        return files[0].digest
    listed = [
        {"digest": file.digest, "path": file.path, "size": file.size}
        for file in sorted(files, key=lambda file: file.path)
    ]
    return of_bytes(json.dumps(listed, separators=(",", ":"), ensure_ascii=False).encode())


async def copy(source: Reader, destination: Writer, *, progress: Progress = silent) -> Copied:
    """Copy every file of a source.

    A file arrives whole and right or not at all. When a later one fails, the earlier ones stay;
    the same call writes them again.

    Args:
        source: The files.
        destination: The folder they go to, under their own paths.
        progress: Told after every chunk.

    Raises:
        InvalidError: the source has no files, its only file is empty, or the bytes are not those
            that the source promised.
        ConflictError: a file was changed while it was copied.
        NotFoundError, DeniedError, UnavailableError: of the source or the destination.
    """
    entries = await source.list()
    _check_not_empty(entries)
    total = sum(entry.size for entry in entries)
    done = 0
    files = []
    progress(0, total)
    for entry in entries:
        before = done

        def count(sent: int, before: int = before) -> None:
            progress(before + sent, total)

        files.append(await _copy_file(source, destination, entry, count))
        done += entry.size
    return Copied(tuple(files), digest_of(files), total)


async def examine(source: Reader, *, progress: Progress = silent) -> Copied:
    """Read every file of a source without writing it anywhere: what :func:`copy` would bring.

    Args:
        source: The files.
        progress: Told after every chunk.

    Raises:
        InvalidError, ConflictError, NotFoundError, DeniedError, UnavailableError: as of
            :func:`copy`, but for those of a destination.
    """
    return await copy(source, _Nowhere(), progress=progress)


class _Nowhere:
    """A writer that keeps nothing but the digest."""

    async def put(
        self, path: str, chunks: AsyncIterable[bytes], *, digest: Digest | None = None
    ) -> Descriptor:
        found, size = await of_stream(chunks)
        return {"mediaType": OCTET_STREAM, "digest": found, "size": size}

    async def delete(self, path: str) -> None:
        """It is deleted already."""


def _check_not_empty(entries: Sequence[Entry]) -> None:
    if not entries:
        raise InvalidError(
            "the source has no files", hint="Name a file, or a folder with the model's files."
        )
    if all(entry.size == 0 for entry in entries):
        what = f"file {entries[0].path!r} is" if len(entries) == 1 else "all files are"
        raise InvalidError(f"{what} empty, so there is no model in it")


async def _copy_file(
    source: Reader, destination: Writer, entry: Entry, count: Callable[[int], None]
) -> Entry:
    chunks = verified(source.read(entry.path), entry.digest, entry.size)
    try:
        written = await destination.put(entry.path, counted(chunks, count), digest=entry.digest)
    except InvalidError as exc:
        if exc.reason is Reason.DIGEST_MISMATCH and entry.digest is None:
            raise ConflictError(
                f"{entry.path!r} was changed while it was read: {exc.message}",
                hint="Run the same again when nothing writes to it.",
            ) from exc
        raise
    return Entry(entry.path, written["size"], written["digest"])

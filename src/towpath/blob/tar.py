"""One file as a tar layer: always the same bytes for the same file.

A ustar header (POSIX.1-1988), preceded by a pax header (POSIX.1-2001) where name or size do not
fit; owner and time zero, mode 0644. No library writes it, so that no library's new version changes
a digest.
"""

from collections.abc import AsyncIterable
from typing import Final

from towpath.blob.stream import Chunks, closing
from towpath.errors import ConflictError

__all__ = ["BLOCK", "header", "padding", "stream"]

BLOCK: Final = 512
_END: Final = bytes(2 * BLOCK)
_NAME_BYTES: Final = 100
_OCTAL_LIMIT: Final = 8**11
_FILE: Final = b"0"
_PAX: Final = b"x"


def header(path: str, size: int) -> bytes:
    """What stands before a file's bytes: its header block, after a pax header where needed."""
    name = path.encode()
    records = b""
    if len(name) > _NAME_BYTES or not path.isascii():
        records += _record("path", path)
    if size >= _OCTAL_LIMIT:
        records += _record("size", str(size))
    own = _block(_ascii(path), size if size < _OCTAL_LIMIT else 0, _FILE)
    if not records:
        return own
    pax = _block(_ascii(f"PaxHeaders/{path}"), len(records), _PAX)
    return pax + records + bytes(-len(records) % BLOCK) + own


def _ascii(path: str) -> bytes:
    return path.encode("ascii", "replace")[:_NAME_BYTES]


def _record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    size = len(rest) + 1
    while len(str(size)) + len(rest) != size:
        size = len(str(size)) + len(rest)
    return str(size).encode() + rest


def _block(name: bytes, size: int, kind: bytes) -> bytes:
    fields = (
        name.ljust(_NAME_BYTES, b"\0"),
        b"0000644\0" + b"0000000\0" * 2,  # mode, uid, gid
        b"%011o\0" % size,
        b"00000000000\0",  # mtime
        b" " * 8,  # the checksum counts itself as spaces
        kind,
        bytes(100),  # linkname
        b"ustar\x0000",
        bytes(64),  # uname, gname
        b"0000000\0" * 2,  # devmajor, devminor
    )
    block = b"".join(fields).ljust(BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size: int) -> bytes:
    """What stands after a file's bytes: zeros up to a whole block, and the end of the archive."""
    return bytes(-size % BLOCK) + _END


async def stream(path: str, size: int, body: AsyncIterable[bytes]) -> Chunks:
    """The archive of one file, its bytes passed through.

    Raises:
        ConflictError: the body has not the size the header says: the file changed.
    """
    left = size
    async with closing(body):
        yield header(path, size)
        async for chunk in body:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    if left:
        raise ConflictError(
            f"{path!r} has {'more' if left < 0 else 'fewer'} than the {size} bytes it had before",
            hint="Run the same again when nothing writes to it.",
        )
    yield padding(size)

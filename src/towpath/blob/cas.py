"""An OCI image-layout folder as a content-addressed store: the distribution's and the edges' disk.

``oci-layout``, ``index.json`` and ``blobs/sha256/<hex>`` are as in the OCI image specification 1.1,
so other tools read the folder as ``oci:PATH:TAG``. Unfinished uploads lie in ``.uploads/`` and
survive a restart; a blob appears under its digest only when it is whole and right.
"""

import json
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, cast
from weakref import WeakValueDictionary

import anyio
from anyio import to_thread

from towpath.blob import disk, index
from towpath.blob.digest import Hasher, of_bytes
from towpath.blob.stream import Chunks, closing
from towpath.errors import InvalidError, NotFoundError, Reason, UnavailableError
from towpath.files import sync_folder, write_atomic
from towpath.settings import Blob
from towpath.spec.names import Digest
from towpath.spec.names import digest as checked
from towpath.spec.oci import LAYOUT_VERSION, OCTET_STREAM, Descriptor, Index

__all__ = ["Layout"]

_UPLOAD: Final = re.compile(r"[0-9a-f]{32}")
_ABANDONED_SECONDS: Final = 24 * 3600
"""An upload nobody wrote to for this long is given up; clients that resume do so within minutes."""


class Layout:
    """One image-layout folder, made when first written to.

    Args:
        path: The folder.
        chunk_bytes: Bytes read and written at a time.
    """

    def __init__(self, path: Path, chunk_bytes: int = Blob.chunk_bytes) -> None:
        self.path = path
        self._chunk_bytes = chunk_bytes
        self._hashers: dict[str, Hasher] = {}
        self._locks: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    def __str__(self) -> str:
        return str(self.path)

    def file(self, digest: Digest) -> Path:
        """Where a blob lies (or would)."""
        return self.path / "blobs" / "sha256" / checked(digest).removeprefix("sha256:")

    def _upload(self, upload: str) -> Path:
        if not _UPLOAD.fullmatch(upload):
            raise NotFoundError(f"there is no upload {upload[:40]!r}")
        return self.path / ".uploads" / upload

    @asynccontextmanager
    async def exclusive(self, key: str) -> AsyncIterator[None]:
        """Only one task of this process at a time in blocks with the same key."""
        lock = self._locks.setdefault(key, anyio.Lock())
        async with lock:
            yield

    # Blobs

    async def stat(self, digest: Digest) -> int:
        """A blob's size. Raises NotFoundError."""
        with disk.errors(f"blob {digest}"):
            return (await to_thread.run_sync(self.file(digest).stat)).st_size

    async def has(self, digest: Digest) -> bool:
        """Whether a blob is there."""
        return await to_thread.run_sync(self.file(digest).is_file)

    async def open(self, digest: Digest, offset: int = 0, length: int | None = None) -> Chunks:
        """A blob's bytes, or a part of them. Raises NotFoundError."""
        path = self.file(digest)

        def begin() -> tuple[int, int]:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return fd, os.fstat(fd).st_size - os.lseek(fd, offset, os.SEEK_SET)

        with disk.errors(f"blob {digest}"):
            fd, left = await to_thread.run_sync(begin)
            chunks = disk.chunks(fd, left if length is None else length, self._chunk_bytes)
            async with closing(chunks):
                async for chunk in chunks:
                    yield chunk

    async def delete(self, digest: Digest) -> None:
        """Delete a blob. Raises NotFoundError."""
        with disk.errors(f"blob {digest}"):
            await to_thread.run_sync(self.file(digest).unlink)

    async def link(self, digest: Digest, other: "Layout") -> bool:
        """Take a blob over from another layout: a hard link, or a copy where none can be made.

        Returns:
            Whether the other one had it.

        Raises:
            UnavailableError: the disk is full (reason ``NoSpace``).
        """

        def take() -> bool:
            source, target = other.file(digest), self.file(digest)
            if not source.is_file():
                return False
            if target.is_file():
                return True
            self._make()
            part = target.with_name(f".{secrets.token_hex(8)}.part")
            try:
                try:
                    os.link(source, part)
                except OSError:
                    shutil.copyfile(source, part)
                    with part.open("rb+") as file:
                        os.fsync(file.fileno())
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)
            sync_folder(target.parent)
            return True

        with disk.errors(f"blob {digest}"):
            return await to_thread.run_sync(take)

    # Uploads

    async def begin(self, digest: Digest | None = None) -> str:
        """Begin an upload, or find the one begun before for the same digest.

        Args:
            digest: Where it is known beforehand; makes the upload's name, so that it can be
                continued after a restart.
        """
        upload = digest.removeprefix("sha256:")[:32] if digest else secrets.token_hex(16)

        def make() -> None:
            self._make()
            self._sweep()
            self._upload(upload).touch()

        with disk.errors(f"folder {self.path}"):
            await to_thread.run_sync(make)
        return upload

    async def offset(self, upload: str) -> int:
        """How many bytes an upload has. Raises NotFoundError."""
        with disk.errors(f"upload {upload}"):
            return (await to_thread.run_sync(self._upload(upload).stat)).st_size

    async def append(
        self, upload: str, chunks: AsyncIterable[bytes], offset: int | None = None
    ) -> int:
        """Add bytes to an upload. What had come before the stream broke off stays.

        Args:
            upload: From :meth:`begin`.
            chunks: The bytes.
            offset: Where they belong; None means the end, whatever it is.

        Returns:
            The new size.

        Raises:
            NotFoundError: there is no such upload.
            InvalidError: it does not end at ``offset`` (reason ``RangeNotSatisfiable``).
            ConflictError: another request is writing it.
            UnavailableError: the disk is full (reason ``NoSpace``); the upload is given up.
        """
        path = self._upload(upload)
        await self.offset(upload)
        async with closing(chunks):
            try:
                with disk.errors(f"upload {upload}"):
                    fd, hasher = await to_thread.run_sync(self._resume, path)
                    try:
                        if offset is not None and offset != hasher.size:
                            raise InvalidError(
                                f"the upload continues at byte {hasher.size}, not {offset}",
                                reason=Reason.RANGE_NOT_SATISFIABLE,
                            )
                        await disk.drain(fd, chunks, hasher, self._chunk_bytes)
                    finally:
                        os.close(fd)
            except UnavailableError as exc:
                if exc.reason is Reason.NO_SPACE:
                    with suppress(NotFoundError):
                        await self.abort(upload)
                raise
        return hasher.size

    def _resume(self, path: Path) -> tuple[int, Hasher]:
        """The upload's file, at its end, and the hash of what it holds. Blocking."""
        fd = disk.claim(path)
        try:
            size = os.lseek(fd, 0, os.SEEK_END)
            hasher = self._hashers.get(path.name)
            if hasher is None or hasher.size != size:
                hasher = Hasher()
                os.lseek(fd, 0, os.SEEK_SET)
                while chunk := os.read(fd, self._chunk_bytes):
                    hasher.update(chunk)
            self._hashers[path.name] = hasher
        except BaseException:
            os.close(fd)
            raise
        return fd, hasher

    async def commit(self, upload: str, digest: Digest, size: int | None = None) -> Descriptor:
        """Make an upload a blob.

        Raises:
            NotFoundError: there is no such upload.
            InvalidError: its bytes are not what the digest (or size) says (reason
                ``DigestMismatch``); the upload is given up.
            ConflictError: another request is writing it.
        """
        path, target = self._upload(upload), self.file(digest)

        def publish() -> int:
            path.stat()  # an unknown upload must not be made by claiming it
            fd, hasher = self._resume(path)
            try:
                try:
                    hasher.check(digest, size, f"upload {upload}")
                except InvalidError:
                    self._forget(upload)
                    raise
                os.fsync(fd)
                path.replace(target)
                sync_folder(target.parent)
                self._hashers.pop(upload, None)
                return hasher.size
            finally:
                os.close(fd)

        with disk.errors(f"upload {upload}"):
            written = await to_thread.run_sync(publish)
        return {"mediaType": OCTET_STREAM, "digest": digest, "size": written}

    async def abort(self, upload: str) -> None:
        """Give an upload up. Raises NotFoundError."""
        await self.offset(upload)
        with disk.errors(f"upload {upload}"):
            await to_thread.run_sync(self._forget, upload)

    def _forget(self, upload: str) -> None:
        self._upload(upload).unlink(missing_ok=True)
        self._hashers.pop(upload, None)

    def _sweep(self) -> None:
        oldest = time.time() - _ABANDONED_SECONDS
        for path in (self.path / ".uploads").iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    self._forget(path.name)

    # Manifests

    async def put_manifest(self, data: bytes, media_type: str, tag: str = "") -> Descriptor:
        """Keep a manifest, and let a tag point to it.

        Raises:
            UnavailableError: the disk is full (reason ``NoSpace``).
        """
        manifest: Descriptor = {
            "mediaType": media_type,
            "digest": of_bytes(data),
            "size": len(data),
        }

        def put() -> None:
            self._make()
            write_atomic(self.file(manifest["digest"]), data)
            self._change(lambda old: index.add(old, manifest, tag))

        with disk.errors(f"manifest {manifest['digest']}"):
            await to_thread.run_sync(put)
        return manifest

    async def manifest(self, digest: Digest) -> bytes:
        """A manifest's bytes. Raises NotFoundError."""
        with disk.errors(f"manifest {digest}"):
            return await to_thread.run_sync(self.file(digest).read_bytes)

    async def resolve(self, reference: str) -> Descriptor:
        """The manifest of a tag or a digest. Raises NotFoundError."""
        return index.resolve(await to_thread.run_sync(self.index), reference)

    async def tags(self) -> list[str]:
        """All tags, sorted."""
        return index.tags(await to_thread.run_sync(self.index))

    async def manifests(self) -> list[Descriptor]:
        """Every manifest, without tags."""
        return index.manifests(await to_thread.run_sync(self.index))

    async def untag(self, tag: str) -> None:
        """Take a tag away; its manifest stays. Raises NotFoundError."""
        await self.resolve(tag)
        with disk.errors(f"tag {tag}"):
            await to_thread.run_sync(self._change, lambda old: index.untag(old, tag))

    async def delete_manifest(self, digest: Digest) -> None:
        """Delete a manifest and its tags; its blobs stay. Raises NotFoundError."""
        await self.resolve(digest)

        def remove() -> None:
            self._change(lambda old: index.remove(old, digest))
            self.file(digest).unlink(missing_ok=True)

        with disk.errors(f"manifest {digest}"):
            await to_thread.run_sync(remove)

    def index(self) -> Index:
        """``index.json``; empty where there is none. Blocking. Raises InvalidError."""
        path = self.path / "index.json"
        try:
            with disk.errors(f"{path}"):
                found = json.loads(path.read_bytes())
        except NotFoundError:
            return index.EMPTY
        except ValueError as exc:
            raise InvalidError(f"{path} is not an OCI image index") from exc
        if not isinstance(found, dict) or not isinstance(found.get("manifests"), list):
            raise InvalidError(f"{path} is not an OCI image index")
        return cast(Index, found)

    def _change(self, change: Callable[[Index], Index]) -> None:
        with disk.locked(self.path / ".lock"):
            data = json.dumps(change(self.index()), separators=(",", ":")).encode()
            write_atomic(self.path / "index.json", data)

    def _make(self) -> None:
        """Make the folder a layout where it is none yet. Blocking."""
        for name in ("blobs/sha256", ".uploads"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        if (self.path / "oci-layout").is_file():
            return
        if not (self.path / "index.json").exists():
            self._change(lambda old: old)
        write_atomic(
            self.path / "oci-layout", json.dumps({"imageLayoutVersion": LAYOUT_VERSION}).encode()
        )

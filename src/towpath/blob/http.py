"""``http:`` and ``https:``: one file, read only, resumed by range when the connection drops."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

import httpx2

from towpath.blob import _client
from towpath.blob.path import relative
from towpath.blob.retry import persist, resumed
from towpath.blob.store import Entry
from towpath.blob.stream import Chunks, closing
from towpath.blob.uri import Uri
from towpath.errors import ConflictError, InvalidError, NotFoundError, Reason, UnavailableError
from towpath.settings import Blob

__all__ = ["HttpReader"]

_NO_HEAD: Final = frozenset({400, 403, 405, 501})
"""Answers to HEAD of servers that allow GET only (a presigned URL is bound to its method)."""


@dataclass(frozen=True)
class _Version:
    """Which bytes a server serves: enough to notice that they are others."""

    size: int | None
    etag: str
    modified: str

    @property
    def validator(self) -> str:
        """Value of ``If-Range``: a strong ETag, else the date (RFC 9110, 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def differs(self, other: "_Version") -> bool:
        """Whether both say something and it is not the same."""
        return any(
            a and b and a != b
            for a, b in (
                (self.etag, other.etag),
                (self.modified, other.modified),
                (self.size, other.size),
            )
        )


class HttpReader:
    """A :class:`towpath.blob.Reader` of the one file that a URL names.

    Args:
        uri: The URL; its user and password become Basic authentication.
        settings: Timeouts and tries.
    """

    def __init__(self, uri: Uri, settings: Blob) -> None:
        self._url = uri.with_secrets()
        self._host = httpx2.URL(self._url).host
        self._shown = str(uri)
        self._name = uri.name
        self._settings = settings
        self._version: _Version | None = None

    async def list(self) -> list[Entry]:
        """The one file.

        Raises:
            NotFoundError: there is no such file.
            InvalidError: the URL names no file, or the server does not tell its length.
            DeniedError: it may not be read.
            UnavailableError: the server does not answer.
        """
        if not self._name or "/" in self._name:
            raise InvalidError(
                f"{self._shown} names no file", hint="Its path must end in the file's name."
            )
        name = relative(self._name)
        self._version = await persist(self._probe, self._settings.attempts)
        return [Entry(name, self._size(self._version))]

    def _size(self, version: _Version) -> int:
        if version.size is None:
            raise InvalidError(
                f"{self._shown} does not tell its length",
                hint="Download it first, and give the path of the file.",
            )
        return version.size

    async def _probe(self) -> _Version:
        with _client.errors(self._shown):
            async with _client.connect(self._settings, self._host) as client:
                response = await client.head(self._url)
                if response.is_success and _client.length(response) is not None:
                    _refuse_encoding(response, self._shown)
                    return _version(response)
                if not response.is_success and response.status_code not in _NO_HEAD:
                    raise _client.refusal(response, self._shown)
                async with client.stream(
                    "GET", self._url, headers={"Range": "bytes=0-0"}
                ) as response:
                    if response.status_code == 416 and _client.starts_at(response) == (0, 0):
                        return _Version(0, response.headers.get("etag", ""), "")
                    if not response.is_success:
                        raise _client.refusal(response, self._shown)
                    _refuse_encoding(response, self._shown)
                    return _version(response)

    async def read(self, path: str, offset: int = 0) -> Chunks:
        """The file's bytes from an offset on.

        Raises:
            NotFoundError: there is no such file.
            ConflictError: the file on the server was changed.
            UnavailableError: the connection broke off too often.
        """
        if path != self._name:
            raise NotFoundError(f"{path!r} is not what {self._shown} names")
        version = self._version
        if version is None:
            version = self._version = await persist(self._probe, self._settings.attempts)
        chunks = resumed(lambda at: self._part(version, at), offset, self._settings.attempts)
        async with closing(chunks):
            async for chunk in chunks:
                yield chunk

    def _get(
        self, client: httpx2.AsyncClient, version: _Version, offset: int
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        headers = {}
        if offset:
            headers["Range"] = f"bytes={offset}-"
            if version.validator:
                headers["If-Range"] = version.validator
        return client.stream("GET", self._url, headers=headers)

    async def _part(self, version: _Version, offset: int) -> Chunks:
        size = self._size(version)
        if offset >= size:
            return
        with _client.errors(self._shown):
            async with (
                _client.connect(self._settings, self._host) as client,
                self._get(client, version, offset) as response,
            ):
                skip = self._skip(response, version, offset)
                async for chunk in response.aiter_raw():
                    kept = chunk[skip:]
                    skip -= min(skip, len(chunk))
                    offset += len(kept)
                    if offset > size:
                        raise InvalidError(
                            f"{self._shown} sends more than the {size} bytes it told",
                            reason=Reason.DIGEST_MISMATCH,
                        )
                    if kept:
                        yield kept
        if offset < size:
            raise UnavailableError(f"{self._shown} ended after {offset} of {size} bytes")

    def _skip(self, response: httpx2.Response, version: _Version, offset: int) -> int:
        """Bytes of this answer that were read before, after checking that it continues them."""
        if response.status_code == 416:
            raise self._changed()
        if not response.is_success:
            raise _client.refusal(response, self._shown)
        _refuse_encoding(response, self._shown)
        now = _version(response)
        if version.differs(now):
            raise self._changed()
        if response.status_code == 206:
            started = _client.starts_at(response)
            if started is None or started[0] != offset:
                raise InvalidError(f"{self._shown} answers another range than the one asked for")
            return 0
        if offset and not version.validator:
            raise InvalidError(
                f"{self._shown} broke off and cannot be continued: it has no ranges and no ETag",
                hint="Download it first, and give the path of the file.",
            )
        return offset

    def _changed(self) -> ConflictError:
        return ConflictError(
            f"{self._shown} was changed while it was read", hint="Run the same again."
        )


def _version(response: httpx2.Response) -> _Version:
    size = _client.length(response)
    if response.status_code == 206:
        started = _client.starts_at(response)
        size = started[1] if started else None
    headers = response.headers
    return _Version(size, headers.get("etag", ""), headers.get("last-modified", ""))


def _refuse_encoding(response: httpx2.Response, shown: str) -> None:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise InvalidError(
            f"{shown} is sent with Content-Encoding {encoding[:40]!r}, not as it is",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
            hint="Its bytes would not be the file's; serve it without that encoding.",
        )

"""The client of any OCI registry (distribution specification 1.1), streaming in constant memory.

Loopback is spoken to in plain http, everything else in https. What can be repeated is tried again
with backoff; a download goes on by range, an upload begins anew.
"""

import json
from collections.abc import AsyncIterable, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlencode, urljoin

import anyio
import httpx2

from towpath.blob import _client
from towpath.blob.digest import Hasher, of_bytes
from towpath.blob.reference import is_registry
from towpath.blob.retry import persist, resumed
from towpath.blob.stream import Chunks, closing
from towpath.errors import (
    ConflictError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.settings import Blob
from towpath.spec.names import DIGEST, Digest
from towpath.spec.oci import MANIFEST, MANIFEST_TYPES, OCTET_STREAM, Descriptor

__all__ = ["Basic", "Bearer", "Client"]

_ANSWER_BYTES: Final = 4 * 1024 * 1024
"""Largest manifest or list read: what the specification asks registries to support."""
_GIVE_UP_SECONDS: Final = 2


@dataclass(frozen=True)
class Basic:
    """A user and a password."""

    username: str
    password: str = field(repr=False)

    def header(self) -> str:
        """Value of ``Authorization``."""
        request = httpx2.Request("GET", "http://registry")
        flow = httpx2.BasicAuth(self.username, self.password).auth_flow(request)
        return str(next(flow).headers["Authorization"])


@dataclass(frozen=True)
class Bearer:
    """A token that is there already."""

    token: str = field(repr=False)

    def header(self) -> str:
        """Value of ``Authorization``."""
        return f"Bearer {self.token}"


class _Auth(httpx2.Auth):
    """Credentials for one origin: never sent to where a registry redirects."""

    def __init__(self, header: str, origin: str) -> None:
        self._header = header
        self._url = httpx2.URL(origin)

    def auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        ours = (self._url.scheme, self._url.host, self._url.port)
        if (request.url.scheme, request.url.host, request.url.port) == ours:
            request.headers["Authorization"] = self._header
        yield request


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: httpx2.Headers
    body: bytes


class Client:
    """One registry; enter it to connect.

    Args:
        registry: ``host`` or ``host:port``.
        settings: Timeouts and tries.
        credentials: Sent with every request to the registry itself.
    """

    def __init__(
        self,
        registry: str,
        settings: Blob | None = None,
        *,
        credentials: Basic | Bearer | None = None,
    ) -> None:
        self.registry = registry
        self._settings = settings or Blob()
        if not is_registry(registry):
            raise InvalidError(f"{registry[:200]!r} is not a registry's host and port")
        host = httpx2.URL(f"//{registry}").host
        self._base = f"{'http' if _client.is_loopback(host) else 'https'}://{registry}"
        auth = _Auth(credentials.header(), self._base) if credentials else None
        self._http = _client.connect(self._settings, host, auth)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close its connections."""
        await self._http.aclose()

    # Manifests

    async def resolve(self, repository: str, reference: str) -> Descriptor:
        """The manifest that a tag or digest names, without its bytes where the registry tells.

        Raises:
            NotFoundError: there is none.
            InvalidError: it is not what its digest says.
        """
        what = self._what(repository, reference)
        answer = await self._ask("HEAD", f"/v2/{repository}/manifests/{reference}", what)
        digest = answer.headers.get("docker-content-digest", "")
        length = answer.headers.get("content-length", "")
        if not DIGEST.fullmatch(digest) or not length.isdecimal():
            return (await self.manifest(repository, reference))[0]
        _check(Digest(digest), reference, what)
        return {
            "mediaType": answer.headers.get("content-type", MANIFEST),
            "digest": Digest(digest),
            "size": int(length),
        }

    async def manifest(self, repository: str, reference: str) -> tuple[Descriptor, bytes]:
        """A manifest (or index) and its descriptor.

        Raises:
            NotFoundError: there is none.
            InvalidError: it is not what its digest says, or larger than 4 MiB.
        """
        what = self._what(repository, reference)
        answer = await self._ask("GET", f"/v2/{repository}/manifests/{reference}", what)
        digest = of_bytes(answer.body)
        _check(digest, reference, what)
        _check(digest, answer.headers.get("docker-content-digest", digest), what)
        media_type = answer.headers.get("content-type", MANIFEST).partition(";")[0].strip()
        return {"mediaType": media_type, "digest": digest, "size": len(answer.body)}, answer.body

    async def put_manifest(
        self, repository: str, reference: str, data: bytes, media_type: str
    ) -> Descriptor:
        """Put a manifest under a tag or its digest. Raises InvalidError, DeniedError."""
        what = self._what(repository, reference)
        url = f"{self._base}/v2/{repository}/manifests/{reference}"
        descriptor: Descriptor = {
            "mediaType": media_type,
            "digest": of_bytes(data),
            "size": len(data),
        }
        _check(descriptor["digest"], reference, what)

        async def once() -> None:
            try:
                await self._once(
                    "PUT", url, what, content=data, headers={"Content-Type": media_type}
                )
            except InvalidError as exc:
                if exc.reason is not Reason.DIGEST_MISMATCH:
                    raise
                # we know the digest of these bytes: a registry that finds another one reads what a
                # push of the same manifest is writing right now (CNCF distribution 2.8 does)
                raise UnavailableError(exc.message, reason=Reason.DIGEST_MISMATCH) from exc

        await persist(once, self._settings.attempts)
        return descriptor

    # Blobs

    async def stat(self, repository: str, digest: Digest) -> int | None:
        """A blob's size, or None when the repository does not have it."""
        what = self._what(repository, digest)
        try:
            answer = await self._ask("HEAD", f"/v2/{repository}/blobs/{digest}", what)
        except NotFoundError:
            return None
        length = answer.headers.get("content-length", "")
        return int(length) if length.isdecimal() else 0

    async def blob(self, repository: str, blob: Descriptor, offset: int = 0) -> Chunks:
        """A blob's bytes from an offset on; who takes them checks the digest.

        Raises:
            NotFoundError: there is none.
            InvalidError: the registry sends another length than the descriptor says.
            UnavailableError: the connection broke off too often.
        """
        what = self._what(repository, blob["digest"])
        url = f"{self._base}/v2/{repository}/blobs/{blob['digest']}"

        def part(at: int) -> Chunks:
            return self._part(url, what, at, blob["size"])

        chunks = resumed(part, offset, self._settings.attempts)
        async with closing(chunks):
            async for chunk in chunks:
                yield chunk

    async def _part(self, url: str, what: str, offset: int, size: int) -> Chunks:
        if offset >= size:
            return
        headers = {"Range": f"bytes={offset}-{size - 1}"} if offset else {}
        with _client.errors(what):
            async with self._http.stream("GET", url, headers=headers) as response:
                if not response.is_success:
                    raise await _refusal(response, what)
                skip = offset
                if response.status_code == 206:
                    started = _client.starts_at(response)
                    if started is None or started[0] != offset:
                        raise InvalidError(f"{what} is answered with another range than asked for")
                    skip = 0
                async for chunk in response.aiter_raw():
                    kept = chunk[skip:]
                    skip -= min(skip, len(chunk))
                    offset += len(kept)
                    if offset > size:
                        raise InvalidError(
                            f"{what} is longer than its {size} bytes", reason=Reason.DIGEST_MISMATCH
                        )
                    if kept:
                        yield kept
        if offset < size:
            raise UnavailableError(f"{what} ended after {offset} of {size} bytes")

    async def mount(self, repository: str, digest: Digest, origin: str) -> bool:
        """Take a blob over from another repository of the registry.

        Returns:
            False when the registry does not: then it must be pushed.
        """
        query = urlencode({"mount": digest, "from": origin})
        url = f"/v2/{repository}/blobs/uploads/?{query}"
        answer = await self._ask("POST", url, self._what(repository, digest))
        if answer.status == 201:
            return True
        if location := answer.headers.get("location"):
            await self._give_up(urljoin(self._base, location))
        return False

    async def push(
        self,
        repository: str,
        source: Callable[[], AsyncIterable[bytes]],
        *,
        digest: Digest | None = None,
        size: int | None = None,
    ) -> Descriptor:
        """Push a blob; nothing is sent when its digest is known and the registry has it.

        Args:
            repository: Where to.
            source: Gives the bytes from the beginning; called again for every try.
            digest: What they hash to; None when it is known only at the end.
            size: How many there are, where known.

        Raises:
            InvalidError: the registry refuses it.
            ConflictError: the bytes are not those of ``digest`` (or ``size``) any more.
            UnavailableError: the last try's.
        """
        what = self._what(repository, digest or "")

        async def once() -> Descriptor:
            if digest is not None:
                known = await self.stat(repository, digest)
                if known is not None:
                    return {"mediaType": OCTET_STREAM, "digest": digest, "size": size or known}
            return await self._push(repository, what, _Promised(source(), digest, size))

        return await persist(once, self._settings.attempts)

    async def _push(self, repository: str, what: str, body: "_Promised") -> Descriptor:
        begun = await self._once("POST", f"{self._base}/v2/{repository}/blobs/uploads/", what)
        location = self._location(begun, what)
        headers = {"Content-Type": OCTET_STREAM}
        if body.size is not None:
            headers["Content-Length"] = str(body.size)
        try:
            sent = await self._once("PATCH", location, what, content=body.chunks(), headers=headers)
            location = self._location(sent, what)
            digest = body.hasher.digest
            mark = "&" if "?" in location else "?"
            await self._once("PUT", f"{location}{mark}{urlencode({'digest': digest})}", what)
        except BaseException:
            await self._give_up(location)
            raise
        return {"mediaType": OCTET_STREAM, "digest": digest, "size": body.hasher.size}

    def _location(self, answer: _Answer, what: str) -> str:
        location = answer.headers.get("location")
        if not location:
            raise InvalidError(f"{what}: the registry began an upload without a Location")
        return urljoin(f"{self._base}/", location)

    async def _give_up(self, location: str) -> None:
        """Free what an upload holds, after a cancellation too, but not for long: the registry would
        do it later anyway."""
        with anyio.move_on_after(_GIVE_UP_SECONDS, shield=True), suppress(TowpathError):
            await self._once("DELETE", location, "upload")

    # Requests

    def _what(self, repository: str, reference: str) -> str:
        mark = "@" if ":" in reference else ":"
        return f"{self.registry}/{repository}" + (f"{mark}{reference}" if reference else "")

    async def _ask(self, method: str, path: str, what: str) -> _Answer:
        """A request that may be repeated."""

        async def once() -> _Answer:
            return await self._once(method, f"{self._base}{path}", what)

        return await persist(once, self._settings.attempts)

    async def _once(
        self,
        method: str,
        url: str,
        what: str,
        *,
        content: bytes | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> _Answer:
        accept = {"Accept": ", ".join(MANIFEST_TYPES)} if "/manifests/" in url else {}
        with _client.errors(what):
            async with self._stream(
                method, url, content, {**accept, **(headers or {})}
            ) as response:
                if not response.is_success:
                    raise await _refusal(response, what)
                body = b"" if method == "HEAD" else await _bounded(response, what)
                return _Answer(response.status_code, response.headers, body)

    def _stream(
        self,
        method: str,
        url: str,
        content: bytes | AsyncIterable[bytes] | None,
        headers: Mapping[str, str],
    ) -> AbstractAsyncContextManager[httpx2.Response]:
        return self._http.stream(
            method,
            url,
            content=content,
            headers=dict(headers),
            follow_redirects=method in ("GET", "HEAD"),
        )


class _Promised:
    """A body that is hashed while it is sent, and breaks off when it is not what was promised."""

    def __init__(
        self, source: AsyncIterable[bytes], digest: Digest | None, size: int | None
    ) -> None:
        self._source = source
        self._digest = digest
        self.size = size
        self.hasher = Hasher()

    async def chunks(self) -> Chunks:
        async with closing(self._source):
            async for chunk in self._source:
                await self.hasher.feed(chunk)
                yield chunk
        try:
            self.hasher.check(self._digest, self.size)
        except InvalidError as exc:
            raise ConflictError(
                "the source was changed while it was pushed", hint="Run the same again."
            ) from exc


def _check(digest: Digest, reference: str, what: str) -> None:
    if ":" in reference and digest != reference:
        raise InvalidError(
            f"{what} is answered with {digest}, which is another manifest",
            reason=Reason.DIGEST_MISMATCH,
        )


async def _bounded(response: httpx2.Response, what: str) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > _ANSWER_BYTES:
            raise InvalidError(
                f"{what} is answered with more than {_ANSWER_BYTES} bytes", reason=Reason.TOO_LARGE
            )
    return bytes(body)


async def _refusal(response: httpx2.Response, what: str) -> TowpathError:
    """The error of an answer, with what its OCI error body says."""
    code, message = "", ""
    with suppress(TowpathError, ValueError, LookupError, TypeError, AttributeError):
        first = json.loads(await _bounded(response, what))["errors"][0]
        code, message = str(first.get("code", "")), str(first.get("message", ""))
    detail = " ".join(part for part in (code, message) if part)[:300]
    error = _client.refusal(response, what, detail)
    if code == "DIGEST_INVALID":
        error.reason = Reason.DIGEST_MISMATCH
    return error

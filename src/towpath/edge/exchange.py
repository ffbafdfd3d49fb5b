"""One request on its way through the gateway: to the process, and its answer back to the client.

Nothing is changed but what belongs to a connection (RFC 9110 section 7.6.1): path, query, ``Host``
and bodies arrive as they were sent.
"""

import logging
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Final

import anyio
import httpx2
from starlette.types import Receive, Scope, Send

from towpath.edge.routes import Route
from towpath.errors import Reason, UnavailableError
from towpath.telemetry import fields

__all__ = ["Exchange", "header"]

log = logging.getLogger(__name__)

BUFFER_BYTES: Final = 1024 * 1024
"""A request body up to this size is held, so that it can be sent a second time."""

_TIMEOUTS: Final = {"connect": 2.0, "read": 300.0, "write": 300.0, "pool": None}
"""Seconds. Runtimes are on this machine, so connecting is instant or hopeless; an answer may take
long, and a client that gives up earlier ends the request itself."""

_HOP: Final = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_NOT_FORWARDED: Final = _HOP | {b"expect", b"content-length"}
_NOT_ANSWERED: Final = _HOP | {b"date"}
"""Each side of the gateway says these anew."""

Headers = list[tuple[bytes, bytes]]


class Exchange:
    """A request that may be sent to one process and, while that is safe, to another.

    Args:
        scope: Of the ASGI call, as the rest.
        receive: As above.
        send: As above.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._held: bytes | None = None
        self._arrived = anyio.Event()  # all of the body
        self._streamed = False
        self._answered = False

    @property
    def repeatable(self) -> bool:
        """Whether the whole body is held and the client has seen nothing of an answer."""
        return self._arrived.is_set() and not self._streamed and not self._answered

    async def run(self, transport: httpx2.AsyncBaseTransport, route: Route) -> None:
        """Send the request, stream the answer. Ends quietly when the client goes away.

        Raises:
            UnavailableError: the process cannot be reached, or it closed the connection before it
                answered, or it was silent for too long (reason ``Timeout``).
        """
        failure: UnavailableError | None = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_when_gone, tasks.cancel_scope)
            try:
                await self._pass(transport, route)
            except UnavailableError as error:
                failure = error
            except _GoneError:
                pass
            tasks.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _cancel_when_gone(self, scope: anyio.CancelScope) -> None:
        await self._arrived.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
        scope.cancel()

    async def _pass(self, transport: httpx2.AsyncBaseTransport, route: Route) -> None:
        if self._held is None:
            self._held = await self._hold()
        request = httpx2.Request(
            self._scope["method"],
            _url(str(route.upstream)),
            headers=self._headers(route),
            stream=httpx2.ByteStream(self._held)
            if self._arrived.is_set()
            else _Upload(self._rest(self._held)),
            extensions={"target": _target(self._scope), "timeout": _TIMEOUTS},
        )
        service = f"service {route.key}"
        try:
            response = await transport.handle_async_request(request)
        except (httpx2.ReadTimeout, httpx2.WriteTimeout) as exc:
            raise UnavailableError(
                f"{service} did not answer in time", reason=Reason.TIMEOUT
            ) from exc
        except httpx2.TransportError as exc:
            log.warning(
                "failed to get an answer",
                extra=fields(service=route.key, upstream=route.upstream, error=type(exc).__name__),
            )
            raise UnavailableError(f"{service} cannot be reached now", retry_after=1) from exc
        try:
            await self._answer(response)
        except httpx2.TransportError as exc:  # too late to say so: the server cuts the connection
            log.warning(
                "failed to get the whole answer",
                extra=fields(service=route.key, upstream=route.upstream, error=type(exc).__name__),
            )
        finally:
            await response.aclose()

    async def _answer(self, response: httpx2.Response) -> None:
        headers = response.headers.raw
        length = header(headers, b"content-length")
        left = int(length) if length else -1
        self._answered = True
        await self._send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": _without(headers, _NOT_ANSWERED),
            }
        )
        assert isinstance(response.stream, httpx2.AsyncByteStream)  # noqa: S101 - of this transport
        async for chunk in response.stream:
            left -= len(chunk)
            await self._send({"type": "http.response.body", "body": chunk, "more_body": left != 0})
        if left != 0:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _hold(self) -> bytes:
        """The body, or its beginning when it is too large to hold."""
        parts = []
        size = 0
        async for chunk in self._chunks():
            parts.append(chunk)
            size += len(chunk)
            if size > BUFFER_BYTES:
                break
        return b"".join(parts)

    async def _rest(self, beginning: bytes) -> AsyncIterator[bytes]:
        self._streamed = True
        yield beginning
        async for chunk in self._chunks():
            yield chunk

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            if not message.get("more_body", False):
                self._arrived.set()
            if chunk := message.get("body", b""):
                yield chunk
            if self._arrived.is_set():
                return

    def _headers(self, route: Route) -> Headers:
        given: Headers = self._scope["headers"]
        identity = self._scope.get("state", {}).get("identity")
        headers = _without(given, _NOT_FORWARDED)
        if identity is not None and not identity.anonymous:  # our token is not the runtime's affair
            headers = [pair for pair in headers if pair[0] != b"authorization"]
        if header(given, b"host") is None:
            headers.append((b"host", str(route.upstream).encode()))
        length = header(given, b"content-length")
        if self._arrived.is_set():
            if self._held or length is not None:
                headers.append((b"content-length", str(len(self._held or b"")).encode()))
        elif length is not None:
            headers.append((b"content-length", length))
        else:
            headers.append((b"transfer-encoding", b"chunked"))
        return headers


class _GoneError(Exception):
    """The client went away while it sent."""


class _Upload(httpx2.AsyncByteStream):
    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._chunks = chunks

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of a header, by its lower-case name."""
    return next((value for key, value in headers if key.lower() == name), None)


def _without(headers: Headers, dropped: frozenset[bytes]) -> Headers:
    named = header(headers, b"connection")
    if named and named.lower() not in (b"keep-alive", b"close"):
        dropped |= {one.strip().lower() for one in named.split(b",")}
    return [(key, value) for key, value in headers if key.lower() not in dropped]


@lru_cache(maxsize=1024)
def _url(upstream: str) -> httpx2.URL:
    """Parsed once: it costs as much as a tenth of a request."""
    return httpx2.URL(f"http://{upstream}")


def _target(scope: Scope) -> bytes:
    path: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path

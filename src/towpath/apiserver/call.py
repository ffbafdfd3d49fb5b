"""A request on a resource path, and the answer to it: what every verb of the API has in common."""

import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Final

import orjson
from anyio import to_thread
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from towpath.apiserver import bodies, options, presentation
from towpath.apiserver.kinds import Resource
from towpath.apiserver.presentation import Form
from towpath.apiserver.record import Address
from towpath.apiserver.target import Target
from towpath.apiserver.terms import Options
from towpath.auth import ANONYMOUS, Identity
from towpath.errors import InvalidError, Reason
from towpath.spec._wire import JsonObject
from towpath.web import body

__all__ = ["Call", "Handler"]

_LARGE: Final = 64 * 1024
"""Bytes from which on a body is decoded, or an answer formed, beside the event loop."""
_COMPRESSED: Final = 128 * 1024
"""Bytes from which on an answer is compressed, for a client elsewhere that accepts it; on this very
machine that would cost more time than it saves."""
_HERE: Final = ("127.", "::1")
_WARNING: Final = 256
_WARNINGS: Final = 4096
"""Bytes of one warning, and of all, once there are many: headers must stay small."""


@dataclass(frozen=True)
class Call:
    """One request.

    Attributes:
        request: As it came.
        resource: The kind it is about.
        target: What its path names.
        limit: Most bytes of its body.
    """

    request: Request
    resource: Resource
    target: Target
    limit: int

    @property
    def query(self) -> QueryParams:
        """Its query."""
        return self.request.query_params

    @property
    def agent(self) -> str:
        """Its ``User-Agent``."""
        return self.request.headers.get("user-agent", "")

    def options(self, kind: options.Written, body: bodies.Body, *, apply: bool = False) -> Options:
        """The options of a write that it asks for.

        Raises:
            InvalidError: one of them is not legal.
        """
        wanted = options.writing(kind, self.query, self.agent, body.found, apply=apply)
        return replace(wanted, admit=self.request.scope.get("state", {}).get("admit"))

    @property
    def address(self) -> Address:
        """The object that its path names."""
        return Address(self.resource.key, self.target.namespace, self.target.name)

    @property
    def identity(self) -> Identity:
        """Who asks."""
        found: Identity = self.request.scope.get("state", {}).get("identity", ANONYMOUS)
        return found

    @cached_property
    def form(self) -> Form:
        """The form of the answer.

        Raises:
            InvalidError: nothing the client accepts can be sent (reason ``NotAcceptable``).
        """
        headers, query = self.request.headers, self.query
        return presentation.negotiated(
            headers.get("accept", ""),
            self.agent,
            query.get("pretty", ""),
            query.get("includeObject", ""),
        )

    async def data(self) -> bytes:
        """The bytes of its body.

        Raises:
            InvalidError: there are too many (reason ``TooLarge``).
        """
        try:
            return await body(self.request, self.limit)
        except InvalidError as error:
            if error.reason is not Reason.TOO_LARGE:
                raise
            told = f"Request entity too large: limit is {self.limit}"
            raise InvalidError(told, reason=Reason.TOO_LARGE) from error

    async def body(self, *, yaml_too: bool = False) -> bodies.Body:
        """Its body.

        Raises:
            InvalidError: it is too large, or cannot be read.
        """
        data = await self.data()
        media = self.request.headers.get("content-type", "")
        kind = self.resource.kind.kind
        decode = partial(bodies.decoded, data, media, kind=kind, yaml_too=yaml_too)
        return decode() if len(data) < _LARGE else await to_thread.run_sync(decode)

    async def one(self, data: bytes, status: int = 200, warnings: Sequence[str] = ()) -> Response:
        """An answer that is an object of the kind."""
        form, resource = self.form, self.resource
        if form.plain:
            return await self.sent(presentation.one(form, resource, data), status, warnings)
        content = await self._formed(len(data), partial(presentation.one, form, resource, data))
        return await self.sent(content, status, warnings)

    async def many(self, items: Sequence[bytes], metadata: JsonObject) -> Response:
        """An answer that is a list of objects of the kind."""
        make = partial(presentation.many, self.form, self.resource, items, metadata)
        light = self.form.plain and not self.resource.mixed
        size = 0 if light else sum(map(len, items))
        return await self.sent(await self._formed(size, make))

    async def value(
        self, value: JsonObject, status: int = 200, warnings: Sequence[str] = ()
    ) -> Response:
        """An answer that is of another kind: a Status, a Scale, a review."""
        form = self.form._replace(kind="")
        data = orjson.dumps(value)
        return await self.sent(presentation.encoded(form, data), status, warnings)

    async def _formed(self, size: int, make: Callable[[], bytes]) -> bytes:
        return make() if size < _LARGE else await to_thread.run_sync(make)

    def _compresses(self) -> bool:
        request = self.request
        here = request.client is None or request.client.host.startswith(_HERE)
        wanted = "gzip" in request.headers.get("accept-encoding", "")
        return request.method == "GET" and wanted and not here

    async def sent(
        self, content: bytes, status: int = 200, warnings: Sequence[str] = ()
    ) -> Response:
        """An answer of these bytes."""
        headers = {}
        if len(content) > _COMPRESSED and self._compresses():
            content = await to_thread.run_sync(_compressed, content)
            headers = {"Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        response = Response(content, status, headers, media_type=self.form.media)
        deprecated = [self.resource.deprecated] if self.resource.deprecated else []
        for text in _shortened([*deprecated, *warnings]):
            response.headers.append("Warning", text)
        return response


Handler = Callable[[Call], Awaitable[Response]]


def _compressed(content: bytes) -> bytes:
    packer = zlib.compressobj(level=1, wbits=31)
    return packer.compress(content) + packer.flush()


def _shortened(warnings: Sequence[str]) -> list[str]:
    """Warnings as header values, each once; all of them, or as many as fit."""
    texts = list(dict.fromkeys(warnings))
    if sum(map(len, texts)) > _WARNINGS:
        texts = [text[:_WARNING] for text in texts[: _WARNINGS // _WARNING]]
    found = []
    for text in texts:
        plain = "".join(c if c.isprintable() and c.isascii() else "?" for c in text)
        quoted = plain.replace("\\", "\\\\").replace('"', '\\"')
        found.append(f'299 - "{quoted}"')
    return found

"""What all handlers share: requests taken apart, answers put together, as a generation has them."""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson
from starlette.requests import Request
from starlette.responses import Response

from towpath import web
from towpath.auth import Identity
from towpath.errors import InvalidError, Reason
from towpath.registry import filters
from towpath.registry.database import Database
from towpath.registry.events import Stamp
from towpath.registry.feed import Feed
from towpath.registry.kinds import METRIC, RUN_LINKS, Kinds, title_of
from towpath.registry.paging import Paging, token
from towpath.registry.records import Record, bad_request, decode, document, identifier
from towpath.settings import Registry
from towpath.spec._wire import JsonObject
from towpath.spec.registry import PREFIXES

__all__ = [
    "GENERATIONS",
    "Entry",
    "Generation",
    "Handler",
    "Page",
    "Surface",
    "answer",
    "expression",
    "only",
    "path_id",
    "query",
    "stamp",
]

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Entry: TypeAlias = tuple[str, str, Handler]
"""Method, path below the prefix, handler."""
Page: TypeAlias = tuple[list[Record], tuple[int, int] | None]
"""Entities, and the place after them when there are more."""

ACTOR_LENGTH: Final = 255
"""Of a caller's name, what an event holds; a service account's may be longer."""


@dataclass(frozen=True)
class Generation:
    """One generation of the API.

    Args:
        prefix: Where it is served.
        experiments: Whether it knows experiments and runs.
        step_is_text: Whether the step of a metric is answered as a text.
    """

    prefix: str
    experiments: bool = True
    step_is_text: bool = False


GENERATIONS: Final = (
    Generation(PREFIXES[0]),
    Generation(PREFIXES[1], experiments=False, step_is_text=True),
)


@dataclass(frozen=True)
class Surface:
    """What the handlers of one generation work with."""

    database: Database
    knobs: Registry
    generation: Generation
    feed: Feed

    async def body(self, request: Request) -> JsonObject:
        """The body of a request, a JSON object.

        Raises:
            InvalidError: it is none, does not say that it is JSON, is too large, or holds NUL.
        """
        _check_media_type(request)
        return decode(await web.body(request, self.knobs.body_bytes))

    def shown(self, record: Record) -> JsonObject:
        """An entity as this generation tells it."""
        found = document(record)
        if record.kind.place == "artifact" and not self.generation.experiments:
            for field in RUN_LINKS:
                found.pop(field, None)
        if record.kind.wire is METRIC.wire and self.generation.step_is_text and "step" in found:
            found["step"] = str(found["step"])
        return found

    def entity(self, record: Record, status: int = 200) -> Response:
        """An answer with one entity."""
        return answer(self.shown(record), status, record.tag)

    def seen(self, request: Request, record: Record) -> Response:
        """An answer to a read of one entity: 304 when the caller has it as it is."""
        tags = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
        if "*" in tags or record.tag in (tag.removeprefix("W/") for tag in tags):
            return Response(status_code=304, headers={"ETag": record.tag})
        return self.entity(record)

    def page(self, page: Page, asked: Paging) -> Response:
        """An answer with a page of a list."""
        records, more = page
        return answer(
            {
                "items": [self.shown(record) for record in records],
                "nextPageToken": token(*more) if more else "",
                "pageSize": asked.echo,
                "size": len(records),
            }
        )


def stamp(request: Request) -> Stamp:
    """Who asks for a change, when, and which state of the entity they have seen (``If-Match``).

    Raises:
        InvalidError: ``If-Match`` names several states.
    """
    identity = request.scope.get("state", {}).get("identity")
    return Stamp(
        time.time_ns() // 1_000_000,
        identity.user[:ACTOR_LENGTH] if isinstance(identity, Identity) else "",
        _expected(request.headers.get("if-match")),
    )


def _expected(condition: str | None) -> str | None:
    if condition is None or condition.strip() == "*":
        return None
    if "," in condition:
        raise bad_request("the header If-Match holds more than one entity tag")
    return condition.strip()


def path_id(request: Request, kinds: Kinds) -> int:
    """The id in a request's path. Raises InvalidError."""
    return identifier(request.path_params["id"], title_of(kinds))


def query(request: Request) -> dict[str, str]:
    """The query of a request.

    Raises:
        InvalidError: a value holds NUL.
    """
    found = dict(request.query_params)
    for name, value in found.items():
        if "\x00" in value or "\\u0000" in value:
            raise bad_request(f"query parameter {name[:60]!r} holds a NUL character")
    return found


def expression(asked: dict[str, str]) -> filters.Expression | None:
    """The ``filterQuery`` of a query. Raises InvalidError."""
    text = asked.get("filterQuery", "")
    return filters.parse(text) if text.strip() else None


def only(fields: JsonObject, allowed: Iterable[str]) -> JsonObject:
    """The allowed ones of some fields."""
    return {field: fields[field] for field in allowed if field in fields}


def answer(content: JsonObject, status: int = 200, tag: str = "") -> Response:
    """An answer in JSON."""
    headers: dict[str, Any] = {"ETag": tag} if tag else {}
    return Response(
        orjson.dumps(content), status, headers, media_type="application/json; charset=UTF-8"
    )


def _check_media_type(request: Request) -> None:
    """That the body says it is JSON: what any web page may send unasked says something else."""
    told = request.headers.get("content-type", "")
    if told.partition(";")[0].strip().lower() != "application/json":
        raise InvalidError(
            f"content type {told[:60]!r} is not served",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
            hint="Send JSON with the header 'Content-Type: application/json'.",
        )

"""What goes beyond the specification: events, lineage, links, deletion, export and import."""

import re
from collections.abc import Iterator, Mapping
from contextlib import aclosing, suppress
from typing import Final

import anyio
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from towpath.errors import InvalidError, Reason
from towpath.registry import deletion, events, links, paging, store
from towpath.registry.api import exchange
from towpath.registry.api.collections import COLLECTIONS, EXPERIMENTS
from towpath.registry.api.surface import (
    Entry,
    Handler,
    Surface,
    answer,
    path_id,
    query,
    stamp,
)
from towpath.registry.events import Span, Wanted
from towpath.registry.feed import Feed
from towpath.registry.kinds import (
    ARTIFACTS,
    INFERENCE_SERVICE,
    MODEL_VERSION,
    REGISTERED_MODEL,
    SERVE_MODEL,
    Kinds,
)
from towpath.registry.lineage import Graph, lineage
from towpath.registry.links import Links
from towpath.registry.records import bad_request, identifier

__all__ = ["entries"]

EVENTS: Final = 100
"""Events of a page, where no size is asked for."""
SEND_SECONDS: Final = 60.0
"""Time that a follower has to take what is sent; then its connection is cut, and it resumes."""

_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_LINEAGE: Final[Mapping[str, Kinds]] = {
    "registered_models": (REGISTERED_MODEL,),
    "model_versions": (MODEL_VERSION,),
    "artifacts": ARTIFACTS,
    "inference_services": (INFERENCE_SERVICE,),
}


def entries(surface: Surface) -> Iterator[Entry]:
    """The routes of one generation."""
    yield "GET", "/events", _events(surface)
    for name, kinds in _LINEAGE.items():
        yield "GET", f"/{name}/{{id}}/lineage", _lineage(surface, kinds)
    yield "GET", "/links", _list_links(surface)
    yield "POST", "/links", _create_link(surface)
    yield "DELETE", "/links/{id}", _delete_link(surface)
    known = {**COLLECTIONS, **(EXPERIMENTS if surface.generation.experiments else {})}
    for name, kinds in known.items():
        yield "DELETE", f"/{name}/{{id}}", _delete(surface, kinds)
    yield "DELETE", "/inference_services/{service}/serves/{id}", _delete(surface, (SERVE_MODEL,))
    yield "GET", "/export", exchange.export(surface)
    yield "POST", "/import", exchange.receive(surface)


def _events(surface: Surface) -> Handler:
    async def handler(request: Request) -> Response:
        asked = query(request)
        wanted = Wanted(
            kind=asked.get("kind") or None,
            entity=identifier(asked["entityId"], "entity") if asked.get("entityId") else None,
            actor=asked.get("actor"),
            action=asked.get("action") or None,
            earliest=_number(asked, "from"),
            latest=_number(asked, "to"),
        )
        since = _number(asked, "since")
        if "text/event-stream" in request.headers.get("accept", ""):
            resumed = _number({"Last-Event-ID": request.headers.get("last-event-id", "")})
            surface.feed.admit()
            return _Following(surface.feed, since if resumed is None else resumed, wanted)
        limit = min(surface.knobs.page, paging.parse(asked, surface.knobs.page).echo or EVENTS)
        newest_first = asked.get("sortOrder") == "DESC"
        span = Span(since or 0, _number(asked, "before"), limit, newest_first=newest_first)
        await events.settle(surface.database)
        page = await surface.database.read(lambda tx: events.look(tx, wanted, span))
        return answer(
            {
                "items": [event.to_json() for event in page.events],
                "next": page.next,
                "more": page.more,
                "pageSize": limit,
                "size": len(page.events),
            }
        )

    return handler


def _number(values: Mapping[str, str], name: str = "Last-Event-ID") -> int | None:
    text = values.get(name, "")
    if text and not _NUMBER.fullmatch(text):
        raise bad_request(f"{name} is {text[:40]!r}, not a number")
    return int(text) if text else None


class _Following(Response):
    """Server-sent events, until the client leaves or takes nothing any more."""

    def __init__(self, feed: Feed, since: int | None, wanted: Wanted) -> None:
        super().__init__()
        self._follow = (feed, since, wanted)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send them."""
        feed, since, wanted = self._follow

        async def patient(message: object) -> None:
            with anyio.fail_after(SEND_SECONDS):
                await send(message)  # type: ignore[arg-type] # as it came from starlette

        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        async with aclosing(feed.follow(since, wanted)) as frames:
            stream = StreamingResponse(frames, 200, headers, media_type="text/event-stream")
            with suppress(TimeoutError):
                await stream(scope, receive, patient)


def _lineage(surface: Surface, kinds: Kinds) -> Handler:
    async def handler(request: Request) -> Response:
        ident = path_id(request, kinds)

        def work(tx: Connection) -> Graph:
            return lineage(tx, store.get(tx, kinds, ident))

        return answer((await surface.database.read(work, snapshot=True)).to_json())

    return handler


def _list_links(surface: Surface) -> Handler:
    async def handler(request: Request) -> Response:
        asked = query(request)
        wanted = Links(*(asked.get(field) or None for field in links.FIELDS))
        asked_page = paging.parse(asked, surface.knobs.page)
        found, more = await surface.database.read(lambda tx: links.page(tx, wanted, asked_page))
        return answer(
            {
                "items": [link.to_json() for link in found],
                "nextPageToken": paging.token(more, more) if more else "",
                "pageSize": asked_page.echo,
                "size": len(found),
            }
        )

    return handler


def _create_link(surface: Surface) -> Handler:
    async def handler(request: Request) -> Response:
        link = links.accept(await surface.body(request))
        by = stamp(request)
        stored, new = await surface.database.write(lambda tx: links.create(tx, link, by))
        return answer(stored.to_json(), 201 if new else 200)

    return handler


def _delete_link(surface: Surface) -> Handler:
    async def handler(request: Request) -> Response:
        ident = identifier(request.path_params["id"], "link")
        by = stamp(request)
        await surface.database.write(lambda tx: links.remove(tx, ident, by))
        return Response(status_code=204)

    return handler


def _delete(surface: Surface, kinds: Kinds) -> Handler:
    async def handler(request: Request) -> Response:
        if not surface.knobs.allow_delete:
            raise InvalidError(
                "this registry deletes nothing",
                reason=Reason.METHOD_NOT_ALLOWED,
                hint="Set a state instead, or let it delete with --allow-delete, or the setting "
                "registry.allow_delete.",
            )
        ident = path_id(request, kinds)
        within = request.path_params.get("service")
        parent = identifier(within, INFERENCE_SERVICE.title) if within else None
        by = stamp(request)
        await surface.database.write(
            lambda tx: deletion.erase(tx, kinds, ident, by, parent=parent),
            locks=(kinds[0].place, ident),
        )
        return Response(status_code=204)

    return handler

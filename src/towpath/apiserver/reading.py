"""The reading verbs over HTTP: get, list and watch.

Source: Kubernetes API concepts, "Resource versions", "Efficient detection of changes", "Streaming
lists".
"""

from collections.abc import AsyncIterator, Callable
from random import uniform
from typing import Final

from starlette.datastructures import QueryParams
from starlette.responses import Response, StreamingResponse

from towpath.apiserver import failures, options, presentation, scale, selectors
from towpath.apiserver.call import Call
from towpath.apiserver.kinds import Resource
from towpath.apiserver.listing import page, wish
from towpath.apiserver.schema import Problem
from towpath.apiserver.store import Store
from towpath.apiserver.target import Target
from towpath.apiserver.watch import Watch, stream
from towpath.spec._wire import JsonObject

__all__ = ["Reading", "selector"]

_WATCH_SECONDS: Final = (1800.0, 3600.0)
"""A watch that names no end lasts this long, at random: clients do not all return at once."""
_NOT_OLDER: Final = "NotOlderThan"


class Reading:
    """Handlers that change nothing.

    Args:
        store: Where objects are read.
        stopped: Whether the server stops.
    """

    def __init__(self, store: Store, stopped: Callable[[], bool]) -> None:
        self._store = store
        self._stopped = stopped

    async def get(self, call: Call) -> Response:
        """An object, or its status."""
        if options.flag(call.query, "watch"):
            return await self.list(call)
        return await call.one(await self._found(call))

    async def scale(self, call: Call) -> Response:
        """The Scale of an object."""
        assert call.resource.scale is not None  # noqa: S101 - what the route is for
        data = presentation.plain(call.resource, await self._found(call))
        return await call.value(scale.of(call.resource.scale, data))

    async def _found(self, call: Call) -> bytes:
        wanted = _revision(call.query)
        if wanted > self._store.revision:
            raise failures.too_large_revision(wanted, self._store.revision)
        record = await self._store.get(call.address)
        if record is None:
            raise failures.not_found(call.resource, call.target.name)
        return record.data

    async def list(self, call: Call) -> Response:
        """A list, or a watch of it."""
        chosen = selector(call.resource, call.target, call.query)
        if options.flag(call.query, "watch"):
            return self._watch(call, chosen)
        if "sendInitialEvents" in call.query:
            problem = "Forbidden: sendInitialEvents is forbidden for list"
            found = [Problem("sendInitialEvents", "FieldValueForbidden", problem)]
            raise failures.illegal_options("ListOptions", found)
        read = await page(
            self._store, call.resource, call.target.namespace, chosen, wish(call.query)
        )
        metadata: JsonObject = {"resourceVersion": str(read.revision)}
        if read.token:
            metadata["continue"] = read.token
            if read.remaining:
                metadata["remainingItemCount"] = read.remaining
        return await call.many([record.data for record in read.records], metadata)

    def _watch(self, call: Call, chosen: selectors.Selector) -> Response:
        query = call.query
        initial = options.flag(query, "sendInitialEvents") if "sendInitialEvents" in query else None
        _check_match(query.get("resourceVersionMatch", ""), query.get("continue", ""), initial)
        since: int | None = _revision(query) or None
        if initial:
            since = None
        elif initial is False and since is None:
            since = self._store.revision
        bookmarks = options.flag(query, "allowWatchBookmarks")
        seconds = options.seconds(query, "timeoutSeconds")
        watch = Watch(
            call.resource,
            call.target.namespace,
            chosen,
            since,
            bookmarks,
            bool(initial) and bookmarks,
            float(seconds or uniform(*_WATCH_SECONDS)),  # noqa: S311 - it spreads load
        )
        encode = presentation.events(call.form, call.resource)
        lines: AsyncIterator[bytes] = stream(self._store, watch, encode, self._stopped)
        return StreamingResponse(lines, media_type=call.form.media)


def selector(resource: Resource, target: Target, query: QueryParams) -> selectors.Selector:
    """What the selectors of a request, and the name in its path, choose.

    Raises:
        InvalidError: one of them is not a selector (reason ``BadRequest``).
    """
    labels = query.get("labelSelector", "")
    wanted = query.get("fieldSelector", "")
    fields = selectors.fields(wanted, resource.selectable, custom=resource.custom)
    if target.name:
        fields.append(("metadata.name", True, target.name))
    return selectors.Selector(selectors.labels(labels) if labels else None, tuple(fields))


def _revision(query: QueryParams) -> int:
    """``resourceVersion``; 0 is any."""
    text = query.get("resourceVersion", "")
    if text and not (text.isascii() and text.isdigit() and len(text) < 19):
        raise failures.bad_request(f"invalid resource version {text[:50]!r}")
    return int(text or 0)


def _check_match(match: str, token: str, initial: bool | None) -> None:
    """Refuse what the options of a watch contradict each other in."""
    field, found = "resourceVersionMatch", []

    def forbidden(why: str) -> None:
        found.append(Problem(field, "FieldValueForbidden", f"Forbidden: {why}"))

    if initial is not None and match != _NOT_OLDER:
        forbidden(f"sendInitialEvents requires setting resourceVersionMatch to {_NOT_OLDER}")
    if match:
        if initial is None:
            forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
            )
        if match != _NOT_OLDER:
            problem = f'Unsupported value: "{match[:100]}": supported values: "{_NOT_OLDER}"'
            found.append(Problem(field, "FieldValueNotSupported", problem))
        if token:
            forbidden("resourceVersionMatch is forbidden when continue is provided")
    if found:
        raise failures.illegal_options("ListOptions", found)

"""Watches: what is there, then every change, as JSON lines.

A watch holds a cursor and at most one chunk of bytes, so a client that never reads costs no more
than one that does; when the changes it has not seen are no longer kept, it is told to list again.

Source: Kubernetes API concepts, "Efficient detection of changes", "Watch bookmarks",
"Streaming lists".
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final

import anyio
import orjson

from towpath.apiserver.kinds import Resource
from towpath.apiserver.presentation import Encode, line
from towpath.apiserver.record import Address, Change
from towpath.apiserver.selectors import Selector
from towpath.apiserver.store import Store
from towpath.errors import ConflictError
from towpath.spec._wire import JsonObject
from towpath.web import kubernetes_status, status_of

__all__ = ["Watch", "stream"]

_CHUNK: Final = 256 * 1024
_PAGE: Final = 200
_BOOKMARK_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Watch:
    """What to watch.

    Attributes:
        resource: The kind.
        namespace: Only this one; ``""`` is any.
        selector: What to leave out.
        since: Revision after which changes are told; None begins with what is there.
        bookmarks: Whether the client wants to know how far the watch has come.
        ended: Whether a bookmark marks the end of what was there.
        seconds: How long it lasts.
    """

    resource: Resource
    namespace: str
    selector: Selector
    since: int | None
    bookmarks: bool
    ended: bool
    seconds: float

    def within(self, address: Address) -> bool:
        """Whether an address is in the namespace watched."""
        return not self.namespace or address.namespace == self.namespace


async def stream(
    store: Store, watch: Watch, encode: Encode, stopped: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """The lines of a watch, in chunks, until its time is over or the server stops.

    Args:
        store: Where changes come from.
        watch: What to watch.
        encode: The form of a line.
        stopped: Whether the server stops; looked at whenever the store wakes its waiters.
    """
    key = watch.resource.key
    end = anyio.current_time() + watch.seconds
    cursor = 0 if watch.since is None else watch.since
    ahead: dict[Address, int] = {}
    if watch.since is None:
        async for start, lines in _present(store, watch, encode, ahead):
            cursor = start
            yield lines
        if watch.ended:
            yield encode("BOOKMARK", _bookmark(watch.resource, cursor, ended=True))
    due = anyio.current_time() + _BOOKMARK_SECONDS
    while not stopped():
        try:
            changes, cursor = await store.changes(key, cursor)
        except ConflictError as error:
            status = kubernetes_status(error, status_of(error))
            yield line("ERROR", orjson.dumps(status))
            return
        for chunk in _chunks(watch, changes, encode, ahead):
            yield chunk
        now = anyio.current_time()
        over = now >= end
        if over or now >= due:
            if watch.bookmarks:
                yield encode("BOOKMARK", _bookmark(watch.resource, cursor))
            due = now + _BOOKMARK_SECONDS
        if over:
            return
        with anyio.move_on_after(min(end, due) - now):
            await store.wait(key, cursor)


async def _present(
    store: Store, watch: Watch, encode: Encode, ahead: dict[Address, int]
) -> AsyncIterator[tuple[int, bytes]]:
    """What is there, page by page, with the revision at which it began.

    Pages are read as the client takes them; an object that changed since the beginning is noted in
    ``ahead``, so that its older changes are not told after it.
    """
    after = ("", "")
    start = 0
    while True:
        page = await store.page(
            watch.resource.key, watch.namespace, after=after, limit=_PAGE, size=_CHUNK
        )
        start = start or page.revision
        lines = []
        for record in page.records:
            if record.revision > start:
                ahead[record.address] = record.revision
            if watch.selector.matches(record.address, record.object):
                lines.append(encode("ADDED", record.data))
        yield start, b"".join(lines)
        if not page.more:
            return
        after = (page.records[-1].address.namespace, page.records[-1].address.name)


def _chunks(
    watch: Watch, changes: list[Change], encode: Encode, ahead: dict[Address, int]
) -> Iterator[bytes]:
    lines: list[bytes] = []
    size = 0
    for change in changes:
        address, revision, _ = change.record
        if not watch.within(address) or revision <= ahead.get(address, 0):
            continue
        event = _event(watch.selector, change)
        if event is not None:
            lines.append(encode(*event))
            size += len(lines[-1])
        if size > _CHUNK:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def _event(selector: Selector, change: Change) -> tuple[str, bytes] | None:
    """What a change is to a watcher who sees only what it selected."""
    record = change.record
    if selector.everything:
        return change.type, record.data
    old = change.old_object
    was = change.type != "ADDED" and (old is None or selector.matches(record.address, lambda: old))
    now = change.type != "DELETED" and selector.matches(record.address, lambda: change.object)
    if now:
        return "MODIFIED" if was else "ADDED", record.data
    if not was:
        return None
    if old is None or change.type == "DELETED":
        return "DELETED", record.data
    metadata = {**old["metadata"], "resourceVersion": str(record.revision)}
    return "DELETED", orjson.dumps({**old, "metadata": metadata})


def _bookmark(resource: Resource, cursor: int, *, ended: bool = False) -> bytes:
    metadata: JsonObject = {"resourceVersion": str(cursor), "creationTimestamp": None}
    if ended:
        metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
    kind = resource.kind
    return orjson.dumps({"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})

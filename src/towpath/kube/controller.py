"""The one loop behind every controller: watch, queue, reconcile, back off.

Level-based: a request is only a name, and the reconcile function reads the world afresh, so it
does not matter which event woke it, or how many events one run answers. A run that ends in an
error is tried again: soon and then ever later for what may pass, at the next change (or the slow
resync) for what will not.
"""

import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import anyio

from towpath.errors import ConflictError, NotFoundError, TowpathError, UnavailableError
from towpath.kube.client import EventType, Reader
from towpath.spec.kube import Kind, Object
from towpath.telemetry import fields

__all__ = ["After", "Controller", "Reconcile", "Request", "Watch"]

log = logging.getLogger(__name__)

FIRST_BACKOFF: Final = 0.1
"""Seconds before the first new try: a lost race is over by then."""
LAST_BACKOFF: Final = 15.0
"""Seconds between tries of what keeps failing: an edge notices a mended link within this."""


class Request(NamedTuple):
    """What to reconcile: only a name."""

    namespace: str
    name: str


class After(NamedTuple):
    """The answer of a reconcile that wants to run again without being told."""

    seconds: float


Reconcile = Callable[[Request], Awaitable[After | None]]
Requests = Callable[[Object], Iterable[Request]]
_Known = dict[tuple[str, str], tuple[Request, ...]]
"""Namespace and name of each object that is there -> whose reconcile it asks for."""


def itself(obj: Object) -> Iterable[Request]:
    """The request of an object's own kind: its own name."""
    metadata = obj.get("metadata", {})
    return (Request(metadata.get("namespace", ""), metadata["name"]),)


@dataclass(frozen=True)
class Watch:
    """A kind to listen to, and whose reconcile a change of such an object asks for."""

    kind: Kind
    namespace: str = ""
    requests: Requests = itself


@dataclass
class Controller:
    """Keeps one thing true.

    Args:
        name: For the log.
        client: The API that is watched.
        watches: What wakes it; the first is usually the kind that it keeps true.
        reconcile: Makes the world fit for one name; reads everything it needs itself.
        resync: Seconds after which every name is looked at again, without being told.
        workers: How many names at a time; one name is never in two hands.
    """

    name: str
    client: Reader
    watches: tuple[Watch, ...]
    reconcile: Reconcile
    resync: float = 60.0
    workers: int = 4
    _queue: "_Queue" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._queue = _Queue()

    def ask(self, request: Request) -> None:
        """Ask for a run from outside: something the API does not show has changed."""
        self._queue.add(request)

    async def run(self) -> None:
        """Work until cancelled."""
        async with anyio.create_task_group() as tasks:
            for watch in self.watches:
                tasks.start_soon(self._listen, watch)
            for _ in range(self.workers):
                tasks.start_soon(self._work)

    async def _listen(self, watch: Watch) -> None:
        known: _Known = {}
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_again, known)
            failures = 0
            while True:
                stale = True
                try:
                    async for event, obj in self.client.watch(watch.kind, watch.namespace):
                        if stale:
                            known.clear()  # what is there is told anew
                        failures, stale = 0, False
                        self._heard(watch, known, event, obj)
                except Exception as exc:
                    if failures == 0:
                        log.warning(
                            "failed to watch",
                            extra=fields(controller=self.name, kind=watch.kind.kind, error=exc),
                            exc_info=not isinstance(exc, TowpathError),
                        )
                failures += 1
                await anyio.sleep(_backoff(failures))
                self._ask_all(known)  # no event tells what went while nobody listened

    def _heard(
        self,
        watch: Watch,
        known: _Known,
        event: EventType,
        obj: Object,
    ) -> None:
        place = (obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
        requests = tuple(watch.requests(obj))
        # whom it concerned before is asked as well: an object may change hands
        for request in {*known.pop(place, ()), *requests}:
            self._queue.add(request)
        if event != "DELETED":
            known[place] = requests

    async def _look_again(self, known: _Known) -> None:
        while True:
            await anyio.sleep(self.resync * random.uniform(0.9, 1.1))  # noqa: S311 - no secret
            self._ask_all(known)

    def _ask_all(self, known: _Known) -> None:
        for requests in known.values():
            for request in requests:
                self._queue.add(request)

    async def _work(self) -> None:
        while True:
            async with self._queue.take() as request:
                again = await self._once(request)
            if again is not None:
                self._queue.add(request, after=again)

    async def _once(self, request: Request) -> float | None:
        about = {"controller": self.name, "object": "/".join(filter(None, request))}
        try:
            result = await self.reconcile(request)
        except (ConflictError, UnavailableError, NotFoundError) as exc:
            wait = self._queue.failed(request)
            if isinstance(exc, UnavailableError) and exc.retry_after is not None:
                wait = max(wait, exc.retry_after)
            level = logging.DEBUG if isinstance(exc, ConflictError) else logging.WARNING
            told = fields(**about, **_step(exc), error=exc)
            log.log(level, "failed to reconcile, will retry", extra=told)
            return wait
        except TowpathError as exc:
            self._queue.succeeded(request)
            told = fields(**about, **_step(exc), error=exc)
            log.warning("failed to reconcile, waits for a change", extra=told)
            return None
        except Exception:
            log.exception("failed to reconcile, will retry", extra=fields(**about))
            return self._queue.failed(request)
        self._queue.succeeded(request)
        return result.seconds if result is not None else None


def _step(error: Exception) -> dict[str, str]:
    """The step that failed, where a reconcile is made of steps."""
    notes = getattr(error, "__notes__", ())
    return {"step": notes[-1]} if notes else {}


def _backoff(failures: int) -> float:
    wait: float = min(LAST_BACKOFF, FIRST_BACKOFF * 2 ** min(failures - 1, 16))
    return wait * random.uniform(0.8, 1.2)  # noqa: S311 - spreads retries, no secret


class _Queue:
    """Names waiting for a worker: each once, none in two hands, some not before a time."""

    def __init__(self) -> None:
        self._due: dict[Request, float] = {}
        self._busy: set[Request] = set()
        self._failures: dict[Request, int] = {}
        self._changed = anyio.Event()

    def add(self, request: Request, *, after: float = 0.0) -> None:
        due = anyio.current_time() + after
        self._due[request] = min(due, self._due.get(request, due))
        self._wake()

    def failed(self, request: Request) -> float:
        """Count a failure; the seconds to wait before the next try."""
        self._failures[request] = self._failures.get(request, 0) + 1
        return _backoff(self._failures[request])

    def succeeded(self, request: Request) -> None:
        self._failures.pop(request, None)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[Request]:
        """The next due name, held until the context ends."""
        request = await self._next()
        try:
            yield request
        finally:
            self._busy.discard(request)
            self._wake()

    async def _next(self) -> Request:
        while True:
            now = anyio.current_time()
            free = ((due, r) for r, due in self._due.items() if r not in self._busy)
            first = min(free, default=None)
            if first is not None and first[0] <= now:
                del self._due[first[1]]
                self._busy.add(first[1])
                return first[1]
            changed = self._changed
            with anyio.move_on_after(first[0] - now if first else None):
                await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

"""What the integration tests of one surface share."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any

import anyio
import httpx2
import pytest

from towpath.apiserver import ADMINISTRATORS, ApiServer, Store
from towpath.auth import Identity, Tokens
from towpath.registry.api import app as registry_app
from towpath.registry.database import open_database
from towpath.settings import Api, Registry
from towpath.spec.registry import PREFIXES
from towpath.web import listen, serve

Serving = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


def _now() -> datetime:
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def _serving(
    store: Store, clock: Callable[[], datetime] = _now
) -> AsyncIterator[httpx2.AsyncClient]:
    tokens = Tokens([("t", Identity("admin", frozenset({ADMINISTRATORS})))])
    server = ApiServer(store, Api(), known=[tokens], clock=clock)
    sock = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    headers = {"Authorization": "Bearer t", "User-Agent": "tests/1"}
    async with anyio.create_task_group() as tasks:

        async def run(*, task_status: anyio.abc.TaskStatus[None]) -> None:
            stopping = server.stop
            await serve(server.guarded, sock, stopping=stopping, drain=1, task_status=task_status)

        await tasks.start(run)
        async with httpx2.AsyncClient(base_url=url, headers=headers, trust_env=False) as http:
            yield http
        tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def _registry_at(
    url: str, knobs: Registry | None = None, prefix: str = PREFIXES[0]
) -> AsyncIterator[httpx2.AsyncClient]:
    database = open_database(url)
    sock = listen("127.0.0.1", 0)
    base = f"http://127.0.0.1:{sock.getsockname()[1]}{prefix}"
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(
                partial(serve, registry_app(database, knobs or Registry()), sock, drain=1)
            )
            async with httpx2.AsyncClient(base_url=base, timeout=60, trust_env=False) as client:
                yield client
            tasks.cancel_scope.cancel()
    finally:
        database.close()


@pytest.fixture
def registry_at() -> Serving:
    """Serves a model registry over the database of a URL; gives a client of it."""
    return _registry_at


@pytest.fixture
def serving() -> Serving:
    """Serves an open store over the embedded API; gives an administrator's client of it."""
    return _serving


@pytest.fixture
async def http(serving: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    """An administrator's client of an embedded API that forgets everything at the end."""
    async with Store() as store, serving(store) as found:
        yield found


class Book:
    """A model registry that is served, as one generation of its API has it."""

    def __init__(self, http: httpx2.AsyncClient, prefix: str = PREFIXES[0]) -> None:
        self.http = http
        self.prefix = prefix

    def at(self, prefix: str) -> "Book":
        """The same registry under another prefix."""
        return Book(self.http, prefix)

    async def call(self, method: str, path: str, **options: Any) -> httpx2.Response:
        """One request."""
        return await self.http.request(method, self.prefix + path, **options)

    async def made(self, path: str, /, **body: Any) -> dict[str, Any]:
        """The answer to a POST that succeeds."""
        answer = await self.call("POST", path, json=body)
        assert answer.status_code in (200, 201), answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def patched(self, path: str, /, **body: Any) -> dict[str, Any]:
        """The answer to a PATCH that succeeds."""
        answer = await self.call("PATCH", path, json=body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def read(self, path: str, /, **query: str) -> dict[str, Any]:
        """The answer to a GET that succeeds."""
        answer = await self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def names(self, path: str, /, **query: str) -> list[str]:
        """The names in a list."""
        return [item["name"] for item in (await self.read(path, **query))["items"]]

    async def refused(self, status: int, message: str, method: str, path: str, **rest: Any) -> None:
        """A request that is refused, with a part of the message."""
        answer = await self.call(method, path, **rest)
        assert answer.status_code == status, answer.text
        assert answer.json()["code"] == HTTPStatus(400 if status == 422 else status).phrase
        assert message in answer.json()["message"]


@pytest.fixture
async def book(registry_url: str) -> AsyncIterator[Book]:
    """A model registry on an empty database."""
    async with _registry_at(registry_url, prefix="") as http:
        yield Book(http)

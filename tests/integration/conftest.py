"""What the integration tests of one surface share."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime

import anyio
import httpx2
import pytest

from towpath.apiserver import ADMINISTRATORS, ApiServer, Store
from towpath.auth import Identity, Tokens
from towpath.settings import Api
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


@pytest.fixture
def serving() -> Serving:
    """Serves an open store over the embedded API; gives an administrator's client of it."""
    return _serving


@pytest.fixture
async def http(serving: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    """An administrator's client of an embedded API that forgets everything at the end."""
    async with Store() as store, serving(store) as found:
        yield found

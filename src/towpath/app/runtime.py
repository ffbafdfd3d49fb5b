"""The process of one runtime: a model folder behind the Open Inference Protocol."""

import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from towpath import serve, web
from towpath.settings import Serve, Settings

__all__ = ["run", "serving"]


async def run(config: Mapping[str, Any], stop: anyio.Event) -> None:
    """Serve ``config["folder"]`` as model ``config["model"]`` on the inherited socket."""
    with socket.socket(fileno=config["fd"]) as sock:
        sock.setblocking(False)
        source = serve.Source(config["model"], Path(config["folder"]), config["version"])
        settings = Settings().merged(config.get("settings", {}), "configuration").serve
        async with serving(source, sock, settings):
            await stop.wait()


@asynccontextmanager
async def serving(
    source: serve.Source, sock: socket.socket, settings: Serve
) -> AsyncIterator[None]:
    """A model that answers for as long as the context lasts; entered once it does.

    Raises:
        InvalidError: the files are no model that can be served.
    """
    repository = serve.Repository([source], settings.threads)
    failed = await anyio.to_thread.run_sync(repository.load)
    for error in failed.values():
        raise error
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, serve.app(repository, settings), sock))
        yield
        tasks.cancel_scope.cancel()

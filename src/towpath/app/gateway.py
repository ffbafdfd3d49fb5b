"""The process of one gateway: people and clients in front, runtimes behind."""

import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

import anyio

from towpath import web
from towpath.auth import Guard, Identity, Tokens
from towpath.edge.gateway import Gateway

__all__ = ["run"]


async def run(config: Mapping[str, Any], stop: anyio.Event) -> None:
    """Route on the inherited public socket; take route tables on the administrative one."""
    gateway = Gateway()
    known = Tokens([(config["client"], Identity("admin"))])
    public = Guard(gateway.public(), known, lambda _identity, _scope: True, web.inference_error)
    with socket.socket(fileno=config["fd"]) as front, socket.socket(fileno=config["admin"]) as back:
        front.setblocking(False)
        back.setblocking(False)
        async with anyio.create_task_group() as tasks:
            await tasks.start(partial(web.serve, gateway.admin(config["token"]), back))
            await tasks.start(partial(web.serve, public, front))
            await stop.wait()
            tasks.cancel_scope.cancel()

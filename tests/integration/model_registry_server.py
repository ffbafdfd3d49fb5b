"""A model registry as a process of its own: `python model_registry_server.py DATABASE_URL PORT`.

Prints its port when it accepts. Tests start it where they kill it, or where a client outside of
our interpreter talks to it.
"""

import sys
from functools import partial

import anyio

from towpath import web
from towpath.registry.api import app
from towpath.registry.database import open_database
from towpath.settings import Registry


async def main() -> None:
    database = open_database(sys.argv[1])
    sock = web.listen("127.0.0.1", int(sys.argv[2]))
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, app(database, Registry()), sock, drain=1))
        sys.stdout.write(f"{sock.getsockname()[1]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(main)

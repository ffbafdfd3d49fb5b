"""A git surface killed in the middle of pushes: what was acknowledged is there, nothing is torn."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from dulwich.repo import Repo

from towpath import gitops
from towpath.errors import TowpathError

pytestmark = pytest.mark.anyio

SERVER = """
import sys, anyio
from functools import partial
from pathlib import Path
from towpath import gitops, web

async def ignore(*_): ...

async def main(root):
    await gitops.create(root, "gitops")
    sock = web.listen("127.0.0.1", 0)
    print(sock.getsockname()[1], flush=True)
    await web.serve(gitops.app(root, lambda _: True, ignore), sock)

anyio.run(main, Path(sys.argv[1]))
"""


@asynccontextmanager
async def server(root: Path) -> AsyncIterator[tuple[str, int]]:
    """A surface in a process of its own: its URL and process id; killed at the end."""
    process = await anyio.open_process([sys.executable, "-c", SERVER, str(root)], stderr=None)
    assert process.stdout is not None
    try:
        with anyio.fail_after(30):
            port = int(await process.stdout.receive())
        yield f"http://127.0.0.1:{port}/gitops.git", process.pid
    finally:
        with anyio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            await process.aclose()


async def test_killed_in_the_middle_of_pushes(tmp_path: Path, git: str) -> None:
    acknowledged: set[str] = set()
    content = os.urandom(200_000)

    def add(name: str, _: object) -> dict[str, bytes]:
        return {name: content + name.encode()}

    async def push(url: str, name: str, enough: int, reached: anyio.Event) -> None:
        """Push one commit after the other until the surface is gone."""
        for turn in range(1000):
            edit = partial(add, f"clusters/{name}/{turn}.yaml")
            try:
                done = await gitops.commit(url, "t", "main", edit, "m", "A <a@b.c>")
            except TowpathError:
                return
            acknowledged.add(done.revision)
            if len(acknowledged) >= enough:
                reached.set()

    for enough in (2, 8):
        reached = anyio.Event()
        with anyio.fail_after(60):
            async with server(tmp_path) as (url, pid), anyio.create_task_group() as tasks:
                for name in ("a", "b", "c"):
                    tasks.start_soon(push, url, name, enough, reached)
                await reached.wait()
                os.kill(pid, signal.SIGKILL)

    head = await gitops.create(tmp_path, "gitops")
    subprocess.run([git, "fsck", "--strict"], cwd=tmp_path / "gitops.git", check=True)
    with Repo(str(tmp_path / "gitops.git")) as repo:
        history = [entry.commit.id.decode() for entry in repo.get_walker()]
    assert history[0] == head
    assert len(acknowledged) >= 8
    assert acknowledged <= set(history)
    async with server(tmp_path) as (url, _):
        done = await gitops.commit(url, "t", "main", partial(add, "last"), "m", "A <a@b.c>")
    assert done.changed

"""A controller as a process of its own, which kills itself where it is told to.

``python killable_controller.py KUBECONFIG FOLDER [STEP]``: builds a file and a ConfigMap for each
InferenceService, takes them away at its end, and dies behind STEP, as often as it comes there.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio

from towpath.errors import ConflictError
from towpath.kube import After, Client, Controller, Steps, Turn, Watch, Writer
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import CONFIG_MAP

FINALIZER = "example.org/built"


class Builder:
    """Each step finds out by itself what is done already, and writes down what it does."""

    def __init__(self, client: Writer, folder: Path, dies_behind: str) -> None:
        self.client = client
        self.folder = folder
        self.dies_behind = dies_behind

    def did(self, step: str) -> None:
        with (self.folder / "did").open("a") as file:
            file.write(f"{step}\n")
        if step == self.dies_behind:
            os.kill(os.getpid(), signal.SIGKILL)

    async def lay_foundation(self, turn: Turn) -> After | None:
        path = self.folder / turn.obj["metadata"]["name"]
        if not path.exists():
            path.mkdir()
            self.did("lay_foundation")
        return None

    async def build(self, turn: Turn) -> After | None:
        metadata: Any = {"name": turn.obj["metadata"]["name"], "namespace": "default"}
        try:
            await self.client.create(CONFIG_MAP, {"metadata": metadata})
        except ConflictError:
            return None
        self.did("build")
        return None

    async def tell(self, turn: Turn) -> After | None:
        if "url" not in turn.status:
            turn.status["url"] = "http://built.example.org"
            self.did("tell")
        return None

    async def tear_down(self, turn: Turn) -> After | None:
        name = turn.obj["metadata"]["name"]
        if any(o["metadata"]["name"] == name for o in await self.client.list(CONFIG_MAP)):
            await self.client.delete(CONFIG_MAP, name, "default")
            self.did("tear_down")
        return None

    async def clear(self, turn: Turn) -> After | None:
        path = self.folder / turn.obj["metadata"]["name"]
        if path.exists():
            path.rmdir()
            self.did("clear")
        return None


async def main(kubeconfig: Path, folder: Path, dies_behind: str = "") -> None:
    async with Client(kubeconfig) as client:
        builder = Builder(client, folder, dies_behind)
        steps = Steps(
            client,
            INFERENCE_SERVICE,
            (builder.lay_foundation, builder.build, builder.tell),
            (builder.tear_down, builder.clear),
            FINALIZER,
        )
        watches = (Watch(INFERENCE_SERVICE, "default"),)
        await Controller("builder", client, watches, steps.reconcile, resync=1).run()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])

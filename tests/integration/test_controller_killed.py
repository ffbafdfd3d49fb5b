"""A controller killed between two steps: the next one finishes the job, and does nothing twice."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from towpath.errors import NotFoundError
from towpath.kube import Client
from towpath.kube.conditions import is_true
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import CONFIG_MAP
from towpath.testing import running_api

pytestmark = pytest.mark.anyio

SCRIPT = Path(__file__).with_name("killable_controller.py")
BUILDING = ("lay_foundation", "build", "tell")
ENDING = ("tear_down", "clear")
SERVICE: Any = {
    "metadata": {"name": "one", "namespace": "default"},
    "spec": {"predictor": {"model": {"modelFormat": {"name": "onnx"}}}},
}


class Stand:
    """An API, and the controllers that are started on it one after the other."""

    def __init__(self, folder: Path, kubeconfig: Path, client: Client) -> None:
        self.folder = folder
        self.kubeconfig = kubeconfig
        self.client = client

    def start(self, *dies_behind: str) -> "subprocess.Popen[bytes]":
        line = [sys.executable, str(SCRIPT), str(self.kubeconfig), str(self.folder), *dies_behind]
        return subprocess.Popen(line, stderr=subprocess.DEVNULL)

    async def dies(self, step: str) -> None:
        process = self.start(step)
        code = await anyio.to_thread.run_sync(lambda: process.wait(20))
        assert code == -signal.SIGKILL

    def did(self) -> list[str]:
        return (self.folder / "did").read_text().split()

    async def one(self) -> Any:
        return await self.client.get(INFERENCE_SERVICE, "one", "default")

    async def gone(self) -> bool:
        try:
            await self.one()
        except NotFoundError:
            return True
        return False


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    folder = tmp_path / "site"
    folder.mkdir()
    with running_api(tmp_path / "kube") as api:
        async with Client(api.kubeconfig) as client:
            yield Stand(folder, api.kubeconfig, client)


@pytest.mark.parametrize("step", BUILDING)
async def test_the_next_start_finishes_what_was_begun(stand: Stand, step: str) -> None:
    await stand.client.create(INFERENCE_SERVICE, SERVICE)
    await stand.dies(step)
    found = await stand.one()
    assert found["metadata"]["finalizers"] == ["example.org/built"]  # before the first step
    assert "status" not in found or not found["status"].get("conditions")
    process = stand.start()
    try:
        with anyio.fail_after(20):
            while not is_true(await stand.one()):
                await anyio.sleep(0.05)
    finally:
        process.kill()
        process.wait()

    # the last step's own trace is the status, which nobody wrote before the end
    assert stand.did() == [*BUILDING, *(["tell"] if step == "tell" else [])]
    assert (await stand.one())["status"]["url"] == "http://built.example.org"
    assert (await stand.client.get(CONFIG_MAP, "one", "default"))["metadata"]["name"] == "one"


@pytest.mark.parametrize("step", ENDING)
async def test_an_end_that_was_broken_off_is_ended(stand: Stand, step: str) -> None:
    await stand.client.create(INFERENCE_SERVICE, SERVICE)
    await stand.dies("tell")
    await stand.client.delete(INFERENCE_SERVICE, "one", "default")
    await stand.dies(step)
    assert (await stand.one())["metadata"]["deletionTimestamp"]
    process = stand.start()
    try:
        with anyio.fail_after(20):
            while not await stand.gone():
                await anyio.sleep(0.05)
    finally:
        process.kill()
        process.wait()

    assert stand.did() == [*BUILDING, *ENDING]
    assert not (stand.folder / "one").exists()
    with pytest.raises(NotFoundError):
        await stand.client.get(CONFIG_MAP, "one", "default")

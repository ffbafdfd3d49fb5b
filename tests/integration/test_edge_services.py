"""A cluster's services with real processes: gateway, runtimes, images from a real distribution."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from towpath import blob, distribution, edge, golden, web
from towpath.app.example import find_example
from towpath.blob import oci
from towpath.blob.modelcar import push_model
from towpath.errors import NotFoundError
from towpath.kube.conditions import find, is_true
from towpath.process import Children
from towpath.settings import Blob, Distribution, Edge
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import EVENT
from towpath.spec.names import ImageRef
from towpath.testing import MemoryCluster

pytestmark = pytest.mark.anyio

EXAMPLE = find_example()


def service(image: ImageRef, name: str = "fraud") -> Any:
    model = {"modelFormat": {"name": "onnx"}, "storageUri": f"oci://{image}"}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"predictor": {"model": model}},
    }


class Site:
    """One cluster's edge room, whose agent can be killed and started anew."""

    def __init__(self, folder: Path, http: httpx2.AsyncClient) -> None:
        self.folder = folder
        self.http = http
        self.api = MemoryCluster()
        self.children = Children(folder / "run", folder / "logs")
        with web.listen("127.0.0.1", 0) as sock:
            self.port = int(sock.getsockname()[1])

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        """An agent; at the end it is gone without a word, as after kill -9."""
        children = Children(self.folder / "run", self.folder / "logs")
        adopted = children.adopt()
        ingress = edge.Ingress(children, edge.Leash(), self.port, self.http)
        await ingress.start()
        services = edge.Services(
            self.api,
            edge.Models(self.folder / "served", Blob()),
            edge.Runtimes(children, edge.Leash(), self.http),
            ingress,
            Edge(start_seconds=20, drain_seconds=2, resync_seconds=5),
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ingress.keep)
            tasks.start_soon(services.run, adopted)
            yield
            tasks.cancel_scope.cancel()

    def pids(self) -> dict[str, int]:
        self.children.adopt()
        return {child.name: child.pid for child in self.children}

    async def until(
        self, name: str = "fraud", *, ready: bool = True, image: ImageRef | None = None
    ) -> Any:
        """Wait until a service is (not) ready, of this image if one is named."""
        with anyio.fail_after(30):
            while True:
                found = await self.api.get(INFERENCE_SERVICE, name, "default")
                predictor = found.get("status", {}).get("components", {}).get("predictor", {})
                revision = str(predictor.get("latestReadyRevision"))
                of_image = image is None or revision == edge.desired(service(image, name)).revision
                if "status" in found and is_true(found) == ready and (of_image or not ready):
                    return found
                await anyio.sleep(0.02)

    async def events(self) -> list[tuple[str, str, str]]:
        """What was told: type, reason and message."""
        found: Any = await self.api.list(EVENT, "default")
        return [(event["type"], event["reason"], event["message"]) for event in found]

    async def predict(self, name: str = "fraud") -> httpx2.Response:
        case = golden.parse(EXAMPLE.golden.read_bytes())[0]
        url = f"http://127.0.0.1:{self.port}/v2/models/{name}/infer"
        return await self.http.post(url, json=dict(case.request))

    async def predicts(self, name: str = "fraud") -> bool:
        answer = await self.predict(name)
        case = golden.parse(EXAMPLE.golden.read_bytes())[0]
        return answer.status_code == 200 and golden.compare(case, answer.json()) == ()


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with httpx2.AsyncClient(trust_env=False) as http:
        site = Site(tmp_path / "site", http)
        yield site
        site.children.adopt()
        await site.children.stop_all(grace=5)


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[oci.Client]:
    application = distribution.app(tmp_path / "images", Distribution())
    async with anyio.create_task_group() as tasks:
        sock = web.listen("127.0.0.1", 0)
        port = sock.getsockname()[1]
        await tasks.start(partial(web.serve, application, sock))
        async with oci.Client(f"127.0.0.1:{port}", Blob()) as client:
            yield client
        tasks.cancel_scope.cancel()


async def push(registry: oci.Client, folder: Path, *files: tuple[str, bytes]) -> ImageRef:
    """Push the example model, with further files, as an image."""
    shutil.copytree(
        EXAMPLE.model.parent,
        folder,
        dirs_exist_ok=True,
        ignore=lambda _, names: [name for name in names if name != "model.onnx"],
    )
    for name, content in files:
        (folder / name).write_bytes(content)
    image, _ = await push_model(blob.reader(str(folder)), registry, "fraud", folder.name)
    return image


async def test_a_service_is_fetched_started_routed_and_taken_away(
    site: Site, registry: oci.Client, tmp_path: Path
) -> None:
    image = await push(registry, tmp_path / "v1")
    async with site.agent():
        await site.api.create(INFERENCE_SERVICE, service(image))
        found = await site.until()

        assert await site.predicts()
        assert {(kind, reason) for kind, reason, _ in await site.events()} == {
            ("Normal", "Pulled"),
            ("Normal", "Started"),
            ("Normal", "Ready"),
        }
        assert found["status"]["url"] == f"http://127.0.0.1:{site.port}"
        assert found["status"]["modelStatus"]["transitionStatus"] == "UpToDate"
        blobs = list((site.folder / "served" / ".incoming" / "blobs").rglob("*"))
        assert [path for path in blobs if path.is_file()] == []

        await site.api.delete(INFERENCE_SERVICE, "fraud", "default")
        with anyio.fail_after(15):
            while len(site.pids()) > 1:
                await anyio.sleep(0.02)
        assert list(site.pids()) == ["gateway"]
        assert (await site.predict()).status_code == 404


async def test_a_new_version_takes_over_without_a_failed_request(
    site: Site, registry: oci.Client, tmp_path: Path
) -> None:
    first = await push(registry, tmp_path / "v1")
    second = await push(registry, tmp_path / "v2", ("notes.txt", b"second"))
    assert first != second
    async with site.agent():
        await site.api.create(INFERENCE_SERVICE, service(first))
        await site.until()
        failed, sent, stop = [], 0, anyio.Event()

        async def load() -> None:
            nonlocal sent
            while not stop.is_set():
                answer = await site.predict()
                sent += 1
                if answer.status_code != 200:
                    failed.append(answer.text)

        async with anyio.create_task_group() as tasks:
            for _ in range(4):
                tasks.start_soon(load)
            patch: Any = {"spec": service(second)["spec"]}
            await site.api.merge(INFERENCE_SERVICE, "fraud", "default", patch)
            await site.until(image=second)
            with anyio.fail_after(15):
                while len(site.pids()) > 2:
                    await anyio.sleep(0.02)
            stop.set()

        assert failed == []
        assert sent > 20


async def test_a_model_that_does_not_load_is_told_and_the_old_one_goes_on(
    site: Site, registry: oci.Client, tmp_path: Path
) -> None:
    good = await push(registry, tmp_path / "v1")
    bad = await push(registry, tmp_path / "v2", ("model.onnx", b"no model at all"))
    async with site.agent():
        await site.api.create(INFERENCE_SERVICE, service(good))
        await site.until()
        patch: Any = {"spec": service(bad)["spec"]}
        await site.api.merge(INFERENCE_SERVICE, "fraud", "default", patch)

        found = await site.until(ready=False)

        with anyio.fail_after(20):
            while "lastFailureInfo" not in found["status"]["modelStatus"]:
                await anyio.sleep(0.05)
                found = await site.api.get(INFERENCE_SERVICE, "fraud", "default")
        failure = found["status"]["modelStatus"]["lastFailureInfo"]
        assert failure["reason"] == "ModelLoadFailed"
        assert "model.onnx" in failure["message"]
        assert await site.predicts()
        revision = edge.desired(service(good)).revision
        warned = [event for event in await site.events() if event[0] == "Warning"]
        assert [reason for _, reason, _ in warned] == ["ModelLoadFailed"]
        assert warned[0][2].startswith(f"revision {revision} goes on answering: ")


async def test_an_image_that_is_not_there_is_told(
    site: Site, registry: oci.Client, tmp_path: Path
) -> None:
    image = await push(registry, tmp_path / "v1")
    missing = ImageRef(image.rpartition("@")[0] + "@sha256:" + "0" * 64)
    async with site.agent():
        await site.api.create(INFERENCE_SERVICE, service(missing))
        with anyio.fail_after(20):
            while True:
                found = await site.until(ready=False)
                ready = find(found["status"]["conditions"], "Ready")
                if ready is not None and ready["reason"] == "ModelLoadFailed":
                    break
                await anyio.sleep(0.05)
        assert (await site.predict()).status_code == 503
        assert ("Warning", "ModelLoadFailed") in {event[:2] for event in await site.events()}


async def test_the_model_answers_while_nobody_manages_it_and_is_adopted(
    site: Site, registry: oci.Client, tmp_path: Path
) -> None:
    image = await push(registry, tmp_path / "v1")
    async with site.agent():
        await site.api.create(INFERENCE_SERVICE, service(image))
        await site.until()
    before = site.pids()

    assert await site.predicts()  # no agent at all

    async with site.agent():
        await site.api.create(INFERENCE_SERVICE, service(image, "second"))
        await site.until("second")
        assert await site.predicts()
        after = site.pids()

    assert before.items() <= after.items()
    assert len(after) == 3


async def test_what_was_deleted_while_the_agent_was_away_ends(
    site: Site, registry: oci.Client, tmp_path: Path
) -> None:
    image = await push(registry, tmp_path / "v1")
    async with site.agent():
        await site.api.create(INFERENCE_SERVICE, service(image))
        await site.until()
    await site.api.delete(INFERENCE_SERVICE, "fraud", "default")

    async with site.agent():
        with anyio.fail_after(15):
            while len(site.pids()) > 1:
                await anyio.sleep(0.02)
        assert (await site.predict()).status_code == 404
    with pytest.raises(NotFoundError):
        await site.api.get(INFERENCE_SERVICE, "fraud", "default")


@pytest.mark.parametrize("victim", ["runtime", "gateway"])
async def test_a_killed_process_comes_back(
    site: Site, registry: oci.Client, tmp_path: Path, victim: str
) -> None:
    image = await push(registry, tmp_path / "v1")
    async with site.agent():
        await site.api.create(INFERENCE_SERVICE, service(image))
        await site.until()
        pids = site.pids()
        name = next(n for n in pids if (n == "gateway") == (victim == "gateway"))
        import os
        import signal

        os.kill(pids[name], signal.SIGKILL)

        with anyio.fail_after(20):
            while True:
                try:
                    if await site.predicts():
                        break
                except httpx2.TransportError:
                    pass  # the gateway itself is away
                await anyio.sleep(0.05)
        assert site.pids()[name] != pids[name]

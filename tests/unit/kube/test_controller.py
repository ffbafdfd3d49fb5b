"""The loop: every change is answered, one name is in one hand, failures come back later."""

from collections import Counter

import anyio
import pytest

from towpath.errors import InvalidError, UnavailableError
from towpath.kube import After, Controller, Request, Watch
from towpath.spec.kube import CONFIG_MAP, Object
from towpath.testing import MemoryCluster

pytestmark = pytest.mark.anyio


def config_map(name: str, **data: str) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": "default"}, "data": data}


async def test_every_object_is_reconciled_and_every_change_again() -> None:
    cluster = MemoryCluster()
    seen: Counter[Request] = Counter()
    changed = anyio.Event()

    async def reconcile(request: Request) -> None:
        seen[request] += 1
        found = await cluster.get(CONFIG_MAP, request.name, request.namespace)
        if found.get("data") == {"a": "2"}:
            changed.set()

    controller = Controller("test", cluster, (Watch(CONFIG_MAP),), reconcile)
    await cluster.create(CONFIG_MAP, config_map("one", a="1"))  # type: ignore[arg-type]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            await cluster.create(CONFIG_MAP, config_map("two", a="1"))  # type: ignore[arg-type]
            await cluster.merge(CONFIG_MAP, "one", "default", {"data": {"a": "2"}})
            await changed.wait()
            tasks.cancel_scope.cancel()

    assert seen[Request("default", "one")] >= 1


async def test_one_name_is_never_in_two_hands() -> None:
    cluster = MemoryCluster()
    busy: set[Request] = set()
    runs = 0
    enough = anyio.Event()

    async def reconcile(request: Request) -> None:
        nonlocal runs
        assert request not in busy
        busy.add(request)
        await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        busy.discard(request)
        runs += 1
        if runs == 50:
            enough.set()
        controller.ask(request)

    controller = Controller("test", cluster, (Watch(CONFIG_MAP),), reconcile, workers=4)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            for name in "abc":
                await cluster.create(CONFIG_MAP, config_map(name))  # type: ignore[arg-type]
            await enough.wait()
            tasks.cancel_scope.cancel()

    assert runs >= 50


async def test_what_may_pass_is_tried_again() -> None:
    cluster = MemoryCluster()
    tries = 0
    done = anyio.Event()

    async def reconcile(_: Request) -> None:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise UnavailableError("not now")
        done.set()

    controller = Controller("test", cluster, (Watch(CONFIG_MAP),), reconcile)
    await cluster.create(CONFIG_MAP, config_map("one"))  # type: ignore[arg-type]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            await done.wait()
            tasks.cancel_scope.cancel()

    assert tries == 3


async def test_what_cannot_pass_waits_for_a_change() -> None:
    cluster = MemoryCluster()
    tries: Counter[str] = Counter()
    marker = anyio.Event()

    async def reconcile(request: Request) -> After | None:
        tries[request.name] += 1
        if request.name == "bad":
            raise InvalidError("never")
        if tries["good"] == 3:
            marker.set()
        return After(0.15)

    controller = Controller("test", cluster, (Watch(CONFIG_MAP),), reconcile)
    await cluster.create(CONFIG_MAP, config_map("bad"))  # type: ignore[arg-type]
    await cluster.create(CONFIG_MAP, config_map("good"))  # type: ignore[arg-type]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            await marker.wait()  # 0.3 s, three times the first backoff, in the same queue
            tasks.cancel_scope.cancel()

    assert tries["bad"] == 1


async def test_every_name_is_looked_at_again_without_being_told() -> None:
    cluster = MemoryCluster()
    seen: Counter[str] = Counter()

    async def reconcile(request: Request) -> None:
        seen[request.name] += 1

    controller = Controller("test", cluster, (Watch(CONFIG_MAP),), reconcile, resync=0.05)
    for name in ("goes", "stays"):
        await cluster.create(CONFIG_MAP, config_map(name))  # type: ignore[arg-type]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            while min(seen["goes"], seen["stays"]) < 3:
                await anyio.sleep(0.01)
            await cluster.delete(CONFIG_MAP, "goes", "default")
            so_far = seen["stays"]
            while seen["stays"] < so_far + 2:
                await anyio.sleep(0.01)
            gone = seen["goes"]
            while seen["stays"] < so_far + 5:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    assert seen["goes"] == gone


async def test_what_went_while_nobody_listened_is_asked_for() -> None:
    cluster = MemoryCluster()
    seen: Counter[str] = Counter()

    async def reconcile(request: Request) -> None:
        seen[request.name] += 1

    controller = Controller("test", cluster, (Watch(CONFIG_MAP),), reconcile)
    await cluster.create(CONFIG_MAP, config_map("one"))  # type: ignore[arg-type]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            while not seen["one"]:
                await anyio.sleep(0.01)
            cluster.reachable = False
            await anyio.sleep(0)
            cluster.reachable = True
            await cluster.delete(CONFIG_MAP, "one", "default")
            so_far = seen["one"]
            while seen["one"] == so_far:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()


async def test_who_an_object_concerned_before_is_asked_as_well() -> None:
    cluster = MemoryCluster()
    seen: list[str] = []

    async def reconcile(request: Request) -> None:
        seen.append(request.name)

    def owner(obj: Object) -> list[Request]:
        return [Request("default", obj["data"]["owner"])]

    controller = Controller("test", cluster, (Watch(CONFIG_MAP, requests=owner),), reconcile)
    await cluster.create(CONFIG_MAP, config_map("one", owner="first"))  # type: ignore[arg-type]
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            while seen != ["first"]:
                await anyio.sleep(0.01)
            await cluster.merge(CONFIG_MAP, "one", "default", {"data": {"owner": "second"}})
            while sorted(seen) != ["first", "first", "second"]:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

"""What the cluster in memory offers to tests beyond the contract of every API."""

from contextlib import aclosing
from typing import Any, cast

import anyio
import pytest

from towpath.errors import NotFoundError, UnavailableError
from towpath.spec.argocd import APPLICATION
from towpath.spec.kube import CONFIG_MAP, NAMESPACE, Object
from towpath.testing import MemoryCluster

pytestmark = pytest.mark.anyio

ONE: Object = {"metadata": {"name": "one", "namespace": "default"}, "data": {"x": "1"}}


async def test_an_unreachable_cluster_says_so_and_ends_its_watches() -> None:
    cluster = MemoryCluster()
    with anyio.fail_after(5):
        async with aclosing(cast(Any, cluster.watch(CONFIG_MAP))) as events:
            await cluster.create(CONFIG_MAP, ONE)
            assert (await anext(events)).type == "ADDED"
            cluster.reachable = False
            with pytest.raises(UnavailableError):
                await anext(events)
    with pytest.raises(UnavailableError):
        await cluster.get(CONFIG_MAP, "one", "default")
    cluster.reachable = True
    assert (await cluster.get(CONFIG_MAP, "one", "default"))["data"] == {"x": "1"}


async def test_the_version_moves_with_every_write_only() -> None:
    cluster = MemoryCluster()
    before = cluster.version
    made = await cluster.create(CONFIG_MAP, ONE)
    assert cluster.version == made["metadata"]["resourceVersion"] != before
    await cluster.merge(CONFIG_MAP, "one", "default", {"data": {"x": "1"}})
    await cluster.list(CONFIG_MAP)
    assert cluster.version == made["metadata"]["resourceVersion"]


async def test_what_is_given_and_what_is_kept_are_apart() -> None:
    cluster = MemoryCluster()
    made = await cluster.create(CONFIG_MAP, ONE)
    made["data"]["x"] = "changed by the caller"
    assert (await cluster.get(CONFIG_MAP, "one", "default"))["data"] == {"x": "1"}


async def test_what_is_owned_goes_with_its_owner() -> None:
    cluster = MemoryCluster()
    owner = await cluster.create(CONFIG_MAP, ONE)
    reference = {"kind": "ConfigMap", "name": "one", "uid": owner["metadata"]["uid"]}
    owned = {"metadata": {"name": "two", "namespace": "default", "ownerReferences": [reference]}}
    await cluster.create(CONFIG_MAP, cast(Object, owned))
    await cluster.delete(CONFIG_MAP, "one", "default")
    assert await cluster.list(CONFIG_MAP) == []


async def test_a_namespace_takes_its_objects_along() -> None:
    cluster = MemoryCluster(("default", "other"))
    await cluster.create(CONFIG_MAP, ONE)
    await cluster.delete(NAMESPACE, "default")
    with pytest.raises(NotFoundError):
        await cluster.get(CONFIG_MAP, "one", "default")


async def test_the_status_of_an_application_is_a_field() -> None:
    cluster = MemoryCluster()
    await cluster.create(APPLICATION, {"metadata": {"name": "a", "namespace": "default"}})
    status: Object = {"status": {"sync": {"status": "Synced"}}}
    with pytest.raises(NotFoundError):
        await cluster.merge_status(APPLICATION, "a", "default", status)
    merged = await cluster.merge(APPLICATION, "a", "default", status)
    assert merged["status"] == status["status"]

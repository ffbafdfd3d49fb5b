"""The pull agent between two clusters: assignments go down, state comes up, nothing else moves."""

from typing import Any

import pytest

from towpath.errors import InvalidError, NotFoundError
from towpath.fleet import APPLICATIONS, PullAgent
from towpath.kube import Request
from towpath.spec.argocd import APPLICATION, PULL_TO_MANAGED_CLUSTER, SKIP_RECONCILE
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import NAMESPACE
from towpath.spec.towpath import CLUSTER_LABEL, PUSHED_REVISION
from towpath.testing import MemoryCluster

pytestmark = pytest.mark.anyio

ASSIGNED = Request("edge-1", "edge-1-fraud")


def application(**annotations: str) -> Any:
    return {
        "metadata": {
            "name": "edge-1-fraud",
            "namespace": "edge-1",
            "labels": {PULL_TO_MANAGED_CLUSTER: "true"},
            "annotations": {SKIP_RECONCILE: "true", **annotations},
        },
        "spec": {"source": {"path": "clusters/edge-1/fraud"}},
    }


def service(namespace: str = "default") -> Any:
    return {
        "metadata": {"name": "fraud", "namespace": namespace},
        "spec": {"predictor": {"model": {"storageUri": "oci://a"}}},
    }


@pytest.fixture
async def hub() -> MemoryCluster:
    cluster = MemoryCluster()
    await cluster.create(NAMESPACE, {"metadata": {"name": "edge-1"}})
    return cluster


@pytest.fixture
def edge() -> MemoryCluster:
    return MemoryCluster()


@pytest.fixture
def agent(hub: MemoryCluster, edge: MemoryCluster) -> PullAgent:
    return PullAgent("edge-1", hub, edge)


async def test_an_application_comes_down_awake(
    agent: PullAgent, hub: MemoryCluster, edge: MemoryCluster
) -> None:
    await hub.create(APPLICATION, application())

    await agent.pull(ASSIGNED)

    copy = await edge.get(APPLICATION, "edge-1-fraud", APPLICATIONS)
    assert copy["spec"] == {"source": {"path": "clusters/edge-1/fraud"}}
    assert SKIP_RECONCILE not in copy["metadata"]["annotations"]
    assert PULL_TO_MANAGED_CLUSTER not in copy["metadata"].get("labels", {})


async def test_a_change_comes_down_and_an_unchanged_one_writes_nothing(
    agent: PullAgent, hub: MemoryCluster, edge: MemoryCluster
) -> None:
    await hub.create(APPLICATION, application())
    await agent.pull(ASSIGNED)
    before = await edge.get(APPLICATION, "edge-1-fraud", APPLICATIONS)
    await agent.pull(ASSIGNED)
    same = await edge.get(APPLICATION, "edge-1-fraud", APPLICATIONS)
    await hub.merge(
        APPLICATION,
        "edge-1-fraud",
        "edge-1",
        {"metadata": {"annotations": {PUSHED_REVISION: "abc"}}},
    )

    await agent.pull(ASSIGNED)

    after = await edge.get(APPLICATION, "edge-1-fraud", APPLICATIONS)
    assert same["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert after["metadata"]["annotations"][PUSHED_REVISION] == "abc"
    assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_status_goes_up(agent: PullAgent, hub: MemoryCluster, edge: MemoryCluster) -> None:
    await hub.create(APPLICATION, application())
    await agent.pull(ASSIGNED)
    status: Any = {"status": {"sync": {"status": "Synced", "revision": "abc"}}}
    await edge.merge(APPLICATION, "edge-1-fraud", APPLICATIONS, status)

    await agent.report_application(Request(APPLICATIONS, "edge-1-fraud"))

    seen = await hub.get(APPLICATION, "edge-1-fraud", "edge-1")
    assert seen["status"] == status["status"]


async def test_an_application_taken_away_goes_on_the_edge_too(
    agent: PullAgent, hub: MemoryCluster, edge: MemoryCluster
) -> None:
    await hub.create(APPLICATION, application())
    await agent.pull(ASSIGNED)
    await hub.delete(APPLICATION, "edge-1-fraud", "edge-1")

    await agent.leftovers()
    await agent.pull(ASSIGNED)

    copy = await edge.get(APPLICATION, "edge-1-fraud", APPLICATIONS)
    assert "deletionTimestamp" in copy["metadata"]  # its finalizer prunes what it deployed first


async def test_an_application_of_the_edge_itself_is_left_alone(
    agent: PullAgent, edge: MemoryCluster
) -> None:
    own: Any = {"metadata": {"name": "mine", "namespace": APPLICATIONS}, "spec": {}}
    await edge.create(NAMESPACE, {"metadata": {"name": APPLICATIONS}})
    await edge.create(APPLICATION, own)

    assert await agent.leftovers() == []
    await agent.pull(Request("edge-1", "mine"))

    assert (
        "deletionTimestamp" not in (await edge.get(APPLICATION, "mine", APPLICATIONS))["metadata"]
    )


async def test_a_service_is_mirrored_with_its_status_and_its_end(
    agent: PullAgent, hub: MemoryCluster, edge: MemoryCluster
) -> None:
    await edge.create(INFERENCE_SERVICE, service())
    status: Any = {"status": {"url": "http://127.0.0.1:6606", "a": {"b": 1}}}
    await edge.merge_status(INFERENCE_SERVICE, "fraud", "default", status)

    await agent.report_service(Request("default", "fraud"))

    mirror = await hub.get(INFERENCE_SERVICE, "fraud", "edge-1")
    assert mirror["metadata"]["labels"][CLUSTER_LABEL] == "edge-1"
    assert mirror["spec"] == service()["spec"]
    assert mirror["status"] == status["status"]

    await edge.delete(INFERENCE_SERVICE, "fraud", "default")
    (origin,) = await agent.leftovers()
    await agent.report_service(origin)
    with pytest.raises(NotFoundError):
        await hub.get(INFERENCE_SERVICE, "fraud", "edge-1")


async def test_two_namespaces_do_not_share_a_mirror(
    agent: PullAgent, hub: MemoryCluster, edge: MemoryCluster
) -> None:
    await edge.create(NAMESPACE, {"metadata": {"name": "team"}})
    for namespace in ("default", "team"):
        await edge.create(INFERENCE_SERVICE, service(namespace))
        await agent.report_service(Request(namespace, "fraud"))

    assert {s["metadata"]["name"] for s in await hub.list(INFERENCE_SERVICE, "edge-1")} == {
        "fraud",
        "team-fraud",
    }


async def test_a_service_of_the_hub_in_that_namespace_is_never_overwritten(
    agent: PullAgent, hub: MemoryCluster, edge: MemoryCluster
) -> None:
    await hub.create(INFERENCE_SERVICE, service("edge-1"))
    await edge.create(INFERENCE_SERVICE, service())

    with pytest.raises(InvalidError, match="not the mirror"):
        await agent.report_service(Request("default", "fraud"))


async def test_an_assignment_that_comes_back_while_its_copy_goes_is_looked_at_again(
    agent: PullAgent, hub: MemoryCluster, edge: MemoryCluster
) -> None:
    await hub.create(APPLICATION, application())
    await agent.pull(ASSIGNED)
    await hub.delete(APPLICATION, "edge-1-fraud", "edge-1")
    await agent.pull(ASSIGNED)
    await hub.create(APPLICATION, application())

    again = await agent.pull(ASSIGNED)

    assert again is not None
    gone: Any = {"metadata": {"finalizers": None}}
    await edge.merge(APPLICATION, "edge-1-fraud", APPLICATIONS, gone)
    assert await agent.pull(ASSIGNED) is None
    copy = await edge.get(APPLICATION, "edge-1-fraud", APPLICATIONS)
    assert "deletionTimestamp" not in copy["metadata"]


@pytest.mark.parametrize("odd", [None, "text", ["list"]])
async def test_an_odd_object_harms_nobody(
    agent: PullAgent, hub: MemoryCluster, edge: MemoryCluster, odd: Any
) -> None:
    await hub.create(
        INFERENCE_SERVICE,
        {"metadata": {"name": "odd", "namespace": "edge-1", "annotations": odd}},
    )
    await edge.create(INFERENCE_SERVICE, service())

    assert await agent.leftovers() == []
    await agent.report_service(Request("default", "fraud"))

    assert (await hub.get(INFERENCE_SERVICE, "fraud", "edge-1"))["spec"] == service()["spec"]

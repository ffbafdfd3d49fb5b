"""Application -> git -> resources: real repositories, a Kubernetes API in memory."""

import base64
import gzip
import shutil
import threading
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import anyio
import httpx2
import pytest

from towpath import gitops, web
from towpath.errors import NotFoundError, UnavailableError
from towpath.gitops.checkout import Checkouts
from towpath.gitops.server import BODY_BYTES
from towpath.kube.controller import After, Controller, Request, Watch
from towpath.settings import Gitops
from towpath.spec.argocd import APPLICATION, RESOURCES_FINALIZER, SKIP_RECONCILE, TRACKING_ID
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import CONFIG_MAP, NAMESPACE, Object
from towpath.spec.names import ImageRef, Revision
from towpath.spec.towpath import PUSHED_REVISION
from towpath.testing import MemoryCluster

pytestmark = pytest.mark.anyio

TOKEN = "token"
APP = Request("hub", "hub-fraud")
FOLDER = "clusters/hub/fraud"
CONFIG = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\ndata: {x: '%s'}\n"


def image(digit: str) -> ImageRef:
    return ImageRef("127.0.0.1:5000/fraud@sha256:" + digit * 64)


def deployment(digit: str = "0") -> gitops.Deployment:
    return gitops.Deployment("fraud", "models", "onnx", image(digit), "1")


@dataclass
class World:
    """A repository, a cluster, and the sync between them."""

    repository: Path
    folder: Path
    cluster: MemoryCluster
    poll_seconds: float = 3600.0

    def __post_init__(self) -> None:
        self.sync = self.restarted()

    def restarted(self) -> gitops.Sync:
        knobs = Gitops(poll_seconds=self.poll_seconds)
        self.sync = gitops.Sync(
            self.cluster, self.folder, knobs, namespaces={"hub"}, local_paths=True
        )
        return self.sync

    async def push(self, **files: bytes | None) -> Revision:
        """Commit files into the application's folder, named without their suffix."""
        changes = {f"{FOLDER}/{name}.yaml": content for name, content in files.items()}
        return await self.commit(changes)

    async def commit(self, changes: dict[str, bytes | None]) -> Revision:
        done = await gitops.commit(
            str(self.repository), "", "main", lambda _: changes, "Edit", "A <a@example.com>"
        )
        return done.revision

    async def deploy(self, **spec: Any) -> None:
        app = gitops.application("hub", deployment(), str(self.repository), "main")
        app["spec"] |= spec
        await self.cluster.create(APPLICATION, app)

    async def announce(self, revision: Revision) -> None:
        patch: Object = {"metadata": {"annotations": {PUSHED_REVISION: revision}}}
        await self.cluster.merge(APPLICATION, APP.name, APP.namespace, patch)

    async def run(self, revision: Revision | None = None) -> dict[str, Any]:
        """Reconcile, after an announcement where one is given; the status then."""
        if revision is not None:
            await self.announce(revision)
        await self.sync.reconcile(APP)
        return await self.status()

    async def status(self) -> dict[str, Any]:
        app = await self.cluster.get(APPLICATION, APP.name, APP.namespace)
        return dict(app.get("status", {}))

    async def names(self) -> set[str]:
        return {o["metadata"]["name"] for o in await self.cluster.list(CONFIG_MAP, "models")}


@pytest.fixture
async def world(tmp_path: Path) -> World:
    await gitops.create(tmp_path / "git", "gitops")
    cluster = MemoryCluster(("default", "hub"))
    return World(tmp_path / "git/gitops.git", tmp_path / "checkouts", cluster)


async def test_a_service_is_deployed_and_followed_to_health(world: World) -> None:
    revision = await world.commit(dict(gitops.files(deployment(), "hub")))
    await world.deploy()
    status = await world.run()
    assert status["sync"]["status"] == "Synced"
    assert status["sync"]["revision"] == revision
    assert status["health"]["status"] == "Progressing"
    assert status["operationState"]["phase"] == "Succeeded"
    assert [entry["revision"] for entry in status["history"]] == [revision]
    assert status["resources"] == [
        {
            "group": "serving.kserve.io",
            "version": "v1beta1",
            "kind": "InferenceService",
            "namespace": "models",
            "name": "fraud",
            "status": "Synced",
            "health": {"status": "Progressing", "message": "waiting for its status"},
        }
    ]
    live = await world.cluster.get(INFERENCE_SERVICE, "fraud", "models")
    assert live["spec"]["predictor"]["model"]["storageUri"] == f"oci://{image('0')}"
    assert live["metadata"]["annotations"][TRACKING_ID] == (
        "hub_hub-fraud:serving.kserve.io/InferenceService:models/fraud"
    )
    assert gitops.owner(live) == [APP]
    assert (await world.cluster.get(NAMESPACE, "models"))["metadata"]["name"] == "models"

    ready = cast(Object, {"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
    await world.cluster.merge_status(INFERENCE_SERVICE, "fraud", "models", ready)
    assert (await world.run())["health"]["status"] == "Healthy"

    newer = await world.commit(dict(gitops.files(deployment("1"), "hub")))
    status = await world.run(newer)
    assert status["sync"]["revision"] == newer
    assert [entry["id"] for entry in status["history"]] == [0, 1]
    live = await world.cluster.get(INFERENCE_SERVICE, "fraud", "models")
    assert live["spec"]["predictor"]["model"]["storageUri"] == f"oci://{image('1')}"


async def test_at_rest_nothing_is_written(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    await world.run()
    before = world.cluster.version
    assert isinstance(await world.sync.reconcile(APP), After)
    await world.restarted().reconcile(APP)
    assert world.cluster.version == before


async def test_without_an_announcement_the_remote_is_asked_when_due(world: World) -> None:
    first = await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    await world.run()
    second = await world.push(a=CONFIG % (b"a", b"2"))
    assert (await world.run())["sync"]["revision"] == first
    again = await world.sync.reconcile(APP)
    assert again is not None
    assert 3500 < again.seconds <= 3600
    world.poll_seconds = 0.0
    world.restarted()
    assert (await world.run())["sync"]["revision"] == second


async def test_drift_is_undone(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    await world.run()
    await world.cluster.merge(CONFIG_MAP, "a", "models", {"data": {"x": "drift"}})
    await world.run()
    assert (await world.cluster.get(CONFIG_MAP, "a", "models"))["data"] == {"x": "1"}
    await world.cluster.delete(CONFIG_MAP, "a", "models")
    await world.run()
    assert await world.names() == {"a"}


async def test_without_self_heal_drift_stays_until_the_next_commit(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy(
        syncPolicy={"automated": {"prune": True}, "syncOptions": ["CreateNamespace=true"]}
    )
    await world.run()
    await world.cluster.delete(CONFIG_MAP, "a", "models")
    status = await world.run()
    assert status["sync"]["status"] == "OutOfSync"
    assert status["health"]["status"] == "Missing"
    newer = await world.push(b=CONFIG % (b"b", b"1"))
    assert (await world.run(newer))["sync"]["status"] == "Synced"
    assert await world.names() == {"a", "b"}


async def test_without_automation_nothing_is_applied(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy(syncPolicy={})
    status = await world.run()
    assert status["sync"]["status"] == "OutOfSync"
    assert "operationState" not in status
    assert await world.names() == set()


async def test_without_automation_a_changed_object_is_out_of_sync(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    await world.run()
    manual = cast(Object, {"spec": {"syncPolicy": {"automated": None}}})
    await world.cluster.merge(APPLICATION, APP.name, APP.namespace, manual)
    added = cast(Object, {"metadata": {"labels": {"own": "x"}}, "data": {"more": "x"}})
    await world.cluster.merge(CONFIG_MAP, "a", "models", added)
    assert (await world.run())["sync"]["status"] == "Synced"
    status = await world.run(await world.push(a=CONFIG % (b"a", b"2")))
    assert status["sync"]["status"] == "OutOfSync"
    assert (await world.cluster.get(CONFIG_MAP, "a", "models"))["data"]["x"] == "1"


async def test_without_self_heal_another_folder_is_synced(world: World) -> None:
    other = "clusters/hub/other/b.yaml"
    await world.commit({f"{FOLDER}/a.yaml": CONFIG % (b"a", b"1"), other: CONFIG % (b"b", b"1")})
    await world.deploy(
        syncPolicy={"automated": {"prune": True}, "syncOptions": ["CreateNamespace=true"]}
    )
    await world.run()
    moved = cast(Object, {"spec": {"source": {"path": "clusters/hub/other"}}})
    await world.cluster.merge(APPLICATION, APP.name, APP.namespace, moved)
    status = await world.run()
    assert await world.names() == {"b"}
    assert status["sync"]["status"] == "Synced"
    assert [e["source"]["path"] for e in status["history"]] == [FOLDER, "clusters/hub/other"]


async def test_another_applications_object_is_left_to_it(world: World) -> None:
    await world.commit({"clusters/hub/second/a.yaml": CONFIG % (b"a", b"2")})
    await world.push(a=CONFIG % (b"a", b"1"), b=CONFIG % (b"b", b"1"))
    await world.deploy()
    await world.run()
    second = Request("hub", "second")
    app = gitops.application("hub", deployment(), str(world.repository), "main")
    app["metadata"]["name"] = second.name
    app["spec"]["source"]["path"] = "clusters/hub/second"
    await world.cluster.create(APPLICATION, app)

    assert isinstance(await world.sync.reconcile(second), After)
    live = await world.cluster.get(CONFIG_MAP, "a", "models")
    assert live["data"] == {"x": "1"}
    assert gitops.owner(live) == [APP]
    status = (await world.cluster.get(APPLICATION, *reversed(second)))["status"]
    (condition,) = status["conditions"]
    assert condition["type"] == "SharedResourceWarning"
    assert "ConfigMap a belongs to Application hub/hub-fraud" in condition["message"]
    assert status["sync"]["status"] == "OutOfSync"
    assert status["operationState"]["phase"] == "Failed"
    before = world.cluster.version
    await world.sync.reconcile(second)
    assert world.cluster.version == before

    released: Object = {"metadata": {"finalizers": []}}
    await world.cluster.merge(APPLICATION, APP.name, APP.namespace, released)
    await world.cluster.delete(APPLICATION, *reversed(APP))
    await world.sync.reconcile(second)
    live = await world.cluster.get(CONFIG_MAP, "a", "models")
    assert live["data"] == {"x": "2"}
    assert gitops.owner(live) == [second]


async def test_an_object_twice_in_git_is_named(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"), b=CONFIG % (b"a", b"2"))
    await world.deploy()
    status = await world.run()
    (condition,) = status["conditions"]
    assert condition["type"] == "RepeatedResourceWarning"
    assert "ConfigMap a is in git 2 times" in condition["message"]
    assert status["sync"]["status"] == "Synced"
    assert (await world.cluster.get(CONFIG_MAP, "a", "models"))["data"] == {"x": "2"}


async def test_only_what_its_mark_says_is_pruned(world: World) -> None:
    """A mark that was copied from another object marks nothing."""
    await world.push(a=CONFIG % (b"a", b"1"), b=CONFIG % (b"b", b"1"))
    await world.deploy()
    await world.run()
    copied = {"metadata": {"annotations": {TRACKING_ID: "hub_hub-fraud:/ConfigMap:models/a"}}}
    await world.cluster.merge(CONFIG_MAP, "b", "models", cast(Object, copied))
    await world.run(await world.push(b=None))
    assert await world.names() == {"a", "b"}


async def test_what_left_git_is_pruned_and_only_that(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"), b=CONFIG % (b"b", b"1"), c=CONFIG % (b"c", b"1"))
    await world.deploy()
    await world.run()
    foreign = {"metadata": {"annotations": {TRACKING_ID: "hub_other:/ConfigMap:models/c"}}}
    await world.cluster.merge(CONFIG_MAP, "c", "models", cast(Object, foreign))
    await world.cluster.create(CONFIG_MAP, {"metadata": {"name": "own", "namespace": "models"}})

    status = await world.run(await world.push(b=None, c=None))
    assert await world.names() == {"a", "c", "own"}
    assert [r["name"] for r in status["resources"]] == ["a"]


async def test_without_prune_what_left_git_is_only_named(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"), b=CONFIG % (b"b", b"1"))
    await world.deploy(
        syncPolicy={"automated": {"selfHeal": True}, "syncOptions": ["CreateNamespace=true"]}
    )
    await world.run()
    status = await world.run(await world.push(b=None))
    assert await world.names() == {"a", "b"}
    assert status["sync"]["status"] == "OutOfSync"
    assert [r.get("requiresPruning", False) for r in status["resources"]] == [False, True]


async def test_an_empty_or_absent_folder_prunes_nothing(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    await world.run()
    status = await world.run(await world.push(a=b"# nothing any more\n"))
    assert [c["type"] for c in status["conditions"]] == ["SyncError"]
    assert await world.names() == {"a"}
    status = await world.run(await world.push(a=None))
    assert [c["type"] for c in status["conditions"]] == ["ComparisonError"]
    assert status["sync"]["status"] == "Unknown"
    assert await world.names() == {"a"}


async def test_bad_yaml_is_named_and_mended(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    await world.run()
    status = await world.run(await world.push(b=b"a: 1\nb: [\n"))
    (condition,) = status["conditions"]
    assert condition["type"] == "ComparisonError"
    assert f"{FOLDER}/b.yaml, line 3" in condition["message"]
    assert status["sync"]["status"] == "Unknown"
    assert await world.names() == {"a"}
    status = await world.run(await world.push(b=CONFIG % (b"b", b"1")))
    assert "conditions" not in status
    assert await world.names() == {"a", "b"}


async def test_one_bad_object_does_not_stop_the_others(world: World) -> None:
    other = b"apiVersion: example.com/v1\nkind: Other\nmetadata: {name: o}\n"
    absent = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: z, namespace: absent}\n"
    await world.push(a=CONFIG % (b"a", b"1"), o=other, z=absent)
    await world.deploy()
    status = await world.run()
    assert await world.names() == {"a"}
    assert status["sync"]["status"] == "OutOfSync"
    assert status["health"]["status"] == "Missing"
    assert status["operationState"]["phase"] == "Failed"
    assert "history" not in status
    (condition,) = status["conditions"]
    assert "kind Other of example.com/v1 is not known" in condition["message"]
    assert 'namespaces "absent" not found' in condition["message"]
    again = await world.sync.reconcile(APP)
    assert again is not None
    assert again.seconds <= 15

    await world.cluster.create(NAMESPACE, {"metadata": {"name": "absent"}})
    status = await world.run(await world.push(o=None))
    assert status["sync"]["status"] == "Synced"
    assert "conditions" not in status


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"sources": [{}]}, "spec.sources"),
        ({"source": {"path": "a"}}, "repoURL"),
        ({"source": {"repoURL": "x", "chart": "y"}}, "chart"),
        ({"destination": {"server": "https://elsewhere"}}, "another cluster"),
        ({"source": "abc"}, "spec.source is not an object"),
        ({"source": None}, "spec.source.repoURL is missing"),
        ({"source": {"repoURL": 5}}, "spec.source.repoURL is not a string"),
        ({"source": {"repoURL": "x", "path": True}}, "spec.source.path is not a string"),
        ({"source": {"repoURL": "x", "targetRevision": 1.0}}, "spec.source.targetRevision"),
        ({"source": {"repoURL": "x", "directory": [1]}}, "spec.source.directory"),
        ({"destination": "here"}, "spec.destination is not an object"),
        ({"destination": {"namespace": 5}}, "spec.destination.namespace is not a string"),
        ({"syncPolicy": 1}, "spec.syncPolicy is not an object"),
        ({"syncPolicy": {"syncOptions": "a"}}, "spec.syncPolicy.syncOptions is not a list"),
        ({"syncPolicy": {"automated": {"prune": "no"}}}, "spec.syncPolicy.automated.prune"),
    ],
)
async def test_what_is_not_supported_is_said(
    world: World, spec: dict[str, Any], complaint: str
) -> None:
    await world.deploy(**spec)
    (condition,) = (await world.run())["conditions"]
    assert condition["type"] == "InvalidSpecError"
    assert complaint in condition["message"]
    before = world.cluster.version
    await world.sync.reconcile(APP)
    assert world.cluster.version == before


@pytest.mark.parametrize("scheme", ["", "file://"])
async def test_repositories_of_this_machine_are_read_only_where_allowed(
    world: World, scheme: str
) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy(source={"repoURL": f"{scheme}{world.repository}", "path": FOLDER})
    world.sync = gitops.Sync(world.cluster, world.folder, Gitops())
    (condition,) = (await world.run())["conditions"]
    assert condition["type"] == "InvalidSpecError"
    assert "spec.source.repoURL is not a URL of a git server" in condition["message"]
    assert await world.names() == set()


async def test_an_application_of_another_namespace_is_nobodys_word(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.cluster.create(NAMESPACE, {"metadata": {"name": "edge-1"}})
    app = gitops.application("hub", deployment(), str(world.repository), "main")
    app["metadata"]["namespace"] = "edge-1"
    await world.cluster.create(APPLICATION, app)
    before = world.cluster.version
    assert await world.sync.reconcile(Request("edge-1", APP.name)) is None
    await world.cluster.delete(APPLICATION, APP.name, "edge-1")
    assert await world.sync.reconcile(Request("edge-1", APP.name)) is None
    app = await world.cluster.get(APPLICATION, APP.name, "edge-1")
    assert app["metadata"]["finalizers"] == [RESOURCES_FINALIZER]
    assert "status" not in app
    assert await world.names() == set()
    assert int(world.cluster.version) == int(before) + 1  # the deletion's own mark


@pytest.mark.parametrize(
    "status",
    [
        "abc",
        {"resources": "abc", "history": 3, "conditions": {"a": 1}, "sync": 1, "health": []},
        {
            "resources": [{"name": "x"}, 4, {"kind": [], "name": {}}, None],
            "history": [{"revision": "x"}, 1],
            "conditions": ["x", {"type": {}, "message": []}],
            "operationState": {"syncResult": "x"},
        },
    ],
)
async def test_a_status_written_by_hand_is_mended(world: World, status: Any) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    patch = cast(Object, {"status": status})
    await world.cluster.merge(APPLICATION, APP.name, APP.namespace, patch)
    mended = await world.run()
    assert mended["sync"]["status"] == "Synced"
    assert [r["name"] for r in mended["resources"]] == ["a"]
    assert [entry["id"] for entry in mended["history"]] == [0]


async def test_nulls_in_a_spec_are_no_reason_to_write(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    source = {"repoURL": str(world.repository), "path": FOLDER, "directory": {"recurse": None}}
    await world.deploy(source={**source, "targetRevision": None})
    assert (await world.run())["sync"]["status"] == "Synced"
    before = world.cluster.version
    await world.sync.reconcile(APP)
    assert world.cluster.version == before


async def test_others_applications_are_left_alone(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    app = gitops.application("hub", deployment(), str(world.repository), "main")
    app["metadata"]["annotations"] = {SKIP_RECONCILE: "true"}
    await world.cluster.create(APPLICATION, app)
    assert await world.run() == {}
    assert await world.names() == set()
    assert await world.sync.reconcile(Request("hub", "absent")) is None


async def test_deletion_takes_what_was_deployed_along(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"), b=CONFIG % (b"b", b"1"))
    await world.deploy()
    await world.run()
    await world.cluster.create(CONFIG_MAP, {"metadata": {"name": "own", "namespace": "models"}})
    held: Object = {"metadata": {"finalizers": ["example.com/hold"]}}
    await world.cluster.merge(CONFIG_MAP, "a", "models", held)
    app = await world.cluster.get(APPLICATION, APP.name, APP.namespace)
    assert app["metadata"]["finalizers"] == [RESOURCES_FINALIZER]
    await world.cluster.delete(APPLICATION, APP.name, APP.namespace)

    assert isinstance(await world.sync.reconcile(APP), After)
    assert await world.names() == {"a", "own"}
    await world.cluster.merge(CONFIG_MAP, "a", "models", {"metadata": {"finalizers": []}})
    assert await world.sync.reconcile(APP) is None
    assert await world.names() == {"own"}
    with pytest.raises(NotFoundError):
        await world.status()


async def test_a_killed_sync_forgets_nothing_it_has_to_prune(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API goes away between the apply and the status; git moves on before it comes back."""
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    await world.run()
    await world.announce(await world.push(b=CONFIG % (b"b", b"1")))
    real = world.cluster.apply

    async def apply(*args: Any) -> Object:
        applied = await real(*args)
        world.cluster.reachable = applied["metadata"]["name"] != "b"
        return applied

    monkeypatch.setattr(world.cluster, "apply", apply)
    with pytest.raises(UnavailableError):
        await world.sync.reconcile(APP)
    monkeypatch.undo()
    world.cluster.reachable = True
    assert await world.names() == {"a", "b"}

    status = await world.run(await world.push(b=None))
    assert await world.names() == {"a"}
    assert [r["name"] for r in status["resources"]] == ["a"]


async def test_offline_an_edge_goes_on_with_what_it_has(world: World) -> None:
    revision = await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    await world.run()
    away = world.repository.rename(world.repository.with_suffix(".away"))
    world.restarted()
    await world.cluster.delete(CONFIG_MAP, "a", "models")
    status = await world.run()
    assert await world.names() == {"a"}
    assert status["sync"]["status"] == "Unknown"
    assert status["sync"]["revision"] == revision
    assert [c["type"] for c in status["conditions"]] == ["ComparisonError"]
    before = world.cluster.version
    await world.sync.reconcile(APP)
    assert world.cluster.version == before

    away.rename(world.repository)
    newer = await world.push(a=CONFIG % (b"a", b"2"))
    status = await world.run(newer)
    assert status["sync"] == {**status["sync"], "status": "Synced", "revision": newer}
    assert "conditions" not in status


async def test_a_pinned_commit_on_disk_needs_no_remote(world: World) -> None:
    revision = await world.push(a=CONFIG % (b"a", b"1"))
    await world.push(a=CONFIG % (b"a", b"2"))
    source = {"repoURL": str(world.repository), "path": FOLDER, "targetRevision": revision}
    await world.deploy(source=source)
    assert (await world.run())["sync"]["revision"] == revision
    world.repository.rename(world.repository.with_suffix(".away"))
    world.restarted()
    status = await world.run()
    assert status["sync"]["status"] == "Synced"
    assert (await world.cluster.get(CONFIG_MAP, "a", "models"))["data"] == {"x": "1"}


async def test_a_damaged_commit_on_disk_is_fetched_again(world: World) -> None:
    await world.push(a=CONFIG % (b"a", b"1"))
    await world.deploy()
    await world.run()
    (pack,) = world.folder.rglob("*.pack")
    pack.chmod(0o644)
    pack.write_bytes(b"")
    world.restarted()
    with pytest.raises(UnavailableError, match="damaged"):
        await world.sync.reconcile(APP)
    assert (await world.run())["sync"]["status"] == "Synced"


async def test_what_cannot_choose_from_a_commit_does_not_cost_the_commit(world: World) -> None:
    revision = await world.push(a=CONFIG % (b"a", b"1"))
    checkouts = Checkouts(world.folder, 3600.0)

    def broken(_: Mapping[str, bytes]) -> dict[str, bytes]:
        raise TypeError("a defect of the caller")

    with pytest.raises(TypeError):
        await checkouts.get(str(world.repository), "main", "", broken)
    world.repository.rename(world.repository.with_suffix(".away"))
    found = await checkouts.get(str(world.repository), "main", "", dict)
    assert found.revision == revision
    assert f"{FOLDER}/a.yaml" in found.files


async def test_old_commits_leave_the_disk(world: World) -> None:
    await world.deploy()
    for n in range(3):
        await world.run(await world.push(a=CONFIG % (b"a", b"%d" % n)))
    (place,) = world.folder.iterdir()
    assert [p.name for p in place.iterdir()] == [(await world.status())["sync"]["revision"]]


async def ignore(_repository: str, _branch: str, _revision: Revision) -> None: ...


@pytest.fixture
async def surface(world: World) -> AsyncIterator[str]:
    def may_push(authorization: str | None) -> bool:
        expected = base64.b64encode(f"git:{TOKEN}".encode()).decode()
        return authorization == f"Basic {expected}"

    sock = web.listen("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        served = gitops.app(world.repository.parent, may_push, ignore)
        await tasks.start(web.serve, served, sock)
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/gitops.git"
        tasks.cancel_scope.cancel()


async def test_a_request_is_unpacked_beside_the_event_loop(
    surface: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    unpacker = zlib.decompressobj

    class Watched:
        def __init__(self, wbits: int) -> None:
            self._unpacker = unpacker(wbits)

        def decompress(self, data: bytes, limit: int) -> bytes:
            threads.add(threading.get_ident())
            return self._unpacker.decompress(data, limit)

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    packed = gzip.compress(bytes(BODY_BYTES + 1), compresslevel=1)
    headers = {
        "Content-Type": "application/x-git-upload-pack-request",
        "Content-Encoding": "gzip",
    }
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        answer = await client.post(f"{surface}/git-upload-pack", content=packed, headers=headers)
    assert answer.status_code == 413
    assert threads
    assert threading.get_ident() not in threads


async def test_under_the_loop_over_http(world: World, surface: str) -> None:
    """The controller's loop, the watch, our own git surface: commit, announce, see it there."""
    source = {"repoURL": surface, "path": FOLDER, "targetRevision": "main"}
    await world.deploy(source=source)
    controller = Controller(
        "gitops",
        world.cluster,
        (Watch(APPLICATION), Watch(CONFIG_MAP, requests=gitops.owner)),
        world.sync.reconcile,
    )

    async def until(**data: str) -> None:
        async for event in world.cluster.watch(CONFIG_MAP):
            if event.type != "DELETED" and event.object.get("data") == data:
                return

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            edit = {f"{FOLDER}/a.yaml": CONFIG % (b"a", b"1")}
            done = await gitops.commit(surface, TOKEN, "main", lambda _: edit, "m", "A <a@b.c>")
            await world.announce(done.revision)
            await until(x="1")
            await world.cluster.delete(CONFIG_MAP, "a", "models")
            await until(x="1")
            tasks.cancel_scope.cancel()
    shutil.rmtree(world.folder)

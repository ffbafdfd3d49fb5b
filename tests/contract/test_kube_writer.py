"""What every Kubernetes API that we write to keeps: the promises that controllers lean on."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from towpath import apiserver, web
from towpath.auth import Identity, Tokens
from towpath.errors import ConflictError, InvalidError, NotFoundError, Reason
from towpath.kube import NORMAL, Client, Recorder, Writer, hold, let_go, write_status
from towpath.settings import Api
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import CONFIG_MAP, EVENT, NAMESPACE, Object
from towpath.testing import MemoryCluster

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> apiserver.Certificate:
    return apiserver.ensure(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def embedded(folder: Path, certificate: apiserver.Certificate) -> AsyncIterator[Writer]:
    """The embedded API over TLS, through the client that everything uses."""
    tokens = Tokens([("token", Identity("admin", frozenset({apiserver.ADMINISTRATORS})))])
    async with apiserver.Store(folder / "api.db", history=100) as store:
        server = apiserver.ApiServer(store, Api(), known=[tokens])
        sock = web.listen("127.0.0.1", 0)
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        authority = certificate.authority
        config = apiserver.kubeconfig(url, authority, "token", "test")
        apiserver.write_kubeconfig(folder / "kubeconfig", config)
        serve = partial(
            web.serve,
            server.guarded,
            sock,
            certificate=(str(certificate.chain), str(certificate.key)),
            drain=1,
            stopping=server.stop,
        )
        async with anyio.create_task_group() as tasks:
            await tasks.start(serve)
            async with Client(folder / "kubeconfig") as client:
                yield client
            tasks.cancel_scope.cancel()


@pytest.fixture(params=["memory", "embedded"])
async def api(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: apiserver.Certificate
) -> AsyncIterator[Writer]:
    """One API after the other, each with a namespace ``models``."""
    if request.param == "memory":
        yield MemoryCluster(("default", "models"))
        return
    async with embedded(tmp_path, certificate) as client:
        await client.create(NAMESPACE, {"metadata": {"name": "models"}})
        yield client


def config(name: str = "a", data: dict[str, str] | None = None, **metadata: Any) -> Object:
    return cast(
        Object,
        {
            "metadata": {"name": name, "namespace": "models", **metadata},
            "data": data if data is not None else {"x": "1"},
        },
    )


def service(name: str = "fraud", **predictor: Any) -> Object:
    return cast(
        Object,
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": name, "namespace": "models"},
            "spec": {"predictor": predictor or {"minReplicas": 1}},
        },
    )


def version(obj: Object) -> str:
    return obj["metadata"]["resourceVersion"]


async def test_create_and_get(api: Writer) -> None:
    made = await api.create(CONFIG_MAP, config())
    assert made["apiVersion"] == "v1"
    assert made["kind"] == "ConfigMap"
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"]
    assert await api.get(CONFIG_MAP, "a", "models") == made


async def test_create_twice(api: Writer) -> None:
    await api.create(CONFIG_MAP, config())
    with pytest.raises(ConflictError) as caught:
        await api.create(CONFIG_MAP, config())
    assert caught.value.reason is Reason.ALREADY_EXISTS


async def test_generated_names_differ(api: Writer) -> None:
    unnamed: Object = {"metadata": {"generateName": "job-", "namespace": "models"}}
    one = await api.create(CONFIG_MAP, unnamed)
    two = await api.create(CONFIG_MAP, unnamed)
    assert one["metadata"]["name"] != two["metadata"]["name"]
    assert one["metadata"]["name"].startswith("job-")


async def test_what_is_not_there(api: Writer) -> None:
    with pytest.raises(NotFoundError):
        await api.get(CONFIG_MAP, "a", "models")
    with pytest.raises(NotFoundError):
        await api.merge(CONFIG_MAP, "a", "models", {"data": {"x": "1"}})
    with pytest.raises(NotFoundError):
        await api.merge_status(INFERENCE_SERVICE, "a", "models", {"status": {}})
    await api.delete(CONFIG_MAP, "a", "models")


async def test_a_namespace_must_exist(api: Writer) -> None:
    with pytest.raises(NotFoundError):
        await api.create(CONFIG_MAP, config(namespace="absent"))
    with pytest.raises(NotFoundError):
        await api.apply(CONFIG_MAP, config(namespace="absent"), "test")


async def test_a_name_is_needed(api: Writer) -> None:
    with pytest.raises(InvalidError):
        await api.create(CONFIG_MAP, {"metadata": {"namespace": "models"}})


async def test_list_by_namespace_and_labels(api: Writer) -> None:
    await api.create(CONFIG_MAP, config("b", labels={"cluster": "edge-1", "z": "1"}))
    await api.create(CONFIG_MAP, config("a", labels={"cluster": "edge-2"}))
    await api.create(CONFIG_MAP, config("c", namespace="default"))

    async def names(*args: Any) -> list[str]:
        return [o["metadata"]["name"] for o in await api.list(CONFIG_MAP, *args)]

    assert {"a", "b"} <= set(await names("models"))
    assert "c" not in await names("models")
    assert {"a", "b", "c"} <= set(await names())
    assert await names("models", {"cluster": "edge-1"}) == ["b"]


async def test_replace_needs_the_version_that_was_read(api: Writer) -> None:
    read = await api.create(CONFIG_MAP, config())
    await api.merge(CONFIG_MAP, "a", "models", {"data": {"y": "2"}})
    with pytest.raises(ConflictError):
        await api.replace(CONFIG_MAP, {**read, "data": {"x": "3"}})
    newest = await api.get(CONFIG_MAP, "a", "models")
    replaced = await api.replace(CONFIG_MAP, {**newest, "data": {"x": "3"}})
    assert replaced["data"] == {"x": "3"}
    assert replaced["metadata"]["uid"] == read["metadata"]["uid"]


async def test_merge_changes_and_removes(api: Writer) -> None:
    made = await api.create(CONFIG_MAP, config(data={"x": "1", "y": "1"}))
    patch = cast(Object, {"data": {"x": None, "z": "2"}})
    merged = await api.merge(CONFIG_MAP, "a", "models", patch)
    assert merged["data"] == {"y": "1", "z": "2"}
    assert version(merged) != version(made)
    stale: Object = {"metadata": {"resourceVersion": version(made)}, "data": {"y": "9"}}
    with pytest.raises(ConflictError):
        await api.merge(CONFIG_MAP, "a", "models", stale)


async def test_a_write_that_changes_nothing_is_no_change(api: Writer) -> None:
    made = await api.apply(INFERENCE_SERVICE, service(), "test")
    again = await api.apply(INFERENCE_SERVICE, service(), "test")
    assert version(again) == version(made)
    spec: Object = {"spec": {"predictor": {"minReplicas": 1}}}
    merged = await api.merge(INFERENCE_SERVICE, "fraud", "models", spec)
    assert version(merged) == version(made)
    status: Object = {"status": {"url": "http://127.0.0.1"}}
    one = await api.merge_status(INFERENCE_SERVICE, "fraud", "models", status)
    two = await api.merge_status(INFERENCE_SERVICE, "fraud", "models", status)
    assert version(one) == version(two) != version(made)


async def test_generation_counts_the_spec_only(api: Writer) -> None:
    async def generation() -> int:
        found = await api.get(INFERENCE_SERVICE, "fraud", "models")
        return found["metadata"]["generation"]

    await api.apply(INFERENCE_SERVICE, service(), "test")
    assert await generation() == 1
    await api.merge_status(INFERENCE_SERVICE, "fraud", "models", {"status": {"url": "x"}})
    labels: Object = {"metadata": {"labels": {"a": "b"}}}
    await api.merge(INFERENCE_SERVICE, "fraud", "models", labels)
    assert await generation() == 1
    await api.apply(INFERENCE_SERVICE, service(minReplicas=2), "test")
    assert await generation() == 2


async def test_spec_and_status_are_written_apart(api: Writer) -> None:
    with_status = cast(Object, {**service(), "status": {"url": "early"}})
    made = await api.create(INFERENCE_SERVICE, with_status)
    assert not made.get("status")
    both = cast(Object, {"spec": {"predictor": {"minReplicas": 9}}, "status": {"url": "x"}})
    written = await api.merge_status(INFERENCE_SERVICE, "fraud", "models", both)
    assert written["status"] == {"url": "x"}
    assert written["spec"] == service()["spec"]
    other = cast(Object, {"status": {"url": "y"}})
    assert (await api.merge(INFERENCE_SERVICE, "fraud", "models", other))["status"] == {"url": "x"}
    applied = await api.apply(INFERENCE_SERVICE, cast(Object, {**service(), **other}), "test")
    assert applied["status"] == {"url": "x"}


async def test_apply_creates_and_removes_what_it_named(api: Writer) -> None:
    await api.apply(CONFIG_MAP, config(data={"x": "1", "y": "1"}), "test")
    applied = await api.apply(CONFIG_MAP, config(data={"x": "2"}), "test")
    assert applied["data"] == {"x": "2"}


async def test_apply_leaves_the_fields_of_others(api: Writer) -> None:
    await api.apply(CONFIG_MAP, config(data={"x": "1"}), "one")
    await api.apply(CONFIG_MAP, config(data={"y": "1"}, labels={"by": "two"}), "two")
    await api.merge(CONFIG_MAP, "a", "models", {"data": {"z": "1"}})
    applied = await api.apply(CONFIG_MAP, config(data={"x": "2"}), "one")
    assert applied["data"] == {"x": "2", "y": "1", "z": "1"}
    assert applied["metadata"]["labels"] == {"by": "two"}
    shared = await api.apply(CONFIG_MAP, config(data={"x": "2", "y": "1"}), "one")
    assert shared["data"] == {"x": "2", "y": "1", "z": "1"}
    left = await api.apply(CONFIG_MAP, config(data={"x": "2"}), "one")
    assert left["data"]["y"] == "1"


async def test_apply_takes_over_and_undoes_drift(api: Writer) -> None:
    await api.apply(CONFIG_MAP, config(data={"x": "1"}), "one")
    await api.merge(CONFIG_MAP, "a", "models", {"data": {"x": "drift"}})
    applied = await api.apply(CONFIG_MAP, config(data={"x": "1"}), "one")
    assert applied["data"] == {"x": "1"}


async def test_a_finalizer_delays_deletion(api: Writer) -> None:
    await api.create(CONFIG_MAP, config(finalizers=["towpath.dev/wait"]))
    await api.delete(CONFIG_MAP, "a", "models")
    marked = await api.get(CONFIG_MAP, "a", "models")
    assert marked["metadata"]["deletionTimestamp"]
    await api.delete(CONFIG_MAP, "a", "models")
    await api.merge(CONFIG_MAP, "a", "models", {"metadata": {"finalizers": []}})
    with pytest.raises(NotFoundError):
        await api.get(CONFIG_MAP, "a", "models")


async def test_who_holds_an_object_lets_it_go(api: Writer) -> None:
    made = await api.create(CONFIG_MAP, config(finalizers=["example.org/theirs"]))
    held = await hold(api, CONFIG_MAP, made, "example.org/ours")
    assert held["metadata"]["finalizers"] == ["example.org/theirs", "example.org/ours"]
    assert version(await hold(api, CONFIG_MAP, held, "example.org/ours")) == version(held)
    with pytest.raises(ConflictError):
        await hold(api, CONFIG_MAP, made, "example.org/late")
    await api.delete(CONFIG_MAP, "a", "models")
    with pytest.raises(ConflictError):
        await let_go(api, CONFIG_MAP, held, "example.org/ours")
    for finalizer in ("example.org/ours", "example.org/theirs"):
        await let_go(api, CONFIG_MAP, await api.get(CONFIG_MAP, "a", "models"), finalizer)
    with pytest.raises(NotFoundError):
        await api.get(CONFIG_MAP, "a", "models")
    await let_go(api, CONFIG_MAP, held, "example.org/ours")


async def test_nobody_takes_hold_of_what_is_going(api: Writer) -> None:
    await api.create(CONFIG_MAP, config(finalizers=["example.org/theirs"]))
    await api.delete(CONFIG_MAP, "a", "models")
    going = await api.get(CONFIG_MAP, "a", "models")
    with pytest.raises(InvalidError):
        await hold(api, CONFIG_MAP, going, "example.org/ours")


async def test_a_version_is_not_for_what_is_new(api: Writer) -> None:
    with pytest.raises(InvalidError):
        await api.create(CONFIG_MAP, config(resourceVersion="1"))


async def test_replace_finds_what_it_replaces(api: Writer) -> None:
    with pytest.raises(NotFoundError):
        await api.replace(CONFIG_MAP, config("absent", resourceVersion="1"))
    made = await api.create(INFERENCE_SERVICE, service())
    with pytest.raises(InvalidError):  # of custom kinds, the version that was read is required
        await api.replace(INFERENCE_SERVICE, service(minReplicas=2))
    spec: Any = {"predictor": {"minReplicas": 2}}
    replaced = await api.replace(INFERENCE_SERVICE, {**made, "spec": spec})
    assert replaced["metadata"]["generation"] == 2


async def test_a_status_is_of_kinds_that_have_one_apart(api: Writer) -> None:
    await api.create(CONFIG_MAP, config())
    with pytest.raises(NotFoundError):
        await api.merge_status(CONFIG_MAP, "a", "models", {"status": {"x": "1"}})


async def test_a_status_is_written_where_it_differs(api: Writer) -> None:
    made = await api.create(INFERENCE_SERVICE, service())
    one = await write_status(api, INFERENCE_SERVICE, made, {"url": "x", "address": {"url": "x"}})
    assert one["status"] == {"url": "x", "address": {"url": "x"}}
    two = await write_status(api, INFERENCE_SERVICE, one, {"url": "x"})
    assert two["status"] == {"url": "x"}
    assert version(await write_status(api, INFERENCE_SERVICE, two, {"url": "x"})) == version(two)


async def test_an_event_is_counted(api: Writer) -> None:
    about = await api.create(INFERENCE_SERVICE, service())
    recorder = Recorder(api, "test")
    for message in ("it answers", "it answers", "another does"):
        await recorder.record(about, NORMAL, "Ready", message)
    found = {str(e["message"]): e for e in cast(list[Any], await api.list(EVENT, "models"))}
    assert {message: event["count"] for message, event in found.items()} == {
        "it answers": 2,
        "another does": 1,
    }
    involved = found["it answers"]["involvedObject"]
    assert (involved["kind"], involved["uid"]) == ("InferenceService", about["metadata"]["uid"])


async def test_a_namespace_has_no_namespace(api: Writer) -> None:
    made = await api.apply(NAMESPACE, {"metadata": {"name": "new"}}, "test")
    assert "namespace" not in made["metadata"]
    assert (await api.get(NAMESPACE, "new"))["metadata"]["uid"] == made["metadata"]["uid"]
    await api.create(CONFIG_MAP, config(namespace="new"))


async def test_watch_tells_what_is_there_and_every_change(api: Writer) -> None:
    await api.create(CONFIG_MAP, config("other", namespace="default"))
    made = await api.create(CONFIG_MAP, config())
    with anyio.fail_after(10):
        async with aclosing(cast(Any, api.watch(CONFIG_MAP, "models"))) as events:
            seen = [(e.type, e.object) async for e in _until(events, made)]
            assert seen[-1] == ("ADDED", made)
            merged = await api.merge(CONFIG_MAP, "a", "models", {"data": {"y": "2"}})
            assert tuple(await anext(events)) == ("MODIFIED", merged)
            await api.delete(CONFIG_MAP, "a", "models")
            last = await anext(events)
            assert (last.type, last.object["metadata"]["name"]) == ("DELETED", "a")


async def _until(events: AsyncIterator[Any], obj: Object) -> AsyncIterator[Any]:
    while True:
        event = await anext(events)
        yield event
        if event.object["metadata"]["name"] == obj["metadata"]["name"]:
            return


async def test_watch_tells_that_something_is_going_before_it_has_gone(api: Writer) -> None:
    made = await api.create(CONFIG_MAP, config(finalizers=["example.org/wait"]))
    with anyio.fail_after(10):
        async with aclosing(cast(Any, api.watch(CONFIG_MAP, "models"))) as events:
            async for _ in _until(events, made):
                pass
            await api.delete(CONFIG_MAP, "a", "models")
            going = await anext(events)
            assert going.type == "MODIFIED"
            assert going.object["metadata"]["deletionTimestamp"]
            await let_go(api, CONFIG_MAP, going.object, "example.org/wait")
            assert (await anext(events)).type == "DELETED"

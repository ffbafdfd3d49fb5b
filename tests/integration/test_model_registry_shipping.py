"""Our own client of the model registry, against ours and against servers in trouble."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from towpath import web
from towpath.auth import Guard, Identity, Tokens
from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.registry import Client, Plain, plain, wire
from towpath.registry.api import app
from towpath.registry.database import open_database
from towpath.settings import Registry
from towpath.spec.registry import ModelArtifact, ModelVersion, RegisteredModel

pytestmark = pytest.mark.anyio

Wrap = Callable[[ASGIApp], ASGIApp]


@asynccontextmanager
async def served(folder: Path, wrap: Wrap = lambda inner: inner) -> AsyncIterator[str]:
    database = open_database(f"sqlite:///{folder}/registry.db")
    sock = web.listen("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        surface = wrap(app(database, Registry(page=7)))
        await tasks.start(partial(web.serve, surface, sock, drain=1))
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        tasks.cancel_scope.cancel()
    database.close()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with served(tmp_path) as url, Client(url) as registry:
        yield registry


async def shipped(client: Client) -> tuple[RegisteredModel, ModelVersion, ModelArtifact]:
    model = await client.upsert_model(RegisteredModel(name="fraud"))
    assert model.id is not None
    version = await client.upsert_version(ModelVersion(name="1", registeredModelId=model.id))
    assert version.id is not None
    artifact = await client.upsert_artifact(
        version.id,
        ModelArtifact(name="fraud", uri="file:///m", state="PENDING", modelFormatName="onnx"),
    )
    return model, version, artifact


async def test_shipping_twice_is_shipping_once(client: Client) -> None:
    first = await shipped(client)
    assert await shipped(client) == first
    model, version, artifact = first

    assert await client.find_model("fraud") == model
    assert await client.find_version(str(model.id), "1") == version
    assert await client.find_artifact(str(version.id), "fraud") == artifact
    assert [found async for found in client.models()] == [model]
    assert [found async for found in client.versions(str(model.id))] == [version]
    assert [found async for found in client.artifacts(str(version.id))] == [artifact]
    assert (artifact.state, artifact.modelFormatName) == ("PENDING", "onnx")


async def test_many_shippers_of_one_model_get_one(client: Client) -> None:
    got: list[tuple[RegisteredModel, ModelVersion, ModelArtifact]] = []

    async def ship() -> None:
        got.append(await shipped(client))

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(ship)

    assert len({(m.id, v.id, a.id) for m, v, a in got}) == 1


async def test_what_is_not_there(client: Client) -> None:
    assert await client.find_model("nothing") is None
    assert await client.find_version("1", "nothing") is None
    assert await client.find_artifact("1", "nothing") is None
    with pytest.raises(NotFoundError, match="no model artifact found for id 9"):
        await client.update_artifact("9", state="LIVE")
    with pytest.raises(NotFoundError):
        await client.upsert_version(ModelVersion(name="1", registeredModelId="9"))


async def test_updates_merge_properties(client: Client) -> None:
    model, version, artifact = await shipped(client)
    digest: dict[str, Plain] = {"towpath.dev/digest": "sha256:1", "towpath.dev/size": 3_000_000_000}
    await client.update_artifact(str(artifact.id), state="LIVE", uri="oci://x", properties=digest)
    await client.update_artifact(str(artifact.id), properties={"ok": True, "towpath.dev/size": 5})
    found = await client.find_artifact(str(version.id), "fraud")

    assert found is not None
    assert (found.state, found.uri, found.modelFormatName) == ("LIVE", "oci://x", "onnx")
    assert plain(found.customProperties) == {
        "towpath.dev/digest": "sha256:1",
        "towpath.dev/size": 5,
        "ok": True,
    }
    changed = await client.update_version(
        str(version.id), author="me", properties={"towpath.dev/image": "r@sha256:1"}
    )
    assert (changed.author, changed.state) == ("me", "LIVE")
    assert plain(changed.customProperties) == {"towpath.dev/image": "r@sha256:1"}
    same = {"towpath.dev/image": "r@sha256:1"}
    assert await client.update_version(str(version.id), properties=same) == changed
    assert (await client.update_model(str(model.id), state="ARCHIVED")).state == "ARCHIVED"


async def test_lists_follow_every_page(client: Client) -> None:
    for n in range(20):
        await client.upsert_model(
            RegisteredModel(name=f"m{n}", customProperties=wire({"n": n}), description="d" * n)
        )
    found = [model async for model in client.models()]
    assert [plain(model.customProperties)["n"] for model in found] == list(range(20))


async def test_input_that_cannot_be_stored(client: Client) -> None:
    with pytest.raises(InvalidError, match="without a name"):
        await client.upsert_model(RegisteredModel())
    with pytest.raises(InvalidError, match="registeredModelId"):
        await client.upsert_version(ModelVersion(name="1"))
    with pytest.raises(InvalidError, match="longer than 255"):
        await client.upsert_model(RegisteredModel(name="n" * 256))
    await client.upsert_model(RegisteredModel(name="a", externalId="e"))
    with pytest.raises(ConflictError, match="externalId"):
        await client.upsert_model(RegisteredModel(name="b", externalId="e"))


async def test_tokens(tmp_path: Path) -> None:
    def guarded(inner: ASGIApp) -> ASGIApp:
        known = Tokens([("hunter2", Identity("me"))])
        return Guard(inner, known, lambda who, _: not who.anonymous, web.kubeflow_error)

    async with served(tmp_path, guarded) as url:
        async with Client(url, "hunter2") as client:
            await shipped(client)
        for token in (None, "hunter3"):
            async with Client(url, token) as client:
                with pytest.raises(DeniedError) as caught:
                    await client.find_model("fraud")
            assert caught.value.reason is Reason.UNAUTHENTICATED
            assert "hunter" not in caught.value.message


async def test_nobody_there() -> None:
    sock = web.listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    sock.close()
    async with Client(f"http://user:hunter2@127.0.0.1:{port}/") as client:
        with pytest.raises(UnavailableError) as caught:
            await client.find_model("m")
    assert caught.value.message == (
        f"the model registry at http://127.0.0.1:{port} does not answer"
    )


async def test_a_server_that_trickles_is_given_up(tmp_path: Path) -> None:
    def slow(_: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                while True:
                    chunk = {"type": "http.response.body", "body": b" ", "more_body": True}
                    await send(chunk)
                    await anyio.sleep(0.02)

        return answer

    async with served(tmp_path, slow) as url, Client(url, timeout=0.3) as client:
        with anyio.fail_after(5), pytest.raises(UnavailableError, match="does not answer"):
            await client.find_model("m")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://x", "http://", "http://[", "x"])
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InvalidError, match="no address of a model registry"):
        Client(url)


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (200, b"<html>", UnavailableError, "failed"),
        (200, b'{"id": 7, "name": "m"}', UnavailableError, "no RegisteredModel"),
        (302, b"", UnavailableError, "status 302"),
        (400, b'{"code":"Bad Request","message":"wrong"}', InvalidError, "wrong"),
        (403, b"", DeniedError, "answered 403"),
        (422, b'{"message":"missing"}', InvalidError, "missing"),
        (429, b"", UnavailableError, "answered 429"),
        (500, b'{"message":"broken"}', UnavailableError, "broken"),
        (503, b"not ready", UnavailableError, "status 503"),
    ],
)
async def test_answers_that_are_none(
    tmp_path: Path, status: int, body: bytes, kind: type[TowpathError], message: str
) -> None:
    def fixed(_: ASGIApp) -> ASGIApp:
        async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": status, "headers": []})
                await send({"type": "http.response.body", "body": body})

        return answer

    async with served(tmp_path, fixed) as url, Client(url) as client:
        with pytest.raises(kind, match=message):
            await client.find_model("m")

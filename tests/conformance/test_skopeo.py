"""skopeo as a client of our distribution, of our layouts and of our images."""

import json
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from towpath import blob, web
from towpath.blob import modelcar, reference
from towpath.blob.cas import Layout
from towpath.blob.oci import Client
from towpath.blob.unpack import unpack
from towpath.distribution import app

pytestmark = pytest.mark.anyio


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[str]:
    """Host and port of a distribution in ``tmp_path / "images"``."""
    sock = web.listen("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, app(tmp_path / "images"), sock, drain=1))
        yield f"127.0.0.1:{sock.getsockname()[1]}"
        tasks.cancel_scope.cancel()


async def run(binary: str, *arguments: str) -> Any:
    done = await anyio.run_process([binary, *arguments], stderr=subprocess.PIPE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout) if arguments[0] in ("inspect", "list-tags") else None


async def pushed(host: str, folder: Path) -> tuple[str, str]:
    async with Client(host) as client:
        ref, image = await modelcar.push_model(
            blob.reader(str(folder)), client, "team/fraud", "v1", annotations={"model": "fraud"}
        )
    return ref, image["digest"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model of several files."""
    folder = tmp_path / "model"
    (folder / "tokenizer").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(bytes(range(256)) * 5000)
    (folder / "tokenizer" / "ünïcode.json").write_text("{}")
    return folder


async def test_inspect(skopeo: str, host: str, model: Path) -> None:
    ref, digest = await pushed(host, model)

    for name in (ref, f"{host}/team/fraud:v1"):
        found = await run(skopeo, "inspect", "--tls-verify=false", f"docker://{name}")
        assert found["Digest"] == digest
        assert found["Labels"] == {"model": "fraud"}
        assert len(found["Layers"]) == 2
    tags = await run(skopeo, "list-tags", "--tls-verify=false", f"docker://{host}/team/fraud")
    assert tags["Tags"] == ["v1"]


async def test_the_folder_is_a_layout(skopeo: str, host: str, model: Path, tmp_path: Path) -> None:
    _, digest = await pushed(host, model)

    found = await run(skopeo, "inspect", f"oci:{tmp_path}/images/team+fraud:v1")
    assert found["Digest"] == digest


async def test_copy_from_us_and_back(skopeo: str, host: str, model: Path, tmp_path: Path) -> None:
    _, digest = await pushed(host, model)
    policy = ("--insecure-policy", "copy", "--preserve-digests")

    away = f"oci:{tmp_path}/away:v1"
    await run(skopeo, *policy, "--src-tls-verify=false", f"docker://{host}/team/fraud:v1", away)
    back = f"docker://{host}/copied/fraud:v2"
    await run(skopeo, *policy, "--dest-tls-verify=false", away, back)
    across = f"docker://{host}/mounted/fraud:v3"
    both = ("--src-tls-verify=false", "--dest-tls-verify=false")
    await run(skopeo, *policy, *both, back, across)

    for name in ("copied/fraud:v2", "mounted/fraud:v3"):
        found = await run(skopeo, "inspect", "--tls-verify=false", f"docker://{host}/{name}")
        assert found["Digest"] == digest
    async with Client(host) as client:
        layout = Layout(tmp_path / "edge")
        ref = reference.parse(f"{host}/mounted/fraud:v3")
        await unpack(layout, (await modelcar.pull(client, ref, layout))["digest"], tmp_path / "out")
    for file in ("model.onnx", "tokenizer/ünïcode.json"):
        assert (tmp_path / "out" / file).read_bytes() == (model / file).read_bytes()


async def test_an_image_that_was_compressed_on_the_way(
    skopeo: str, host: str, model: Path, tmp_path: Path
) -> None:
    await pushed(host, model)
    flat, packed = f"dir:{tmp_path}/flat", f"docker://{host}/packed:v1"
    copy = ("--insecure-policy", "copy")
    source = f"docker://{host}/team/fraud:v1"
    away = (*copy, "--format=v2s2", "--dest-compress", "--src-tls-verify=false")
    back = (*copy, "--preserve-digests", "--dest-tls-verify=false")
    await run(skopeo, *away, source, flat)
    await run(skopeo, *back, flat, packed)

    layout = Layout(tmp_path / "edge")
    async with Client(host) as client:
        pulled = await modelcar.pull(client, reference.parse(f"{host}/packed:v1"), layout)
    manifest = json.loads(await layout.manifest(pulled["digest"]))
    assert all(layer["mediaType"].endswith("gzip") for layer in manifest["layers"])
    await unpack(layout, pulled["digest"], tmp_path / "out")
    assert (tmp_path / "out/model.onnx").read_bytes() == (model / "model.onnx").read_bytes()


async def test_delete(skopeo: str, host: str, model: Path) -> None:
    await pushed(host, model)

    await run(skopeo, "delete", "--tls-verify=false", f"docker://{host}/team/fraud:v1")

    tags = await run(skopeo, "list-tags", "--tls-verify=false", f"docker://{host}/team/fraud")
    assert tags["Tags"] == []

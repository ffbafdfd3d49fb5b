"""The Open Inference Protocol over real HTTP, as its clients speak it."""

import gzip
import json
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import httpx2
import numpy as np
import psutil
import pytest

from towpath import golden, serve, web
from towpath.settings import Serve

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "examples" / "01-fraud"
ROW = [57.87785658389723, 0.3111400080477545, 1.9459399775518593, 1.0, 1.0, 0.0, 0.0]
LIMIT = 200_000


def tensor(name: str, shape: list[int], data: Any = None, **more: Any) -> dict[str, Any]:
    told = {"name": name, "datatype": "FP32", "shape": shape, **more}
    return told if data is None else {**told, "data": data}


FRAUD = {"inputs": [tensor("dense_input", [1, 7], ROW)]}


@pytest.fixture
async def client(shared: Path, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    (tmp_path / "model.onnx").write_text("damaged")
    repository = serve.Repository(
        [
            serve.Source("fraud", shared / "models" / "fraud", version="7"),
            serve.Source("mnist", shared / "models" / "mnist"),
            serve.Source("example", EXAMPLE),
            serve.Source("bad", tmp_path),
        ]
    )
    repository.load()
    sock = web.listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    async with anyio.create_task_group() as tasks:
        await tasks.start(web.serve, serve.app(repository, Serve(body_bytes=LIMIT)), sock)
        async with httpx2.AsyncClient(base_url=url, trust_env=False) as one:
            yield one
        tasks.cancel_scope.cancel()


async def test_the_seed_row_by_json(client: httpx2.AsyncClient) -> None:
    for path in ("/v2/models/fraud/infer", "/v2/models/fraud/versions/7/infer"):
        answer = await client.post(path, json={**FRAUD, "id": "a-1"})

        assert answer.status_code == 200
        content = answer.json()
        assert content["model_name"] == "fraud"
        assert content["model_version"] == "7"
        assert content["id"] == "a-1"
        (output,) = content["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("dense_3", "FP32", [1, 1])
        assert output["data"] == pytest.approx([0.86280495], abs=1e-5)


@pytest.mark.parametrize("data", [[[*ROW], [*ROW]], ROW * 2])
async def test_nested_and_flat_rows(client: httpx2.AsyncClient, data: list[Any]) -> None:
    answer = await client.post(
        "/v2/models/fraud/infer", json={"inputs": [tensor("dense_input", [2, 7], data)]}
    )

    assert answer.json()["outputs"][0]["data"] == pytest.approx([0.86280495] * 2, abs=1e-5)


async def test_binary_both_ways_whatever_the_content_type(client: httpx2.AsyncClient) -> None:
    raw = np.array(ROW * 3, "<f4").tobytes()
    head = json.dumps(
        {
            "inputs": [
                tensor("dense_input", [3, 7], parameters={"binary_data_size": len(raw)}),
            ],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    for kind in ({}, {"Content-Type": "application/json"}, {"Content-Type": "text/odd"}):
        answer = await client.post(
            "/v2/models/fraud/infer",
            content=head + raw,
            headers={"Inference-Header-Content-Length": str(len(head)), **kind},
        )

        assert answer.status_code == 200
        length = int(answer.headers["Inference-Header-Content-Length"])
        (output,) = json.loads(answer.content[:length])["outputs"]
        assert output["parameters"]["binary_data_size"] == 12
        got = np.frombuffer(answer.content[length:], "<f4")
        assert got == pytest.approx([0.86280495] * 3, abs=1e-5)


async def test_json_without_a_content_type(client: httpx2.AsyncClient) -> None:
    answer = await client.post("/v2/models/fraud/infer", content=json.dumps(FRAUD).encode())

    assert answer.status_code == 200


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_compressed_requests(client: httpx2.AsyncClient, name: str, pack: Any) -> None:
    body = pack(json.dumps(FRAUD).encode())

    async def send(content: bytes) -> httpx2.Response:
        return await client.post(
            "/v2/models/fraud/infer", content=content, headers={"Content-Encoding": name}
        )

    assert (await send(body)).json()["outputs"][0]["data"] == pytest.approx([0.86280495], abs=1e-5)
    for damaged in (body[:-4], body + b"more", b"not packed"):
        answer = await send(damaged)
        assert answer.status_code == 400
        assert "compressed request body" in answer.json()["error"]
    bomb = await send(pack(b" " * (LIMIT + 1)))
    assert bomb.status_code == 413
    assert str(LIMIT) in bomb.json()["error"]


async def test_a_large_request_goes_to_a_thread_and_answers_the_same(
    client: httpx2.AsyncClient,
) -> None:
    raw = np.array(ROW * 4000, "<f4").tobytes()
    told = tensor("dense_input", [4000, 7], parameters={"binary_data_size": len(raw)})
    head = json.dumps({"inputs": [told]}).encode()

    answer = await client.post(
        "/v2/models/fraud/infer",
        content=head + raw,
        headers={"Inference-Header-Content-Length": str(len(head))},
    )

    assert answer.json()["outputs"][0]["data"] == pytest.approx([0.86280495] * 4000, abs=1e-5)


async def test_metadata_is_the_models_own(client: httpx2.AsyncClient) -> None:
    fraud = (await client.get("/v2/models/fraud")).json()
    mnist = (await client.get("/v2/models/mnist/versions/1")).json()

    assert fraud == {
        "name": "fraud",
        "versions": ["7"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "dense_input", "datatype": "FP32", "shape": [-1, 7]}],
        "outputs": [{"name": "dense_3", "datatype": "FP32", "shape": [-1, 1]}],
    }
    assert mnist["inputs"] == [{"name": "Input3", "datatype": "FP32", "shape": [1, 1, 28, 28]}]


async def test_health_names_and_index(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v2")).json()["extensions"] == ["binary_tensor_data"]
    assert (await client.get("/v2/health/live")).json() == {"live": True}
    ready = await client.get("/v2/health/ready")
    assert ready.status_code == 503
    assert (await client.get("/v2/models/fraud/ready")).status_code == 200
    assert (await client.get("/v2/models/fraud/versions/7/ready")).status_code == 200
    names = (await client.get("/v2/models")).json()
    assert names == {"models": ["bad", "example", "fraud", "mnist"]}
    index = (await client.post("/v2/repository/index")).json()
    assert [one["state"] for one in index] == ["UNAVAILABLE", "READY", "READY", "READY"]
    assert "not an ONNX model" in index[0]["reason"]
    ready_only = (await client.post("/v2/repository/index", json={"ready": True})).json()
    assert [one["name"] for one in ready_only] == ["example", "fraud", "mnist"]


@pytest.mark.parametrize(
    ("path", "request_body", "status", "words"),
    [
        ("/v2/models/fraud/infer", b"{", 400, "not valid JSON"),
        ("/v2/models/fraud/infer", {"inputs": []}, 400, "input is missing: 'dense_input'"),
        (
            "/v2/models/fraud/infer",
            {"inputs": [tensor("dense_input", [1, 6], ROW[:6])]},
            400,
            "input 'dense_input': shape [1, 6] does not fit the model's [-1, 7]",
        ),
        (
            "/v2/models/mnist/infer",
            {"inputs": [tensor("Input3", [2, 1, 28, 28], [0] * 1568)]},
            400,
            "input 'Input3': shape",
        ),
        ("/v2/models/cat/infer", FRAUD, 404, "there is no model 'cat'"),
        ("/v2/models/fraud/versions/8/infer", FRAUD, 404, "has no version '8'"),
        ("/v2/models/bad/infer", FRAUD, 503, "is not loaded"),
        ("/v2/models/fraud/infer", b"x" * (LIMIT + 1), 413, str(LIMIT)),
        ("/v2/nothing", FRAUD, 404, "Not Found"),
        ("/v2/models/fraud", FRAUD, 405, "Method Not Allowed"),
        ("/v1/models/fraud:predict", {"instances": []}, 400, "'instances'"),
        ("/v1/models/fraud:predict", {"instances": [[1, 2]]}, 400, "shape [1, 2]"),
        ("/v1/models/fraud:predict", {"instances": [ROW, ROW[:3]]}, 400, "nested data"),
        ("/v1/models/fraud:predict", {"instances": [{"x": 1}]}, 400, "'dense_input'"),
    ],
)
async def test_errors_say_what_and_where(
    client: httpx2.AsyncClient, path: str, request_body: Any, status: int, words: str
) -> None:
    content = request_body if isinstance(request_body, bytes) else json.dumps(request_body).encode()

    answer = await client.post(path, content=content)

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert words in answer.json()["error"]
    assert (await client.get("/v2/health/live")).status_code == 200


async def test_unknown_content_encoding(client: httpx2.AsyncClient) -> None:
    answer = await client.post(
        "/v2/models/fraud/infer", content=b"x", headers={"Content-Encoding": "br"}
    )

    assert answer.status_code == 415
    assert "'br'" in answer.json()["error"]


async def test_v1_rows_and_named_outputs(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/v1/models/fraud")).json() == {"name": "fraud", "ready": True}
    plain = (await client.post("/v1/models/fraud:predict", json={"instances": [ROW]})).json()
    assert plain["predictions"] == [pytest.approx([0.86280495], abs=1e-5)]

    row = [92.5, 8.1, 4.6, 0, 0, 0, 1]
    for instance in (row, {"transactions": row}):
        told = await client.post("/v1/models/example:predict", json={"instances": [instance]})
        (prediction,) = told.json()["predictions"]
        assert prediction["label"] == 1
        assert prediction["probabilities"] == pytest.approx([0.034528, 0.965472], abs=1e-4)


CHILD = """
import sys
from pathlib import Path
import anyio
from towpath import serve, web
from towpath.settings import Serve
async def main():
    repository = serve.Repository([serve.Source("fraud", Path(sys.argv[1]))])
    assert not repository.load()
    sock = web.listen("127.0.0.1", 0)
    print(sock.getsockname()[1], flush=True)
    await web.serve(serve.app(repository, Serve()), sock)
anyio.run(main)
"""


async def test_a_serving_process_is_small_and_starts_soon() -> None:
    begin = time.monotonic()
    child = await anyio.open_process([sys.executable, "-c", CHILD, str(EXAMPLE)], stderr=None)
    try:
        assert child.stdout is not None
        port = int(await child.stdout.receive())
        (case,) = golden.parse((EXAMPLE / "golden.json").read_bytes())
        async with httpx2.AsyncClient(trust_env=False) as client:
            url = f"http://127.0.0.1:{port}/v2/models/fraud/infer"
            answer = await client.post(url, json=case.request)
        taken = time.monotonic() - begin
        assert golden.compare(case, answer.json()) == ()
        assert psutil.Process(child.pid).memory_info().rss < 100e6
        assert taken < 15  # on a busy machine; a quiet one takes a few tenths
    finally:
        child.terminate()
        await child.aclose()


def test_nothing_heavy_is_imported() -> None:
    modules = subprocess.run(
        [sys.executable, "-c", "import sys, towpath.serve; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert not {"onnxruntime", "pydantic", "lightkube", "sqlalchemy", "httpx2"} & set(modules)

"""Odd input, by the hundred: no answer is a failure of the server, and none takes it down."""

import json
import re
import socket
import ssl
import subprocess
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
from tests.conformance.kubernetes.conftest import Api, Cluster

SCHEMATHESIS = "schemathesis>=4.32,<5"
DOCUMENTS = {
    "api/v1": 4,
    "apis/apps/v1": 10,
    "apis/apiextensions.k8s.io/v1": 10,
    "apis/serving.kserve.io/v1beta1": 10,
}
"""Documents, and how many requests each operation in them gets."""
SETTINGS = """
[parameters]
watch = false
timeoutSeconds = 1
namespace = "{namespace}"

[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", 504]  # 504: a resourceVersion of the future
"""


@pytest.mark.timeout(1080)  # the first time, the client is installed
@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_operation(
    document: str, client_venv: Callable[..., Path], api: Api, namespace: str, tmp_path: Path
) -> None:
    if document not in api.got("/openapi/v3")["paths"]:
        pytest.skip(f"{document} is not served")
    python = client_venv("schemathesis-4", SCHEMATHESIS)
    settings, authority = tmp_path / "schemathesis.toml", tmp_path / "ca.pem"
    settings.write_text(SETTINGS.format(namespace=namespace))
    authority.write_bytes(api.authority)
    if not api.token:
        pytest.skip("schemathesis shows a token, and this kubeconfig has none")
    ran = subprocess.run(
        [
            str(python), "-m", "schemathesis.cli", "--config-file", str(settings),
            "run", f"{api.server}/openapi/v3/{document}", "--tls-verify", str(authority),
            "--header", f"Authorization: Bearer {api.token}", "--no-color",
            "--checks", "not_a_server_error", "--phases", "fuzzing", "--exclude-method", "DELETE",
            "--generation-deterministic", "--no-shrink",
            "--max-examples", str(DOCUMENTS[document]),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-1000:]
    assert re.search(r"\b[1-9]\d* generated", ran.stdout), ran.stdout
    assert api("GET", "/readyz").code == 200


DEEP = 20_000
CONFIG = '{"metadata":{"name":"x"}%s}'
BODIES = {
    "nothing": b"",
    "a null": b"null",
    "a number": b"1e400",
    "a text": b'"x"',
    "deep lists": b"[" * DEEP + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "half a character": b'{"metadata":{"name":"\xc3"}}',
    "a lone surrogate": rb'{"metadata":{"name":"\ud800"}}',
    "a zero": rb'{"metadata":{"name":"a\u0000"}}',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "metadata of another kind": b'{"metadata":[]}',
    "a name of another kind": b'{"metadata":{"name":{}}}',
    "labels of another kind": CONFIG.replace('"}', '","labels":[1]}').encode() % b"",
    "owners of another kind": b'{"metadata":{"name":"x","ownerReferences":[1]}}',
    "finalizers of another kind": b'{"metadata":{"name":"x","finalizers":{"a":1}}}',
    "managers of another kind": b'{"metadata":{"name":"x","managedFields":[{"fieldsV1":[1]}]}}',
    "a time that is none": b'{"metadata":{"name":"x","creationTimestamp":"yesterday"}}',
    "numbers beyond all bounds": b'{"metadata":{"name":"x","generation":99999999999999999999}}',
    "data of other kinds": b'{"metadata":{"name":"x"},"data":{"a":{"b":[null,1.5]}}}',
    "an alias that grows": b"a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: [*b,*b,*b]",
    "a tag of Python": b"!!python/object/apply:os.system ['true']",
    "protobuf that is none": b"k8s\x00\x0a\xff\xff\xff\xff\xff\xff",
    "no protobuf at all": b"\x00" * 64,
}
MEDIA = {
    "json": "application/json",
    "yaml": "application/yaml",
    "protobuf": "application/vnd.kubernetes.protobuf",
    "nonsense": "application/json; charset=\x7f; q",
}


@pytest.mark.parametrize("media", MEDIA)
def test_bodies(api: Api, namespace: str, media: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for name, body in BODIES.items():
        said = api("POST", path, body, MEDIA[media].replace("\x7f", ""))
        assert said.code < 500, (name, said)
        if said.code < 300:
            api("DELETE", f"{path}/{said['metadata']['name']}")


PATCHES: Any = {
    "json-patch+json": (
        b"{}", b"[1]", b'[{"op":"add"}]', b'[{"op":"move","from":"/a","path":"/a/b"}]',
        b'[{"op":"remove","path":"/metadata"}]', b'[{"op":"replace","path":"","value":1}]',
        b'[{"op":"add","path":"/data/-1","value":"x"}]',
        b'[{"op":"copy","from":"/no","path":"/b"}]',
        b'[{"op":"add","path":"no/slash","value":1}]',
        b'[{"op":"test","path":"/data/~2","value":1}]',
        json.dumps([{"op": "copy", "from": "/data", "path": "/data/a"}] * 40).encode(),
    ),
    "merge-patch+json": (
        b"1", b"[]", b"null", b'{"metadata":null}', b'{"metadata":{"name":"other"}}',
        b'{"kind":"Secret"}', b'{"apiVersion":1}', b'{"data":[]}', b'{"metadata":{"uid":5}}',
    ),
    "strategic-merge-patch+json": (
        b"1", b'{"$patch":"explode"}', b'{"data":{"$patch":1}}', b'{"$retainKeys":"x"}',
        b'{"metadata":{"ownerReferences":[{"$patch":"delete"}]}}', b'{"$setElementOrder/data":{}}',
        b'{"metadata":{"$deleteFromPrimitiveList/finalizers":[1]}}',
    ),
    "apply-patch+yaml": (
        b"", b"- 1", b"{", b"kind: ConfigMap", b"apiVersion: v1\nkind: ConfigMap",
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}",
        b"apiVersion: v1\nkind: ConfigMap\nmetadata: {managedFields: [1]}",
        b"apiVersion: v1\nkind: ConfigMap\ndata: 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PATCHES)
def test_patches(api: Api, namespace: str, kind: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    for body in PATCHES[kind]:
        api("POST", path, {"metadata": {"name": "x"}, "data": {"a": "1"}})
        said = api("PATCH", f"{path}/x", body, f"application/{kind}", fieldManager="me")
        assert said.code < 500, (body, said)
        found = api.got(f"{path}/x")
        assert (found["metadata"]["name"], found["kind"]) == ("x", "ConfigMap")


PATHS = (
    "/api/v1/namespaces/%2e%2e/configmaps", "/api/v1/namespaces/{n}/configmaps/..%2f..%2fsecrets",
    "/api/v1/namespaces/{n}/configmaps/%00", "/api/v1/namespaces/{n}/configmaps/%ff%fe",
    "/api/v1/namespaces/{n}/configmaps//", "/api//v1/namespaces", "/api/v1/" + "a/" * 200,
    "/api/v1/namespaces/" + "n" * 5000, "/apis/%20/v1/x", "/apis/apps/v1/namespaces/{n}//x",
    "/api/v1/namespaces/{n}/configmaps?limit=-1", "/api/v1/namespaces/{n}/configmaps?limit=1e9",
    "/api/v1/namespaces/{n}/configmaps?limit=" + "9" * 40,
    "/api/v1/namespaces/{n}/configmaps?watch=perhaps&timeoutSeconds=1",
    "/api/v1/namespaces/{n}/configmaps?watch=1&timeoutSeconds=-5&resourceVersion=x",
    "/api/v1/namespaces/{n}/configmaps?watch=1&sendInitialEvents=true&timeoutSeconds=1",
    "/api/v1/namespaces/{n}/configmaps?labelSelector=" + "a%2C" * 2000,
    "/api/v1/namespaces/{n}/configmaps?labelSelector=%00", "/api/v1/pods?fieldSelector=%3D%3D%3D",
    "/api/v1/namespaces/{n}/configmaps?continue=" + "A" * 3000,
    "/api/v1/namespaces/{n}/configmaps?continue=eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6LTF9",
    "/api/v1/namespaces/{n}/configmaps?resourceVersion=-1",
    "/api/v1/namespaces/{n}/configmaps?resourceVersion=1&resourceVersionMatch=Perhaps",
    "/openapi/v3/apis/none/v1", "/openapi/v3/..%2f", "/openapi/v2?x=%ff", "/version/x",
)  # fmt: skip


def test_paths(api: Api, namespace: str) -> None:
    for path in PATHS:
        said = api("GET", path.replace("{n}", namespace))
        assert said.code < 500, (path, said)


RAW = (
    b"GET\r\n\r\n",
    b"GET /api/v1 HTTP/9.9\r\n\r\n",
    b"\x16\x03\x01\x00\x00",
    b"GET /api/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"GET /api/v1 HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"a" * 2_000_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 2_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff\xfe\r\n\r\n",
    b"GET /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ====\r\n\r\n",
    b"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{",
)  # fmt: skip


def connected(api: Api) -> ssl.SSLSocket:
    """A connection that speaks whatever is put into it."""
    at = urlsplit(api.server)
    context = ssl.create_default_context(cadata=api.authority.decode())
    sock = socket.create_connection((at.hostname, at.port or 443), timeout=10)
    return context.wrap_socket(sock, server_hostname=at.hostname)


def test_what_is_no_http(api: Api) -> None:
    for sent in RAW:
        with connected(api) as sock:
            try:
                sock.sendall(sent)
                sock.settimeout(2)
                said = sock.recv(65536)
            except (TimeoutError, OSError):
                said = b""
        assert not said.startswith(b"HTTP/1.1 5"), (sent[:80], said[:200])
    assert api("GET", "/readyz").code == 200


SIZE, WRITES = 100_000, 600


def test_a_watcher_that_never_reads(api: Api, namespace: str, kubernetes_api: Cluster) -> None:
    """It holds up nobody, holds no memory without bound, and misses nothing of what it reads."""
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    since = api.got(path)["metadata"]["resourceVersion"]
    api.made(path, {"metadata": {"name": "x"}, "data": {"n": "0"}})
    before = kubernetes_api.server.memory_info().rss if kubernetes_api.server else 0
    watch = {"watch": "1", "resourceVersion": since, "timeoutSeconds": "60"}
    with ExitStack() as stack:
        watchers = [
            stack.enter_context(api.http.stream("GET", path, params=watch, timeout=5))
            for _ in range(5)
        ]
        for n in range(WRITES):
            api.patched(f"{path}/x", {"data": {"n": str(n), "filler": "x" * SIZE}})
        if kubernetes_api.kind == "embedded":  # five times sixty megabytes were told to nobody
            assert kubernetes_api.server is not None
            grown = kubernetes_api.server.memory_info().rss - before
            assert grown < 60_000_000, f"{grown:,} bytes more"
        told = _numbers(watchers[0])
    assert told
    assert told == [0, *range(WRITES)][: len(told)]


def _numbers(watcher: httpx2.Response) -> list[int]:
    """What a watcher is told of at last, in order; the server may have given it up meanwhile."""
    found: list[int] = []
    with suppress(httpx2.TransportError, json.JSONDecodeError):
        for line in watcher.iter_lines():
            event = json.loads(line)
            if event["type"] == "ERROR":
                break
            found.append(int(event["object"]["data"]["n"]))
            if found[-1] == WRITES - 1:
                break
    return found

"""One Kubernetes API for the whole suite: a real one where one is named, else the embedded one.

``KUBECONFIG`` names a cluster; ``KUBEBUILDER_ASSETS`` a folder with ``etcd`` and ``kube-apiserver``
(the convention of envtest). What the embedded API does differently on purpose carries the mark
``differs(row)``, where the row is one of ``docs/compatibility/kubernetes.md``.
"""

import base64
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import psutil
import pytest
import yaml

FOLDER: Final = Path(__file__).parent
CLIENTS: Final = FOLDER / "clients"
"""Scripts for outside clients, which run in their environments."""
ROWS: Final = (FOLDER.parents[2] / "docs" / "compatibility" / "kubernetes.md").read_text()
REAL: Final = {**os.environ}
"""The environment that pytest was started with."""
ADMIN_TOKEN: Final = "an-administrator"

CLIENT: Final = "kubernetes>=32,<33"
"""The official client of the version that we speak; the KServe SDK knows no newer generation."""

Json = Any


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks of this suite."""
    for line in (
        "differs(row): the embedded API differs, as that row of the compatibility table says",
        "needs_controllers: needs the garbage collector, namespace and service account controllers",
    ):
        config.addinivalue_line("markers", line)


@dataclass(frozen=True)
class Cluster:
    """The API under test.

    Attributes:
        kubeconfig: Of an administrator.
        kind: ``embedded``, ``envtest`` or ``cluster``.
        server: Process of the server, where it is ours to look at.
    """

    kubeconfig: Path
    kind: str
    server: psutil.Process | None = None


def _started(command: list[str], log: Path, **more: Any) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, **more
        )


@contextmanager
def _running(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _until_up(process: subprocess.Popen[bytes], log: Path, up: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not up():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{process.args[0]} does not come up: {log.read_text()[-2000:]}")  # type: ignore[index]
        time.sleep(0.05)


@contextmanager
def _embedded(home: Path) -> Iterator[Cluster]:
    config, log = home / "kubeconfig", home / "apiserver.log"
    command = [sys.executable, "-m", "towpath", "apiserver", "run", "--port", "0"]
    command += ["--db", str(home / "kube.sqlite"), "--kubeconfig", str(config)]
    # a short history, so that a revision can expire while a test looks
    process = _started(command, log, env={**REAL, "TOWPATH_API_HISTORY": "1000"})
    with _running(process):
        _until_up(process, log, lambda: config.is_file() and _answers(config))
        yield Cluster(config, "embedded", psutil.Process(process.pid))


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _answers(config: Path) -> bool:
    try:
        with Api(config) as api:
            return api("GET", "/readyz").code == 200
    except (OSError, httpx2.TransportError):
        return False


@contextmanager
def _envtest(assets: Path, home: Path) -> Iterator[Cluster]:
    store, peer, port = _free_port(), _free_port(), _free_port()
    key, tokens, config = home / "sa.key", home / "tokens.csv", home / "kubeconfig"
    subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
    tokens.write_text(f'{ADMIN_TOKEN},admin,admin,"system:masters"\n')
    etcd = [
        str(assets / "etcd"),
        f"--data-dir={home / 'etcd'}",
        f"--listen-client-urls=http://127.0.0.1:{store}",
        f"--advertise-client-urls=http://127.0.0.1:{store}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        "--unsafe-no-fsync",
    ]
    apiserver = [
        str(assets / "kube-apiserver"),
        f"--etcd-servers=http://127.0.0.1:{store}",
        f"--cert-dir={home / 'tls'}",
        f"--secure-port={port}",
        "--bind-address=127.0.0.1",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--allow-privileged=true",
        "--disable-admission-plugins=ServiceAccount",
        "--authorization-mode=RBAC",
        f"--token-auth-file={tokens}",
        f"--service-account-issuer=https://127.0.0.1:{port}/",
        f"--service-account-key-file={key}",
        f"--service-account-signing-key-file={key}",
    ]
    with ExitStack() as stack:
        stack.enter_context(_running(_started(etcd, home / "etcd.log")))
        process = _started(apiserver, home / "apiserver.log")
        stack.enter_context(_running(process))
        authority = home / "tls" / "apiserver.crt"  # its own authority is in it

        def up() -> bool:
            if not authority.is_file():
                return False
            server = f"https://127.0.0.1:{port}"
            config.write_text(_kubeconfig(server, authority.read_bytes(), ADMIN_TOKEN))
            return _answers(config)

        _until_up(process, home / "apiserver.log", up)
        yield Cluster(config, "envtest", psutil.Process(process.pid))


def _kubeconfig(server: str, authority: bytes, token: str) -> str:
    cluster = {
        "server": server,
        "certificate-authority-data": base64.b64encode(authority).decode(),
    }
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
            "current-context": "it",
        }
    )


@pytest.fixture(scope="session")
def kubernetes_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The API under test."""
    home = tmp_path_factory.mktemp("kubernetes")
    if path := REAL.get("KUBECONFIG"):
        yield Cluster(Path(path), "cluster")
    elif assets := REAL.get("KUBEBUILDER_ASSETS"):
        with _envtest(Path(assets), home) as cluster:
            yield cluster
    else:
        with _embedded(home) as cluster:
            yield cluster


@pytest.fixture(autouse=True)
def _accepted_differences(request: pytest.FixtureRequest) -> None:
    """Skip what a bare API server cannot do; expect the failure of what we do differently."""
    cluster: Cluster = request.getfixturevalue("kubernetes_api")
    if cluster.kind == "envtest" and request.node.get_closest_marker("needs_controllers"):
        pytest.skip("an API server without controllers collects no garbage and empties nothing")
    if mark := request.node.get_closest_marker("differs"):
        assert f"| {mark.args[0]} |" in ROWS, "no such row in docs/compatibility/kubernetes.md"
        if cluster.kind == "embedded":
            request.node.add_marker(pytest.mark.xfail(reason=mark.args[0], strict=True))


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    code: int
    body: Json
    headers: httpx2.Headers = field(repr=False, default_factory=httpx2.Headers)

    def __getitem__(self, key: str) -> Json:
        return self.body[key]


class Api:
    """Plain HTTP with the rights of a kubeconfig, and what a test wants to know of the answers."""

    def __init__(self, kubeconfig: Path, token: str | None = None) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        name = config["current-context"]
        context = next(c["context"] for c in config["contexts"] if c["name"] == name)
        cluster = next(c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        user = next(u["user"] for u in config["users"] if u["name"] == context["user"])
        self.server: str = cluster["server"]
        self.authority = _file_or_data(cluster, "certificate-authority")
        verify = ssl.create_default_context(cadata=self.authority.decode() or None)
        if token is None and (certificate := _file_or_data(user, "client-certificate")):
            pair = kubeconfig.with_suffix(f".{secrets.token_hex(4)}.pem")
            pair.write_bytes(certificate + b"\n" + _file_or_data(user, "client-key"))
            verify.load_cert_chain(pair)
            pair.unlink()
        self.token = token if token is not None else user.get("token", "")
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        self.http = httpx2.Client(
            base_url=self.server, verify=verify, headers=headers, timeout=30, trust_env=False
        )

    def __enter__(self) -> "Api":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def __call__(
        self,
        method: str,
        path: str,
        body: Json = None,
        media: str = "application/json",
        headers: dict[str, str] | None = None,
        **params: str | int,
    ) -> Answer:
        """One request; the body of the answer is decoded where it is JSON."""
        content = body if isinstance(body, bytes) else None if body is None else _bytes(body)
        sent = {**({"Content-Type": media} if content is not None else {}), **(headers or {})}
        said = self.http.request(method, path, content=content, headers=sent, params=params or None)
        is_json = said.headers.get("content-type", "").startswith("application/json")
        one = is_json and "watch" not in params and "watch=" not in path
        return Answer(said.status_code, said.json() if one else said.text, said.headers)

    def made(self, path: str, body: Json, **params: str | int) -> Json:
        """POST that has to succeed."""
        said = self("POST", path, body, **params)
        assert said.code == 201, said
        return said.body

    def got(self, path: str, **params: str | int) -> Json:
        """GET that has to succeed."""
        said = self("GET", path, **params)
        assert said.code == 200, said
        return said.body

    def patched(self, path: str, body: Json, kind: str = "merge-patch+json", **params: Any) -> Json:
        """PATCH that has to succeed."""
        said = self("PATCH", path, body, f"application/{kind}", **params)
        assert said.code in (200, 201), said
        return said.body

    def applied(self, path: str, body: Json, manager: str = "me", **params: Any) -> Json:
        """Server-side apply that has to succeed."""
        return self.patched(path, body, "apply-patch+yaml", fieldManager=manager, **params)

    def watched(self, path: str, seconds: int = 1, **params: str | int) -> list[Json]:
        """All events of a watch that the server ends after so many seconds."""
        said = self("GET", path, watch="1", timeoutSeconds=seconds, **params)
        assert said.code == 200, said
        return [json.loads(line) for line in said.body.splitlines()]


def _bytes(body: Json) -> bytes:
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


def _file_or_data(entry: dict[str, str], name: str) -> bytes:
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data)
    return Path(entry[name]).read_bytes() if name in entry else b""


@pytest.fixture(scope="session")
def api(kubernetes_api: Cluster) -> Iterator[Api]:
    """The administrator, by plain HTTP."""
    with Api(kubernetes_api.kubeconfig) as made:
        yield made


@pytest.fixture
def as_token(kubernetes_api: Cluster) -> Iterator[Callable[[str], Api]]:
    """Gives whoever holds a token, by plain HTTP; an empty one is nobody."""
    with ExitStack() as stack:
        yield lambda token: stack.enter_context(Api(kubernetes_api.kubeconfig, token))


@pytest.fixture
def namespace(api: Api) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"t-{secrets.token_hex(4)}"
    api.made("/api/v1/namespaces", {"metadata": {"name": name}})
    yield name
    api("DELETE", f"/api/v1/namespaces/{name}")


@pytest.fixture
def group(api: Api) -> Iterator[str]:
    """An API group of the test's own; the definitions in it go with the test."""
    name = f"t{secrets.token_hex(4)}.example.com"
    yield name
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for one in api.got(path)["items"]:
        if one["spec"]["group"] == name:
            api("DELETE", f"{path}/{one['metadata']['name']}")


@pytest.fixture
def define(api: Api, group: str) -> Callable[..., str]:
    """Makes a kind ``Thing`` in the test's group and gives the path of its collection."""

    def made(
        schema: Json = None, *, namespace: str = "", names: Json = None, **version: Json
    ) -> str:
        body = definition(group, schema, namespaced=bool(namespace), names=names, **version)
        path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        api.made(path, body)
        scope = f"namespaces/{namespace}/" if namespace else ""
        collection = f"/apis/{group}/v1/{scope}{body['spec']['names']['plural']}"
        eventually(lambda: api("GET", collection).code == 200)
        return collection

    return made


def definition(
    group: str,
    schema: Json = None,
    *,
    namespaced: bool = False,
    names: Json = None,
    **version: Json,
) -> Json:
    """A CustomResourceDefinition with one version; ``version`` is added to it."""
    kept = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {"plural": "things", "singular": "thing", "kind": "Thing", **(names or {})}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{group}"},
        "spec": {
            "group": group,
            "names": names,
            "scope": "Namespaced" if namespaced else "Cluster",
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema or kept},
                    **version,
                }
            ],
        },
    }


def eventually(holds: Callable[[], Json], seconds: float = 20) -> Json:
    """What ``holds`` gives once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return found


def refused(
    said: Answer, code: int, reason: str, message: str, causes: Json = None, **details: str
) -> None:
    """Assert that an answer is that failure, as a ``Status`` in full.

    Args:
        said: The answer.
        code: HTTP status, and the one in the body.
        reason: Machine-readable.
        message: Pattern of the whole message.
        causes: Pairs of reason and field; None where they are not looked at.
        details: More that ``details`` has to hold.
    """
    assert said.code == code, said
    body = said.body
    shape = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    assert {key: body.get(key) for key in shape} == shape
    assert (body["code"], body["reason"]) == (code, reason), body
    assert re.fullmatch(message, body["message"], re.DOTALL), body["message"]
    told = body.get("details") or {}
    if causes is not None:
        assert [(c["reason"], c["field"]) for c in told.get("causes", ())] == causes, told
    assert {key: told.get(key) for key in details} == details


@pytest.fixture(scope="session")
def clients(client_venv: Callable[..., Path]) -> Path:
    """Interpreter of the environment with the official client, kopf and the KServe SDK.

    The SDK brings its whole model server; what its client does not need stays out.
    """
    needed = ("aiohttp", "fastapi", "grpc-interceptor", "grpcio", "httpx", "numpy", "orjson")
    needed += ("cloudevents<2", "pandas", "prometheus-client", "protobuf", "psutil", "six")
    needed += ("tabulate", "timing-asgi", "uvicorn", "watchfiles")
    return client_venv(
        "kubernetes-clients-32", CLIENT, "kopf>=1.37", *needed, bare=("kserve>=0.15",)
    )


@pytest.fixture(scope="session")
def environment(
    kubernetes_api: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """What a command needs to reach the API under test."""
    return {
        "PATH": REAL["PATH"],
        "HOME": str(tmp_path_factory.mktemp("home")),
        "KUBECONFIG": str(kubernetes_api.kubeconfig),
    }


@pytest.fixture
def run(kubectl: str, environment: dict[str, str]) -> Callable[..., str]:
    """Runs kubectl and gives what it prints; with ``fails``, what it complains about."""

    def call(
        *arguments: str,
        stdin: object = None,
        fails: bool = False,
        code: int = 0,
        **variables: str,
    ) -> str:
        text = "" if stdin is None else stdin if isinstance(stdin, str) else json.dumps(stdin)
        done = subprocess.run(
            [kubectl, *arguments],
            input=text,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        told = f"kubectl {' '.join(arguments)}: {done.stdout}{done.stderr}"
        assert (done.returncode != 0) if fails else (done.returncode == code), told
        return done.stderr if fails else done.stdout + done.stderr

    return call


@pytest.fixture
def started(kubectl: str, environment: dict[str, str]) -> Iterator[Callable[..., Any]]:
    """Starts kubectl and gives the process, whose lines can be read; it ends with the test."""
    running: list[subprocess.Popen[str]] = []

    def call(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [kubectl, *arguments], env=environment, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        return process

    yield call
    for process in running:
        process.terminate()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()

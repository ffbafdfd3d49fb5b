"""``towpath apiserver run`` as a user runs it: what it says, leaves behind, and survives."""

import contextlib
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from towpath import apiserver
from towpath.testing import running_api, towpath

pytestmark = pytest.mark.timeout(60)

COMMAND = (sys.executable, "-m", "towpath", "apiserver", "run")
LEAN = ("lightkube", "httpx2", "numpy", "pydantic", "sqlalchemy", "typer", "rich", "onnxruntime")
"""What an API alone has no use for."""
IDLE_BYTES = 80 * 1024 * 1024


@pytest.fixture
def use(kubectl: str) -> Any:
    """Run kubectl against a kubeconfig; what it printed."""

    def run(kubeconfig: Path, *arguments: str, stdin: str = "") -> str:
        done = subprocess.run(
            [kubectl, "--kubeconfig", str(kubeconfig), *arguments],
            capture_output=True,
            text=True,
            input=stdin,
            check=False,
            timeout=30,
            env={**os.environ, "HOME": str(kubeconfig.parent)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def modes(folder: Path) -> dict[str, int]:
    """The mode of everything in a folder."""
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def token(kubeconfig: Path) -> str:
    return str(yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"])


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def test_it_runs_is_used_and_stops_within_a_second(tmp_path: Path, use: Any) -> None:
    with running_api(tmp_path / "kube", "--name", "site") as api:
        config = yaml.safe_load(api.kubeconfig.read_text())
        assert config["current-context"] == "site"
        assert config["clusters"][0]["cluster"]["server"] == api.url
        assert use(api.kubeconfig, "create", "configmap", "a", "--from-literal=x=1")
        watch = subprocess.Popen(
            ["kubectl", "--kubeconfig", str(api.kubeconfig), "get", "cm", "-w", "-o", "name"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert watch.stdout is not None
        try:
            assert watch.stdout.readline().strip() == "configmap/a"
            began = time.monotonic()
            assert api.stop() == 0
            took = time.monotonic() - began
        finally:
            watch.kill()
            watch.communicate()

    assert took < 1.5  # a second, and the machine's own slowness


def test_only_the_owner_may_read_what_it_keeps(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        with running_api(tmp_path / "kube") as api:
            assert api.kubeconfig == tmp_path / "kube/kubeconfig"
            found = modes(tmp_path / "kube")
    finally:
        os.umask(old)

    assert {"kube.sqlite", "kubeconfig", "secrets/admin.token", "tls/server.key"} <= set(found)
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}


def test_a_kill_loses_nothing_that_was_answered(tmp_path: Path, use: Any) -> None:
    with running_api(tmp_path / "kube") as api:
        for number in range(5):
            use(api.kubeconfig, "create", "configmap", f"c{number}", "--from-literal=x=1")
        first, authority = token(api.kubeconfig), (tmp_path / "kube/tls/ca.crt").read_bytes()
        assert api.stop(signal.SIGKILL) == -signal.SIGKILL
    with running_api(tmp_path / "kube") as api:
        names = use(api.kubeconfig, "get", "configmaps", "-o", "name").split()

        assert {f"configmap/c{number}" for number in range(5)} <= set(names)
        assert token(api.kubeconfig) == first
        assert (tmp_path / "kube/tls/ca.crt").read_bytes() == authority


def test_a_second_process_on_the_same_database_is_refused(tmp_path: Path, use: Any) -> None:
    database = tmp_path / "kube/kube.sqlite"
    with running_api(tmp_path / "kube") as api:
        second = towpath("apiserver", "run", "--db", str(database), "--port", "0")

        assert (second.code, second.out) == (4, "")
        assert f"is in use by process {api.process.pid}" in second.err
        assert "hint: Stop that process" in second.err
        assert "default" in use(api.kubeconfig, "get", "namespaces")


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with taken_port() as port:
        refused = towpath("apiserver", "run", "--memory", "--port", str(port))

    assert refused.code == 4
    assert f"port {port} on 127.0.0.1 is taken by another process" in refused.err
    assert "--port" in refused.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--memory", "--db", "x"), "--memory keeps no database"),
        (("--memory", "--tls-cert", "x"), "--tls-cert and --tls-key go together"),
        (("--memory", "--tls-cert", "x", "--tls-key", "y"), "are no certificate and its key"),
        (("--memory", "--host", "192.0.2.1"), "cannot listen on 192.0.2.1"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(arguments: tuple[str, ...], words: str) -> None:
    refused = towpath("apiserver", "run", "--port", "0", *arguments)

    assert (refused.code, refused.out) == (2, "")
    assert words in refused.err
    assert "Traceback" not in refused.err


def test_a_person_is_told_what_to_do_next(tmp_path: Path) -> None:
    folder = tmp_path / "my site"
    process = subprocess.Popen(
        [*COMMAND, "--db", str(folder / "kube.sqlite"), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "kubectl get namespaces" not in said and (line := process.stderr.readline()):
        said += line
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)

    assert f"export KUBECONFIG='{folder}/kubeconfig'" in said
    assert out == ""
    assert process.returncode == 0


def test_in_memory_nothing_is_left(tmp_path: Path, use: Any) -> None:
    with running_api(tmp_path / "kube", "--memory") as api:
        folder = api.kubeconfig.parent
        assert "default" in use(api.kubeconfig, "get", "namespaces")
        api.stop()

    assert not folder.exists()
    assert not (tmp_path / "kube").exists()


def test_names_and_addresses_are_in_its_certificate(tmp_path: Path, use: Any) -> None:
    arguments = ("--host", "0.0.0.0", "--san", "localhost", "--san", "api.example.org")
    with running_api(tmp_path / "kube", *arguments) as api:
        assert api.url.startswith("https://localhost:")
        assert "default" in use(api.kubeconfig, "get", "namespaces")
        port = int(api.url.rpartition(":")[2])
        context = ssl.create_default_context(cafile=str(tmp_path / "kube/tls/ca.crt"))
        with (
            socket.create_connection(("127.0.0.1", port)) as sock,
            context.wrap_socket(sock, server_hostname="api.example.org") as secured,
        ):
            assert secured.version() == "TLSv1.3"


def test_a_certificate_may_be_brought(tmp_path: Path, use: Any) -> None:
    brought = apiserver.ensure(tmp_path / "tls", ("localhost",))
    chain = tmp_path / "chain.pem"
    chain.write_text(brought.chain.read_text() + brought.authority)
    arguments = ("--tls-cert", str(chain), "--tls-key", str(brought.key))
    refused = towpath("apiserver", "run", "--memory", "--port", "0", *arguments)
    assert refused.code == 2
    assert "is not for '127.0.0.1'" in refused.err
    with running_api(tmp_path / "kube", "--memory", "--san", "localhost", *arguments) as api:
        assert "default" in use(api.kubeconfig, "get", "namespaces")


def test_the_process_stays_small(tmp_path: Path) -> None:
    with running_api(tmp_path / "kube") as api:
        process = psutil.Process(api.process.pid)
        loaded = {Path(one.path).name for one in process.memory_maps()}

        assert process.memory_info().rss < IDLE_BYTES
        assert [one for one in loaded if one.startswith(("_pydantic_core", "_multiarray"))] == []
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, sys, towpath.cli.alone; print(json.dumps([*sys.modules]))",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    tops = {name.partition(".")[0] for name in json.loads(done.stdout)}

    assert tops.intersection(LEAN) == set()


def test_what_lies_around_is_not_taken_for_code(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('not mine')\n")
    script = Path(sys.executable).with_name("towpath")
    process = subprocess.Popen(
        [str(script), *COMMAND[3:], "--memory", "--port", "0", "-o", "json"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert process.stdout is not None
    ready = process.stdout.readline()
    process.terminate()
    process.communicate(timeout=10)

    assert json.loads(ready)["pid"] == process.pid


def test_two_starts_at_once_leave_one_token(tmp_path: Path) -> None:
    """Whoever comes first has made the token; the other is refused or never made one."""
    line = [*COMMAND, "--db", str(tmp_path / "kube/kube.sqlite"), "--port", "0", "-o", "json"]
    both = [
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    ready = []
    for one in both:
        assert one.stdout is not None
        if told := one.stdout.readline():
            ready.append((one, json.loads(told)))
    kept = (tmp_path / "kube/secrets/admin.token").read_text()
    used = token(Path(ready[0][1]["kubeconfig"]))
    for one in both:
        one.terminate()
        one.communicate(timeout=10)

    assert len(ready) == 1
    assert used == kept

"""``towpath registry serve`` as a user runs it: databases, workers, flags, what it tells and keeps
to itself.
"""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from towpath.testing import running_registry, towpath

pytestmark = pytest.mark.timeout(120)

P = "/api/model_registry/v1alpha3"
SECRET = "hunter2"
WORKER_BYTES = 120 * 1024 * 1024
LONG = pytest.mark.long


def client(url: str, **headers: str) -> httpx2.Client:
    return httpx2.Client(base_url=url, headers=headers, trust_env=False, timeout=20)


def wait(condition: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
    return found


def metrics(http: httpx2.Client) -> dict[tuple[str, tuple[str, ...]], float]:
    """Samples by name and the values of their labels."""
    return {
        (one.name, tuple(one.labels.values())): one.value
        for family in text_string_to_metric_families(http.get("/metrics").text)
        for one in family.samples
    }


def create(http: httpx2.Client, name: str) -> httpx2.Response:
    return http.post(f"{P}/registered_models", json={"name": name})


def refused(tmp_path: Path, *arguments: str, **environment: str) -> str:
    """What it says when it does not start."""
    done = towpath(
        *("registry", "serve", "--port", "0", *arguments),
        environment={"HOME": str(tmp_path), **environment},
    )
    assert (done.code, done.out) == (2, ""), done.err
    assert "Traceback" not in done.err
    assert SECRET not in done.err
    return done.err


def test_it_runs_without_any_set_up_and_keeps_what_it_is_told(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        with running_registry(tmp_path) as running:
            with client(running.url) as http:
                assert create(http, "kept").status_code == 201
            assert running.stop(signal.SIGINT) == 0
        with running_registry(tmp_path) as running, client(running.url) as http:
            assert http.get(f"{P}/registered_model", params={"name": "kept"}).status_code == 200
            kept = {
                path.name: stat.S_IMODE(path.stat().st_mode)
                for path in tmp_path.glob("registry.sqlite*")
            }
            assert running.stop() == 0
    finally:
        os.umask(old)
    assert "registry.sqlite" in kept
    assert {name for name, mode in kept.items() if mode & 0o077} == set()


def test_its_default_is_a_file_in_the_user_s_data_folder(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "towpath", "registry", "serve", "--port", "0", "-o", "json"]
    data = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env={**os.environ, **data})
    assert process.stdout is not None
    told = json.loads(process.stdout.readline())
    process.terminate()
    process.communicate(timeout=15)

    assert told["pid"] == process.pid
    assert process.returncode == 0
    assert [path.name for path in tmp_path.rglob("registry.sqlite")] == ["registry.sqlite"]


def test_a_person_is_told_what_to_do_next(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "towpath", "registry", "serve", "--port", "0"]
    process = subprocess.Popen(
        [*line, "--db", str(tmp_path / "r.sqlite")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    while "curl" not in said and (text := process.stderr.readline()):
        said += text
    process.send_signal(signal.SIGINT)
    out, rest = process.communicate(timeout=15)

    assert "The model registry answers at http://127.0.0.1:" in said
    assert (out, process.returncode) == ("", 0)
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--workers", "2"), "SQLite has one writer at a time"),
        (("--db", f"oracle://u:{SECRET}@h/r"), "no driver for databases called 'oracle'"),
        (("--db", f"postgresql://u:p@{SECRET}@h/r"), "special characters of a password as %40"),
        (("--db", ""), "--db is empty"),
        (("--db", "/"), "is a folder"),
        (("--tokens", "/nowhere"), "file of tokens /nowhere cannot be read"),
        *(
            pytest.param(*one, marks=LONG)
            for one in (
                (("--tls-cert", "x"), "--tls-cert and --tls-key go together"),
                (("--host", "192.0.2.1", "--open"), "cannot listen on 192.0.2.1"),
                (("--db", f"://u:{SECRET}@h/r"), "cannot be read"),
                (
                    ("--db", "a", "--embedmd-database-dsn", f"u:{SECRET}@tcp(h)/r"),
                    "both name a database",
                ),
                (("--embedmd-database-dsn", f"u:{SECRET}@tcp(h)"), "names no database"),
                (("--datastore-type", "mlmd"), "no datastore type"),
                (("--config", "/nowhere.yaml"), "no configuration file"),
                (("--db-file", "/nowhere"), "/nowhere cannot be read"),
                (("--kubeconfig", "/nowhere"), "no kubeconfig"),
                (("--in-cluster",), "names no Kubernetes API"),
                (("--oidc-issuer", "http://plain.example", "--oidc-audience", "a"), "https://"),
            )
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    named = {"--db", "--db-file", "--embedmd-database-dsn"} & set(arguments)
    kept = [] if named else ["--db", str(tmp_path / "r.sqlite")]
    said = towpath(
        *("registry", "serve", "--port", "0", *kept, *arguments),
        environment={"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": ""},
    )
    assert said.code in (2, 3), said.err
    assert words in said.err
    assert "Traceback" not in said.err
    assert SECRET not in said.err


def test_a_missing_driver_is_named_with_what_installs_it(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text(
        "import sys\nsys.modules['psycopg'] = None\nsys.modules['pymysql'] = None\n"
    )
    for url, extra in (
        (f"postgres://u:{SECRET}@h/r", "postgresql"),
        (f"mysql://u:{SECRET}@h/r", "mysql"),
    ):
        said = refused(tmp_path, "--db", url, PYTHONPATH=str(hidden))
        assert f"pip install 'towpath[{extra}]'" in said


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = sock.getsockname()[1]
        done = towpath(
            *("registry", "serve", "--db", str(tmp_path / "r.sqlite"), "-p", str(port)),
            environment={"HOME": str(tmp_path)},
        )
    assert done.code == 4
    assert f"port {port} on 127.0.0.1 is taken" in done.err


@pytest.mark.parametrize(
    "way",
    [
        "flag",
        "environment",
        *(pytest.param(way, marks=LONG) for way in ("variable", "file", "upstream", "yaml")),
    ],
)
def test_no_password_is_seen_by_others(tmp_path: Path, postgresql: str, way: str) -> None:
    plain = postgresql.replace("+psycopg", "")
    (tmp_path / "url").write_text(plain + "\n")
    (tmp_path / "c.yaml").write_text(
        yaml.safe_dump({"embedmd-database-type": "postgres", "embedmd-database-dsn": plain})
    )
    arguments, environment = {
        "flag": (["--db", plain], {}),
        "variable": ([], {"TOWPATH_REGISTRY_DB": plain}),
        "file": (["--db-file", str(tmp_path / "url")], {}),
        "upstream": (
            ["--embedmd-database-type=postgres", f"--embedmd-database-dsn={plain}"],
            {},
        ),
        "environment": (
            [],
            {"MR_EMBEDMD_DATABASE_TYPE": "postgres", "MR_EMBEDMD_DATABASE_DSN": plain},
        ),
        "yaml": (["--config", str(tmp_path / "c.yaml")], {"TOWPATH_REGISTRY_DB": ""}),
    }[way]
    with running_registry(tmp_path, *arguments, environment=environment) as running:
        with client(running.url) as http:
            assert create(http, "a").status_code == 201
        shown = " ".join(psutil.Process(running.process.pid).cmdline())
        running.stop()
    assert SECRET in plain
    assert SECRET not in shown
    assert SECRET not in running.log.read_text()


def test_the_upstream_s_command_line_starts_it(tmp_path: Path, mariadb: str) -> None:
    address = mariadb.partition("@")[2]
    place, name = address.split("/")
    dsn = f"towpath:{SECRET}@tcp({place})/{name}?charset=utf8mb4"
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    line = [sys.executable, "-m", "towpath", "registry", "proxy", "-o", "json"]
    line += ["--hostname=localhost", f"--port={port}", "--datastore-type=embedmd"]
    process = subprocess.Popen(
        [*line, f"--embedmd-database-dsn={dsn}"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert told["url"] == f"http://localhost:{port}"
        with client(told["url"]) as http:
            assert create(http, "a").status_code == 201
            assert http.get("/readyz/health").text == "OK"
    finally:
        process.terminate()
        process.communicate(timeout=15)


def test_it_listens_before_its_database_is_there(tmp_path: Path, postgresql: str) -> None:
    place = re.search(r"@127\.0\.0\.1:(\d+)/", postgresql)
    assert place is not None
    with socket.socket() as taken, socket.socket() as sock:
        taken.bind(("127.0.0.1", 0))
        sock.bind(("127.0.0.1", 0))
        database, port = taken.getsockname()[1], sock.getsockname()[1]
    url = postgresql.replace(f":{place[1]}/", f":{database}/")
    line = [sys.executable, "-m", "towpath", "registry", "serve", "-o", "json"]
    log = tmp_path / "log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [*line, "--port", str(port), "--db", url],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )

    def answered() -> httpx2.Response | None:
        try:
            return httpx2.get(f"http://127.0.0.1:{port}{P}/registered_models", trust_env=False)
        except httpx2.TransportError:
            return None

    relay = None
    try:
        early = wait(answered, "it does not listen")
        assert early.status_code == 503
        assert early.headers["Content-Type"].startswith("text/plain")
        assert httpx2.get(f"http://127.0.0.1:{port}/readyz/health").status_code == 503
        relay = subprocess.Popen([sys.executable, "-c", RELAY, str(database), place[1]])
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["pid"] == process.pid
        found = answered()
        assert found is not None
        assert found.status_code == 200
        process.terminate()
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.communicate()
        if relay is not None:
            relay.kill()
            relay.wait()
    assert "failed to open registry database" in log.read_text()
    assert SECRET not in log.read_text()


RELAY = """
import asyncio, sys

async def pipe(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()

async def met(reader, writer):
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(sys.argv[2]))
    await asyncio.gather(pipe(reader, far_writer), pipe(far_reader, writer))

async def main():
    server = await asyncio.start_server(met, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()

asyncio.run(main())
"""


def test_a_database_that_never_comes_ends_it_with_a_reason(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"postgres://u:{SECRET}@127.0.0.1:{sock.getsockname()[1]}/r"
    done = towpath(
        *("registry", "serve", "--port", "0", "--db", url),
        environment={"HOME": str(tmp_path), "TOWPATH_REGISTRY_CONNECT_SECONDS": "1"},
    )
    assert done.code == 6
    assert "tried for 1 s" in done.err
    assert "Start the database" in done.err
    assert SECRET not in done.err
    assert "Traceback" not in done.err


def test_metrics_and_access_log_tell_no_secret(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(f'{SECRET},ada,1,"registry-writers"\n')
    with running_registry(tmp_path, "--tokens", str(tmp_path / "tokens")) as running:
        with client(running.url, Authorization=f"Bearer {SECRET}") as http:
            made = create(http, "private-name").json()
            query = {"name": "private-name", "filterQuery": "name = 'private-name'"}
            assert http.get(f"{P}/registered_models", params=query).status_code == 200
            assert http.get(f"{P}/registered_models/{made['id']}").status_code == 200
            http.request("PROPFIND", f"{P}/private-path")
            told = http.get("/metrics").text
            found = metrics(http)
        with client(running.url, Authorization="Bearer private-token") as http:
            assert http.get(f"{P}/registered_models").status_code == 401
        assert running.stop() == 0
    one = f"{P}/registered_models/{{id}}"
    assert found["towpath_registry_requests_total", ("GET", one, "200")] == 1
    assert found["towpath_registry_requests_pending", ()] == 1  # this one
    assert found["process_resident_memory_bytes", ()] < WORKER_BYTES
    log = running.log.read_text()
    lines = [line for line in log.splitlines() if "towpath.access" in line]
    assert len(lines) == 7
    assert "method=other route=none status=4" in lines[3]
    assert f"method=POST route={P}/registered_models status=201" in lines[0]
    assert re.search(r" ms=\d+\.\d bytes=\d+ user=ada$", lines[0])
    assert "status=401" in lines[-1]
    assert "user=-" in lines[-1]
    for text in (log, told):
        assert SECRET not in text
        assert "private" not in text.lower()


def test_the_access_log_may_be_off(tmp_path: Path) -> None:
    with running_registry(tmp_path, "--no-access-log") as running:
        with client(running.url) as http:
            create(http, "a")
        running.stop()
    assert running.log.read_text() == ""


def test_a_stop_lets_what_was_begun_end(tmp_path: Path) -> None:
    body = json.dumps({"name": "late"}).encode()
    head = (
        f"POST {P}/registered_models HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with running_registry(tmp_path) as running:
        address = running.url.removeprefix("http://").split(":")
        with socket.create_connection((address[0], int(address[1]))) as sock:
            sock.sendall(head.encode() + body[:5])
            with client(running.url) as http:  # another request: the first one was taken up
                assert http.get("/readyz/isDirty").status_code == 200
            running.process.terminate()

            def refuses() -> bool:
                with socket.socket() as other:
                    return other.connect_ex((address[0], int(address[1]))) != 0

            wait(refuses, "it still accepts")
            sock.sendall(body[5:])
            assert b" 201 " in sock.recv(65536)
        assert running.process.wait(15) == 0


def test_a_follower_of_events_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with running_registry(tmp_path) as running:
        headers = {"Accept": "text/event-stream"}
        with (
            client(running.url) as http,
            http.stream("GET", f"{P}/events", headers=headers) as stream,
        ):
            assert stream.headers["Content-Type"].startswith("text/event-stream")
            began = time.monotonic()
            assert running.stop() == 0
            assert time.monotonic() - began < 4


def test_all_of_it_is_saved_and_read_into_another(tmp_path: Path) -> None:
    tokens, token = tmp_path / "tokens", tmp_path / "token"
    tokens.write_text(f'{SECRET},ada,1,"registry-admins"\nreading,rita,2\n')
    token.write_text(f"{SECRET}\n")
    file, known = str(tmp_path / "r.jsonl"), ("--token-file", str(token))
    with running_registry(tmp_path / "a") as one, client(one.url) as http:
        made = create(http, "kept").json()
        saved = towpath("registry", "export", file, "--url", one.url, "-o", "json")
        assert saved.json["counts"]["RegisteredModel"] == 1
    with running_registry(tmp_path / "b", "--tokens", str(tokens)) as other:
        there = ("--url", other.url)
        refused = towpath("registry", "import", file, *there)
        assert refused.code == 5
        rita = {"TOWPATH_REGISTRY_TOKEN": "reading"}
        assert towpath("registry", "import", file, *there, environment=rita).code == 5
        assert towpath("registry", "import", str(tokens), *there, *known).code == 2
        assert towpath("registry", "import", file, *there, *known).code == 0
        again = towpath("registry", "import", file, *there, *known)
        assert again.code in (2, 4)
        assert "not empty" in again.err
        with client(other.url, Authorization="Bearer reading") as http:
            found = http.get(f"{P}/registered_model", params={"name": "kept"})
        assert found.json() == made
    gone = towpath("registry", "export", str(tmp_path / "x.jsonl"), "--url", one.url)
    assert gone.code == 6
    assert not [path for path in tmp_path.iterdir() if "x.jsonl" in path.name]


def test_one_process_stays_small(tmp_path: Path) -> None:
    with running_registry(tmp_path) as running:
        with client(running.url) as http:
            for number in range(200):
                assert create(http, f"m{number}").status_code == 201
        assert psutil.Process(running.process.pid).memory_info().rss < WORKER_BYTES

"""What the embedded Kubernetes API does in a second: ``python bench/api.py``.

Starts ``towpath apiserver run`` on a fresh database and loads it from a process of its own, over
TLS as a client does: ConfigMaps of 1 KiB are created, read, listed and watched. With
``KUBEBUILDER_ASSETS`` set, a real etcd and kube-apiserver get the same, and the ratios are printed.
Refuses to print anything when an answer is not the one expected.
"""

import argparse
import json
import os
import platform
import secrets
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import yaml

LOAD: Final = Path(__file__).with_name("load.py")
START_SECONDS: Final = 60.0
SERVER_KEYS: Final = ("--service-account-signing-key-file", "--service-account-key-file")


@dataclass(frozen=True)
class Server:
    """A Kubernetes API that runs, and what to reach it with."""

    port: int
    token: str
    authority: str
    processes: list[subprocess.Popen[bytes]]
    ready: float

    def memory(self) -> float:
        """MB of its processes that are in memory."""
        used = [psutil.Process(process.pid).memory_info().rss for process in self.processes]
        return round(sum(used) / 1e6, 1)


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--watchers", type=int, default=200)
    parser.add_argument("--events", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    if options.quick:
        options.objects, options.watchers, options.events = 600, 10, 10
    amounts = {name: getattr(options, name) for name in ("objects", "watchers", "events")}
    report: dict[str, Any] = {"machine": machine(), **amounts}
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as folder, towpath(folder) as server:
        report["towpath"] = measured(server, amounts)
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets:
        with (
            tempfile.TemporaryDirectory(prefix="towpath-bench-") as folder,
            kubernetes(Path(assets), Path(folder)) as server,
        ):
            report["kubernetes"] = measured(server, amounts)
        report["ratio"] = {
            name: round(value / report["kubernetes"][name], 2)
            for name, value in report["towpath"].items()
            if report["kubernetes"].get(name)
        }
    if options.output == "json":
        print(json.dumps(report, indent=2))
        return 0
    columns = [name for name in ("towpath", "kubernetes", "ratio") if name in report]
    print(", ".join(f"{name} {report[name]}" for name in ("machine", *amounts)))
    print(f"{'':<40}" + "".join(f"{name:>14}" for name in columns))
    for name in report["towpath"]:
        print(f"{name:<40}" + "".join(f"{report[c].get(name, ''):>14}" for c in columns))
    return 0


def machine() -> str:
    """What the figures belong to."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"


def measured(server: Server, amounts: dict[str, int]) -> dict[str, float]:
    """The figures of one server; the load generator pauses after each phase."""
    found = {"seconds: until ready": round(server.ready, 2), "MB: idle": settled(server)}
    order = {**amounts, "port": server.port, "token": server.token, "authority": server.authority}
    with subprocess.Popen(
        [sys.executable, str(LOAD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as load:
        assert load.stdin is not None
        assert load.stdout is not None
        load.stdin.write(json.dumps(order) + "\n")
        load.stdin.flush()
        for line in load.stdout:
            phase = json.loads(line)
            found |= phase["figures"]
            found[f"MB: {phase['name']}"] = server.memory()
            load.stdin.write("go on\n")
            load.stdin.flush()
        if load.wait() != 0:
            sys.exit("dirty result: the load generator failed")
    return found


def settled(server: Server) -> float:
    """MB in memory once nothing more happens after the start."""
    time.sleep(2)
    return server.memory()


@contextmanager
def towpath(folder: str) -> Iterator[Server]:
    """``towpath apiserver run`` on a fresh database."""
    begin = time.perf_counter()
    command = ["apiserver", "run", "--db", f"{folder}/kube.sqlite", "--port", "0", "-o", "json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "towpath", *command], stdout=subprocess.PIPE, env=environment()
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            sys.exit("dirty result: towpath apiserver run did not start")
        ready = time.perf_counter() - begin
        config = yaml.safe_load(Path(json.loads(line)["kubeconfig"]).read_text())
        cluster = config["clusters"][0]["cluster"]
        yield Server(
            int(cluster["server"].rpartition(":")[2]),
            config["users"][0]["user"]["token"],
            cluster["certificate-authority-data"],
            [process],
            ready,
        )
    finally:
        process.terminate()
        process.wait(30)


def environment() -> dict[str, str]:
    """Ours, without what others set for their own towpath."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_")}


@contextmanager
def kubernetes(assets: Path, folder: Path) -> Iterator[Server]:
    """A real kube-apiserver on a real etcd, both as they come."""
    begin = time.perf_counter()
    store, peers, port = (free_port() for _ in range(3))
    token, key = secrets.token_urlsafe(32), folder / "sa.key"
    (folder / "tokens.csv").write_text(f"{token},admin,admin,system:masters\n")
    subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, capture_output=True)
    url = f"http://127.0.0.1:{store}"
    etcd = [
        f"--data-dir={folder}/etcd",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls=http://127.0.0.1:{peers}",
    ]
    api = [
        f"--etcd-servers={url}",
        f"--cert-dir={folder}/certs",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--token-auth-file={folder}/tokens.csv",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://127.0.0.1",
        *(f"{flag}={key}" for flag in SERVER_KEYS),
        "--service-cluster-ip-range=10.0.0.0/24",
        "--disable-admission-plugins=ServiceAccount",
    ]
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for name, flags in (("etcd", etcd), ("kube-apiserver", api)):
            with (folder / f"{name}.log").open("wb") as log:
                processes.append(
                    subprocess.Popen([assets / name, *flags], stdout=log, stderr=log, cwd=folder)
                )
        wait_until_ready(port, token, processes)
        ready = time.perf_counter() - begin
        yield Server(port, token, "", processes, ready)
    finally:
        for process in reversed(processes):
            process.terminate()
            process.wait(30)


def wait_until_ready(port: int, token: str, processes: list[subprocess.Popen[bytes]]) -> None:
    """Return once the API says that it is."""
    trusting = ssl._create_unverified_context()  # its own certificate, made a moment ago
    request = urllib.request.Request(
        f"https://127.0.0.1:{port}/readyz", headers={"Authorization": f"Bearer {token}"}
    )
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and all(process.poll() is None for process in processes):
        try:
            with urllib.request.urlopen(request, context=trusting, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("dirty result: kube-apiserver did not become ready")


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())

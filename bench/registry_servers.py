"""The servers of ``bench/registry.py``: Towpath's registry, MLflow, and a PostgreSQL below both.

Every one is a process of its own with the settings it comes with, on a free port of this machine
and on a fresh database.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

__all__ = ["Server", "mlflow", "postgresql", "towpath"]

START_SECONDS: Final = 90.0
POSTGRESQL: Final = Path("/usr/lib/postgresql/15/bin")
USER: Final = "postgres"
QUIET: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # spares it a second set of processes
}


@dataclass(frozen=True)
class Server:
    """A model registry that runs.

    Args:
        port: Where it answers.
        process: The one that was started.
        ready: Seconds from its start to its first answer.
    """

    port: int
    process: psutil.Process
    ready: float

    def memory(self) -> tuple[float, float, int]:
        """MB in memory of its largest process and of all together (shared pages once), how many."""
        processes = [self.process, *self.process.children(recursive=True)]
        used = [process.memory_full_info() for process in processes]
        return max(one.rss for one in used) / 1e6, sum(one.pss for one in used) / 1e6, len(used)


@contextmanager
def towpath(url: str, folder: Path, workers: int = 1) -> Iterator[Server]:
    """``towpath registry serve`` on a database."""
    port = free_port()
    command = [sys.executable, "-m", "towpath", "registry", "serve", f"--db={url}"]
    command += [f"--port={port}", f"--workers={workers}", "--output=json"]
    own = {name: value for name, value in os.environ.items() if not name.startswith("TOWPATH_")}
    with process(command, folder, {**own, "TOWPATH_HOME": str(folder)}) as child:
        wait(child, lambda: (folder / "out").stat().st_size > 0, folder)  # all workers are there
        yield answering(child, port, "/readyz/isDirty", folder)


@contextmanager
def mlflow(program: Path, url: str, folder: Path, workers: int = 1) -> Iterator[Server]:
    """``mlflow server`` on a database."""
    port = free_port()
    command = [str(program), "server", "--host=127.0.0.1", f"--port={port}", f"--workers={workers}"]
    command += [f"--backend-store-uri={url}", f"--artifacts-destination={folder}/artifacts"]
    with process(command, folder, {**os.environ, **QUIET}) as child:
        yield answering(child, port, "/health", folder)


@contextmanager
def postgresql(folder: Path) -> Iterator[Callable[[str], str]]:
    """PostgreSQL as it comes, durable; yields what makes a database and tells its address."""
    alone = os.geteuid() == 0  # it refuses to run as root
    become = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if alone else []
    data, port = folder / "data", free_port()
    folder.mkdir()
    if alone:
        shutil.chown(folder, USER, USER)

    def tried(program: str, *flags: str) -> subprocess.CompletedProcess[bytes]:
        command = [*become, str(POSTGRESQL / program), *flags]
        return subprocess.run(command, capture_output=True, cwd=folder, check=False)

    def run(program: str, *flags: str) -> None:
        made = tried(program, *flags)
        if made.returncode != 0:
            sys.exit(f"dirty result: {program}: {made.stderr.decode()}")

    run("initdb", "-D", str(data), "-U", USER, "-A", "trust", "-E", "UTF8", "--no-locale")
    where = ["-h", "127.0.0.1", "-p", str(port)]
    command = [*become, str(POSTGRESQL / "postgres"), "-D", str(data), *where, "-k", str(folder)]
    with process(command, folder, os.environ) as child:
        wait(child, lambda: tried("pg_isready", *where).returncode == 0, folder)

        def database(name: str) -> str:
            run("createdb", *where, "-U", USER, name)
            return f"{USER}@127.0.0.1:{port}/{name}"

        yield database


@contextmanager
def process(
    command: list[str], folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process for as long as the context lasts; what it says goes to a file."""
    folder.mkdir(exist_ok=True)
    with (folder / "out").open("ab") as out, (folder / "log").open("ab") as log:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=log, cwd=folder, env=environment
        )
    family = psutil.Process(child.pid)
    try:
        yield child
    finally:
        members = family.children(recursive=True) if child.poll() is None else []
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
        for member in psutil.wait_procs(members, 5)[1]:
            member.kill()


def answering(child: subprocess.Popen[bytes], port: int, path: str, folder: Path) -> Server:
    """The server, once it answers."""
    begin = psutil.Process(child.pid).create_time()
    wait(child, lambda: healthy(port, path), folder)
    return Server(port, psutil.Process(child.pid), time.time() - begin)


def wait(child: subprocess.Popen[bytes], ready: Callable[[], bool], folder: Path) -> None:
    """Return once it is ready."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and child.poll() is None:
        if ready():
            return
        time.sleep(0.01)
    told = (folder / "log").read_text(errors="replace")[-2000:]
    sys.exit(f"dirty result: a server did not become ready:\n{told}")


def healthy(port: int, path: str) -> bool:
    """Whether it answers 200 there."""
    try:
        with socket.create_connection(("127.0.0.1", port), 2) as sock:
            head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
            sock.sendall(head.encode())
            return sock.recv(64)[9:12] == b"200"
    except OSError:
        return False


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])

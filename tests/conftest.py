"""What all rings share: engines that may be missing, outside material that may be absent."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine
from sqlalchemy.exc import OperationalError

REQUIRED = os.environ.get("TOWPATH_REQUIRE_ENGINES") == "1"
PLACES = os.pathsep.join(
    [
        os.environ.get("PATH", os.defpath),
        "/usr/sbin",
        *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True),
    ]
)
"""Where executables are; distributions keep those of database servers out of the way."""
VENVS = Path(tempfile.gettempdir()) / "towpath-test-venvs"
SHARED = Path(os.environ.get("TOWPATH_SHARED", Path(__file__).parents[2] / "shared"))


def engine(*names: str) -> str:
    """Path of the first of these executables; without, skips, or fails where they are required."""
    for name in names:
        if path := shutil.which(name, path=PLACES):
            return path
    reason = f"{' or '.join(names)} is not installed"
    if REQUIRED:
        pytest.fail(f"{reason}, and TOWPATH_REQUIRE_ENGINES is set")
    pytest.skip(reason)


FAST = {
    "postgresql": ["-cfsync=off", "-csynchronous_commit=off", "-cfull_page_writes=off"],
    "mariadb": ["--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"],
}


class DatabaseServer:
    """A database server of our own, on a free port of 127.0.0.1, with all it keeps in one folder.

    Args:
        backend: ``postgresql`` or ``mariadb``.
        folder: An empty one, which the server's user can reach.
        durable: Let it write to the disk as it does by default; else as fast as it can.
    """

    USER = "towpath"
    PASSWORD = "hunter2"  # it must not be seen in any message

    def __init__(self, backend: str, folder: Path, *, durable: bool = False) -> None:
        self.backend = backend
        self.port = _free_port()
        self._folder = folder
        self._names = (f"t{number}" for number in count(1))
        self._child: subprocess.Popen[bytes] | None = None
        prepare = self._postgresql if backend == "postgresql" else self._mariadb
        self._command = [*prepare(), *([] if durable else FAST[backend])]

    def _postgresql(self) -> list[str]:
        initdb, server = engine("initdb"), engine("postgres")
        user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"]
        become = [engine("setpriv"), *user] if os.geteuid() == 0 else []  # it refuses root
        if become:
            shutil.chown(self._folder, "postgres", "postgres")
        secret = self._folder / "password"
        secret.write_text(self.PASSWORD)
        secret.chmod(0o644)
        data = self._folder / "data"
        of_database = ["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
        of_user = [f"--username={self.USER}", f"--pwfile={secret}", "--auth=scram-sha-256"]
        _run([*become, initdb, f"--pgdata={data}", *of_database, *of_user])
        places = ["-D", str(data), "-k", str(self._folder), "-p", str(self.port)]
        return [*become, server, *places, "-clisten_addresses=127.0.0.1", "-cmax_connections=200"]

    def _mariadb(self) -> list[str]:
        install, server = engine("mariadb-install-db"), engine("mariadbd")
        user = ["--user=root"] if os.geteuid() == 0 else []
        data = ["--no-defaults", f"--datadir={self._folder / 'data'}", *user]
        data.append(f"--tmpdir={self._folder}")  # a server that starts empties it of others' tables
        _run([install, *data, "--skip-test-db", "--auth-root-authentication-method=normal"])
        first = self._folder / "first.sql"
        first.write_text(
            f"create user if not exists {self.USER}@'127.0.0.1' identified by '{self.PASSWORD}';\n"
            f"grant all on *.* to {self.USER}@'127.0.0.1';\n"
        )
        places = [f"--socket={self._folder / 'socket'}", f"--pid-file={self._folder / 'pid'}"]
        net = ["--bind-address=127.0.0.1", f"--port={self.port}", "--skip-name-resolve"]
        size = ["--innodb-buffer-pool-size=64M", "--max-connections=200"]
        return [server, *data, *places, *net, *size, f"--init-file={first}"]

    def url(self, database: str) -> str:
        """The SQLAlchemy URL of one of its databases."""
        driver = "postgresql+psycopg" if self.backend == "postgresql" else "mysql+pymysql"
        return f"{driver}://{self.USER}:{self.PASSWORD}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._child = self._begun()
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.execute("select 1")
            except OperationalError:
                assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
                if self._child.poll() is not None:  # it waits for nothing that a killed one left
                    self._child = self._begun()
                time.sleep(0.05)

    def _begun(self) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(self._command, stdout=log, stderr=log)

    def stop(self) -> None:
        """Stop it without waiting for its clients."""
        self._end(signal.SIGINT if self.backend == "postgresql" else signal.SIGTERM)

    def kill(self) -> None:
        """Kill it, as a loss of power does; the workers of PostgreSQL follow by themselves."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(number)
            self._child.wait(60)
            self._child = None

    def execute(self, *statements: str) -> None:
        """Run statements as the administrator, outside of transactions."""
        database = "postgres" if self.backend == "postgresql" else ""
        administration = create_engine(
            self.url(database), poolclass=NullPool, isolation_level="AUTOCOMMIT"
        )
        with administration.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    @contextlib.contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of a new, empty database, which is dropped at the end."""
        name = next(self._names)
        self.execute(f"create database {name}")
        yield self.url(name)
        force = " with (force)" if self.backend == "postgresql" else ""
        self.execute(f"drop database {name}{force}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def _database_server(backend: str, *, durable: bool = False) -> Iterator[DatabaseServer]:
    with tempfile.TemporaryDirectory(prefix="towpath-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = DatabaseServer(backend, Path(folder), durable=durable)
        try:
            server.start()
            yield server
        finally:
            server.stop()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[DatabaseServer]:
    """A PostgreSQL server that is fast, and forgets when it is killed."""
    with _database_server("postgresql") as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[DatabaseServer]:
    """A MariaDB server that is fast, and forgets when it is killed."""
    with _database_server("mariadb") as server:
        yield server


@pytest.fixture
def durable_server() -> Iterator[Callable[[str], DatabaseServer]]:
    """Starts a server of the named backend that keeps what it acknowledged; to be killed."""
    with contextlib.ExitStack() as running:
        yield lambda name: running.enter_context(_database_server(name, durable=True))


@pytest.fixture
def postgresql(postgresql_server: DatabaseServer) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    with postgresql_server.fresh() as url:
        yield url


@pytest.fixture
def mariadb(mariadb_server: DatabaseServer) -> Iterator[str]:
    """The URL of an empty MariaDB database."""
    with mariadb_server.fresh() as url:
        yield url


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """The URL of a SQLite database that is not there yet."""
    return f"sqlite:///{tmp_path}/registry.db"


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def each_registry_url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind that the model registry runs on."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.long),
        pytest.param("mariadb", marks=pytest.mark.long),
    ]
)
def registry_url(request: pytest.FixtureRequest) -> str:
    """As :func:`each_registry_url`; the servers only where all tests are run."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest.fixture
def anyio_backend() -> str:
    """The one backend we support."""
    return "asyncio"


@pytest.fixture(scope="session")
def skopeo() -> str:
    """The skopeo executable."""
    return engine("skopeo")


@pytest.fixture(scope="session")
def docker_registry() -> str:
    """The CNCF distribution executable."""
    return engine("docker-registry", "registry")


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The kubectl executable."""
    return engine("kubectl")


@pytest.fixture(scope="session")
def git() -> str:
    """The git executable."""
    return engine("git")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of outside documents and models, read in place."""
    if not SHARED.is_dir():
        pytest.skip(
            f"outside material is absent: no folder {SHARED} (TOWPATH_SHARED names another)"
        )
    return SHARED


@pytest.fixture(scope="session")
def client_venv() -> Callable[..., Path]:
    """Gives the interpreter of a virtual environment that holds an outside client.

    It is made when it is not there, from lists of requirements that are installed one after the
    other; ``bare`` ones without what they require themselves.
    """

    def made(name: str, *requirements: str, bare: tuple[str, ...] = ()) -> Path:
        folder = VENVS / name
        if not folder.exists():
            VENVS.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=VENVS) as making:
                python = Path(making) / "venv" / "bin" / "python"
                install = [str(python), "-m", "pip", "install", "--quiet"]
                commands = [
                    [sys.executable, "-m", "venv", str(python.parents[1])],
                    [*install, *requirements],
                    *([[*install, "--no-deps", *bare]] if bare else []),
                ]
                try:
                    for command in commands:
                        subprocess.run(
                            command, check=True, capture_output=True, text=True, timeout=480
                        )
                except (subprocess.SubprocessError, OSError) as exc:
                    lines = (getattr(exc, "stderr", None) or str(exc)).strip().splitlines()
                    reason = f"{name} cannot be installed: {lines[-1] if lines else exc}"
                    if REQUIRED:
                        pytest.fail(f"{reason}, and TOWPATH_REQUIRE_ENGINES is set")
                    pytest.skip(reason)
                with contextlib.suppress(OSError):  # another run was faster
                    python.parents[1].rename(folder)
        return folder / "bin" / "python"

    return made

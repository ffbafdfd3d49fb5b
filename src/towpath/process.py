"""Child processes: started, watched, stopped, and found again after their owner died.

Every child is started in a session of its own, gets its configuration as one JSON object on
standard input (so no secret stands in an argument list, an environment or a file), and is
remembered in a state file with its pid and start time. The order is: start, remember, configure.
An owner that dies in between leaves a child without a configuration, and such a child ends by
itself; an owner that dies later leaves a child that the next owner adopts from the state file.

A *lifeline* is a pipe whose writing end only the outermost owner holds. Whoever inherited the
reading end sees its end of file when that owner is gone, however it went, and stops gracefully.
"""

import contextlib
import fcntl
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import anyio
import psutil

from towpath.errors import ConflictError, UnavailableError
from towpath.files import write_atomic
from towpath.telemetry import fields

__all__ = [
    "Child",
    "Children",
    "Lifeline",
    "Program",
    "lifeline_cut",
    "locked",
    "locked_within",
]

log = logging.getLogger(__name__)

_started: "list[subprocess.Popen[bytes]]" = []
"""What this process started and may still run: some outlive their :class:`Children`, by design."""

POLL: Final = 0.1
"""Seconds between two looks at an adopted process: nobody tells its exit to a foreign parent."""
LOG_BYTES: Final = 10 * 1024 * 1024
"""Size at which a log file is set aside when its process starts anew; one older file is kept."""


@contextlib.contextmanager
def locked(path: Path, hint: str = "") -> Iterator[None]:
    """Hold a lock file for as long as this process lives and the context lasts.

    Args:
        path: Made when missing; holds the owner's pid.
        hint: What to do when another process holds it.

    Raises:
        ConflictError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise ConflictError(f"{path.parent} is in use by process {owner}", hint=hint) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextlib.asynccontextmanager
async def locked_within(path: Path, seconds: float, hint: str = "") -> AsyncIterator[None]:
    """Hold a lock file as :func:`locked` does; an owner that ends in time is waited for."""
    deadline = anyio.current_time() + seconds
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(path, hint))
                break
            except ConflictError:
                if anyio.current_time() >= deadline:
                    raise
            await anyio.sleep(POLL)
        yield


class Lifeline:
    """The pipe of the outermost owner. Pass ``reader`` on to children; keep this object alive.

    ``name`` tells this life of the owner from any other.
    """

    def __init__(self) -> None:
        self.name = secrets.token_hex(8)
        self.reader, self._writer = os.pipe()

    def cut(self) -> None:
        """Tell everybody to stop, as the death of this process would."""
        os.close(self._writer)


async def lifeline_cut(reader: int) -> None:
    """Return when the outermost owner is gone."""
    os.set_blocking(reader, False)
    while True:
        await anyio.wait_readable(reader)
        try:
            if os.read(reader, 1) == b"":
                return
        except BlockingIOError:
            continue


@dataclass(frozen=True)
class Program:
    """What to run.

    Args:
        name: Unique among its owner's children; names the state file and the log.
        argv: The command; use :meth:`towpath` for one of our own.
        config: Given as one JSON object on standard input.
        facts: Kept in the state file for whoever adopts the process. No secret unless the
            adopter needs it; the file has mode 600.
        fds: Descriptors that the child inherits, under the same numbers.
    """

    name: str
    argv: tuple[str, ...]
    config: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    fds: tuple[int, ...] = ()

    @classmethod
    def towpath(
        cls,
        role: str,
        name: str,
        config: Mapping[str, Any],
        *,
        facts: Mapping[str, Any] | None = None,
        fds: tuple[int, ...] = (),
    ) -> "Program":
        """One of our own processes: ``python -m towpath child ROLE NAME``.

        What lies in the folder we were started in is not imported (``-P``).
        """
        argv = (sys.executable, "-P", "-m", "towpath", "child", role, name)
        return cls(name=name, argv=argv, config=config, facts=facts or {}, fds=fds)


@dataclass(frozen=True)
class Child:
    """A process that runs, started or adopted by this owner."""

    name: str
    pid: int
    started: str
    facts: Mapping[str, Any]
    _own: "subprocess.Popen[bytes] | None" = field(default=None, repr=False, compare=False)

    @property
    def alive(self) -> bool:
        """Whether this very process (not another with its pid) still runs."""
        if self._own is not None:
            return self._own.poll() is None
        return _start_time(self.pid) == self.started

    async def wait(self) -> None:
        """Return when it has ended."""
        while self.alive:  # noqa: ASYNC110 - an adopted process tells nobody of its end
            await anyio.sleep(POLL)


def _start_time(pid: int) -> str | None:
    """When a process started, in a form that survives a changed clock; None where none runs."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists():  # clock ticks since boot: field 22, counted behind the name in brackets
            return stat.read_text().rpartition(")")[2].split()[19]
        return f"{process.create_time():.2f}"
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError, IndexError):
        return None


class Children:
    """The child processes of one owner, remembered in a folder.

    Args:
        folder: For state files (``<name>.json``); made when missing.
        logs: For log files (``<name>.log``).
    """

    def __init__(self, folder: Path, logs: Path) -> None:
        self._folder = folder
        self._logs = logs
        self._running: dict[str, Child] = {}
        for path in (folder, logs):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def adopt(self) -> list[Child]:
        """Take over what an earlier owner left running; forget what has ended."""
        for path in sorted(self._folder.glob("*.json")):
            child = self._recall(path)
            if child is None or not child.alive:
                path.unlink(missing_ok=True)
            elif self.get(child.name) is None:
                self._running[child.name] = child
                log.info("adopted process", extra=fields(process=child.name, pid=child.pid))
        return list(self)

    def __iter__(self) -> Iterator[Child]:
        """All that run, adopted or started."""
        self._running = {name: child for name, child in self._running.items() if child.alive}
        return iter(list(self._running.values()))

    def get(self, name: str) -> Child | None:
        """The running process of that name."""
        return next((child for child in self if child.name == name), None)

    async def start(self, program: Program) -> Child:
        """Start a process. It counts as started, not as ready.

        Raises:
            UnavailableError: the program cannot be started.
        """
        with self._log_file(program.name) as output:
            try:
                # not through the event loop: its transports kill their process when they go
                process = subprocess.Popen(  # noqa: ASYNC220
                    program.argv,
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=program.fds,
                )
            except OSError as exc:
                raise UnavailableError(
                    f"process {program.name!r} cannot be started: {exc}"
                ) from exc
        _started[:] = [one for one in (*_started, process) if one.poll() is None]
        started = _start_time(process.pid) or ""
        child = Child(program.name, process.pid, started, dict(program.facts), process)
        try:
            self._remember(child)
        except OSError as exc:  # nobody would find it again: it gets no configuration and ends
            process.kill()
            process.communicate()
            raise UnavailableError(
                f"process {program.name!r} cannot be remembered in {self._folder}: {exc.strerror}"
            ) from exc
        self._running[child.name] = child
        _configure(process, program.config)
        log.info("started process", extra=fields(process=child.name, pid=child.pid))
        return child

    async def stop(self, child: Child, *, grace: float = 10.0) -> None:
        """Stop a process and all that it started: SIGTERM, then SIGKILL after ``grace`` seconds."""
        with anyio.CancelScope(shield=True):
            if child.alive:
                _signal_group(child.pid, signal.SIGTERM)
                with anyio.move_on_after(grace):
                    await child.wait()
                if child.alive:
                    log.warning("failed to stop process in time", extra=fields(process=child.name))
                    _signal_group(child.pid, signal.SIGKILL)
                    await child.wait()
            self._running.pop(child.name, None)
            (self._folder / f"{child.name}.json").unlink(missing_ok=True)
        log.info("stopped process", extra=fields(process=child.name, pid=child.pid))

    async def stop_all(self, *, grace: float = 10.0) -> None:
        """Stop every child, all at the same time."""
        async with anyio.create_task_group() as tasks:
            for child in self:
                tasks.start_soon(lambda c=child: self.stop(c, grace=grace))  # type: ignore[misc]

    def tail(self, name: str, lines: int = 5) -> str:
        """The last lines of a process's log, for a message that explains why it ended."""
        try:
            with (self._logs / f"{name}.log").open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
                text = file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.strip().splitlines()[-lines:])

    def _remember(self, child: Child) -> None:
        state = {
            "folder": str(self._folder.resolve()),
            "pid": child.pid,
            "started": child.started,
            "facts": child.facts,
        }
        write_atomic(self._folder / f"{child.name}.json", json.dumps(state).encode(), mode=0o600)

    def _recall(self, path: Path) -> Child | None:
        """The process of a state file, if it is one of ours; a copied home remembers others'."""
        try:
            state = json.loads(path.read_bytes())
            if state["folder"] != str(self._folder.resolve()):
                return None
            return Child(path.stem, int(state["pid"]), str(state["started"]), dict(state["facts"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _log_file(self, name: str) -> BinaryIO:
        path = self._logs / f"{name}.log"
        if path.exists() and path.stat().st_size > LOG_BYTES:
            path.replace(path.with_suffix(".log.1"))
        return path.open("ab")


def _configure(process: "subprocess.Popen[bytes]", config: Mapping[str, Any]) -> None:
    assert process.stdin is not None  # noqa: S101 - opened with a pipe
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(json.dumps(config).encode())  # a broken pipe: it ended, its log says why


def _signal_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)  # a child leads its own session, hence its own group
    except ProcessLookupError:
        pass
    except PermissionError:
        log.warning("failed to signal process group", extra=fields(pid=pid, signal=number.name))

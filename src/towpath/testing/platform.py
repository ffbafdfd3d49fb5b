"""A platform for tests: ``towpath up`` as a user starts it, on free ports, in a folder of yours."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from towpath.app.home import Home
from towpath.app.ports import free_base

__all__ = ["Command", "RunningPlatform", "running_platform", "towpath"]

START_SECONDS: Final = 60.0


@dataclass(frozen=True)
class Command:
    """What a finished command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output, as one JSON value."""
        return json.loads(self.out)


def towpath(
    *arguments: str, timeout: float = 180, environment: Mapping[str, str] | None = None
) -> Command:
    """Run the command line to its end, as a user does."""
    done = subprocess.run(
        command_line(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **(environment or {})},  # the test kit stands in for the user's shell
    )
    return Command(done.returncode, done.stdout, done.stderr)


def command_line(*arguments: str) -> list[str]:
    """The argument list of a towpath command."""
    return [sys.executable, "-m", "towpath", *arguments]


@dataclass
class RunningPlatform:
    """A running ``towpath up``.

    Args:
        home: Its home.
        process: Of the hub.
    """

    home: Home
    process: "subprocess.Popen[str]"
    _known: set[tuple[int, float]] = field(default_factory=set)

    def ship(self, source: str | Path, name: str, version: str, *more: str) -> Command:
        """Ship a model to it."""
        arguments = ("ship", str(source), "--name", name, "--version", version)
        return towpath(*arguments, "--home", str(self.home.path), "-o", "json", *more)

    def status(self) -> Any:
        """What ``towpath status -o json`` says."""
        return towpath("status", "--home", str(self.home.path), "-o", "json").json

    def processes(self) -> list[psutil.Process]:
        """Every process of it that runs now, found by its home and ancestry."""
        for process in [psutil.Process(self.process.pid)] if self._alive() else []:
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    self._known.add((one.pid, one.create_time()))
        for state in self.home.path.glob("**/run/*.json"):
            with contextlib.suppress(psutil.NoSuchProcess, ValueError, KeyError, OSError):
                one = psutil.Process(json.loads(state.read_text())["pid"])
                self._known.add((one.pid, one.create_time()))
        return [p for pid, created in self._known if (p := _same(pid, created)) is not None]

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30) -> int:
        """Send a signal and wait for the end of the hub's process; its exit code."""
        self.processes()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(timeout)

    def wait_gone(self, timeout: float) -> list[psutil.Process]:
        """Wait until none of its processes is left; those that still are after the time."""
        deadline = time.monotonic() + timeout
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        return left

    def _alive(self) -> bool:
        return self.process.poll() is None


def _same(pid: int, created: float) -> psutil.Process | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None


@contextlib.contextmanager
def running_platform(
    home: Path, *, edges: int = 0, arguments: Sequence[str] = ()
) -> Iterator[RunningPlatform]:
    """Start a platform, wait until it is ready, stop it at the end.

    Raises:
        RuntimeError: it did not become ready; the message holds what it said.
    """
    new = not (home / "home.json").exists()
    ports = ["--port-base", str(free_base(edges))] if new else []
    line = command_line("up", "--home", str(home), *ports, "--edges", str(edges), "-o", "json")
    with (home.parent / f"{home.name}.stderr").open("a+") as errors:
        process = subprocess.Popen(
            [*line, *arguments], stdout=subprocess.PIPE, stderr=errors, text=True
        )
        platform: RunningPlatform | None = None
        try:
            with _killed_after(process, START_SECONDS):
                ready = _await_ready(process)
            if not ready:
                errors.seek(0)
                raise RuntimeError(f"the platform did not start: {errors.read()[-4000:]}")
            platform = RunningPlatform(Home.open(home), process)
            platform.processes()
            yield platform
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            assert process.stdout is not None  # noqa: S101 - opened with a pipe
            process.stdout.close()


@contextlib.contextmanager
def _killed_after(process: "subprocess.Popen[str]", seconds: float) -> Iterator[None]:
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _await_ready(process: "subprocess.Popen[str]") -> bool:
    assert process.stdout is not None  # noqa: S101 - opened with a pipe
    text = ""
    while line := process.stdout.readline():
        text += line
        if line.rstrip() == "}":
            return bool(json.loads(text)["ready"])
    return False

"""A model registry for tests: ``towpath registry serve`` as a user starts it, on a free port."""

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towpath.testing.platform import command_line

__all__ = ["RunningRegistry", "running_registry"]

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 12.0
_DATABASE: Final = {"--db", "--db-file", "--embedmd-database-dsn"}
_VARIABLES: Final = {"TOWPATH_REGISTRY_DB", "MR_EMBEDMD_DATABASE_DSN"}


@dataclass(frozen=True)
class RunningRegistry:
    """A running ``towpath registry serve``.

    Args:
        url: Where it answers.
        process: Its process.
        log: What it says on its standard error; the access log as well.
    """

    url: str
    process: "subprocess.Popen[str]"
    log: Path

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = STOP_SECONDS) -> int:
        """Send a signal and wait for the end; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(timeout)


@contextlib.contextmanager
def running_registry(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[RunningRegistry]:
    """Start a registry that keeps its things in a folder; stop it at the end, if it still runs.

    Args:
        folder: Made when missing; holds ``registry.log``.
        arguments: More of the command's. Without a port, any free one is taken; without a
            database, a SQLite file in the folder.
        environment: More of its environment.

    Raises:
        RuntimeError: it did not start; the message holds what it said.
    """
    variables = {"HOME": str(folder), **(environment or {})}
    told = {argument.partition("=")[0] for argument in arguments}
    line = command_line("registry", "serve", "-o", "json", *arguments)
    if not told & _DATABASE and not _VARIABLES & set(variables):
        line += ["--db", str(folder / "registry.sqlite")]
    if not told & {"--port", "-p"}:
        line += ["--port", "0"]
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "registry.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            line,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, **variables},  # the test kit stands in for the user's shell
        )
        timer = threading.Timer(START_SECONDS, process.kill)
        try:
            timer.start()
            assert process.stdout is not None  # noqa: S101 - opened with a pipe
            ready = process.stdout.readline()
            timer.cancel()
            if not ready:
                process.wait(STOP_SECONDS)
                raise RuntimeError(f"the registry did not start: {log.read_text()[-4000:]}")
            yield RunningRegistry(json.loads(ready)["url"], process, log)
        finally:
            timer.cancel()
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            assert process.stdout is not None  # noqa: S101 - opened with a pipe
            process.stdout.close()

"""A Kubernetes API for tests: ``towpath apiserver run`` as a user starts it, on a free port."""

import contextlib
import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from towpath.testing.platform import command_line

__all__ = ["RunningApi", "running_api"]

START_SECONDS: Final = 30.0
STOP_SECONDS: Final = 10.0


@dataclass(frozen=True)
class RunningApi:
    """A running ``towpath apiserver run``.

    Args:
        url: Where it answers.
        kubeconfig: The administrator's.
        process: Its process.
    """

    url: str
    kubeconfig: Path
    process: "subprocess.Popen[str]"

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = STOP_SECONDS) -> int:
        """Send a signal and wait for the end; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.process.wait(timeout)


@contextlib.contextmanager
def running_api(folder: Path, *arguments: str) -> Iterator[RunningApi]:
    """Start an API that keeps its things in a folder; stop it at the end, if it still runs.

    Args:
        folder: Made when missing; its parent holds ``<name>.stderr``.
        arguments: More of the command's. Without a port, any free one is taken.

    Raises:
        RuntimeError: it did not start; the message holds what it said.
    """
    kept = [] if "--memory" in arguments else ["--db", str(folder / "kube.sqlite")]
    port = [] if "--port" in arguments else ["--port", "0"]
    line = command_line("apiserver", "run", *kept, *port, "-o", "json", *arguments)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{folder.name}.stderr").open("w+") as errors:
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=errors, text=True)
        timer = threading.Timer(START_SECONDS, process.kill)
        try:
            timer.start()
            assert process.stdout is not None  # noqa: S101 - opened with a pipe
            ready = process.stdout.readline()
            timer.cancel()
            if not ready:
                process.wait(STOP_SECONDS)
                errors.seek(0)
                raise RuntimeError(f"the API did not start: {errors.read()[-4000:]}")
            told = json.loads(ready)
            yield RunningApi(told["url"], Path(told["kubeconfig"]), process)
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

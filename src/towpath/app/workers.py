"""Worker processes that do the same work: started, watched, replaced, stopped together.

A worker says on its standard output that it is ready, or why it cannot be; the end of that output
is its own end. The first one is awaited before the others start, so that what only one can do, such
as making a database's tables, is done once. No worker outlives this process: each holds the
reading end of its lifeline.
"""

import contextlib
import json
import logging
import os
import signal
import subprocess
from collections.abc import Callable
from typing import Any, Final

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from towpath.errors import InvalidError, TowpathError, UnavailableError
from towpath.process import Program
from towpath.telemetry import fields

__all__ = ["Workers", "told_error", "told_ready"]

log = logging.getLogger(__name__)

FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 30.0
STABLE_SECONDS: Final = 30.0
"""A worker that ends is started anew: at once, and ever later when it does not live long."""
LINE: Final = 64 * 1024


def told_ready() -> str:
    """What a worker says once it answers."""
    return json.dumps({"ready": True}) + "\n"


def told_error(error: TowpathError) -> str:
    """What a worker says when it cannot work."""
    invalid = isinstance(error, InvalidError)
    return json.dumps({"error": error.message, "hint": error.hint, "invalid": invalid}) + "\n"


class Workers:
    """Equal worker processes.

    Args:
        program: What each runs; it inherits the descriptors named there.
        count: How many.
        grace: Seconds that a worker gets to end when all stop.
        ended: Called with the pid of each that has ended.
    """

    def __init__(
        self, program: Program, count: int, *, grace: float, ended: Callable[[int], None]
    ) -> None:
        self._program = program
        self._count = count
        self._grace = grace
        self._ended = ended
        self._ready = 0

    async def run(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        """Keep them running until cancelled; tell when all have been ready once.

        Raises:
            TowpathError: the first one cannot work, for the reason that it gave.
        """
        async with anyio.create_task_group() as tasks:
            for _ in range(self._count):
                await tasks.start(self._keep)
            task_status.started()

    async def _keep(self, *, task_status: TaskStatus[None] = TASK_STATUS_IGNORED) -> None:
        pause = FIRST_PAUSE
        alone = not self._ready

        def ready() -> None:
            self._ready += 1
            with contextlib.suppress(RuntimeError):  # it was told before
                task_status.started()

        while True:
            began = anyio.current_time()
            error = await self._live(ready)
            if alone and not self._ready:
                raise error
            lived = anyio.current_time() - began
            pause = FIRST_PAUSE if lived > STABLE_SECONDS else min(2 * pause, LONGEST_PAUSE)
            log.warning(
                "failed worker, starts anew", extra=fields(error=error.message, pause=pause)
            )
            await anyio.sleep(pause)

    async def _live(self, ready: Callable[[], None]) -> TowpathError:
        """One life of a worker; why it ended."""
        process = self._start()
        assert process.stdout is not None  # noqa: S101 - opened with a pipe
        error: TowpathError | None = None
        try:
            with process.stdout as output:
                descriptor = output.fileno()
                os.set_blocking(descriptor, False)
                while True:
                    await anyio.wait_readable(descriptor)
                    text = os.read(descriptor, LINE)
                    if not text:
                        break
                    for line in text.splitlines():
                        told: dict[str, Any] = json.loads(line)
                        if told.get("ready"):
                            log.info("started worker", extra=fields(pid=process.pid))
                            ready()
                        else:
                            error = _error(told)
        finally:
            with anyio.CancelScope(shield=True):
                code = await self._stop(process)
            self._ended(process.pid)
        return error or UnavailableError(f"a worker ended with code {code}")

    def _start(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            self._program.argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for this process, which tells them in its turn
            pass_fds=self._program.fds,
        )
        assert process.stdin is not None  # noqa: S101 - opened with a pipe
        with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
            pipe.write(json.dumps(self._program.config).encode())
        return process

    async def _stop(self, process: "subprocess.Popen[bytes]") -> int:
        """End a worker that may have ended; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        with anyio.move_on_after(self._grace):
            while process.poll() is None:  # noqa: ASYNC110 - nothing tells it that works everywhere
                await anyio.sleep(0.02)
        if process.poll() is None:
            log.warning("failed to stop worker in time", extra=fields(pid=process.pid))
            process.kill()
        return process.wait()


def _error(told: dict[str, Any]) -> TowpathError:
    kind = InvalidError if told.get("invalid") else UnavailableError
    return kind(str(told.get("error", "")), hint=str(told.get("hint", "")))

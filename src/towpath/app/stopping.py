"""When a process of ours ends: told by a signal, or by the end of its owner's lifeline."""

import signal

import anyio
from anyio import TASK_STATUS_IGNORED
from anyio.abc import TaskStatus

from towpath.process import lifeline_cut

__all__ = ["until_told"]


async def until_told(
    stop: anyio.Event,
    lifeline: int | None = None,
    *,
    task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
) -> None:
    """Set ``stop`` at SIGINT, SIGTERM or the lifeline's end; run this until cancelled.

    Start it with ``await task_group.start(until_told, …)``: afterwards no signal is missed.
    """
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with anyio.create_task_group() as tasks:
            if lifeline is not None:
                tasks.start_soon(_cut, stop, lifeline)
            task_status.started()
            async for _ in signals:
                stop.set()


async def _cut(stop: anyio.Event, lifeline: int) -> None:
    await lifeline_cut(lifeline)
    stop.set()

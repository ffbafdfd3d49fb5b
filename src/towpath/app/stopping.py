"""When a process of ours ends: told by a signal, or by the end of its owner's lifeline."""

import signal

import anyio

from towpath.process import lifeline_cut

__all__ = ["until_told"]


async def until_told(stop: anyio.Event, lifeline: int | None = None) -> None:
    """Set ``stop`` at SIGINT, SIGTERM or the lifeline's end; run this until cancelled."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_signalled, stop)
        if lifeline is not None:
            tasks.start_soon(_cut, stop, lifeline)


async def _signalled(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            stop.set()


async def _cut(stop: anyio.Event, lifeline: int) -> None:
    await lifeline_cut(lifeline)
    stop.set()

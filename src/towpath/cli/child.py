"""``python -m towpath child ROLE NAME``: our own processes, started by their owner only.

The configuration comes as one JSON object on standard input. None means that the owner died
before it could remember this process, so nobody would ever find it: it ends at once.
"""

import importlib
import json
import logging
import sys
from collections.abc import Mapping
from typing import Any, Final

import anyio

from towpath.errors import first_known
from towpath.telemetry import fields

__all__ = ["run"]

ROLES: Final = {
    "cluster": "towpath.app.cluster",
    "gateway": "towpath.app.gateway",
    "runtime": "towpath.app.runtime",
}

log = logging.getLogger(__name__)


def run(role: str, name: str) -> None:
    """Be the process of that role."""
    from towpath.cli.main import log_to_stderr

    log_to_stderr(level=logging.INFO)
    text = sys.stdin.buffer.read()
    if not text:
        sys.exit(0)
    config: Mapping[str, Any] = json.loads(text)
    try:
        anyio.run(_run, ROLES[role], config)
    except Exception as error:
        known = first_known(error)
        # the owner quotes the last line of this log: it says why, whatever comes above it
        log.error(  # noqa: TRY400 - with a traceback only where it helps
            "failed process",
            extra=fields(role=role, name=name),
            exc_info=error if known is None else None,
        )
        told = f"{known.message}. {known.hint}".strip() if known else f"internal error: {error!r}"
        sys.stderr.write(told.replace("\n", " ") + "\n")
        sys.exit(known.exit_code if known else 1)


async def _run(module: str, config: Mapping[str, Any]) -> None:
    from towpath.app.stopping import until_told

    stop = anyio.Event()
    main = importlib.import_module(module).run
    async with anyio.create_task_group() as tasks:
        await tasks.start(until_told, stop, config.get("lifeline"))
        await main(config, stop)
        tasks.cancel_scope.cancel()

"""``python -m towpath child ROLE NAME``: our own processes, and commands that stay lean.

The configuration comes as one JSON object on standard input. None means that the owner died
before it could remember this process, so nobody would ever find it: it ends at once.

A command that runs for long may become such a process (:func:`become`): under the same pid and on
the same terminal, without the tens of megabytes that reading its arguments took.
"""

import importlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import anyio

from towpath.cli import loop
from towpath.cli.stderr import fail, log_to_stderr
from towpath.errors import first_known
from towpath.telemetry import fields

__all__ = ["become", "run"]

ROLES: Final = {
    "apiserver": "towpath.cli.alone",
    "cluster": "towpath.app.cluster",
    "gateway": "towpath.app.gateway",
    "registry": "towpath.cli.ledger",
    "registry-worker": "towpath.cli.ledger",
    "runtime": "towpath.app.runtime",
}
COMMANDS: Final = frozenset({"apiserver", "registry"})
"""Roles with a person in front."""

log = logging.getLogger(__name__)


def become(role: str, name: str, config: Mapping[str, Any]) -> NoReturn:
    """Be the process of that role from now on."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file:  # it fits into the pipe's buffer
        json.dump(config, file)
    os.dup2(reader, sys.stdin.fileno())
    line = [sys.executable, "-P", "-m", "towpath", "child", role, name]
    os.execv(line[0], line)  # noqa: S606


def run(role: str, name: str) -> None:
    """Be the process of that role."""
    text = sys.stdin.buffer.read()
    if not text:
        sys.exit(0)
    config: Mapping[str, Any] = json.loads(text)
    foreground = role in COMMANDS
    debug = bool(config.get("debug"))
    log_to_stderr(debug=debug, level=logging.WARNING if foreground else logging.INFO)
    try:
        loop.run(_run, ROLES[role], config)
    except Exception as error:
        known = first_known(error)
        if foreground:
            if known is None or debug:
                raise
            fail(known)
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

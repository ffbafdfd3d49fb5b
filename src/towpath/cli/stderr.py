"""What a process of ours says on stderr: its log, and the error that ends it."""

import logging
import os
import sys
from typing import NoReturn

from towpath.errors import TowpathError
from towpath.telemetry import KeyValueFormatter

__all__ = ["fail", "log_to_stderr", "talk"]


def talk(text: str) -> None:
    """Say something to a person."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def log_to_stderr(*, debug: bool = False, level: int = logging.WARNING) -> None:
    """Send log lines to stderr, as ``key=value`` fields."""
    handler = logging.StreamHandler()
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else level, force=True)
    if not debug:  # each request of every client is theirs to log, not ours
        for chatty in ("httpx2", "httpcore2", "uvicorn"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        # a client that tries TLS first, as skopeo does, is no reason for a warning
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def fail(error: TowpathError) -> NoReturn:
    """Tell the error and end the process with its exit code."""
    coloured = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    told = f"error: {error.message}"
    talk(f"\x1b[31m{told}\x1b[0m" if coloured else told)
    if error.hint:
        talk(f"\nhint: {error.hint}")
    sys.exit(error.exit_code)

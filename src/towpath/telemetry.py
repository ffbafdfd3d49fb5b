"""Log fields and redaction: what every module's log lines have in common.

A message is constant and lower case; what varies follows as ``key=value`` fields::

    log.info("fetched image", extra=fields(ref=ref, seconds=0.2))

Handlers are set only by the command line; logs go to stderr.
"""

import logging
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit, urlunsplit

__all__ = ["KeyValueFormatter", "fields", "redact"]

_PUBLIC_QUERY: Final = frozenset({"digest", "mount", "from", "n", "last", "service", "scope"})
_FIELD: Final = "towpath_fields"


def fields(**values: object) -> Mapping[str, Any]:
    """``extra`` of a log call: the fields that follow the message, in the order given."""
    return {_FIELD: values}


def redact(url: str) -> str:
    """A URL fit for a log or a message: no user, no password, only query values known harmless."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        return "(not a URL)"
    netloc = parts.netloc.rsplit("@", 1)[-1]
    shown = "&".join(f"{k}={v if k in _PUBLIC_QUERY else 'REDACTED'}" for k, v in query)
    return urlunsplit((parts.scheme, netloc, parts.path, shown, ""))


class KeyValueFormatter(logging.Formatter):
    """``time level logger message key=value …``, one line for a record, tracebacks below it."""

    _plain = re.compile(r"[^\s\"=]+")

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line itself; fields are appended here so that a traceback still comes last."""
        line = super().formatMessage(record)
        extra: Mapping[str, object] = getattr(record, _FIELD, {})
        for key, value in extra.items():
            text = str(value)
            if not self._plain.fullmatch(text):
                text = (
                    '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
                )
            line += f" {key}={text}"
        return line

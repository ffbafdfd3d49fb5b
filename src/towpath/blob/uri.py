"""Where bytes lie: a URI or a plain path, parsed once, and safe to print.

RFC 3986 for URIs, RFC 8089 for ``file:``. A text is a URI when it begins with ``scheme://`` or
``file:``; everything else is a path of this machine, taken as it is (``~`` is a name like others).
"""

import os
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from towpath.errors import InvalidError
from towpath.telemetry import redact

__all__ = ["Uri", "parse"]

_URI: Final = re.compile(r"(?:[a-z][a-z0-9+.-]*://|file:)", re.IGNORECASE)
_DECODED: Final = frozenset({"file", "memory"})
_LONGEST: Final = 8192


@dataclass(frozen=True, repr=False)
class Uri:
    """A parsed URI.

    Attributes:
        scheme: Lower case; ``file`` for a plain path.
        authority: As written: it may hold a user and a password.
        path: Of ``file`` and ``memory`` decoded, else as written (percent-encoded).
        query: As written, without ``?``: it may hold a signature.
        fragment: As written, without ``#``.
    """

    scheme: str
    authority: str
    path: str
    query: str = ""
    fragment: str = ""

    @property
    def name(self) -> str:
        """The last part of the path, decoded; empty when the path ends in ``/``."""
        last = self.path.rsplit("/", 1)[-1]
        return last if self.scheme in _DECODED else unquote(last)

    def with_secrets(self) -> str:
        """The whole text, to open it with; never for a message or a log."""
        path = self.path
        if self.scheme == "file" and not path.startswith("/"):
            return path
        if self.scheme in _DECODED:
            path = quote(os.fsencode(path))
            if self.scheme == "file":
                return f"file://{path}"
        return urlunsplit((self.scheme, self.authority, path, self.query, self.fragment))

    def __str__(self) -> str:
        """The text without user, password and query values."""
        text = self.with_secrets()
        return text if self.scheme == "file" else redact(text)

    __repr__ = __str__


def parse(text: str) -> Uri:
    """Parse a URI or a plain path.

    Raises:
        InvalidError: it is empty, too long, has control characters, or is a malformed URI.
    """
    if not text:
        raise InvalidError("an empty text names no source")
    if len(text) > _LONGEST:
        raise InvalidError(f"a source of more than {_LONGEST} characters is not accepted")
    if any(ord(c) < 0x20 or ord(c) == 0x7F for c in text):
        raise InvalidError(
            "a source has a control character", hint="Is there a line end behind it?"
        )
    if not _URI.match(text):
        return Uri("file", "", text)
    try:
        parts = urlsplit(text)
        _ = parts.port  # checks that it is a number
    except ValueError as exc:
        raise InvalidError(f"{redact(text)[:200]!r} is not a URI") from exc
    scheme = parts.scheme.lower()
    if scheme == "file":
        return _file(text, parts.netloc, parts.path, bool(parts.query or parts.fragment))
    path = parts.path
    if scheme in _DECODED:
        path = unquote(path, errors="surrogateescape")
        _no_nul(path)
    return Uri(scheme, parts.netloc, path, parts.query, parts.fragment)


def _file(text: str, authority: str, path: str, more: bool) -> Uri:
    if authority not in ("", "localhost"):
        raise InvalidError(
            f"{redact(text)[:200]!r} names a file of another machine",
            hint="Write file:///absolute/path.",
        )
    if more:
        raise InvalidError(
            f"{redact(text)[:200]!r} has a query or a fragment, which files have not",
            hint="In a file URI write '?' as %3F and '#' as %23, or give the plain path.",
        )
    if not path.startswith("/"):
        raise InvalidError(
            f"{text[:200]!r} is not absolute", hint="Give a relative path without 'file:'."
        )
    path = unquote(path, errors="surrogateescape")
    _no_nul(path)
    return Uri("file", "", path)


def _no_nul(path: str) -> None:
    if "\0" in path:
        raise InvalidError("a source has a NUL character")

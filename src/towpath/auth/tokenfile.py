"""A file of static tokens: who may call, written down by hand.

One line for each: ``token,user,uid`` and, optionally, the groups as one quoted field. Blank lines
and lines that begin with ``#`` are left out.

Source: Kubernetes documentation, "Authenticating", "Static token file".
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from towpath.auth.identity import Identity
from towpath.auth.outside import listed
from towpath.errors import InvalidError

__all__ = ["parsed", "tokens_in"]

BYTES: Final = 1024 * 1024
_HINT: Final = 'A line is token,user,uid,"group,group"; the groups may be left out.'
_RESERVED: Final = "system:"


def tokens_in(path: Path) -> list[tuple[str, Identity]]:
    """The tokens of a file, with whom each stands for (blocking).

    Raises:
        InvalidError: it cannot be read, or a line of it is wrong. The message names the line by
            its number, and never what stands in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as exc:
        why = exc.strerror if isinstance(exc, OSError) else "it is no UTF-8 text"
        raise InvalidError(f"the file of tokens {path} cannot be read: {why}") from exc
    if len(data) > BYTES:
        raise InvalidError(f"the file of tokens {path} is larger than {BYTES} bytes")
    found = list(parsed(text, str(path)))
    if not found:
        raise InvalidError(f"the file of tokens {path} holds no token", hint=_HINT)
    return found


def parsed(text: str, origin: str) -> Iterator[tuple[str, Identity]]:
    """The tokens of a text.

    Args:
        text: As in the file.
        origin: Where it comes from, for the message.

    Raises:
        InvalidError: a line of it is wrong.
    """
    known = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            (columns,) = csv.reader([line], strict=True, skipinitialspace=True)
        except (csv.Error, ValueError):
            raise _wrong(origin, number, "is not CSV") from None
        fields = [column.strip() for column in columns]
        if not 3 <= len(fields) <= 4:
            raise _wrong(origin, number, f"has {len(fields)} fields, not 3 or 4")
        token, user, uid, groups = (*fields, "")[:4]
        if not token or not user:
            raise _wrong(origin, number, f"has no {'token' if not token else 'user'}")
        if not token.isascii() or any(c.isspace() or not c.isprintable() for c in token):
            raise _wrong(origin, number, "has a token that no header can carry")
        if token in known:
            raise _wrong(origin, number, "has a token that stands above already")
        if user.startswith(_RESERVED):
            raise _wrong(origin, number, f"has a user that begins with {_RESERVED}")
        known.add(token)
        yield token, Identity(user, frozenset(listed(groups)), uid)


def _wrong(origin: str, number: int, what: str) -> InvalidError:
    return InvalidError(f"line {number} of the file of tokens {origin} {what}", hint=_HINT)

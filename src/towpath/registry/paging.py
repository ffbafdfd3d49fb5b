"""Pages of a list: what was asked, where the next one begins.

The place in a list is the last item's (order value, id), never a count, so nothing is skipped or
told twice when entities are added meanwhile. The token holds only that place; the caller repeats
order and filters, as the specification wants it.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from towpath.registry.records import bad_request

__all__ = ["Paging", "parse", "token"]

ORDERS: Final = ("ID", "CREATE_TIME", "LAST_UPDATE_TIME")
TOKEN_LENGTH: Final = 1024

_PLACE = re.compile(rb"([0-9]{1,18}):([0-9]{1,18})")
_SIZE = re.compile(r"[+-]?[0-9]{1,10}", re.ASCII)


@dataclass(frozen=True)
class Paging:
    """One page that was asked for.

    Args:
        size: Most items of the page.
        echo: ``pageSize`` of the answer: 0 where no size was asked for.
        order: One of :data:`ORDERS`.
        descending: Largest first.
        after: (order value, id) of the item before the page; nothing for the first page.
    """

    size: int
    echo: int = 0
    order: str = "ID"
    descending: bool = False
    after: tuple[int, int] | None = None


def parse(query: Mapping[str, str], limit: int) -> Paging:
    """The page that a query asks for (registry specification 1.6).

    An unknown order is ID, an unknown direction ascending. A size that is absent, 0 or negative
    asks for everything, which comes in pages of the limit.

    Args:
        query: The query's parameters.
        limit: Largest page.

    Raises:
        InvalidError: the size is no number, or the token none of ours.
    """
    text = query.get("pageSize") or "0"
    if not _SIZE.fullmatch(text):
        raise bad_request("pageSize is not a number")
    asked = min(max(int(text), 0), limit)
    order = query.get("orderBy", "")
    return Paging(
        size=asked or limit,
        echo=asked,
        order=order if order in ORDERS else "ID",
        descending=query.get("sortOrder") == "DESC",
        after=_place(query.get("nextPageToken", "")),
    )


def token(value: int, ident: int) -> str:
    """The token that continues after an item."""
    return base64.urlsafe_b64encode(f"{ident}:{value}".encode()).decode()


def _place(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    try:
        raw = base64.urlsafe_b64decode(text) if len(text) <= TOKEN_LENGTH else b""
    except (binascii.Error, ValueError):
        raw = b""
    found = _PLACE.fullmatch(raw)
    if not found:
        raise bad_request("nextPageToken is not one that this server gave")
    return int(found[2]), int(found[1])

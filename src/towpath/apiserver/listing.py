"""Lists: selectors, pages, and the token that carries a page on.

A page is read at one revision. Later pages are read when asked for and repeat the first page's
revision, so a watch from there tells everything that changed in between.

Source: Kubernetes API concepts, "Retrieving large results sets in chunks".
"""

import base64
import binascii
from typing import Final, NamedTuple

import orjson

from towpath.apiserver import failures
from towpath.apiserver.kinds import Resource
from towpath.apiserver.record import Record
from towpath.apiserver.selectors import Selector
from towpath.apiserver.store import Store
from towpath.errors import ConflictError, Reason

__all__ = ["Page", "page", "presented"]

_CHUNK: Final = 500


class Page(NamedTuple):
    """Records of a list, the revision it stands for, and the token of the next page or ``""``."""

    revision: int
    records: list[Record]
    token: str


def presented(resource: Resource, data: bytes) -> bytes:
    """A stored object's bytes in the version asked for (conversion strategy None)."""
    if not resource.mixed:
        return data
    obj = orjson.loads(data)
    obj["apiVersion"] = resource.kind.api_version
    return orjson.dumps(obj)


def _token(revision: int, record: Record) -> str:
    start = [revision, record.address.namespace, record.address.name]
    return base64.urlsafe_b64encode(orjson.dumps(start)).decode()


def _start(token: str) -> tuple[int, tuple[str, str]]:
    try:
        revision, namespace, name = orjson.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError) as exc:
        raise failures.bad_request("continue key is not valid") from exc
    if not (isinstance(revision, int) and isinstance(namespace, str) and isinstance(name, str)):
        raise failures.bad_request("continue key is not valid")
    return revision, (namespace, name)


async def page(
    store: Store,
    resource: Resource,
    namespace: str,
    selector: Selector,
    limit: int | None = None,
    token: str = "",
) -> Page:
    """One page of a list.

    Args:
        store: Where objects are.
        resource: Their kind.
        namespace: Only this one; ``""`` is any.
        selector: What to leave out.
        limit: Most objects; None is all.
        token: From the page before.

    Raises:
        ConflictError: the token is older than the changes kept (reason ``Expired``).
        InvalidError: the token is not one.
    """
    revision, after = _start(token) if token else (0, ("", ""))
    if token and revision < store.floor:
        raise ConflictError(
            "The provided continue parameter is too old to display a consistent list result. "
            "You can start a new list without the continue parameter",
            reason=Reason.EXPIRED,
        )
    found: list[Record] = []
    while True:
        chunk = limit and (limit - len(found) if selector.everything else max(limit, _CHUNK))
        read = await store.page(resource.key, namespace, after=after, limit=chunk or None)
        revision = revision or read.revision
        for index, record in enumerate(read.records):
            if selector.everything or selector.matches(record.address, record.object):
                found.append(record)
            if limit and len(found) == limit:
                more = read.more or index + 1 < len(read.records)
                return Page(revision, found, _token(revision, record) if more else "")
        if not read.more:
            return Page(revision, found, "")
        after = (read.records[-1].address.namespace, read.records[-1].address.name)

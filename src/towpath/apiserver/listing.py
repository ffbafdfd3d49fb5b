"""Lists: selectors, pages, and the token that carries a page on.

All pages of a list show one state, that of the first; the store keeps it for a while.

Source: Kubernetes API concepts, "Retrieving large results sets in chunks", "Resource versions".
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Final, NamedTuple

import orjson

from towpath.apiserver import failures
from towpath.apiserver.kinds import Resource
from towpath.apiserver.record import Range, Record
from towpath.apiserver.schema import Problem
from towpath.apiserver.selectors import Selector
from towpath.apiserver.store import Store
from towpath.errors import ConflictError

__all__ = ["ALL", "Page", "Wish", "page", "wish"]

_CHUNK: Final = 500
_MATCHES: Final = ("Exact", "NotOlderThan")
_ANYWAY: Final = -1
"""Revision of a token that goes on with whatever is there when it is used."""
_LARGEST: Final = 2**63
"""Revisions stay below: SQLite's integers."""
_TOO_OLD: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start "
    "a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)


class Wish(NamedTuple):
    """What a client may ask of a list.

    Attributes:
        limit: Most objects; None is all.
        token: From the page before.
        revision: The state wanted, or the oldest that will do; 0 is any.
        exact: Whether it must be that very state.
    """

    limit: int | None = None
    token: str = ""
    revision: int = 0
    exact: bool = False


ALL: Final = Wish()


class Page(NamedTuple):
    """Some records of a list.

    Attributes:
        revision: What the list stands for.
        records: In order.
        token: Of the next page; ``""`` after the last.
        remaining: How many follow, where that is known.
    """

    revision: int
    records: list[Record]
    token: str
    remaining: int | None = None


def _token(revision: int, after: tuple[str, str]) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([revision, *after])).decode()


def _start(token: str) -> tuple[int, tuple[str, str]]:
    try:
        revision, namespace, name = orjson.loads(base64.urlsafe_b64decode(token))
    except (binascii.Error, ValueError, TypeError) as exc:
        raise failures.bad_request(f"continue key is not valid: {exc}") from exc
    texts = isinstance(namespace, str) and isinstance(name, str)
    if not (texts and isinstance(revision, int) and _ANYWAY <= revision < _LARGEST):
        raise failures.bad_request("continue key is not valid: it is none of ours")
    return revision, (namespace, name)


def wish(query: Mapping[str, str]) -> Wish:
    """What a request for a list asks for.

    Raises:
        InvalidError: it contradicts itself, or a number is none.
    """
    revision, match = query.get("resourceVersion", ""), query.get("resourceVersionMatch", "")
    token, limit = query.get("continue", ""), _number(query, "limit")
    problems = []
    if match:
        if not revision:
            problems.append("resourceVersionMatch is forbidden unless resourceVersion is provided")
        if token:
            problems.append("resourceVersionMatch is forbidden when continue is provided")
        if match == "Exact" and revision == "0":
            problems.append('resourceVersionMatch "exact" is forbidden for resourceVersion "0"')
    field = "resourceVersionMatch"
    found = [Problem(field, "FieldValueForbidden", f"Forbidden: {text}") for text in problems]
    if match and match not in _MATCHES:
        text = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        found.append(Problem(field, "FieldValueNotSupported", text))
    if found:
        raise failures.illegal_options("ListOptions", found)
    if revision and not (revision.isascii() and revision.isdigit() and len(revision) < 19):
        raise failures.bad_request(f"invalid resource version {revision[:50]!r}")
    wanted = int(revision or 0)
    if token and wanted:
        raise failures.bad_request("specifying resource version is not allowed when using continue")
    # A limit with a revision has always meant just that revision.
    return Wish(limit, token, wanted, match == "Exact" or bool(not match and wanted and limit))


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise failures.bad_request(f"{name} must be a number, 0 or above")
    return int(text) or None


async def page(
    store: Store, resource: Resource, namespace: str, selector: Selector, wanted: Wish = ALL
) -> Page:
    """One page of a list.

    Args:
        store: Where objects are.
        resource: Their kind.
        namespace: Only this one; ``""`` is any.
        selector: What to leave out.
        wanted: How much of it, and of which state.

    Raises:
        ConflictError: the state is no longer kept (reason ``Expired``).
        InvalidError: the token is not one.
        UnavailableError: the revision is not reached yet.
    """
    limit, after = wanted.limit, ("", "")
    revision = wanted.revision if wanted.exact else 0
    if wanted.token:
        revision, after = _start(wanted.token)
    wide = Range(resource.key, namespace, after, at=max(revision, 0))
    found: list[Record] = []
    while True:
        chunk = (limit or 0) - len(found) if limit else 0
        if not selector.everything:  # in pieces, so that matching leaves others their turn
            chunk = max(limit or 0, _CHUNK)
        try:
            read = await store.page(
                wide.resource, wide.namespace, after=wide.after, limit=chunk or None, at=wide.at
            )
        except ConflictError as exc:
            if wanted.token:
                raise failures.expired(_TOO_OLD, _token(_ANYWAY, after)) from exc
            told = "The resourceVersion for the provided list is too old."
            raise failures.expired(told) from exc
        if max(wanted.revision, wide.at) > read.revision:
            raise failures.too_large_revision(max(wanted.revision, wide.at), read.revision)
        wide = wide._replace(at=read.revision)
        for index, record in enumerate(read.records):
            if selector.everything or selector.matches(record.address, record.object):
                found.append(record)
            if limit and len(found) == limit:
                if not read.more and index + 1 == len(read.records):
                    return Page(wide.at, found, "")
                last = record.address[1:]
                rest = None
                if selector.everything:
                    rest = await store.count(wide._replace(after=last))
                return Page(wide.at, found, _token(wide.at, last), rest)
        if not read.more:
            return Page(wide.at, found, "")
        wide = wide._replace(after=read.records[-1].address[1:])

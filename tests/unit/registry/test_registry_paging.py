"""Paging: the query, the token, and that a walk over a changing list misses and repeats nothing."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine

from towpath.errors import InvalidError
from towpath.registry import paging, store
from towpath.registry.events import Stamp
from towpath.registry.kinds import REGISTERED_MODEL
from towpath.registry.store import Filter
from towpath.registry.tables import METADATA

ORDERS = st.sampled_from(["ID", "CREATE_TIME", "LAST_UPDATE_TIME"])
TIMES = st.integers(1000, 1003)  # few, so that many are equal


@contextmanager
def book() -> Iterator[Connection]:
    engine = create_engine("sqlite://")
    with engine.connect() as tx:
        METADATA.create_all(tx)
        yield tx
    engine.dispose()


def add(tx: Connection, name: str, now: int) -> int:
    return store.create(tx, REGISTERED_MODEL, {"name": name}, Stamp(now)).id


def walk(tx: Connection, query: dict[str, str], between: list[list[int]]) -> list[int]:
    """Follow the tokens to the end; after each page, entities of the given times are added."""
    seen: list[int] = []
    while True:
        asked = paging.parse(query, limit=1000)
        records, more = store.page(tx, (REGISTERED_MODEL,), Filter(), asked)
        assert len(records) <= asked.size
        seen += [record.id for record in records]
        if more is None:
            return seen
        query = {**query, "nextPageToken": paging.token(*more)}
        for time in between.pop() if between else []:
            add(tx, f"late-{len(seen)}-{time}", time)


@settings(deadline=None, max_examples=60)
@given(
    at_first=st.lists(TIMES, max_size=12),
    between=st.lists(st.lists(TIMES, max_size=3, unique=True), max_size=6),
    size=st.integers(1, 5),
    order=ORDERS,
    descending=st.booleans(),
)
def test_a_walk_under_inserts_misses_nothing_and_repeats_nothing(
    at_first: list[int], between: list[list[int]], size: int, order: str, descending: bool
) -> None:
    with book() as tx:
        ids = [add(tx, f"m{n}", time) for n, time in enumerate(at_first)]
        query = {
            "pageSize": str(size),
            "orderBy": order,
            "sortOrder": "DESC" if descending else "ASC",
        }
        seen = walk(tx, query, between)

    assert len(seen) == len(set(seen))
    assert set(ids) <= set(seen)
    early = [ident for ident in seen if ident in ids]
    expected = sorted(ids, key=lambda i: (i if order == "ID" else at_first[ids.index(i)], i))
    assert early == (expected[::-1] if descending else expected)


def test_an_update_of_what_was_seen_hides_nothing_that_was_not() -> None:
    with book() as tx:
        ids = [add(tx, f"m{n}", 1000) for n in range(6)]
        asked = paging.parse({"pageSize": "2", "orderBy": "LAST_UPDATE_TIME"}, 1000)
        first, more = store.page(tx, (REGISTERED_MODEL,), Filter(), asked)
        assert more is not None
        store.update_record(tx, first[0], {"description": "new"}, Stamp(5000))
        rest = paging.Paging(size=10, order="LAST_UPDATE_TIME", after=more)
        second, _ = store.page(tx, (REGISTERED_MODEL,), Filter(), rest)

    assert {record.id for record in first + second} == set(ids)


@given(st.integers(0, 10**17), st.integers(0, 10**9))
def test_a_token_says_where_it_was_made(value: int, ident: int) -> None:
    text = paging.token(value, ident)
    assert paging.parse({"nextPageToken": text}, 10).after == (value, ident)


@given(st.text(max_size=40) | st.binary(max_size=30).map(lambda b: base64.b64encode(b).decode()))
def test_any_token_is_read_or_refused(text: str) -> None:
    message = ""
    after = None
    try:
        after = paging.parse({"nextPageToken": text}, 10).after
    except InvalidError as error:
        message = error.message
    assert (after is None and not message) == (text == "")
    assert not message or "nextPageToken" in message


@pytest.mark.parametrize(
    "text", ["x", "MTo=", base64.b64encode(b"1" * 2000 + b":1").decode(), "MTA6LTU=", "a" * 1025]
)
def test_tokens_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidError):
        paging.parse({"nextPageToken": text}, 10)


@pytest.mark.parametrize(
    ("text", "size", "echo"),
    [("", 50, 0), ("0", 50, 0), ("-3", 50, 0), ("7", 7, 7), ("50", 50, 50), ("99999", 50, 50)],
)
def test_page_sizes(text: str, size: int, echo: int) -> None:
    asked = paging.parse({"pageSize": text}, 50)
    assert (asked.size, asked.echo) == (size, echo)


@pytest.mark.parametrize("text", ["x", "1.5", "1e2", "٣", " 1", "9" * 30])
def test_page_sizes_that_are_refused(text: str) -> None:
    with pytest.raises(InvalidError, match="pageSize"):
        paging.parse({"pageSize": text}, 50)


def test_unknown_orders_fall_back() -> None:
    asked = paging.parse({"orderBy": "NAME", "sortOrder": "sideways"}, 50)
    assert (asked.order, asked.descending) == ("ID", False)

"""Ranges, names and pages of the distribution, as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.distribution.repositories import folder_name, next_page, page, repository_name
from towpath.distribution.wire import byte_range, uploaded
from towpath.errors import InvalidError, Reason


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-", (0, 10)),
        ("bytes=3-", (3, 7)),
        ("bytes=3-5", (3, 3)),
        ("bytes=9-100", (9, 1)),
        ("bytes=-4", (6, 4)),
        ("bytes=-40", (0, 10)),
        ("bytes=5-3", None),
        ("bytes=-", None),
        ("bytes=0-1,4-5", None),
        ("lines=1-2", None),
    ],
)
def test_byte_range(header: str | None, expected: tuple[int, int] | None) -> None:
    assert expected == byte_range(header, 10)


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=99-100", "bytes=-0"])
def test_byte_range_behind_the_end(header: str) -> None:
    with pytest.raises(InvalidError) as caught:
        byte_range(header, 10)
    assert Reason.RANGE_NOT_SATISFIABLE is caught.value.reason


@given(st.text(max_size=20), st.integers(0, 30))
def test_byte_range_lies_inside(header: str, size: int) -> None:
    try:
        found = byte_range(f"bytes={header}", size)
    except InvalidError:
        return
    if found is not None:
        assert 0 <= found[0] < found[0] + found[1] <= size


def test_uploaded() -> None:
    assert [uploaded(0), uploaded(1), uploaded(10)] == ["0-0", "0-0", "0-9"]


@given(st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)?(/[a-z0-9]+)*", fullmatch=True))
def test_folder_and_repository_are_one_to_one(name: str) -> None:
    folder = folder_name(name)

    assert "/" not in folder
    assert name == repository_name(folder)


@pytest.mark.parametrize("name", ["", "A", "a//b", "../a", "a/", "a+b", "a/..", "x" * 256])
def test_illegal_repositories(name: str) -> None:
    with pytest.raises(InvalidError):
        folder_name(name)


@given(st.lists(st.text("abc", min_size=1, max_size=3), unique=True).map(sorted), st.integers(1, 5))
def test_pages_follow_each_other(items: list[str], n: int) -> None:
    seen: list[str] = []
    last = None
    while True:
        shown = page(items, str(n), last)
        seen += shown
        if not next_page("/x", items, shown):
            break
        last = shown[-1]
    assert items == seen


def test_bad_page_size() -> None:
    assert page(["a"], "0", None) == []
    for n in ("-1", "x", "", "9" * 30):
        with pytest.raises(InvalidError):
            page(["a"], n, None)

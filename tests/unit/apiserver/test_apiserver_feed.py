"""The newest changes: bounded in number and in bytes, whatever the resources."""

import anyio
import pytest

from towpath.apiserver import feed
from towpath.apiserver.feed import Feed
from towpath.apiserver.record import Address, Change, Record

pytestmark = pytest.mark.anyio


def change(revision: int, resource: str = "things", size: int = 100) -> Change:
    data = b'{"value":"%s"}' % (b"x" * size)
    return Change("ADDED", Record(Address(resource, "a", f"n{revision}"), revision, data), None)


def told(news: Feed, resource: str, cursor: int) -> list[int] | None:
    found = news.since(resource, cursor)
    return None if found is None else [c.record.revision for c in found]


def test_changes_after_a_revision() -> None:
    news = Feed(1)
    news.publish([change(2), change(3, "others"), change(4)])
    assert told(news, "things", 1) == [2, 4]
    assert told(news, "things", 2) == [4]
    assert told(news, "others", 3) == []
    assert told(news, "things", 0) is None
    assert news.revision == 4


def test_their_number_is_bounded() -> None:
    news = Feed(1)
    for revision in range(2, 3 * feed.COUNT):
        news.publish([change(revision)])
    kept = [r for r in range(3 * feed.COUNT) if told(news, "things", r) is not None]
    oldest = kept[0]
    assert feed.COUNT // 2 <= 3 * feed.COUNT - oldest <= feed.COUNT + 1
    assert told(news, "things", oldest) == list(range(oldest + 1, 3 * feed.COUNT))


def test_their_bytes_are_bounded_over_all_resources() -> None:
    news = Feed(1)
    large, revision = 500_000, 1
    for round_ in range(20):
        for resource in range(10):
            revision += 1
            news.publish([change(revision, f"r{resource}", large)])
        found = [news.since(f"r{index}", revision - 1) or [] for index in range(10)]
        assert sum(c.size for lane in found for c in lane) <= feed.BYTES
        lanes = [lane.changes for lane in news._lanes.values()]
        assert sum(c.size for lane in lanes for c in lane) <= feed.BYTES, round_
    assert told(news, "r9", revision - 1) == [revision]  # the newest is there


async def test_one_change_may_be_larger_than_all_that_is_kept() -> None:
    news = Feed(1)
    news.publish([change(2, size=feed.BYTES + 1)])
    assert told(news, "things", 1) is None  # the database has it
    assert told(news, "things", 2) == []
    with anyio.fail_after(5):
        await news.wait("things", 1)  # there is something, though not here


def test_only_the_newest_stay_decoded() -> None:
    news = Feed(1)
    changes = [change(revision) for revision in range(2, 3 * feed.DECODED)]
    for one in changes:
        assert one.object["value"]
        news.publish([one])
    decoded = [c for c in changes if "object" in vars(c)]
    assert decoded == changes[-feed.DECODED :]
    assert changes[0].object["value"]

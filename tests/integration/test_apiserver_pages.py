"""Pages of a list: all of one state, however much is written in between."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from towpath.apiserver import Store
from towpath.apiserver.builtin import BUILTIN
from towpath.apiserver.listing import Page, Wish, page, wish
from towpath.apiserver.record import Address, Write
from towpath.apiserver.selectors import Selector, labels
from towpath.errors import ConflictError, InvalidError, Reason, UnavailableError

pytestmark = pytest.mark.anyio

MAPS = next(r for r in BUILTIN if r.kind.plural == "configmaps")
HISTORY = 40
ALL = Selector()
EVEN = Selector(labels("even=yes"))


@pytest.fixture(params=["file", "memory"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Ten ConfigMaps, of which every other has a label."""
    path = tmp_path / "api.db" if request.param == "file" else None
    async with Store(path, history=HISTORY) as opened:
        for index in range(10):
            await put(opened, f"m{index}", index)
        yield opened


async def put(store: Store, name: str, value: int) -> None:
    address = Address("configmaps", "a", name)
    even = {"even": "yes"} if int(name[1:]) % 2 == 0 else {}
    new = {"metadata": {"name": name, "namespace": "a", "labels": even}, "value": value}
    await store.write(Write(address, await store.get(address), new))


async def remove(store: Store, name: str) -> None:
    address = Address("configmaps", "a", name)
    await store.write(Write(address, await store.get(address), None))


async def age(store: Store) -> None:
    """Write until nothing of before is kept."""
    address = Address("others", "a", "x")
    for _ in range(2 * HISTORY):
        await store.write(Write(address, await store.get(address), {"metadata": {}}))


def told(read: Page) -> dict[str, int]:
    return {record.address.name: record.object()["value"] for record in read.records}


@pytest.mark.parametrize("selector", [ALL, EVEN])
async def test_all_pages_show_the_state_of_the_first(store: Store, selector: Selector) -> None:
    whole = await page(store, MAPS, "", selector)
    read = await page(store, MAPS, "", selector, Wish(limit=2))
    found = told(read)
    assert read.remaining == (8 if selector is ALL else None)
    busy = 0
    while read.token:
        await put(store, f"m{busy}", 100 + busy)
        await put(store, f"m{20 + busy}", 0)
        await remove(store, f"m{9 - busy}")
        busy += 1
        read = await page(store, MAPS, "", selector, Wish(limit=2, token=read.token))
        assert read.revision == whole.revision
        found |= told(read)
    assert busy >= 2
    assert found == told(whole)
    assert told(await page(store, MAPS, "", selector)) != found


async def test_a_token_that_is_too_old_offers_another(store: Store) -> None:
    first = await page(store, MAPS, "", ALL, Wish(limit=4))
    await put(store, "m9", 99)
    await age(store)
    with pytest.raises(ConflictError, match="too old to display a consistent list") as expired:
        await page(store, MAPS, "", ALL, Wish(limit=4, token=first.token))
    assert expired.value.reason is Reason.EXPIRED
    token = vars(expired.value)["metadata"]["continue"]
    rest = await page(store, MAPS, "", ALL, Wish(token=token))
    assert told(rest) == {**{f"m{index}": index for index in range(4, 9)}, "m9": 99}
    assert rest.revision == store.revision


async def test_an_exact_state_can_be_asked_for(store: Store) -> None:
    then = store.revision
    await put(store, "m3", 33)
    await remove(store, "m4")
    exact = await page(store, MAPS, "", ALL, Wish(revision=then, exact=True))
    assert (exact.revision, told(exact)) == (then, {f"m{index}": index for index in range(10)})
    newer = await page(store, MAPS, "", ALL, Wish(revision=then))
    assert newer.revision == store.revision
    assert told(newer)["m3"] == 33
    await age(store)
    with pytest.raises(ConflictError, match="provided list is too old") as expired:
        await page(store, MAPS, "", ALL, Wish(revision=then, exact=True))
    assert expired.value.reason is Reason.EXPIRED
    for exactly in (True, False):
        with pytest.raises(UnavailableError, match="Too large resource version"):
            await page(store, MAPS, "", ALL, Wish(revision=store.revision + 1, exact=exactly))


def test_what_a_query_wishes() -> None:
    assert wish({}) == Wish()
    assert wish({"limit": "0", "resourceVersion": "0"}) == Wish()
    assert wish({"limit": "5", "resourceVersion": "7"}) == Wish(5, "", 7, exact=True)
    assert wish({"resourceVersion": "7"}) == Wish(revision=7)
    not_older = {"resourceVersion": "7", "resourceVersionMatch": "NotOlderThan", "limit": "5"}
    assert wish(not_older) == Wish(5, "", 7)
    assert wish({"continue": "x", "resourceVersion": "0"}) == Wish(token="x")
    for wrong in (
        {"resourceVersionMatch": "Exact"},
        {"resourceVersionMatch": "Perhaps", "resourceVersion": "1"},
        {"resourceVersionMatch": "Exact", "resourceVersion": "1", "continue": "x"},
        {"continue": "x", "resourceVersion": "1"},
        {"resourceVersion": "new"},
        {"resourceVersion": "9" * 30},
        {"limit": "-1"},
    ):
        with pytest.raises(InvalidError):
            wish(wrong)


@pytest.mark.parametrize(
    "content", [[2**63, "", ""], [-2, "", ""], ["1", "", ""], [1, 2, ""], [1, ""], {}, None, 1]
)
async def test_a_token_that_is_none(store: Store, content: object) -> None:
    token = base64.urlsafe_b64encode(orjson.dumps(content)).decode()
    with pytest.raises(InvalidError, match="continue key is not valid"):
        await page(store, MAPS, "", ALL, Wish(token=token))

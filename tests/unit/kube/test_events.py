"""Events: counted instead of repeated, bounded, and never in the way of the work."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from towpath.kube import NORMAL, WARNING, Recorder
from towpath.kube.events import BURST, REFILL_SECONDS
from towpath.spec.kube import CONFIG_MAP, EVENT, NAMESPACE, Object
from towpath.testing import MemoryCluster

pytestmark = pytest.mark.anyio


class Stand:
    def __init__(self) -> None:
        self.api = MemoryCluster()
        self.now = datetime(2030, 1, 1, tzinfo=UTC)
        self.recorder = self.another()

    def another(self) -> Recorder:
        return Recorder(self.api, "test", now=lambda: self.now)

    async def subject(self, name: str = "one") -> Object:
        return await self.api.create(
            CONFIG_MAP, {"metadata": {"name": name, "namespace": "default"}}
        )

    async def events(self) -> list[Any]:
        return cast(list[Any], await self.api.list(EVENT))


@pytest.fixture
def stand() -> Stand:
    return Stand()


async def test_an_event_says_what_describe_looks_for(stand: Stand) -> None:
    subject = await stand.subject()
    await stand.recorder.record(subject, WARNING, "Failed", "no parts")
    [event] = await stand.events()

    assert event["metadata"]["namespace"] == "default"
    assert event["metadata"]["name"].startswith("one.")
    assert event["involvedObject"] == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "one",
        "namespace": "default",
        "uid": subject["metadata"]["uid"],
        "resourceVersion": subject["metadata"]["resourceVersion"],
    }
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Failed", "no parts")
    assert event["source"]["component"] == event["reportingComponent"] == "test"
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2030-01-01T00:00:00Z"
    assert event["count"] == 1


async def test_the_same_again_counts_also_after_a_restart(stand: Stand) -> None:
    subject = await stand.subject()
    for recorder in (stand.recorder, stand.recorder, stand.another()):
        await recorder.record(subject, NORMAL, "Ready", "it answers")
        stand.now += timedelta(minutes=1)
    [event] = await stand.events()

    assert event["count"] == 3
    assert event["firstTimestamp"] == "2030-01-01T00:00:00Z"
    assert event["lastTimestamp"] == "2030-01-01T00:02:00Z"


async def test_whatever_differs_is_an_event_of_its_own(stand: Stand) -> None:
    one, two = await stand.subject("one"), await stand.subject("two")
    for subject, reason, message in (
        (one, "Ready", "a"),
        (one, "Ready", "b"),
        (one, "Started", "a"),
        (two, "Ready", "a"),
    ):
        await stand.recorder.record(subject, NORMAL, reason, message)

    assert [event["count"] for event in await stand.events()] == [1, 1, 1, 1]


async def test_an_object_has_a_share_that_comes_back_slowly(stand: Stand) -> None:
    one, two = await stand.subject("one"), await stand.subject("two")
    for number in range(3 * BURST):
        await stand.recorder.record(one, NORMAL, "Busy", f"number {number}")
    assert len(await stand.events()) == BURST
    await stand.recorder.record(two, NORMAL, "Busy", "hardly")
    assert len(await stand.events()) == BURST + 1
    stand.now += timedelta(seconds=2 * REFILL_SECONDS)
    for number in range(BURST):
        await stand.recorder.record(one, NORMAL, "Busy", f"later {number}")

    assert len(await stand.events()) == BURST + 3


async def test_an_event_of_an_object_without_a_namespace_lies_in_default(stand: Stand) -> None:
    await stand.recorder.record(await stand.api.get(NAMESPACE, "default"), NORMAL, "Seen", "here")
    [event] = await stand.events()

    assert event["metadata"]["namespace"] == "default"
    assert "namespace" not in event["involvedObject"]


async def test_long_names_and_messages_are_cut(stand: Stand) -> None:
    subject = await stand.subject("x" * 253)
    await stand.recorder.record(subject, NORMAL, "Long", "y" * 5000)
    [event] = await stand.events()

    assert len(event["metadata"]["name"]) <= 253
    assert len(event["message"]) == 1024


async def test_an_api_that_is_away_stops_nobody(
    stand: Stand, caplog: pytest.LogCaptureFixture
) -> None:
    subject = await stand.subject()
    stand.api.reachable = False
    await stand.recorder.record(subject, NORMAL, "Ready", "it answers")
    stand.api.reachable = True

    assert await stand.events() == []
    assert [record.message for record in caplog.records] == ["failed to record event"]

"""A reconcile made of steps: in order, the finalizer around them, one status at the end."""

from datetime import UTC, datetime
from typing import Any, cast

import anyio
import pytest

from towpath.errors import DeniedError, InvalidError, NotFoundError, TowpathError, UnavailableError
from towpath.kube import After, Controller, Request, Steps, Turn, Watch
from towpath.kube.conditions import find
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import Object
from towpath.testing import MemoryCluster

pytestmark = pytest.mark.anyio

KIND = INFERENCE_SERVICE
ONE = Request("default", "one")
FINALIZER = "example.org/undo"


class Shop:
    """Steps that write down what they did; each may be told how to end."""

    def __init__(self, *, finalizer: str = FINALIZER) -> None:
        self.api = MemoryCluster()
        self.did: list[str] = []
        self.ends: dict[str, After | TowpathError] = {}
        self.hour = 1
        self.steps = Steps(
            self.api,
            KIND,
            (self.order_parts, self.build),
            (self.undo,) if finalizer else (),
            finalizer,
            now=lambda: datetime(2030, 1, 1, self.hour, tzinfo=UTC),
        )

    async def _step(self, name: str, turn: Turn) -> After | None:
        stored = await self.api.get(KIND, *reversed(ONE))
        assert stored["metadata"].get("finalizers", []) == turn.obj["metadata"].get(
            "finalizers", []
        )
        self.did.append(name)
        match self.ends.get(name):
            case After() as after:
                return after
            case TowpathError() as error:
                raise error
        return None

    async def order_parts(self, turn: Turn) -> After | None:
        assert FINALIZER in turn.obj["metadata"].get("finalizers", [FINALIZER])
        turn.status["parts"] = 3
        return await self._step("order_parts", turn)

    async def build(self, turn: Turn) -> After | None:
        return await self._step("build", turn)

    async def undo(self, turn: Turn) -> After | None:
        return await self._step("undo", turn)

    async def make(self) -> None:
        metadata = {"name": "one", "namespace": "default"}
        await self.api.create(KIND, cast(Object, {"metadata": metadata, "spec": {"x": 1}}))

    async def one(self) -> Any:
        return await self.api.get(KIND, "one", "default")

    async def condition(self, kind: str = "Ready") -> Any:
        return find((await self.one())["status"]["conditions"], kind)


@pytest.fixture
async def shop() -> Shop:
    shop = Shop()
    await shop.make()
    return shop


async def test_all_steps_in_order_and_the_status_once(shop: Shop) -> None:
    before = int(shop.api.version)
    assert await shop.steps.reconcile(ONE) is None
    found = await shop.one()

    assert shop.did == ["order_parts", "build"]
    assert found["status"]["parts"] == 3
    assert found["status"]["observedGeneration"] == found["metadata"]["generation"]
    assert found["metadata"]["finalizers"] == [FINALIZER]
    assert await shop.condition() == {
        "type": "Ready",
        "status": "True",
        "reason": "Succeeded",
        "message": "",
        "lastTransitionTime": "2030-01-01T01:00:00Z",
    }
    assert int(shop.api.version) == before + 2  # the finalizer, the status


async def test_a_second_look_at_a_world_that_fits_writes_nothing(shop: Shop) -> None:
    await shop.steps.reconcile(ONE)
    before = shop.api.version
    shop.hour = 2
    await shop.steps.reconcile(ONE)

    assert shop.api.version == before


async def test_a_step_that_waits_holds_up_the_next(shop: Shop) -> None:
    shop.ends["order_parts"] = After(7)

    assert await shop.steps.reconcile(ONE) == After(7)
    assert shop.did == ["order_parts"]
    assert (await shop.condition())["status"] == "Unknown"
    assert (await shop.condition())["reason"] == "OrderParts"


@pytest.mark.parametrize(
    ("error", "stalled"),
    [
        (UnavailableError("no parts today", hint="Come back tomorrow."), False),
        (InvalidError("no such part"), True),
        (DeniedError("not for you"), True),
    ],
)
async def test_the_condition_names_the_step_that_failed(
    shop: Shop, error: TowpathError, stalled: bool
) -> None:
    shop.ends["order_parts"] = error
    with pytest.raises(type(error)) as caught:
        await shop.steps.reconcile(ONE)
    condition = await shop.condition()

    assert shop.did == ["order_parts"]
    assert caught.value.__notes__ == ["order_parts"]
    assert (condition["status"], condition["reason"]) == ("False", "OrderPartsFailed")
    assert condition["message"].startswith(error.message)
    assert error.hint in condition["message"]
    assert (await shop.condition("Stalled") is not None) is stalled
    assert (await shop.one())["status"]["parts"] == 3  # what was known is told


async def test_what_stalled_is_over_once_it_works(shop: Shop) -> None:
    shop.ends["build"] = InvalidError("no such tool")
    for hour in (1, 2):
        shop.hour = hour
        with pytest.raises(InvalidError):
            await shop.steps.reconcile(ONE)
    assert (await shop.condition("Stalled"))["lastTransitionTime"] == "2030-01-01T01:00:00Z"
    del shop.ends["build"]
    await shop.steps.reconcile(ONE)

    assert await shop.condition("Stalled") is None
    assert (await shop.condition())["status"] == "True"


async def test_the_object_goes_when_everything_is_undone(shop: Shop) -> None:
    await shop.steps.reconcile(ONE)
    await shop.api.delete(KIND, "one", "default")
    shop.ends["undo"] = UnavailableError("still in use")
    with pytest.raises(UnavailableError):
        await shop.steps.reconcile(ONE)
    assert (await shop.condition())["reason"] == "UndoFailed"
    shop.ends["undo"] = After(1)
    assert await shop.steps.reconcile(ONE) == After(1)
    del shop.ends["undo"]
    assert await shop.steps.reconcile(ONE) is None

    assert shop.did == ["order_parts", "build", "undo", "undo", "undo"]
    with pytest.raises(NotFoundError):
        await shop.one()
    assert await shop.steps.reconcile(ONE) is None
    assert len(shop.did) == 5


async def test_the_finalizers_of_others_stay(shop: Shop) -> None:
    theirs: Object = {"metadata": {"finalizers": ["example.org/theirs"]}}
    await shop.api.merge(KIND, "one", "default", theirs)
    await shop.steps.reconcile(ONE)
    assert (await shop.one())["metadata"]["finalizers"] == ["example.org/theirs", FINALIZER]
    await shop.api.delete(KIND, "one", "default")
    await shop.steps.reconcile(ONE)
    await shop.steps.reconcile(ONE)

    assert shop.did.count("undo") == 1
    assert (await shop.one())["metadata"]["finalizers"] == ["example.org/theirs"]


async def test_what_is_deleted_before_the_first_step_is_left_alone(shop: Shop) -> None:
    theirs: Object = {"metadata": {"finalizers": ["example.org/theirs"]}}
    await shop.api.merge(KIND, "one", "default", theirs)
    await shop.api.delete(KIND, "one", "default")

    assert await shop.steps.reconcile(ONE) is None
    assert shop.did == []


async def test_without_a_finalizer_nothing_is_held() -> None:
    shop = Shop(finalizer="")
    await shop.make()
    await shop.steps.reconcile(ONE)

    assert "finalizers" not in (await shop.one())["metadata"]


async def test_the_log_names_the_step(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.ends["build"] = UnavailableError("no tools today")
    controller = Controller("shop", shop.api, (Watch(KIND),), shop.steps.reconcile)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(controller.run)
            while shop.did.count("build") < 2:
                await anyio.sleep(0.01)
            tasks.cancel_scope.cancel()

    told = [vars(record)["towpath_fields"] for record in caplog.records]
    assert {(one["controller"], one["step"]) for one in told} == {("shop", "build")}

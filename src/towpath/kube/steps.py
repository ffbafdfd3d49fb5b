"""A reconcile made of named steps, for kinds whose status is all ours.

The steps run in order, each from the beginning at every look, so each finds out by itself whether
it is done already: whatever a killed process left half done, the next look finishes. The finalizer
is there before the first step, and goes after the last step of the cleanup. The status is written
once, at the end: what the steps put into it, and a condition that names the step that failed.
"""

from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from towpath.errors import DeniedError, InvalidError, NotFoundError, TowpathError
from towpath.kube.client import Writer
from towpath.kube.conditions import merge
from towpath.kube.controller import After, Request
from towpath.kube.fields import mapping
from towpath.kube.finalizer import hold, let_go
from towpath.kube.status import write_status
from towpath.spec.kube import Condition, Kind, Object

__all__ = ["Step", "Steps", "Turn"]

READY: Final = "Ready"
STALLED: Final = "Stalled"
"""Condition of what will not get better until its input changes."""


@dataclass
class Turn:
    """One look at one object.

    Args:
        obj: As read.
        status: What its status will be; a step changes it in place.
    """

    obj: Object
    status: dict[str, Any]


Step = Callable[[Turn], Awaitable[After | None]]
"""Does its part, or finds it done (None: the next one follows); or waits for it; or fails."""


def _utc() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Steps:
    """What keeps objects of a kind true; ``reconcile`` is for a :class:`towpath.kube.Controller`.

    Args:
        client: The API.
        kind: Of the objects.
        steps: In order; a step is known by the name of its function.
        cleanup: Steps of an object's end, in order. They need a finalizer.
        finalizer: Ours, ``domain/name``; empty when nothing is to be undone.
        now: The clock of the conditions.
    """

    client: Writer
    kind: Kind
    steps: tuple[Step, ...]
    cleanup: tuple[Step, ...] = ()
    finalizer: str = ""
    now: Callable[[], datetime] = field(default=_utc, repr=False)

    async def reconcile(self, request: Request) -> After | None:
        """One look.

        Raises:
            TowpathError: of the step that failed, with the step's name as its note.
        """
        try:
            obj = await self.client.get(self.kind, request.name, request.namespace)
        except NotFoundError:
            return None
        ending = "deletionTimestamp" in obj["metadata"]
        if ending and self.finalizer not in (obj["metadata"].get("finalizers") or ()):
            return None
        if not ending and self.finalizer:
            obj = await hold(self.client, self.kind, obj, self.finalizer)
        turn = Turn(obj, deepcopy(dict(mapping(obj, "status"))))
        failed: TowpathError | None = None
        try:
            at, again = await _run(self.cleanup if ending else self.steps, turn)
        except TowpathError as exc:
            failed, at, again = exc, exc.__notes__[-1], None
        if ending and failed is None and again is None:
            await let_go(self.client, self.kind, obj, self.finalizer)
            return None
        self._conclude(turn, _standing(at, failed, waiting=again is not None))
        await write_status(self.client, self.kind, obj, turn.status)
        if failed is not None:
            raise failed
        return again

    def _conclude(self, turn: Turn, conditions: tuple[Condition, ...]) -> None:
        old = turn.status.get("conditions") or ()
        kept = [condition for condition in old if condition.get("type") != STALLED]
        if any(condition["type"] == STALLED for condition in conditions):
            kept = list(old)  # with the time since when
        now = self.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        turn.status["conditions"] = merge(kept, conditions, now)
        turn.status["observedGeneration"] = turn.obj["metadata"].get("generation", 1)


async def _run(steps: tuple[Step, ...], turn: Turn) -> tuple[str, After | None]:
    """Run the steps until one waits; its name, and how long it does."""
    for step in steps:
        name = str(getattr(step, "__name__", "step")).strip("_")
        try:
            again = await step(turn)
        except Exception as exc:
            exc.add_note(name)
            raise
        if again is not None:
            return name, again
    return "", None


def _standing(at: str, failed: TowpathError | None, *, waiting: bool) -> tuple[Condition, ...]:
    camel = "".join(word.capitalize() for word in at.split("_"))
    if failed is None:
        if waiting:
            return ({"type": READY, "status": "Unknown", "reason": camel, "message": ""},)
        return ({"type": READY, "status": "True", "reason": "Succeeded", "message": ""},)
    message = f"{failed.message}. {failed.hint}" if failed.hint else failed.message
    why: Condition = {"reason": f"{camel}Failed", "message": message}
    stalled: Condition = {"type": STALLED, "status": "True", **why}
    ready: Condition = {"type": READY, "status": "False", **why}
    return (ready, stalled) if isinstance(failed, InvalidError | DeniedError) else (ready,)

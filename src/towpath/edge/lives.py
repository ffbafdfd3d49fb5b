"""How long runtimes live, and what went wrong: when to try again, and what to tell.

Kept by revision, so a new revision starts with a clean record. Nothing here knows a clock.
"""

from dataclasses import dataclass, field
from typing import Final

from towpath.edge.status import Failure

__all__ = ["Lives", "Trouble"]

STABLE: Final = 30.0
"""Seconds a ready runtime has to live before its end counts as an accident of its own."""
LONGEST_PAUSE: Final = 60.0
"""Seconds between starts of what keeps failing."""


@dataclass(frozen=True)
class Trouble:
    """Why a revision does not run, how often it failed, and not before when to try again."""

    failure: Failure
    count: int
    until: float


@dataclass
class _Life:
    deadline: float
    ready_at: float | None = None


@dataclass
class Lives:
    """The record of one service's revisions."""

    _lives: dict[str, _Life] = field(default_factory=dict)
    _trouble: dict[str, Trouble] = field(default_factory=dict)

    def begin(self, revision: str, now: float, patience: float) -> None:
        """A runtime of the revision was started; it has so long to become ready."""
        self._lives[revision] = _Life(now + patience)

    def seen(self, revision: str, *, ready: bool, now: float, patience: float) -> None:
        """A runtime of the revision was found running."""
        life = self._lives.setdefault(revision, _Life(now + patience))
        if ready and life.ready_at is None:
            life.ready_at = now
        if life.ready_at is not None and now - life.ready_at > STABLE:
            self._trouble.pop(revision, None)

    def overdue(self, revision: str, now: float) -> bool:
        """Whether it should have become ready by now."""
        life = self._lives.get(revision)
        return life is not None and life.ready_at is None and now >= life.deadline

    def ended(self, revision: str, words: str, now: float) -> None:
        """No runtime of the revision runs; whether that is trouble depends on its life."""
        life = self._lives.pop(revision, None)
        if life is None:
            return
        if life.ready_at is None:
            self.failed(revision, Failure("ModelLoadFailed", words or "the runtime ended"), now)
        elif now - life.ready_at <= STABLE:
            told = f"the runtime ended {now - life.ready_at:.0f} s after it was ready"
            self.failed(revision, Failure("RuntimeUnhealthy", told), now)

    def failed(self, revision: str, failure: Failure, now: float) -> None:
        """Something about the revision went wrong for good; the next try waits ever longer."""
        before = self._trouble.get(revision)
        count = before.count + 1 if before else 1
        pause = min(LONGEST_PAUSE, 2.0 ** (count - 1))
        self._trouble[revision] = Trouble(failure, count, now + pause)

    def trouble(self, revision: str) -> Trouble | None:
        """What is known against a revision."""
        return self._trouble.get(revision)

    def troubles(self, revision: str) -> int:
        """How often it failed so far."""
        trouble = self._trouble.get(revision)
        return trouble.count if trouble else 0

    def pause(self, revision: str, now: float) -> float:
        """Seconds until the next try."""
        trouble = self._trouble.get(revision)
        return max(0.0, trouble.until - now) if trouble else 0.0

    def forget_others(self, revision: str) -> None:
        """Only this revision is wanted now."""
        self._lives = {r: life for r, life in self._lives.items() if r == revision}
        self._trouble = {r: trouble for r, trouble in self._trouble.items() if r == revision}

"""The record of a service's revisions: what counts as trouble, and how long to wait."""

from towpath.edge.lives import LONGEST_PAUSE, STABLE, Lives
from towpath.edge.status import Failure


def test_a_runtime_that_never_became_ready() -> None:
    lives = Lives()
    lives.begin("a", 0, patience=60)

    lives.ended("a", "no model", 1)

    trouble = lives.trouble("a")
    assert trouble is not None
    assert trouble.failure == Failure("ModelLoadFailed", "no model")
    assert lives.pause("a", 1) == 1
    assert lives.pause("a", 3) == 0


def test_the_pause_grows_and_ends() -> None:
    lives = Lives()
    pauses = []
    for _ in range(9):
        lives.failed("a", Failure("ModelLoadFailed", ""), 0)
        pauses.append(lives.pause("a", 0))

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert max(pauses) == LONGEST_PAUSE


def test_a_runtime_that_ends_soon_after_it_was_ready_is_in_trouble() -> None:
    lives = Lives()
    lives.begin("a", 0, patience=60)
    lives.seen("a", ready=True, now=1, patience=60)

    lives.ended("a", "", 3)

    trouble = lives.trouble("a")
    assert trouble is not None
    assert trouble.failure.reason == "RuntimeUnhealthy"
    assert "2 s after" in trouble.failure.message


def test_one_that_lived_long_is_started_again_at_once() -> None:
    lives = Lives()
    lives.seen("a", ready=True, now=0, patience=60)

    lives.ended("a", "", STABLE + 1)

    assert lives.trouble("a") is None
    assert lives.pause("a", STABLE + 1) == 0


def test_a_stable_life_clears_the_record() -> None:
    lives = Lives()
    lives.failed("a", Failure("ModelLoadFailed", ""), 0)
    lives.begin("a", 1, patience=60)
    lives.seen("a", ready=True, now=2, patience=60)
    lives.seen("a", ready=True, now=3 + STABLE, patience=60)

    assert lives.trouble("a") is None


def test_it_is_overdue_only_until_it_is_ready() -> None:
    lives = Lives()
    lives.begin("a", 0, patience=10)
    assert not lives.overdue("a", 9)
    assert lives.overdue("a", 10)

    lives.seen("a", ready=True, now=10, patience=10)

    assert not lives.overdue("a", 100)
    assert not lives.overdue("unknown", 100)


def test_a_new_revision_has_a_clean_record() -> None:
    lives = Lives()
    lives.begin("old", 0, patience=1)
    lives.ended("old", "", 0)
    lives.begin("old", 0, patience=1)

    lives.forget_others("new")

    assert lives.trouble("old") is None
    lives.ended("old", "", 5)
    assert lives.trouble("old") is None
    assert lives.pause("new", 0) == 0


def test_an_end_is_told_once() -> None:
    lives = Lives()
    lives.begin("a", 0, patience=1)
    lives.ended("a", "x", 0)
    lives.ended("a", "y", 0)

    trouble = lives.trouble("a")
    assert trouble is not None
    assert (trouble.count, trouble.failure.message) == (1, "x")

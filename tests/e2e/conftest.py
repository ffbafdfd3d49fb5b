"""One platform with two edges for the tests that leave it as they found it."""

from collections.abc import Iterator

import pytest

from towpath.testing.platform import RunningPlatform, running_platform


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPlatform]:
    """A running platform with two edges."""
    with running_platform(tmp_path_factory.mktemp("site") / "home", edges=2) as running:
        yield running

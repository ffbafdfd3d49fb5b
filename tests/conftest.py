"""What all rings share: engines that may be missing, outside material that may be absent."""

import os
import shutil
from pathlib import Path

import pytest

REQUIRED = os.environ.get("TOWPATH_REQUIRE_ENGINES") == "1"
SHARED = Path(os.environ.get("TOWPATH_SHARED", Path(__file__).parents[2] / "shared"))


def engine(*names: str) -> str:
    """Path of the first of these executables; without, skips, or fails where they are required."""
    for name in names:
        if path := shutil.which(name):
            return path
    reason = f"{' or '.join(names)} is not installed"
    if REQUIRED:
        pytest.fail(f"{reason}, and TOWPATH_REQUIRE_ENGINES is set")
    pytest.skip(reason)


@pytest.fixture
def anyio_backend() -> str:
    """The one backend we support."""
    return "asyncio"


@pytest.fixture(scope="session")
def skopeo() -> str:
    """The skopeo executable."""
    return engine("skopeo")


@pytest.fixture(scope="session")
def docker_registry() -> str:
    """The CNCF distribution executable."""
    return engine("docker-registry", "registry")


@pytest.fixture(scope="session")
def kubectl() -> str:
    """The kubectl executable."""
    return engine("kubectl")


@pytest.fixture(scope="session")
def git() -> str:
    """The git executable."""
    return engine("git")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of outside documents and models, read in place."""
    if not SHARED.is_dir():
        pytest.skip(
            f"outside material is absent: no folder {SHARED} (TOWPATH_SHARED names another)"
        )
    return SHARED

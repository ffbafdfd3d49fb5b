"""What all rings share: engines that may be missing, outside material that may be absent."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

REQUIRED = os.environ.get("TOWPATH_REQUIRE_ENGINES") == "1"
VENVS = Path(tempfile.gettempdir()) / "towpath-test-venvs"
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


@pytest.fixture(scope="session")
def client_venv() -> Callable[..., Path]:
    """Gives the interpreter of a virtual environment that holds an outside client.

    It is made when it is not there, from lists of requirements that are installed one after the
    other; ``bare`` ones without what they require themselves.
    """

    def made(name: str, *requirements: str, bare: tuple[str, ...] = ()) -> Path:
        folder = VENVS / name
        if not folder.exists():
            VENVS.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(dir=VENVS) as making:
                python = Path(making) / "venv" / "bin" / "python"
                install = [str(python), "-m", "pip", "install", "--quiet"]
                commands = [
                    [sys.executable, "-m", "venv", str(python.parents[1])],
                    [*install, *requirements],
                    *([[*install, "--no-deps", *bare]] if bare else []),
                ]
                try:
                    for command in commands:
                        subprocess.run(
                            command, check=True, capture_output=True, text=True, timeout=480
                        )
                except (subprocess.SubprocessError, OSError) as exc:
                    lines = (getattr(exc, "stderr", None) or str(exc)).strip().splitlines()
                    reason = f"{name} cannot be installed: {lines[-1] if lines else exc}"
                    if REQUIRED:
                        pytest.fail(f"{reason}, and TOWPATH_REQUIRE_ENGINES is set")
                    pytest.skip(reason)
                with contextlib.suppress(OSError):  # another run was faster
                    python.parents[1].rename(folder)
        return folder / "bin" / "python"

    return made

"""What this installation has, and what it lacks: for ``towpath doctor``."""

import importlib.metadata
import importlib.util
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Finding", "examine"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Args:
        name: Of the thing.
        state: ``ok``, ``missing`` (needed), ``optional`` (absent, not needed by the main job).
        detail: What was found, or how to get it.
    """

    name: str
    state: str
    detail: str


def examine(home: Path) -> list[Finding]:
    """Look at the interpreter, packages, outside programs and the home's disk (blocking)."""
    return [
        _python(),
        *(_package(name) for name in ("onnxruntime", "numpy", "dulwich", "lightkube")),
        _program("git", ["git", "--version"], (2, 20), "apt-get install git", "to clone by hand"),
        _program(
            "kubectl",
            ["kubectl", "version", "--client"],
            (1, 27),
            "the Kubernetes project's own packages; Debian's is too old",
            "to look into a cluster",
        ),
        _program("skopeo", ["skopeo", "--version"], (1, 4), "apt-get install skopeo", "for images"),
        _disk(home),
    ]


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    detail = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    return Finding("python", "ok" if good else "missing", detail if good else "needs 3.11 or later")


def _package(name: str) -> Finding:
    if importlib.util.find_spec(name) is None:
        return Finding(name, "missing", "pip install towpath")
    return Finding(name, "ok", importlib.metadata.version(name))


def _program(name: str, command: list[str], least: tuple[int, int], how: str, use: str) -> Finding:
    if shutil.which(name) is None:
        return Finding(name, "optional", f"not installed; {use}: {how}")
    try:
        text = subprocess.run(
            command, capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return Finding(name, "optional", f"does not run; {use}: {how}")
    found = re.search(r"(\d+)\.(\d+)(\.\d+)?", text)
    if found is None or (int(found[1]), int(found[2])) < least:
        wanted = ".".join(map(str, least))
        return Finding(name, "optional", f"older than {wanted}; {use}: {how}")
    return Finding(name, "ok", found[0])


def _disk(home: Path) -> Finding:
    there = next(folder for folder in (home, *home.resolve().parents) if folder.exists())
    free = shutil.disk_usage(there).free / 2**30
    state = "ok" if free >= 1 else "missing"
    return Finding("disk", state, f"{free:.1f} GiB free for {home}")

"""What a person or a script sees: data on stdout, progress on a terminal."""

import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from towpath.cli.stderr import talk

if TYPE_CHECKING:
    from towpath.app.home import Home

__all__ = ["Output", "Stages", "emit", "endpoints_table", "size", "table"]


class Output(StrEnum):
    """How data is printed."""

    text = "text"
    json = "json"


def emit(data: Mapping[str, Any], *, indent: int | None = 2) -> None:
    """Print one JSON object, and nothing else, on stdout; without an indent on one line."""
    sys.stdout.write(json.dumps(data, indent=indent) + "\n")
    sys.stdout.flush()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table on stdout: aligned columns, no colour needed to read it."""
    lines = [tuple(columns), *(tuple(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        sys.stdout.write("  ".join(cells).rstrip() + "\n")
    sys.stdout.flush()


def endpoints_table(home: "Home") -> None:
    """Print where everything of a platform listens."""
    rows = [
        ("hub", "Kubernetes API", home.url("kubernetes"), f"KUBECONFIG={home.kubeconfig()}"),
        ("hub", "model registry", home.url("registry"), "/api/model_registry/v1alpha3"),
        ("hub", "images", home.url("distribution"), "/v2/"),
        ("hub", "git", home.url("git"), "/fleet.git"),
        ("hub", "inference gateway", home.url("gateway"), "/v2/models/NAME/infer"),
    ]
    for number, name in enumerate(home.edge_names, start=1):
        kubernetes, gateway = (home.ports.edge(number, s) for s in ("kubernetes", "gateway"))
        config = f"KUBECONFIG={home.kubeconfig(name)}"
        rows.append((name, "Kubernetes API", f"https://127.0.0.1:{kubernetes}", config))
        rows.append((name, "inference gateway", f"http://127.0.0.1:{gateway}", ""))
    table(("CLUSTER", "SURFACE", "ADDRESS", "USE"), rows)


def size(count: int) -> str:
    """A number of bytes for people: powers of 1024."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


class Stages:
    """The live view of a job: one line for each stage, on stderr.

    On a terminal the line of the running stage is rewritten in place; elsewhere a line is written
    when a stage is done, so logs stay readable.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._moved = 0
        self._shown = 0.0
        self._stage = ""

    def begin(self, stage: str) -> None:
        """A stage begins."""
        self._stage, self._moved = stage, 0
        self._redraw(f"  … {stage:<9}")

    def bytes(self, done: int, total: int) -> None:
        """So many bytes of it have moved."""
        self._moved = done
        now = time.monotonic()
        if now - self._shown > 0.1:
            self._shown = now
            share = f" of {size(total)}" if total else ""
            self._redraw(f"  … {self._stage:<9} {size(done)}{share}")

    def end(self, stage: str, what: str, seconds: float) -> None:
        """It is done."""
        self._clear()
        moved = size(self._moved) if self._moved else ""
        talk(f"  ✓ {stage:<9} {seconds:6.2f} s  {moved:>10}  {what}")

    def fail(self, stage: str) -> None:
        """It broke off; the error follows."""
        self._clear()
        talk(f"  ✗ {stage}")

    def _redraw(self, line: str) -> None:
        if self._live:
            self._clear()
            sys.stderr.write(line)
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._live:
            sys.stderr.write("\r\x1b[2K")

"""The measurement of the Kubernetes API runs, and measures what it says."""

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parents[2] / "bench" / "api.py"


def test_the_bench_runs() -> None:
    done = subprocess.run(
        [sys.executable, BENCH, "--quick", "-o", "json"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["objects"], report["watchers"]) == (600, 10)
    figures = report["towpath"]
    assert all(value > 0 for value in figures.values())
    assert figures["create: a second"] > 50
    assert figures["MB: idle"] < 80  # the goal, whatever the machine
    for phase in ("create, 1 writer", "create", "get, 1 reader", "get", "watch"):
        assert figures[f"{phase}: ms p50"] <= figures[f"{phase}: ms p99"]

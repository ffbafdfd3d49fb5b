"""Seconds of each stage of the road, and the bytes it moves: ``python bench/road.py [MODEL]``.

Starts a platform with two edges as a user does, ships a model a few times under fresh names, and
prints medians. Refuses to print anything when an endpoint's prediction is wrong.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx2

from towpath import golden
from towpath.app.example import find_example
from towpath.testing.platform import RunningPlatform, running_platform


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--edges", type=int, default=2)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as folder:
        begin = time.perf_counter()
        with running_platform(Path(folder) / "home", edges=options.edges) as platform:
            ready = time.perf_counter() - begin
            rows = [ship(platform, f"fraud-{run}", "1") for run in range(options.runs)]
            again = [ship(platform, f"fraud-{run}", "1") for run in range(options.runs)]
            moved = stored(platform)
    report = {
        "edges": options.edges,
        "runs": options.runs,
        "model bytes": find_example().model.stat().st_size,
        "bytes in the home after all runs": moved,
        "seconds: up until ready": round(ready, 3),
        "seconds: first ship": medians(rows),
        "seconds: ship again, nothing to do": medians(again),
    }
    if options.output == "json":
        print(json.dumps(report, indent=2))
        return 0
    for name, value in report.items():
        if isinstance(value, dict):
            print(f"{name}" + (f", median of {options.runs}" if "seconds" in name else ""))
            for row, number in value.items():
                print(f"    {row:<18} {number:>10}")
        else:
            print(f"{name:<40} {value}")
    return 0


def ship(platform: RunningPlatform, name: str, version: str) -> dict[str, float]:
    """Ship once; the seconds of each stage, of the command as a whole, and of a prediction."""
    begin = time.perf_counter()
    done = platform.ship(find_example().model, name, version)
    whole = time.perf_counter() - begin
    if done.code != 0:
        sys.exit(f"dirty result: ship failed: {done.err}")
    (case,) = golden.parse(find_example().golden.read_bytes())
    predicted = []
    with httpx2.Client(trust_env=False, timeout=10) as http:
        for endpoint in done.json["endpoints"]:
            url = f"{endpoint['url']}/v2/models/{endpoint['name']}/infer"
            begin = time.perf_counter()
            answer = http.post(url, json=dict(case.request))
            predicted.append(time.perf_counter() - begin)
            differences = golden.compare(case, answer.json())
            if answer.status_code != 200 or differences:
                sys.exit(f"dirty result: {url} predicts wrongly: {'; '.join(differences)}")
    stages = {stage["name"]: stage["seconds"] for stage in done.json["stages"]}
    return {**stages, "command": whole, "first prediction": statistics.median(predicted)}


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """The median of each column."""
    return {name: round(statistics.median(row[name] for row in rows), 3) for name in rows[0]}


def stored(platform: RunningPlatform) -> dict[str, int]:
    """Bytes on disk of what carries models, by folder."""
    home = platform.home
    places = {"models": home.models, "images": home.path / "images"}
    places |= {name: home.cluster(name) / "served" for name in home.edge_names}
    return {
        name: sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
        for name, place in places.items()
    }


if __name__ == "__main__":
    sys.exit(main())

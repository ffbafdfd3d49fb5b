"""What the model registry does beside MLflow's: ``python bench/registry.py --mlflow PROGRAM``.

Runs ``towpath registry serve`` and ``mlflow server`` at the same time, on SQLite and on PostgreSQL,
and asks them the same in turns: one request at a time for the times, many at once for the rates.
Two more registries of ours, with few and with many versions, tell how the times grow. MLflow is not
part of this project; install it in an environment of its own and name its program. Refuses to print
anything when an answer is not the one expected.
"""

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import uvloop
from registry_load import (
    PER_AUTHOR,
    Dialect,
    Mlflow,
    Registry,
    Request,
    Towpath,
    interleaved,
    percentile,
    together,
    token_at,
)
from registry_servers import Server, mlflow, postgresql, towpath

DATABASES: Final = ("SQLite", "PostgreSQL")
GOALS: Final = {"create version": 5, "get model by name": 5, "list 100 versions": 3}
"""How many times sooner than MLflow we answer."""
GROWTH: Final = 2.0
RATE: Final = 1500
MEMORY: Final = 120
WORKERS: Final = 4
CLIENTS: Final = 64


class Bench:
    """The servers that run, and what was found.

    Args:
        options: What was asked for.
        folder: Of the databases.
        stack: Ends the servers.
    """

    def __init__(self, options: argparse.Namespace, folder: Path, stack: ExitStack) -> None:
        self._options, self._folder, self._stack = options, folder, stack
        self._database = stack.enter_context(postgresql(folder / "postgresql"))
        self._servers: dict[str, Server] = {}
        self.report: dict[str, Any] = {}

    def serve(self, whose: str, where: str, name: str, workers: int = 1) -> Registry:
        """Start a server on a fresh database."""
        file = f"{whose} {where} {name}".lower().replace(" ", "-")
        address = self._database(file) if where == "PostgreSQL" else ""
        home, url = self._folder / file, f"sqlite:///{self._folder}/{file}.db"
        dialect: Dialect
        if whose == "MLflow":
            dialect, url = Mlflow(), f"postgresql+psycopg2://{address}" if address else url
            context = mlflow(self._options.mlflow, url, home, workers)
        else:
            dialect, url = Towpath(), f"postgresql+psycopg://{address}" if address else url
            context = towpath(url, home, workers)
        server = self._stack.enter_context(context)
        self._servers[" ".join(filter(None, (whose, where, name)))] = server
        return Registry(dialect, server.port)

    async def run(self) -> None:
        """All of it."""
        whose = ("Towpath", "MLflow") if self._options.mlflow else ("Towpath",)
        beside = {
            where: {name: self.serve(name, where, "") for name in whose} for where in DATABASES
        }
        self.report["beside"] = {where: await self.compared(pair) for where, pair in beside.items()}
        print("compared:", json.dumps(self.report), file=sys.stderr)
        self.report["growth"] = {where: await self.grown(where) for where in DATABASES}
        print("grown:", json.dumps(self.report["growth"]), file=sys.stderr)
        rates = self.report["rates"] = {}
        for name in whose:
            registry = self.serve(name, "PostgreSQL", f"{WORKERS} workers", WORKERS)
            rates[name] = await self.rate(registry)
        self.report["servers"] = {
            name: dict(zip(("largest", "together", "processes"), server.memory(), strict=True))
            | {"ready": server.ready}
            for name, server in self._servers.items()
        }

    async def compared(self, pair: dict[str, Registry]) -> dict[str, dict[str, Any]]:
        """The same asked of ours and of MLflow's on one database, one request at a time."""
        for registry in pair.values():
            await registry.fill(self._options.few)

        def asked(registry: Registry) -> dict[str, Callable[[], Request]]:
            dialect = registry.dialect
            return {
                "create model": registry.new_model,
                "create version": registry.new_version,
                "get model by name": registry.any_model,
                "list 100 versions": lambda: dialect.versions(registry.keys[0]),
                "list 100 models": dialect.models,
            }

        took = await interleaved(pair, asked, self._options.count, self._options.rounds)
        ours = {"Towpath": pair["Towpath"]}

        def artifact(registry: Registry) -> dict[str, Callable[[], Request]]:
            versions = range(len(registry.keys) + 1, len(registry.keys) + 1 + self._options.few)
            return {"create artifact": lambda: Towpath().artifact(random.choice(versions))}

        took |= await interleaved(ours, artifact, self._options.count, self._options.rounds)
        return {
            what: {name: spread(seconds) for name, seconds in times.items()}
            for what, times in took.items()
        }

    async def grown(self, where: str) -> dict[str, dict[str, Any]]:
        """The same asked of a small and of a large registry of ours."""
        pair, makers = {}, {}
        for size, versions in (("few", self._options.few), ("many", self._options.many)):
            registry = pair[size] = self.serve("Towpath", where, f"{versions} versions")
            rate = await registry.fill(versions)
            self.report.setdefault("filled", {})[f"{where}, {versions} versions"] = rate
            makers[id(registry)] = await deep(registry)
        took = await interleaved(
            pair, lambda registry: makers[id(registry)], self._options.count, self._options.rounds
        )
        return {
            what: {size: spread(seconds) for size, seconds in times.items()}
            for what, times in took.items()
        }

    async def rate(self, registry: Registry) -> dict[str, float]:
        """New versions a second, from many connections."""
        await registry.fill(100)

        async def create(line: Any, _: int) -> None:
            await registry.ask(registry.new_version(), line)

        await together(registry, create, self._options.count, CLIENTS)
        found = [
            await together(registry, create, self._options.creates // 3, CLIENTS) for _ in range(3)
        ]
        return sorted(found, key=lambda one: one["a second"])[1]


async def deep(registry: Registry) -> dict[str, Callable[[], Request]]:
    """What is asked of a small and of a large registry."""
    dialect = registry.dialect
    assert isinstance(dialect, Towpath)
    size, models = registry.size, len(registry.keys)
    authors = max(1, size // PER_AUTHOR)
    by_time = {"orderBy": "CREATE_TIME", "sortOrder": "DESC"}
    half = {"nextPageToken": await token_at(registry, 0.5)}
    late = {"nextPageToken": await token_at(registry, 0.5, **by_time)}

    def author() -> str:
        return f"author = 'author-{random.randrange(authors)}'"

    def by_name() -> Request:
        index = random.randrange(size)
        return dialect.version_by_name(registry.keys[index // 100], f"version-{index}")

    return {
        "get version": lambda: dialect.version_by_id(models + 1 + random.randrange(size)),
        "get version by name": by_name,
        "filter by author, 20": lambda: dialect.page(20, filterQuery=author()),
        "filter by author and state, 20": lambda: dialect.page(
            20, filterQuery=f"state = 'LIVE' AND {author()}"
        ),
        "first page of 100": lambda: dialect.page(100),
        "page of 100 in the middle": lambda: dialect.page(100, **half),
        "the same, latest first": lambda: dialect.page(100, **by_time, **late),
    }


def spread(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds."""
    return {f"p{percent}": round(percentile(seconds, percent), 3) for percent in (50, 99)}


def machine() -> str:
    """What the figures belong to."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mlflow", type=Path, help="program of MLflow; without it only ours runs")
    parser.add_argument("--few", type=int, default=1000, help="versions of a small registry")
    parser.add_argument("--many", type=int, default=100_000, help="versions of a large one")
    parser.add_argument("--count", type=int, default=1000, help="requests for each time")
    parser.add_argument("--creates", type=int, default=15_000, help="requests for the rate")
    parser.add_argument("--rounds", type=int, default=10, help="turns that each server gets")
    parser.add_argument("--quick", action="store_true", help="small numbers, to see that it runs")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    if options.quick:
        options.few, options.many, options.count = 200, 1000, 60
        options.creates, options.rounds = 600, 3
    began = machine()
    with tempfile.TemporaryDirectory(prefix="towpath-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL's user passes through
        bench = Bench(options, folder, stack)
        uvloop.run(bench.run())
    report = {"machine": began, **bench.report}
    print(json.dumps(report, indent=2) if options.output == "json" else table(report))
    return 0


def table(report: dict[str, Any]) -> str:
    """The report for people: times in milliseconds, and what each goal came to."""
    lines = [report["machine"]]
    for where, found in report["beside"].items():
        lines += ["", f"{where + ', ms':<36}{'ours p50':>10}{'p99':>8}{'MLflow p50':>12}{'p99':>8}"]
        for what, times in found.items():
            ours, theirs = times["Towpath"], times.get("MLflow")
            line = f"{what:<36}{ours['p50']:>10.2f}{ours['p99']:>8.2f}"
            if theirs:
                ratio = theirs["p50"] / ours["p50"]
                line += f"{theirs['p50']:>12.2f}{theirs['p99']:>8.2f}  {ratio:.1f} times sooner"
                line += verdict(ratio >= GOALS[what], GOALS[what]) if what in GOALS else ""
            lines.append(line)
    for where, found in report["growth"].items():
        lines += ["", f"{where + ', ms':<36}{'few p50':>10}{'p99':>8}{'many p50':>12}{'p99':>8}"]
        for what, times in found.items():
            few, many = times["few"], times["many"]
            ratio = many["p99"] / few["p99"]
            lines.append(
                f"{what:<36}{few['p50']:>10.2f}{few['p99']:>8.2f}{many['p50']:>12.2f}"
                f"{many['p99']:>8.2f}  p99 times {ratio:.2f}{verdict(ratio <= GROWTH, GROWTH)}"
            )
    lines += ["", f"creates a second, PostgreSQL, {WORKERS} workers, {CLIENTS} connections"]
    for name, found in report["rates"].items():
        goal = verdict(found["a second"] >= RATE, RATE) if name == "Towpath" else ""
        lines.append(f"{name:<36}{found['a second']:>10.0f}  p99 {found['ms p99']:.1f} ms{goal}")
    lines += [f"{'filled ' + name:<46}{rate:.0f}" for name, rate in report["filled"].items()]
    lines += [
        "",
        f"{'servers':<36}{'MB largest':>10}{'together':>10}{'processes':>10}{'ready s':>9}",
    ]
    for name, used in report["servers"].items():
        goal = verdict(used["largest"] < MEMORY, MEMORY) if name.startswith("Towpath") else ""
        lines.append(
            f"{name:<36}{used['largest']:>10.0f}{used['together']:>10.0f}"
            f"{used['processes']:>10}{used['ready']:>9.2f}{goal}"
        )
    return "\n".join(lines)


def verdict(reached: bool, goal: float) -> str:
    """Whether a goal was reached."""
    return f"  goal {goal:g}: {'reached' if reached else 'MISSED'}"


if __name__ == "__main__":
    sys.exit(main())

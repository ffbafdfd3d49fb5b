"""``towpath status``: what runs where."""

from pathlib import Path
from typing import Any

import anyio
import typer

from towpath.cli.main import HomeOption, OutputOption, default_home
from towpath.cli.output import Output, emit, table
from towpath.cli.stderr import talk

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("status", epilog="Example: towpath status -o json")(status)


def status(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Show every surface, cluster, model and endpoint.

    Exit code 6 tells that a surface or a cluster does not answer.
    """
    found = anyio.run(_status, home or default_home())
    if output is Output.json:
        emit(found)
    else:
        _print(found)
    if not found["ready"]:
        silent = [c["name"] for c in found["clusters"] if not c["ready"]] + found["down"]
        talk(f"\nNot answering: {', '.join(silent)}. Is 'towpath up' running on this home?")
        raise typer.Exit(6)


async def _status(path: Path) -> dict[str, Any]:
    from towpath.app.home import Home
    from towpath.app.overview import overview

    return await overview(Home.open(path))


def _print(found: dict[str, Any]) -> None:
    word = {True: "ready", False: "not ready"}
    table(
        ("CLUSTER", "STATE", "KUBERNETES", "GATEWAY"),
        [(c["name"], word[c["ready"]], c["kubernetes"], c["gateway"]) for c in found["clusters"]],
    )
    print()
    table(
        ("MODEL", "VERSION", "DIGEST", "REVISION", "IMAGE"),
        [
            (m["name"], m["version"], _short(m["digest"]), _short(m["revision"]), m["image"] or "-")
            for m in found["models"]
        ],
    )
    print()
    table(
        ("CLUSTER", "MODEL", "VERSION", "STATE", "ENDPOINT"),
        [
            (
                e["cluster"],
                e["name"],
                e["version"] or "-",
                word[e["ready"]],
                f"{e['url']}/v2/models/{e['name']}/infer",
            )
            for e in found["endpoints"]
        ],
    )


def _short(text: str | None) -> str:
    return (text or "-").removeprefix("sha256:")[:12]

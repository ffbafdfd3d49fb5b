"""``towpath up``: run a platform in the foreground."""

from pathlib import Path
from typing import Annotated

import anyio
import typer

from towpath.cli import loop
from towpath.cli.main import HomeOption, OutputOption, default_home
from towpath.cli.output import Output, emit, endpoints_table
from towpath.cli.stderr import talk

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("up", epilog="Example: towpath up --home ./site --edges 2")(up)


def up(
    home: HomeOption = None,
    edges: Annotated[
        int | None,
        typer.Option(
            "--edges",
            min=0,
            max=200,
            help="Edge clusters to run (default: as before, none for a new home).",
            show_default=False,
        ),
    ] = None,
    port_base: Annotated[
        int | None,
        typer.Option(
            "--port-base",
            help="First port; a home keeps it for life (default: the well-known ports).",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Start the hub and its edges in the foreground; Ctrl-C stops all of it.

    Everything that lasts is in the home folder, and comes back with the next start.
    """
    loop.run(_up, home or default_home(), edges, port_base, output)


async def _up(path: Path, edges: int | None, port_base: int | None, output: Output) -> None:
    from towpath.app.home import Home
    from towpath.app.platform import Platform
    from towpath.app.stopping import until_told
    from towpath.cli.configuration import configured

    opened = Home.make(path, port_base=port_base, edges=edges)
    settings = configured(opened.path)
    stop = anyio.Event()
    with opened.locked():
        async with anyio.create_task_group() as tasks:
            await tasks.start(until_told, stop)
            async with Platform(opened, settings, stop).running():
                if stop.is_set():
                    pass
                elif output is Output.json:
                    emit({"ready": True, "home": str(opened.path)})
                else:
                    endpoints_table(opened)
                    talk("Ready. Ctrl-C stops all of it; 'towpath status' shows what runs.")
                await stop.wait()
                talk("Stopping …")
            tasks.cancel_scope.cancel()

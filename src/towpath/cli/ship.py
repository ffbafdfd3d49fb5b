"""``towpath ship``: take a model the whole way on a running platform."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from towpath.cli.main import HomeOption, OutputOption, default_home
from towpath.cli.output import Output, Stages, emit, table
from towpath.cli.stderr import talk

if TYPE_CHECKING:
    from towpath.app.shipment import Order

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("ship", epilog="Example: towpath ship model.onnx --name fraud --version 1")(ship)


def ship(
    source: Annotated[str, typer.Argument(help="Path or URI of a model file or folder.")],
    name: Annotated[str, typer.Option("--name", help="The model's name.")],
    version: Annotated[str, typer.Option("--version", help="The version's name.")],
    model_format: Annotated[
        str | None,
        typer.Option("--format", help="Model format (default: found out).", show_default=False),
    ] = None,
    cluster: Annotated[
        list[str] | None,
        typer.Option(
            "--cluster",
            help="Cluster to run on, may be repeated (default: all edges, or the hub).",
            show_default=False,
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Let other bytes take this version's place.")
    ] = False,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for the endpoints.")
    ] = 120.0,
    home: HomeOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Copy, register, package, commit, roll out and serve a model.

    Doing it again changes nothing; doing it again after an interruption finishes the job.
    """
    from towpath.app.shipment import Order

    order = Order(source, name, version, model_format, replace, wait)
    try:
        anyio.run(_ship, home or default_home(), order, cluster or [], output)
    except KeyboardInterrupt:
        talk("Interrupted. The same command goes on from where this one was.")
        raise typer.Exit(130) from None


async def _ship(path: Path, order: "Order", clusters: list[str], output: Output) -> None:
    from towpath.app.connect import road
    from towpath.app.home import Home
    from towpath.cli.configuration import configured

    async with road(Home.open(path), clusters, configured(path)) as found:
        shipment = await found.ship(order, Stages())
    if not shipment.changed:
        talk(f"Nothing to do: {order.name} {order.version} runs as shipped ({shipment.image}).")
    if output is Output.json:
        emit(shipment.to_json())
        return
    rows = [(e.cluster, e.name, f"{e.url}/v2/models/{e.name}/infer") for e in shipment.endpoints]
    table(("CLUSTER", "MODEL", "ENDPOINT"), rows)

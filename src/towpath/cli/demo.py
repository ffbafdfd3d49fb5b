"""``towpath demo``: the whole road, from nothing to a prediction, and nothing left behind."""

import json
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from towpath.cli.output import Stages, endpoints_table
from towpath.cli.stderr import talk

if TYPE_CHECKING:
    from towpath.app.demo import Demonstration

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("demo", epilog="Example: towpath demo --keep")(demo)


def demo(
    edges: Annotated[int, typer.Option("--edges", min=1, max=20, help="Edge clusters.")] = 2,
    keep: Annotated[bool, typer.Option("--keep", help="Go on running until Ctrl-C.")] = False,
) -> None:
    """Run a platform in a temporary folder and take the example model all the way.

    Exits with 0 only when every edge predicts what the example's golden answer says.
    """
    anyio.run(_demo, edges, keep)


async def _demo(edges: int, keep: bool) -> None:
    from towpath.app.demo import demonstrate, temporary_platform
    from towpath.app.stopping import until_told

    shown = False
    stop = anyio.Event()
    job = anyio.CancelScope()

    async def interrupted() -> None:
        await stop.wait()
        job.cancel()

    async with anyio.create_task_group() as tasks:
        await tasks.start(until_told, stop)
        tasks.start_soon(interrupted)
        progress = Stages()
        async with temporary_platform(edges, progress) as home:
            with job:
                _show(await demonstrate(home, progress))
                shown = True
                if keep:
                    print()
                    endpoints_table(home)
                    talk(f"\nCtrl-C stops it. Look around: towpath status --home {home.path}")
                    await anyio.sleep_forever()
        tasks.cancel_scope.cancel()
    if not shown:
        raise typer.Exit(130)
    if not keep:
        print(
            "\nThe demo has stopped and left nothing behind. 'towpath demo --keep' goes on until"
            "\nCtrl-C; 'towpath up --edges 2' starts a platform that lasts."
        )


def _show(found: "Demonstration") -> None:
    print(f"\nrequest     {json.dumps(found.request['inputs'][0]['data'])}")
    for cluster, answer in found.answers.items():
        outputs = {output["name"]: output["data"] for output in answer["outputs"]}
        print(f"prediction  {cluster}: {json.dumps(outputs)}")
    for endpoint in found.shipment.endpoints:
        print(f"endpoint    {endpoint.url}/v2/models/{endpoint.name}/infer")

"""``towpath serve``: a model folder behind the Open Inference Protocol, without a platform."""

from pathlib import Path
from typing import Annotated

import anyio
import typer

from towpath.cli.main import default_home
from towpath.cli.stderr import talk

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("serve", epilog="Example: towpath serve ./model --name fraud")(serve)


def serve(
    folder: Annotated[Path, typer.Argument(help="A model file, or a folder with one.")],
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="The model's name (default: the folder's).", show_default=False
        ),
    ] = None,
    http_port: Annotated[
        int, typer.Option("--http-port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 8080,
) -> None:
    """Serve one model on 127.0.0.1 over REST (Open Inference Protocol v2); Ctrl-C stops it."""
    anyio.run(_serve, folder, name or folder.resolve().stem, http_port)


async def _serve(folder: Path, name: str, port: int) -> None:
    from towpath.app.runtime import serving
    from towpath.app.stopping import until_told
    from towpath.cli.configuration import configured
    from towpath.serve import Source
    from towpath.web import listen

    stop = anyio.Event()
    with listen("127.0.0.1", port, flag="--http-port") as sock:
        async with anyio.create_task_group() as tasks:
            await tasks.start(until_told, stop)
            async with serving(Source(name, folder), sock, configured(default_home()).serve):
                address = f"http://127.0.0.1:{sock.getsockname()[1]}"
                talk(f"Serving {name} at {address}/v2/models/{name}/infer. Ctrl-C stops it.")
                await stop.wait()
            tasks.cancel_scope.cancel()

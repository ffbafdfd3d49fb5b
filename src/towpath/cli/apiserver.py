"""``towpath apiserver run``: the Kubernetes API alone, without a platform."""

from pathlib import Path
from typing import Annotated

import typer

from towpath.cli.child import become
from towpath.cli.main import OutputOption
from towpath.cli.output import Output
from towpath.errors import InvalidError

__all__ = ["add_to"]

EXAMPLE = "Example: towpath apiserver run --db ./kube/kube.sqlite --kubeconfig ./kubeconfig"


def add_to(cli: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="The Kubernetes API alone.", no_args_is_help=True)
    group.command("run", epilog=EXAMPLE)(run)
    cli.add_typer(group, name="apiserver")


def run(
    context: typer.Context,
    db: Annotated[
        Path | None,
        typer.Option(
            "--db",
            help="Database file; keys and certificate lie beside it "
            "(default: in a folder of its own in the user's data folder).",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        bool, typer.Option("--memory", help="Keep everything in memory; nothing is left.")
    ] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port; 0 takes a free one.")
    ] = 6443,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    san: Annotated[
        list[str] | None,
        typer.Option(
            "--san",
            help="Another name or address that clients use; may be repeated, and the first "
            "stands in the kubeconfig.",
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert",
            help="Certificate chain (PEM) to serve with (default: one of our own).",
            show_default=False,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="Its key (PEM).", show_default=False)
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig",
            help="Where to write the administrator's kubeconfig (default: beside the database).",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str, typer.Option("--name", help="Of the cluster, in the kubeconfig.")
    ] = "towpath",
    output: OutputOption = Output.text,
) -> None:
    """Run a Kubernetes API in the foreground; Ctrl-C stops it.

    It holds objects and tells of their changes; it runs no pods.
    """
    if memory and db is not None:
        raise InvalidError("--memory keeps no database", hint="Leave out --memory or --db.")
    if (tls_cert is None) != (tls_key is None):
        raise InvalidError("--tls-cert and --tls-key go together", hint="Name both, or neither.")
    database = None if memory else (db or _default_database())
    config = {
        "name": name,
        "database": str(database.absolute()) if database else None,
        "kubeconfig": str(kubeconfig.absolute()) if kubeconfig else None,
        "host": host,
        "port": port,
        "names": san or [],
        "certificate": [str(tls_cert), str(tls_key)] if tls_cert else None,
        "json": output is Output.json,
        "debug": context.obj["debug"],
    }
    become("apiserver", name, config)


def _default_database() -> Path:
    from platformdirs import user_data_path

    return user_data_path("towpath-apiserver", appauthor=False) / "kube.sqlite"

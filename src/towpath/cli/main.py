"""The entry point: global options, logging, and how an error ends a command."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from towpath import __version__
from towpath.cli.output import Output
from towpath.cli.stderr import fail, log_to_stderr
from towpath.errors import TowpathError, first_known

__all__ = ["HomeOption", "OutputOption", "cli", "default_home", "register", "run_command"]

cli = typer.Typer(
    name="towpath",
    help="Takes a trained model the whole way, from its file to an answered request.",
    epilog="Example: towpath up --edges 2, then in another terminal: "
    "towpath ship model.onnx --name fraud --version 1",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"towpath {__version__}")
        raise typer.Exit


@cli.callback()
def options(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", help="Log everything; show tracebacks.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Options of every command."""
    _ = version
    context.obj = {"debug": debug}
    log_to_stderr(debug=debug)


def register() -> None:
    """Hand every command to the command line."""
    from towpath.cli import apiserver, demo, doctor, registry, serve, settings, ship, status, up

    for module in (up, ship, status, demo, doctor, serve, apiserver, registry, settings):
        module.add_to(cli)


def run_command() -> None:
    """Run the command that the arguments name."""
    register()
    try:
        cli()
    except BrokenPipeError:  # the reader of our output went away
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (TowpathError, OSError, BaseExceptionGroup) as error:
        known = first_known(error)
        if known is None or "--debug" in sys.argv:
            raise  # a fault of ours: the traceback is what we need to mend it
        fail(known)


def default_home() -> Path:
    """Where a platform lives when nobody says: the user's data folder."""
    from platformdirs import user_data_path

    return user_data_path("towpath", appauthor=False)


HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home",
        envvar="TOWPATH_HOME",
        help="Folder of the platform (default: the user's data folder).",
        show_default=False,
    ),
]

OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="Print text for people or JSON for scripts.")
]

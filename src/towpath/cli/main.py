"""The entry point: global options, logging, and how an error ends a command."""

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from towpath import __version__
from towpath.errors import TowpathError, first_known

__all__ = ["main"]

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


def log_to_stderr(*, debug: bool = False, level: int = logging.WARNING) -> None:
    """Send log lines to stderr, as ``key=value`` fields."""
    from towpath.telemetry import KeyValueFormatter

    handler = logging.StreamHandler()
    handler.setFormatter(KeyValueFormatter())
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else level, force=True)
    if not debug:  # each request of every client is theirs to log, not ours
        for chatty in ("httpx2", "httpcore2", "uvicorn"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        # a client that tries TLS first, as skopeo does, is no reason for a warning
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


def register() -> None:
    """Hand every command to the command line."""
    from towpath.cli import demo, doctor, serve, settings, ship, status, up

    for module in (up, ship, status, demo, doctor, serve, settings):
        module.add_to(cli)


def main() -> None:
    """Run the command that the arguments name."""
    if sys.argv[1:2] == ["child"]:  # one of our own processes: no command line to speak of
        from towpath.cli.child import run

        run(sys.argv[2], sys.argv[3])
        return
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
        _fail(known)


def _fail(error: TowpathError) -> NoReturn:
    typer.secho(f"error: {error.message}", fg=typer.colors.RED, err=True)
    if error.hint:
        typer.echo(f"\nhint: {error.hint}", err=True)
    sys.exit(error.exit_code)


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

"""``towpath settings``: every knob, its value and what it means."""

import typer

from towpath.cli.main import HomeOption, OutputOption, default_home
from towpath.cli.output import Output, emit, table

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("settings", epilog="Example: towpath settings -o json")(settings)


def settings(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Print every setting, its value, and where the value comes from.

    A setting comes from TOWPATH_SLICE_FIELD in the environment, else from settings.toml in the
    home folder, else from the default.
    """
    from towpath.cli.configuration import configured, origins

    folder = home or default_home()
    values = configured(folder).to_config()
    if output is Output.json:
        emit(values)
        return
    told = origins(folder)
    rows = [
        (f"{name}.{knob}", str(value), told.get(f"{name}.{knob}", "default"))
        for name, knobs in values.items()
        for knob, value in knobs.items()
    ]
    table(("SETTING", "VALUE", "FROM"), rows)

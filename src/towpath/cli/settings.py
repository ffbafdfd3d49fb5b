"""``towpath settings``: every knob, its value and what it means."""

import dataclasses

import typer

from towpath.cli.output import Output, OutputOption, emit, table

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("settings", epilog="Example: towpath settings -o json")(settings)


def settings(output: OutputOption = Output.text) -> None:
    """Print every setting with its value."""
    from towpath.settings import Settings

    values = dataclasses.asdict(Settings())
    if output is Output.json:
        emit(values)
        return
    rows = [
        (f"{slice_name}.{name}", str(value))
        for slice_name, fields in values.items()
        for name, value in fields.items()
    ]
    table(("SETTING", "VALUE"), rows)

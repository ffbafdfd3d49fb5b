"""``towpath doctor``: what is missing, and how to get it."""

import typer

from towpath.cli.main import HomeOption, OutputOption, default_home
from towpath.cli.output import Output, emit, table

__all__ = ["add_to"]


def add_to(cli: typer.Typer) -> None:
    """Register the command."""
    cli.command("doctor", epilog="Example: towpath doctor")(doctor)


def doctor(home: HomeOption = None, output: OutputOption = Output.text) -> None:
    """Check the installation; exit code 1 when something needed is missing."""
    import dataclasses

    from towpath.app.doctor import examine

    findings = examine(home or default_home())
    good = all(finding.state != "missing" for finding in findings)
    if output is Output.json:
        emit({"ok": good, "findings": [dataclasses.asdict(finding) for finding in findings]})
    else:
        rows = [(finding.name, finding.state, finding.detail) for finding in findings]
        table(("WHAT", "STATE", "DETAIL"), rows)
    if not good:
        raise typer.Exit(1)

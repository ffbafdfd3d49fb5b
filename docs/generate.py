"""Writes ``docs/reference/`` from the code; ``--check`` only tells whether it is up to date."""

import argparse
import ast
import dataclasses
import inspect
import sys
from pathlib import Path

import typer
from typer.testing import CliRunner

from towpath import errors, settings, web
from towpath.cli.main import cli, register

REFERENCE = Path(__file__).parent / "reference"
NOTE = "<!-- Generated from the code by `make docs`; do not edit. -->\n\n"


def commands() -> str:
    """Every command's help, as a user sees it."""
    register()
    return "\n".join(["# Commands\n", _help(), *(_help(*name) for name in _names(cli))])


def _names(group: typer.Typer) -> list[tuple[str, ...]]:
    """Every command, as the words that call it."""
    names = [(str(c.name),) for c in group.registered_commands if not c.hidden]
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            own = (str(inner.name),)
            names += [own, *((*own, *rest) for rest in _names(inner.typer_instance))]
    return sorted(names)


def _help(*command: str) -> str:
    shown = CliRunner().invoke(
        cli, [*command, "--help"], env={"COLUMNS": "80"}, prog_name="towpath"
    )
    assert shown.exit_code == 0, shown.output
    text = "\n".join(line.rstrip() for line in shown.output.strip().splitlines())
    return f"## `{' '.join(('towpath', *command))}`\n\n```text\n{text}\n```\n"


def knobs() -> str:
    """Every setting with its default and its reason."""
    lines = [
        "# Settings\n",
        "Each has one place in the code (`towpath.settings`) and one reason for its default.\n",
    ]
    for top in dataclasses.fields(settings.Settings):
        slice_type = type(getattr(settings.Settings(), top.name))
        lines += [f"## `{top.name}`\n", f"{inspect.getdoc(slice_type)}\n"]
        lines += ["| setting | default | what and why |", "|---|---|---|"]
        docs = _field_docs(slice_type)
        for knob in dataclasses.fields(slice_type):
            default = getattr(slice_type(), knob.name)
            lines.append(f"| `{top.name}.{knob.name}` | `{default!r}` | {docs[knob.name]} |")
        lines.append("")
    return "\n".join(lines)


def _field_docs(cls: type) -> dict[str, str]:
    body = ast.parse(inspect.getsource(cls)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = _field_docs(cls.__base__) if dataclasses.is_dataclass(cls.__base__) else {}
    for field, doc in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(doc.value, ast.Constant)
            docs[field.target.id] = " ".join(str(doc.value.value).split())
    return docs


def failures() -> str:
    """The five errors and the closed set of reasons, with their codes."""
    lines = [
        "# Errors\n",
        "An error class says what its caller does next; a reason says why, from a closed set.\n",
        "| class | what to do | exit code |",
        "|---|---|---|",
    ]
    for cls in errors.TowpathError.__subclasses__():
        if cls.__module__ == errors.__name__:
            first = (inspect.getdoc(cls) or "").splitlines()[0]
            lines.append(f"| `{cls.__name__}` | {first} | {cls.exit_code} |")
    lines += ["", "| reason | HTTP status |", "|---|---|"]
    lines += [f"| `{reason}` | {web.STATUS[reason]} |" for reason in errors.Reason]
    lines += ["", "An `Invalid` object is answered 422 by the Kubernetes API.", ""]
    return "\n".join(lines)


PAGES = {"commands.md": commands, "settings.md": knobs, "errors.md": failures}


def main() -> int:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, make in PAGES.items():
        text = NOTE + make().rstrip() + "\n"
        page = REFERENCE / name
        if not page.exists() or page.read_text() != text:
            stale.append(name)
            if not check:
                page.parent.mkdir(exist_ok=True)
                page.write_text(text)
    if stale and check:
        sys.stderr.write(f"out of date: {', '.join(stale)}; run 'make docs'\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

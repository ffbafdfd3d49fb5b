"""The documents say what is there: links lead somewhere, and the reference knows every name."""

import ast
import dataclasses
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from towpath.cli.main import cli, register
from towpath.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            page
            for folder in ("changes", "docs", "examples")
            for page in (ROOT / folder).rglob("*.md")
        ),
    ]
)
LINK = re.compile(r"\[[^]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> Iterator[str]:
    """The fenced blocks of one language."""
    for found, text in FENCE.findall(page.read_text()):
        if found == language:
            yield text


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts make them."""
    prose = FENCE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        there = target.exists() and target.is_relative_to(ROOT)
        if not there or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert broken == []


def test_the_index_names_every_page() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text())}
    apart = {index, *(DOCS / "adr").glob("[0-9t]*.md")}

    assert [name_of(page) for page in DOCS.rglob("*.md") if page not in linked | apart] == []


def test_every_decision_is_in_the_index() -> None:
    pages = sorted((DOCS / "adr").glob("[0-9]*.md"))
    rows = re.findall(
        r"^\| \[(\d{4})\]\((.+?)\)", (DOCS / "adr/README.md").read_text(), re.MULTILINE
    )

    assert pages
    assert rows == [(page.name[:4], page.name) for page in pages]
    for number, page in enumerate(pages, start=1):
        assert page.name.startswith(f"{number:04}-")
        assert page.read_text().startswith(f"# {number:04}: ")


@pytest.mark.parametrize("page", sorted((DOCS / "adr").glob("[0-9]*.md")), ids=name_of)
def test_a_decision_has_its_four_parts(page: Path) -> None:
    headings = re.findall(r"^## (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)

    assert headings[:4] == ["Example", "Choice", "Refused", "Cost"]


def test_the_reference_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(DOCS / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def commands() -> Iterator[tuple[str, typer.core.TyperCommand | typer.core.TyperGroup]]:
    """Every command and group of commands, by the words that call it."""
    if not cli.registered_commands:
        register()
    group = typer.main.get_command(cli)
    assert isinstance(group, typer.core.TyperGroup)
    waiting: list[tuple[str, Any]] = list(group.commands.items())
    while waiting:
        name, command = waiting.pop()
        yield name, command
        if isinstance(command, typer.core.TyperGroup):
            waiting += [(f"{name} {inner}", one) for inner, one in command.commands.items()]


def test_every_command_is_in_the_reference() -> None:
    page = (DOCS / "reference/commands.md").read_text()
    known = list(commands())

    assert known
    for name, command in known:
        if command.hidden:
            continue
        section = page.partition(f"## `towpath {name}`")[2].partition("\n## ")[0]
        shown = [one for one in command.params if not getattr(one, "hidden", False)]
        options = [option for one in shown for option in one.opts if option[:2] == "--"]
        assert section, f"towpath {name} is not in the reference"
        assert [option for option in options if option not in section] == []


def test_every_setting_is_in_the_reference() -> None:
    page = (DOCS / "reference/settings.md").read_text()
    settings = Settings()
    names = [
        f"`{top.name}.{knob.name}`"
        for top in dataclasses.fields(settings)
        for knob in dataclasses.fields(getattr(settings, top.name))
    ]

    assert names
    assert [name for name in names if name not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_console_block_begins_with_a_prompt(page: Path) -> None:
    assert [text for text in blocks(page, "console") if not text.startswith("$ ")] == []


@pytest.mark.parametrize("page", sorted((DOCS / "guides").glob("*.md")), ids=name_of)
def test_the_names_that_examples_import_exist(page: Path) -> None:
    imports = [
        (node.module, alias.name)
        for block in blocks(page, "python")
        for node in ast.walk(ast.parse(block))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("towpath")
        for alias in node.names
    ]

    for module, name in imports:
        assert hasattr(importlib.import_module(str(module)), name), f"{module} has no {name}"


def test_commands_in_the_documents_exist() -> None:
    """Every ``towpath X`` after a prompt is a command, with options that it has."""
    known = {
        name: {option for one in command.params for option in (*one.opts, "--help")}
        for name, command in commands()
    }
    general = {option for one in typer.main.get_command(cli).params for option in one.opts}
    seen = set()
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in re.findall(r"^\$ towpath (.+)$", block, re.MULTILINE):
                words = line.split("  #")[0].split()
                while words and words[0] in {*general, "--help"}:
                    words.pop(0)
                if not words:
                    continue
                used = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
                name = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
                assert name in known, f"{name_of(page)}: {line}"
                assert used <= known[name], f"{name_of(page)}: {line}"
                seen.add(name)

    assert {"up", "ship", "status", "doctor", "settings", "apiserver run"} <= seen


def test_the_makefile_has_the_targets_that_the_documents_name() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = {
        target
        for page in PAGES
        for block in blocks(page, "console")
        for target in re.findall(r"^\$ make ([a-z-]+)$", block, re.MULTILINE)
    }

    assert {"demo", "test"} <= used <= targets


@pytest.mark.parametrize(
    "fragment",
    [page for page in (ROOT / "changes").iterdir() if page.name != "README.md"],
    ids=name_of,
)
def test_a_fragment_is_named_by_the_rule(fragment: Path) -> None:
    assert re.fullmatch(r"[0-9]{3}\.(feature|fix|change|security)\.md", fragment.name)
    assert fragment.read_text().strip()

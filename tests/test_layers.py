"""The shape of the code: who imports whom, how long a file is, what a room shows."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src/towpath"
LINES = 500
MODULES = sorted(PACKAGE.rglob("*.py"))
INSIDE = [one for one in MODULES if one.relative_to(PACKAGE).parts[0] not in ("cli", "testing")]
"""All but the command line, and the test kit that stands in for a user."""
ROOMS = sorted(
    "towpath." + ".".join(path.parent.relative_to(PACKAGE).parts)
    for path in PACKAGE.glob("*/__init__.py")
)


def name_of(module: Path) -> str:
    return str(module.relative_to(PACKAGE))


def test_the_layers_hold() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_a_module_is_short_and_says_why_it_is_there(module: Path) -> None:
    text = module.read_text()

    assert text.count("\n") <= LINES
    assert ast.get_docstring(ast.parse(text)), "no docstring"


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_no_module_is_called_after_nothing(module: Path) -> None:
    assert not {"utils", "common", "manager", "helper", "helpers", "misc"} & {
        *module.with_suffix("").parts
    }


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_shows_is_there_and_sorted(room: str) -> None:
    """Names in capitals first, then classes, then functions; nothing shown in private only."""
    module = importlib.import_module(room)
    shown = list(getattr(module, "__all__", ()))

    assert shown == sorted(set(shown), key=_rank)
    assert [name for name in shown if not hasattr(module, name)] == []
    assert [name for name in shown if name.startswith("_")] == []
    if shown:  # whatever its file takes over from its own modules is meant to be shown
        assert [name for name in _taken_over(room) if name not in shown] == []


def _rank(name: str) -> tuple[int, str]:
    kind = 0 if name.isupper() else 1 if name[0].isupper() else 2
    return (kind, name)


def _taken_over(room: str) -> list[str]:
    """Names that a room's ``__init__`` imports from the room's own modules."""
    source = importlib.import_module(room).__file__
    assert source is not None
    tree = ast.parse(Path(source).read_text())
    inner = [n for n in tree.body if isinstance(n, ast.ImportFrom) and _inside(n.module, room)]
    return [alias.asname or alias.name for node in inner for alias in node.names]


def _inside(module: str | None, room: str) -> bool:
    return module is not None and module.startswith(f"{room}.")


@pytest.mark.parametrize("module", INSIDE, ids=name_of)
def test_only_the_command_line_reads_argv_and_environment(module: Path) -> None:
    reads = [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]

    assert {"os.environ", "os.getenv", "sys.argv"}.isdisjoint(reads)

"""``towpath registry export`` and ``import``: everything of a registry as one file, and back."""

import os
from pathlib import Path
from typing import Annotated, Final

import anyio
import typer

from towpath.cli.main import OutputOption
from towpath.cli.output import Output, emit, table
from towpath.errors import InvalidError

__all__ = ["add_to"]

VARIABLE: Final = "TOWPATH_REGISTRY_TOKEN"

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        help="Address of the registry (default: http://127.0.0.1:8080).",
        show_default=False,
    ),
]
DbOption = Annotated[
    str | None,
    typer.Option(
        "--db",
        help="Its database instead, as for 'towpath registry serve'; no server is needed.",
        show_default=False,
    ),
]
TokenOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        help=f"File that holds an admin's token; the environment's {VARIABLE} says it as well.",
        show_default=False,
    ),
]
LOCAL: Final = "http://127.0.0.1:8080"


def add_to(group: typer.Typer) -> None:
    """Register the commands in the group of the registry's."""
    group.command("export", epilog="Example: towpath registry export registry.jsonl")(export)
    group.command("import", epilog="Example: towpath registry import registry.jsonl")(restore)


def export(
    file: Annotated[Path, typer.Argument(help="File to write (JSON Lines).")],
    url: UrlOption = None,
    db: DbOption = None,
    token_file: TokenOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Write everything of a registry into a file, as of one moment.

    From a server of the same API that knows no export, such as Kubeflow's own, all is listed.
    """
    _told(_done("save", file, url, db, token_file), output)


def restore(
    file: Annotated[Path, typer.Argument(help="File that an export has written.")],
    url: UrlOption = None,
    db: DbOption = None,
    token_file: TokenOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Read such a file into an empty registry: all of it, or nothing."""
    _told(_done("load", file, url, db, token_file), output)


def _done(
    what: str, file: Path, url: str | None, db: str | None, token_file: Path | None
) -> dict[str, int]:
    if url is not None and not url.startswith(("http://", "https://")):
        raise InvalidError("--url is no address of a registry", hint=f"It looks like {LOCAL}.")
    if db is None:
        return anyio.run(_run, what, file, url or LOCAL, _token(token_file))
    if url is not None:
        raise InvalidError("--url and --db both name a registry", hint="Name one.")
    from towpath.registry import offline
    from towpath.registry.dsn import database_at

    work = offline.save if what == "save" else offline.load
    return anyio.run(work, database_at(db), file)


async def _run(what: str, file: Path, url: str, token: str) -> dict[str, int]:
    from towpath.registry.backup import Backup

    async with Backup(url, token) as backup:
        return await (backup.save(file) if what == "save" else backup.load(file))


def _token(path: Path | None) -> str:
    try:
        text = path.read_text() if path else os.environ.get(VARIABLE, "")
    except (OSError, UnicodeDecodeError) as exc:
        what = getattr(exc, "strerror", None) or "it is no text"
        raise InvalidError(f"the token file {path} cannot be read: {what}") from exc
    token = text.strip()
    if not token.isascii() or any(c.isspace() for c in token):
        raise InvalidError(f"{path or VARIABLE} holds no token")
    return token


def _told(counts: dict[str, int], output: Output) -> None:
    if output is Output.json:
        emit({"counts": counts})
        return
    table(("KIND", "COUNT"), [(kind, str(count)) for kind, count in counts.items() if count])

"""Repositories as folders: one OCI layout each, side by side, named after the repository.

``/`` in a name becomes ``+``, which no repository name contains, so every folder is a plain layout
that other tools read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from anyio import to_thread

from towpath.blob.cas import Layout
from towpath.errors import InvalidError, NotFoundError, Reason
from towpath.spec.names import REPOSITORY

__all__ = ["Repositories", "folder_name", "next_page", "page", "repository_name"]

_LONGEST: Final = 255


def folder_name(repository: str) -> str:
    """The folder of a repository. Raises InvalidError when the name is not legal."""
    if not REPOSITORY.fullmatch(repository) or len(repository) > _LONGEST:
        raise InvalidError(
            f"repository name {repository[:100]!r} is not legal",
            hint="Use at most 255 lower-case letters, digits, '.', '_', '-' and '/'.",
        )
    return repository.replace("/", "+")


def repository_name(folder: str) -> str | None:
    """The repository of a folder, or None when it is no repository's."""
    name = folder.replace("+", "/")
    return name if REPOSITORY.fullmatch(name) else None


class Repositories:
    """All repositories under one folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._layouts: dict[str, Layout] = {}

    def layout(self, repository: str) -> Layout:
        """The layout of a repository, which need not exist yet. Raises InvalidError."""
        folder = folder_name(repository)
        known = self._layouts.get(folder)
        if known is None:
            known = Layout(self._root / folder)
            if known.path.is_dir():
                self._layouts[folder] = known
        return known

    async def existing(self, repository: str) -> Layout:
        """The layout of a repository that is there. Raises NotFoundError, InvalidError."""
        layout = self.layout(repository)
        if not await to_thread.run_sync((layout.path / "oci-layout").is_file):
            raise NotFoundError(f"there is no repository {repository!r}")
        return layout

    async def names(self) -> list[str]:
        """All repositories, sorted."""

        def find() -> list[str]:
            if not self._root.is_dir():
                return []
            names = (repository_name(path.parent.name) for path in self._root.glob("*/oci-layout"))
            return sorted(name for name in names if name)

        return await to_thread.run_sync(find)


def page(items: Sequence[str], n: str | None, last: str | None) -> list[str]:
    """One page of a sorted list (distribution specification 1.1, "Content Discovery").

    Args:
        items: Sorted.
        n: Most items, as in the query; None for all.
        last: The page begins behind this item.

    Raises:
        InvalidError: ``n`` is not a number (reason ``BadRequest``).
    """
    if n is not None and not (n.isascii() and n.isdecimal() and len(n) < 10):
        raise InvalidError("query value n is not a number", reason=Reason.BAD_REQUEST)
    after = [item for item in items if last is None or item > last]
    return after if n is None else after[: int(n)]


def next_page(path: str, items: Sequence[str], shown: Sequence[str]) -> dict[str, str]:
    """The ``Link`` header to the page behind the one shown; empty when that is the last."""
    if not shown or shown[-1] == items[-1]:
        return {}
    query = urlencode({"n": len(shown), "last": shown[-1]})
    return {"Link": f'<{path}?{query}>; rel="next"'}

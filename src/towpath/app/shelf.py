"""Where shipped model files lie in the home: ``models/<name>/<version>/``, whole or not at all."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import anyio

from towpath.process import locked_within

__all__ = ["Shelf"]


PATIENCE: Final = 60.0
"""Seconds to wait for another ship of the same version; the command can be repeated."""


class Shelf:
    """The model files of a home.

    Args:
        folder: ``HOME/models``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def reserved(self, name: str, version: str) -> AsyncIterator[None]:
        """Be the only one who ships this version; another one is waited for.

        Raises:
            ConflictError: the other one takes too long.
        """
        lock = self._folder / ".locks" / f"{name}@{version}"
        async with locked_within(lock, PATIENCE, "Another ship of this version is running."):
            yield

    def place(self, name: str, version: str) -> Path:
        """The folder of one version, there or not."""
        return self._folder / name / version

    @asynccontextmanager
    async def staging(self, name: str, version: str) -> AsyncIterator[Path]:
        """An empty folder beside the place; what is not put in place is gone afterwards.

        Leftovers of a run that was killed are removed first.
        """
        part = self._folder / name / f".{version}.part"
        await anyio.to_thread.run_sync(_remove, part)
        staged = part / name  # a name that may stand in a message
        staged.mkdir(parents=True)
        try:
            yield staged
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_remove, part)
                with suppress(OSError):  # other versions are there
                    part.parent.rmdir()

    async def put_in_place(self, staged: Path, name: str, version: str) -> Path:
        """Make a staged folder the version's; files that were there before are gone."""
        place = self.place(name, version)
        await anyio.to_thread.run_sync(_swap, staged, place)
        return place


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _swap(staged: Path, place: Path) -> None:
    old = place.with_name(f".{place.name}.old")
    _remove(old)
    if place.exists():
        place.rename(old)
    staged.rename(place)
    _remove(old)

"""The newest commit of each followed branch, kept on disk: what an edge goes on with offline.

One folder per (repository, target) holds one folder per commit, usually one: the new commit is
complete under its own name before the old one goes.
"""

import hashlib
import logging
import shutil
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID

from towpath.errors import NotFoundError, TowpathError, UnavailableError
from towpath.gitops.remote import Remote
from towpath.gitops.tree import DamagedError, Files, commit_of, reading
from towpath.spec.names import Revision
from towpath.telemetry import fields, redact

__all__ = ["Checkout", "Checkouts"]

log = logging.getLogger(__name__)

_REVISION_LENGTH: Final = 40


Select = Callable[[Mapping[str, bytes]], dict[str, bytes]]
"""Which files of a commit are wanted; runs in a worker thread, its errors pass through."""


@dataclass(frozen=True)
class Checkout:
    """Files of a commit that lies on disk; ``problem`` says why it may not be the newest."""

    revision: Revision
    files: Mapping[str, bytes]
    problem: TowpathError | None = None


@dataclass(frozen=True)
class _Look:
    """The last time a remote was asked, about which announcement, and what spoke against it."""

    at: float
    hint: str
    problem: TowpathError | None = None


class Checkouts:
    """Keeps checkouts in a folder; looks at a remote only when there is a reason to.

    Args:
        folder: Its own; made when it is needed.
        poll_seconds: Time after which a look is due without any other reason.
    """

    def __init__(self, folder: Path, poll_seconds: float) -> None:
        self._folder = folder
        self._poll_seconds = poll_seconds
        self._looks: dict[Path, _Look] = {}
        self._locks: dict[Path, anyio.Lock] = {}

    async def get(self, url: str, target: str, hint: str, select: Select) -> Checkout:
        """Files of the commit that a target stands for, fetched unless it lies on disk already.

        Args:
            url: Of the repository.
            target: Branch, tag, ``HEAD`` or commit.
            hint: A commit announced by somebody else; one that is not on disk is a reason to look.
            select: Chooses the files.

        Returns:
            With ``problem`` set when the remote could not be asked and an earlier commit is there.

        Raises:
            NotFoundError, DeniedError, InvalidError: there is none on disk, and the remote could
            not be asked.
            UnavailableError: likewise, or what lies on disk is damaged and will be fetched anew.
        """
        place = self._place(url, target)
        async with self._locks.setdefault(place, anyio.Lock()):
            revision = await anyio.to_thread.run_sync(_newest, place)
            if revision is None or self._is_due(place, revision, target, hint):
                try:
                    revision = await anyio.to_thread.run_sync(
                        _update, Remote(url), target, place, revision
                    )
                    self._looks[place] = _Look(anyio.current_time(), hint)
                except TowpathError as exc:
                    if revision is None:
                        raise
                    # An unreachable remote is asked again at once; another answer is an answer.
                    again = isinstance(exc, UnavailableError)
                    at = anyio.current_time() - (self._poll_seconds if again else 0.0)
                    self._looks[place] = _Look(at, hint, exc)
            files = await anyio.to_thread.run_sync(_read, place, revision, select)
        look = self._looks.get(place)
        return Checkout(revision, files, look.problem if look else None)

    def next_look(self, url: str, target: str) -> float:
        """Seconds until a look is due."""
        look = self._looks.get(self._place(url, target))
        if look is None:
            return self._poll_seconds
        return max(0.1, look.at + self._poll_seconds - anyio.current_time())

    def _place(self, url: str, target: str) -> Path:
        return self._folder / hashlib.sha256(f"{url}\n{target}".encode()).hexdigest()[:20]

    def _is_due(self, place: Path, known: Revision, target: str, hint: str) -> bool:
        if target == known:
            return False
        look = self._looks.get(place)
        if look is None or hint not in ("", known, look.hint):
            return True
        return anyio.current_time() - look.at >= self._poll_seconds


def _newest(place: Path) -> Revision | None:
    if not place.is_dir():
        return None
    found = [p for p in place.iterdir() if len(p.name) == _REVISION_LENGTH]
    newest = max(found, key=lambda p: p.stat().st_mtime_ns, default=None)
    return Revision(newest.name) if newest else None


def _read(place: Path, revision: Revision, select: Select) -> dict[str, bytes]:
    store = DiskObjectStore(str(place / revision))
    try:
        with reading():
            tree = commit_of(store, ObjectID(revision.encode())).tree
        return select(Files(store, tree))
    except DamagedError as exc:
        shutil.rmtree(place / revision, ignore_errors=True)
        raise UnavailableError(
            f"commit {revision} on disk is damaged and will be fetched again"
        ) from exc
    finally:
        store.close()


def _update(remote: Remote, target: str, place: Path, known: Revision | None) -> Revision:
    revision = remote.resolve(target)
    if revision == known:
        return revision
    place.mkdir(parents=True, exist_ok=True)
    unfinished = place / f"new-{uuid.uuid4().hex[:8]}"
    store = DiskObjectStore.init(str(unfinished))
    try:
        store.fsync_object_files = True
        fetched = remote.fetch(revision, store)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    finally:
        store.close()
    if fetched is None:
        raise NotFoundError(f"the git repository at {redact(remote.url)} is empty")
    unfinished.replace(place / revision)
    log.info("fetched commit", extra=fields(url=redact(remote.url), commit=revision))
    for old in place.iterdir():
        if old.name != revision:
            shutil.rmtree(old, ignore_errors=True)
    return revision

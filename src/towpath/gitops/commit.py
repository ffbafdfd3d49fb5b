"""Change files of a repository by one commit, however many others do so at the same time.

The edit is a function of the files as they are, so a lost race is met by running it again on the
winner's state. An edit that changes nothing makes no commit: running a step twice is harmless.
"""

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import anyio
import anyio.to_thread
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import Commit as GitCommit
from dulwich.objects import ObjectID

from towpath.errors import ConflictError
from towpath.gitops.remote import Remote
from towpath.gitops.tree import Files, commit_of, edited
from towpath.spec.names import Revision
from towpath.telemetry import fields, redact

__all__ = ["Commit", "Edit", "commit"]

log = logging.getLogger(__name__)

ATTEMPTS: Final = 30
"""Races that may be lost: each loss means that somebody else has won, so this is a long queue."""
_FIRST_WAIT: Final = 0.02
_LAST_WAIT: Final = 1.0

Edit = Callable[[Mapping[str, bytes]], Mapping[str, bytes | None]]
"""From the files as they are to the content that some get; None deletes. May run several times."""


@dataclass(frozen=True)
class Commit:
    """Where a branch stands after an edit, and whether the edit moved it."""

    revision: Revision
    changed: bool


async def commit(
    remote_url: str, token: str, branch: str, edit: Edit, message: str, author: str
) -> Commit:
    """Edit files on a branch and push the result; an empty repository gets its first commit.

    Args:
        remote_url: Smart HTTP URL, ``file://`` URL or path of a repository.
        token: For the push; empty where none is needed.
        branch: Its name.
        edit: Runs in a worker thread, again after every lost race.
        message: Of the commit.
        author: ``Name <mail>``; also the committer.

    Raises:
        ConflictError: too many races were lost.
        NotFoundError: no such repository or branch.
        DeniedError: the token may not push there.
        InvalidError: the edit names an unsafe path, or the remote is none.
        UnavailableError: the remote does not answer.
    """
    remote = Remote(remote_url, token)
    for attempt in range(ATTEMPTS):
        try:
            return await anyio.to_thread.run_sync(_once, remote, branch, edit, message, author)
        except ConflictError as exc:
            log.debug("lost a race to a branch", extra=fields(url=redact(remote_url), error=exc))
        wait = min(_LAST_WAIT, _FIRST_WAIT * 2**attempt)
        await anyio.sleep(wait * random.uniform(0.2, 1.0))  # noqa: S311 - spreads tries, no secret
    raise ConflictError(
        f"branch {branch!r} of {redact(remote_url)} moved {ATTEMPTS} times while it was edited",
        hint="Try again when less is pushed to it.",
    )


def _once(remote: Remote, branch: str, edit: Edit, message: str, author: str) -> Commit:
    store = MemoryObjectStore()
    base = remote.fetch(branch, store)
    tree = commit_of(store, ObjectID(base.encode())).tree if base else None
    changes = edit(Files(store, tree))
    new_tree, objects = edited(store, tree, changes)
    if base is not None and new_tree == tree:
        return Commit(base, changed=False)
    made = _commit(new_tree, base, message, author)
    remote.push(branch, base, made.id, [*objects, made])
    return Commit(Revision(made.id.decode()), changed=True)


def _commit(tree: ObjectID, base: Revision | None, message: str, author: str) -> GitCommit:
    made = GitCommit()
    made.tree = tree
    made.parents = [ObjectID(base.encode())] if base else []
    made.author = made.committer = author.encode()
    made.author_time = made.commit_time = int(time.time())
    made.author_timezone = made.commit_timezone = 0
    made.encoding = b"UTF-8"
    made.message = message.rstrip("\n").encode() + b"\n"
    return made

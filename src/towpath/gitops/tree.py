"""A git tree as a mapping of paths to bytes: read and edited without a working copy."""

import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Final

from dulwich.object_store import (
    BaseObjectStore,
    MemoryObjectStore,
    OverlayObjectStore,
    commit_tree_changes,
    iter_tree_contents,
)
from dulwich.objects import Blob, Commit, ObjectID, ShaFile, Tag, Tree

from towpath.errors import InvalidError, UnavailableError

__all__ = ["DamagedError", "Files", "commit_of", "edited", "reading"]

_REGULAR: Final = 0o100644


class DamagedError(UnavailableError):
    """What git's objects name is not there or not readable: they have to be fetched anew."""


@contextmanager
def reading() -> Iterator[None]:
    """Around reads of git's objects, and nothing else.

    Raises:
        DamagedError: they are damaged.
        UnavailableError: the operating system did not let them be read.
    """
    try:
        yield
    except Exception as exc:  # what a damaged file makes dulwich raise is not a closed set
        if isinstance(exc, OSError) and not isinstance(exc, FileNotFoundError):
            raise UnavailableError(f"git objects on disk cannot be read: {exc.strerror}") from exc
        raise DamagedError("git objects on disk are damaged") from exc


class Files(Mapping[str, bytes]):
    """The regular files of a tree, by path, each read when it is asked for.

    Every access raises UnavailableError, mostly DamagedError, when git's objects cannot be read.

    Args:
        store: Where the objects are.
        tree: Id of the root tree; None for no files at all.
    """

    def __init__(self, store: BaseObjectStore, tree: ObjectID | None) -> None:
        self._store = store
        self._tree = tree

    def __getitem__(self, path: str) -> bytes:
        """The content of a file. Raises KeyError."""
        _, sha = self._entries[path]
        with reading():
            found = self._store[sha]
            if not isinstance(found, Blob):
                raise TypeError(path)
            return found.data

    def __iter__(self) -> Iterator[str]:
        """Paths in git's order; symbolic links and submodules are left out."""
        return iter(self._entries)

    def __len__(self) -> int:
        """How many files."""
        return len(self._entries)

    def modes(self) -> dict[str, int]:
        """The mode of each file."""
        return {path: mode for path, (mode, _) in self._entries.items()}

    @cached_property
    def _entries(self) -> dict[str, tuple[int, ObjectID]]:
        if self._tree is None:
            return {}
        with reading():
            return {
                entry.path.decode("utf-8", "replace"): (entry.mode, entry.sha)
                for entry in iter_tree_contents(self._store, self._tree)
                if stat.S_ISREG(entry.mode)
            }


def commit_of(store: BaseObjectStore, revision: ObjectID) -> Commit:
    """The commit that an id names, be it the commit's own or a tag's. Raises KeyError."""
    found = store[revision]
    for _ in range(8):
        if not isinstance(found, Tag):
            break
        found = store[found.object[1]]
    if not isinstance(found, Commit):
        raise KeyError(revision)
    return found


def edited(
    store: BaseObjectStore, tree: ObjectID | None, changes: Mapping[str, bytes | None]
) -> tuple[ObjectID, list[ShaFile]]:
    """A tree with changes in it: bytes are written, None deletes; what is not named stays.

    Args:
        store: Where the tree's objects are; it is not written to.
        tree: The root tree, None for an empty one.
        changes: New content by path.

    Returns:
        The id of the new root tree, and the objects that are not in ``store`` yet.

    Raises:
        InvalidError: a path is not safe, or would be a file and a folder at once.
    """
    modes = Files(store, tree).modes()
    made = MemoryObjectStore()
    commands: list[tuple[bytes, int | None, ObjectID | None]] = []
    after = set(modes)
    for path, content in changes.items():
        _check(path)
        if content is not None:
            blob = Blob.from_string(content)
            made.add_object(blob)
            commands.append((path.encode(), modes.get(path, _REGULAR), blob.id))
            after.add(path)
        elif path in modes:
            commands.append((path.encode(), None, None))
            after.discard(path)
    folders = {
        "/".join(path.split("/")[:n]) for path in after for n in range(1, path.count("/") + 1)
    }
    if both := sorted(folders & after):
        raise InvalidError(f"{both[0]!r} would be a file and a folder at once")
    overlay = OverlayObjectStore([made, store], add_store=made)
    root = tree if tree is not None else _empty(made)
    new = commit_tree_changes(overlay, root, commands)
    return new, [made[sha] for sha in made if sha not in store]


def _empty(store: MemoryObjectStore) -> ObjectID:
    tree = Tree()
    store.add_object(tree)
    return tree.id


def _check(path: str) -> None:
    parts = path.split("/")
    bad = any(part in ("", ".", "..") or part.lower() == ".git" for part in parts)
    if bad or "\\" in path or any(ord(char) < 32 for char in path):
        raise InvalidError(f"{path[:200]!r} is not a path inside a repository")

"""A bare repository on disk as it is served: made once, only ever moved forward.

A push lands by one compare-and-swap of its ref after all its objects are on disk, so a process
killed at any point leaves the old state or the new one. What it may leave besides is removed by
:func:`create`.
"""

import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from dulwich.errors import GitProtocolError, HookError, ObjectFormatException
from dulwich.file import FileLocked
from dulwich.graph import can_fast_forward
from dulwich.hooks import Hook
from dulwich.object_store import iter_tree_contents
from dulwich.objects import Commit, ObjectID
from dulwich.protocol import Protocol, ReceivableProtocol
from dulwich.refs import DiskRefsContainer, Ref
from dulwich.repo import Repo
from dulwich.server import BackendRepo, DictBackend, ReceivePackHandler, UploadPackHandler

from towpath.errors import InvalidError, NotFoundError, Reason
from towpath.gitops.layout import README
from towpath.gitops.tree import edited
from towpath.spec.names import LABEL, Revision

__all__ = ["RECEIVE", "UPLOAD", "Pushed", "create", "exchange", "head"]

UPLOAD: Final = "git-upload-pack"
RECEIVE: Final = "git-receive-pack"
BRANCH: Final = "main"
PACKS: Final = 50
"""Packs, one for each push, after which a start gathers them into one."""

_NONE: Final = ObjectID(b"0" * 40)
_AUTHOR: Final = b"Towpath <towpath@localhost>"
_CONFIG: Final = (("receive", "maxInputSize", "67108864"), ("core", "fsyncObjectFiles", "true"))

Pushed = tuple[str, Revision]
"""A branch and the commit that it was moved to."""


def create(root: Path, name: str) -> Revision:
    """Make a repository with a first commit, or make one that is there fit to be served.

    Blocking. Call it before the repository is served: what a killed process left locked is
    unlocked here.

    Args:
        root: Folder of repositories.
        name: It becomes ``<root>/<name>.git``.

    Returns:
        Where its branch ``main`` stands.

    Raises:
        InvalidError: the name is not legal, or something else lies there.
    """
    if not LABEL.fullmatch(name):
        raise InvalidError(
            f"repository name {name[:80]!r} is not legal",
            hint="Use lower-case letters, digits and '-', beginning with a letter.",
        )
    path = root / f"{name}.git"
    if not path.exists():
        root.mkdir(parents=True, exist_ok=True)
        unfinished = root / f".{name}.git.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        _make(unfinished)
        unfinished.rename(path)
    return _mend(path)


def head(path: Path) -> Revision:
    """Where the branch ``main`` of a repository stands.

    Raises:
        NotFoundError: there is no such repository or branch.
    """
    with _opened(path) as repo:
        try:
            return Revision(repo.refs[Ref(b"refs/heads/" + BRANCH.encode())].decode())
        except KeyError as exc:
            raise NotFoundError(f"repository {path.name} has no branch {BRANCH!r}") from exc


def exchange(
    path: Path, service: str, request: IO[bytes] | None, answer: IO[bytes]
) -> list[Pushed]:
    """One request of git's smart protocol, stateless, from and into files.

    Blocking. Pushes to one repository are best run one after the other: of two at once, the later
    is told that the ref was moved.

    Args:
        path: The repository.
        service: :data:`UPLOAD` or :data:`RECEIVE`.
        request: What the client sent; None to advertise the refs.
        answer: Gets the answer.

    Returns:
        The branches that a push moved.

    Raises:
        NotFoundError: there is no such repository.
        InvalidError: the client does not speak the protocol.
    """
    wants = _wants(request) if request is not None and service == UPLOAD else ()
    with _opened(path) as repo:
        landed = repo.served(wants)

        def read(size: int = -1) -> bytes:
            return request.read(size) if request is not None else b""

        protocol = ReceivableProtocol(read, answer.write)
        serve: Any = UploadPackHandler if service == UPLOAD else ReceivePackHandler
        only: dict[str, BackendRepo] = {"": repo}
        handler = serve(
            DictBackend(only),
            [""],
            protocol,
            stateless_rpc=True,
            advertise_refs=request is None,
        )
        if request is None:
            handler.proto.write_pkt_line(f"# service={service}\n".encode())
            handler.proto.write_pkt_line(None)
        try:
            handler.handle()
        except (GitProtocolError, ObjectFormatException, AssertionError, ValueError) as exc:
            raise InvalidError(
                f"the request is not one of git's {service} protocol: {exc}",
                reason=Reason.BAD_REQUEST,
            ) from exc
    return landed


class _Served(Repo):
    """A repository with our rules for a push instead of its own hooks."""

    def served(self, wants: Sequence[ObjectID]) -> list[Pushed]:
        """Set the rules up for one request; the list fills with what a push moves."""
        landed: list[Pushed] = []
        self.refs = _Refs(self.commondir())
        self.hooks = {"update": _OnlyForward(self), "post-receive": _Landed(landed)}
        heads = set(super().get_refs().values())
        self._asked = {
            Ref(b"refs/asked/" + want): want
            for want in wants
            if any(want == tip or _is_ancestor(self, want, tip) for tip in heads)
        }
        return landed

    def get_refs(self) -> dict[Ref, ObjectID]:
        """The refs, and the commits at or behind them that this request asks for.

        A client asks for what was advertised to it a moment ago; a push may come at any point
        between that and the answer.
        """
        return {**super().get_refs(), **getattr(self, "_asked", {})}


class _Refs(DiskRefsContainer):
    """Refs whose lost compare-and-swap is an error, which the protocol then tells the client."""

    def set_if_equals(self, *args: Any, **options: Any) -> bool:
        """As the base class, but never quietly False."""
        try:
            done = super().set_if_equals(*args, **options)
        except FileLocked as exc:
            raise OSError("the ref is being moved by another push") from exc
        if not done:
            raise OSError("the ref was moved by another push")
        return True


class _OnlyForward(Hook):
    """A branch moves forward only, and only to a commit that is complete.

    Besides branches there are tags. ``HEAD`` names the current branch, so no branch is called it.
    """

    def __init__(self, repo: Repo) -> None:
        self._repo = repo

    def execute(self, *args: Any) -> tuple[bytes, bytes]:
        """What the hook says, nothing. Raises HookError with the reason that the client is told."""
        ref, old, new = args
        if not ref.startswith((b"refs/heads/", b"refs/tags/")) or ref == b"refs/heads/HEAD":
            raise HookError("only branches and tags are kept here, and no branch HEAD")
        if ref.startswith(b"refs/heads/"):
            self._check(ref, old, new)
        return b"", b""

    def _check(self, ref: Ref, old: ObjectID, new: ObjectID) -> None:
        now = self._repo.refs.read_ref(ref) or _NONE
        if now != old:
            raise HookError("fetch first")
        if new == _NONE:
            if ref == b"refs/heads/" + BRANCH.encode():
                raise HookError("deletion of the current branch prohibited")
            return
        try:
            complete = self._complete(new)
            forward = old == _NONE or can_fast_forward(self._repo, old, new)
        except KeyError as exc:
            raise HookError("missing necessary objects") from exc
        if not complete:
            raise HookError("missing necessary objects")
        if not forward:
            raise HookError("non-fast-forward")

    def _complete(self, new: ObjectID) -> bool:
        store = self._repo.object_store
        tip = store[new]
        return isinstance(tip, Commit) and all(
            entry.sha in store for entry in iter_tree_contents(store, tip.tree)
        )


class _Landed(Hook):
    """Notes which branches a push moved."""

    def __init__(self, landed: list[Pushed]) -> None:
        self._landed = landed

    def execute(self, *args: Any) -> None:
        """Called with the ref updates that went through."""
        prefix = b"refs/heads/"
        self._landed += [
            (ref.removeprefix(prefix).decode("utf-8", "replace"), Revision(new.decode()))
            for _, new, ref in args[0]
            if ref.startswith(prefix) and new != _NONE
        ]


@contextmanager
def _opened(path: Path) -> Iterator[_Served]:
    if not (path / "HEAD").is_file():
        raise NotFoundError(f"there is no repository {path.name}")
    repo = _Served(str(path))
    try:
        yield repo
    finally:
        repo.close()


def _is_ancestor(repo: Repo, old: ObjectID, new: ObjectID) -> bool:
    try:
        return can_fast_forward(repo, old, new)
    except (KeyError, AssertionError):
        return False


def _wants(request: IO[bytes]) -> tuple[ObjectID, ...]:
    """The commits that a client asks for; the request is rewound."""
    found: list[ObjectID] = []
    try:
        for line in Protocol(lambda size=-1: request.read(size), lambda _: None).read_pkt_seq():  # type: ignore[misc]
            if not line.startswith(b"want "):
                break
            found.append(ObjectID(line[5:45]))
    except (GitProtocolError, ValueError, AssertionError) as exc:
        raise InvalidError(
            "the request is not one of git's protocol", reason=Reason.BAD_REQUEST
        ) from exc
    request.seek(0)
    return tuple(found)


def _make(path: Path) -> None:
    repo = Repo.init_bare(str(path), mkdir=True, default_branch=BRANCH.encode())
    try:
        config = repo.get_config()
        for section, key, value in _CONFIG:
            config.set((section.encode(),), key.encode(), value.encode())
        config.write_to_path()
        tree, objects = edited(repo.object_store, None, {"README.md": README})
        first = Commit()
        first.tree = tree
        first.author = first.committer = _AUTHOR
        first.author_time = first.commit_time = int(time.time())
        first.author_timezone = first.commit_timezone = 0
        first.message = b"Explain the layout\n"
        for obj in (*objects, first):
            repo.object_store.add_object(obj)
        repo.refs.set_if_equals(Ref(b"refs/heads/" + BRANCH.encode()), None, first.id)
    finally:
        repo.close()


def _mend(path: Path) -> Revision:
    for lock in (*path.glob("*.lock"), *(path / "refs").rglob("*.lock")):
        lock.unlink(missing_ok=True)
    for leftover in (path / "objects").rglob("tmp_*"):
        leftover.unlink(missing_ok=True)
    with _opened(path) as repo:
        if len(repo.object_store.packs) > PACKS:
            repo.object_store.repack()
    return head(path)

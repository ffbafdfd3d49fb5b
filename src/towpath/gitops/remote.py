"""A git repository somewhere else: what its branches point at, fetched and pushed in single steps.

Blocking: callers run it in a worker thread. Speaks smart HTTP, and reads or writes a repository of
this machine by its path or ``file://`` URL. No working copy, no configuration of a user's git.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx2
from dulwich.client import GitClient, LocalGitClient
from dulwich.errors import GitProtocolError, NotGitRepository
from dulwich.file import FileLocked
from dulwich.object_store import DiskObjectStore, MemoryObjectStore, ObjectStoreGraphWalker
from dulwich.objects import ObjectID, ShaFile
from dulwich.pack import UnpackedObject, pack_objects_to_data
from dulwich.refs import Ref

from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.gitops.http import SmartHttp
from towpath.spec.names import Revision
from towpath.telemetry import redact

__all__ = ["Remote"]

PACK_BYTES: Final = 64 * 1024 * 1024
"""Most bytes of one fetch: a repository of manifests is small, a fetch of one commit smaller."""

_SHA: Final = re.compile(r"[0-9a-f]{40}")
_Refs = Mapping[Ref, ObjectID | None]


@dataclass(frozen=True)
class Remote:
    """A repository, and the token to push with.

    Args:
        url: ``http(s)://…``, ``file://…`` or a path of this machine.
        token: Sent as the password of Basic authentication, with which every git host takes one.
            Without it, a user and password in the URL are used.
    """

    url: str
    token: str = field(default="", repr=False)

    def resolve(self, target: str) -> Revision:
        """The commit that a branch, a tag, ``HEAD`` or a commit id stands for.

        Raises:
            NotFoundError: no such repository, branch or tag.
            DeniedError: it may not be read with these credentials.
            UnavailableError: it does not answer.
            InvalidError: its URL is of another kind.
        """
        with self._client() as (client, path):
            refs = client.get_refs(path).refs
        return Revision(self._pick(refs, target).decode())

    def fetch(self, target: str, store: DiskObjectStore | MemoryObjectStore) -> Revision | None:
        """Bring one commit with its files, without its history, into a store.

        Returns:
            Its id; None when the repository holds no commit at all.

        Raises:
            NotFoundError, DeniedError, UnavailableError, InvalidError: as :meth:`resolve`; the
            last also when it is larger than what is read at most.
        """
        picked: list[ObjectID] = []

        def wants(refs: _Refs, depth: int | None = None) -> list[ObjectID]:
            if any(refs.values()):
                picked.append(self._pick(refs, target))
            return list(picked)

        with SpooledTemporaryFile(max_size=4 * 1024 * 1024) as pack:
            received = 0

            def write(data: bytes) -> int:
                nonlocal received
                received += len(data)
                if received > PACK_BYTES:
                    raise InvalidError(
                        f"the git repository at {redact(self.url)} holds more than "
                        f"{PACK_BYTES} bytes",
                        reason=Reason.TOO_LARGE,
                    )
                return pack.write(data)

            with self._client() as (client, path):
                walker = ObjectStoreGraphWalker([], lambda _: [], shallow=set())
                client.fetch_pack(path, wants, walker, write, depth=1)
                if received:
                    pack.seek(0)
                    store.add_thin_pack(pack.read, None)
        return Revision(picked[0].decode()) if picked else None

    def push(
        self, branch: str, base: Revision | None, tip: ObjectID, objects: Sequence[ShaFile]
    ) -> None:
        """Move a branch from one commit to a later one.

        Args:
            branch: Its name.
            base: Where it must be now; None when it must not exist.
            tip: Where it is moved to.
            objects: All that the repository does not have yet.

        Raises:
            ConflictError: the branch is somewhere else by now.
            DeniedError: it may not be pushed to with these credentials.
            NotFoundError, UnavailableError, InvalidError: as :meth:`resolve`.
        """
        ref = Ref(b"refs/heads/" + branch.encode())

        def update(refs: dict[Ref, ObjectID]) -> dict[Ref, ObjectID]:
            now = refs.get(ref)
            if now != (base.encode() if base else None):
                raise self._moved(branch)
            return {ref: tip}

        def pack(
            have: object, want: object, **options: object
        ) -> tuple[int, Iterator[UnpackedObject]]:
            return pack_objects_to_data(list(objects))

        with self._client() as (client, path):
            result = client.send_pack(path, update, pack)
        failure = (result.ref_status or {}).get(ref)
        if failure and ("declined" in failure or "protected" in failure):
            raise DeniedError(
                f"the git repository at {redact(self.url)} declined a push to {branch!r}: {failure}"
            )
        if failure:
            raise self._moved(branch)

    def _moved(self, branch: str) -> ConflictError:
        return ConflictError(
            f"branch {branch!r} of {redact(self.url)} has moved", hint="Fetch it again."
        )

    def _pick(self, refs: _Refs, target: str) -> ObjectID:
        if _SHA.fullmatch(target):
            return ObjectID(target.encode())
        name = target.encode()
        candidates = (
            b"refs/heads/" + name,
            b"refs/tags/" + name + b"^{}",
            b"refs/tags/" + name,
            name if name.startswith(b"refs/") or name == b"HEAD" else b"",
        )
        for candidate in candidates:
            if found := refs.get(Ref(candidate)):
                return found
        raise NotFoundError(
            f"there is no branch or tag {target!r} in the git repository at {redact(self.url)}"
        )

    @contextmanager
    def _client(self) -> Iterator[tuple[GitClient, bytes]]:
        with self._errors():
            parts = urlsplit(self.url)
            if parts.scheme in ("http", "https"):
                password = self.token or unquote(parts.password or "")
                auth = (unquote(parts.username or "git"), password) if password else None
                url = parts._replace(
                    netloc=parts.netloc.rsplit("@", 1)[-1], query="", fragment=""
                ).geturl()
                with closing(SmartHttp(url, auth)) as client:
                    yield client, b""
            elif parts.scheme == "file":
                yield LocalGitClient(), unquote(parts.path).encode()
            elif self.url and "://" not in self.url:
                yield LocalGitClient(), self.url.encode()
            else:
                raise InvalidError(
                    f"cannot read git from {redact(self.url)!r}",
                    hint="Use http(s)://…, file://… or a path.",
                )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except TowpathError:
            raise
        except NotGitRepository as exc:
            raise NotFoundError(f"there is no git repository at {redact(self.url)}") from exc
        except FileLocked as exc:
            raise ConflictError(f"{redact(self.url)} is being written by somebody else") from exc
        except (GitProtocolError, OSError, httpx2.HTTPError) as exc:
            raise UnavailableError(
                f"the git repository at {redact(self.url)} does not answer"
            ) from exc
        except Exception as exc:
            # What a broken or hostile repository makes dulwich raise is not a closed set.
            raise InvalidError(
                f"the git repository at {redact(self.url)} is not readable: {type(exc).__name__}"
            ) from exc

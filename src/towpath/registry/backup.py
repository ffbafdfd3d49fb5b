"""Everything of a registry as a file, and back: the client's side of export and import.

A file appears under its name only when it is whole: the first line of an export says how many
lines follow, so one that was broken off is never taken for a backup.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Final, Self

import anyio
import anyio.to_thread
import httpx2
import orjson

from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.registry.exchange import FORMAT, MEDIA_TYPE
from towpath.registry.listing import listed
from towpath.spec.registry import PREFIXES
from towpath.telemetry import redact

__all__ = ["Backup"]

PIECE: Final = 1024 * 1024
SILENCE_SECONDS: Final = 300.0
"""An import is one transaction: nothing comes back before it is done."""
FIRST_LINE: Final = 64 * 1024
_KINDS: Final[Mapping[int, tuple[type[TowpathError], Reason]]] = {
    401: (DeniedError, Reason.UNAUTHENTICATED),
    403: (DeniedError, Reason.FORBIDDEN),
    409: (ConflictError, Reason.CONFLICT),
}


class Backup:
    """Talks to one registry. Use as an asynchronous context manager.

    Args:
        url: Address of the server, without the path of the API.
        token: Of an administrator, if the registry wants one.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._where = redact(url)
        self._base = url.rstrip("/") + PREFIXES[0]
        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx2.Timeout(30, read=SILENCE_SECONDS),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def save(self, path: Path) -> dict[str, int]:
        """Write an export into a file; how many of each kind are in it.

        A server of the same API that knows no export is listed instead.

        Raises:
            DeniedError: the token does not allow it.
            NotFoundError: no registry is at this address.
            UnavailableError: the registry does not answer, or broke off.
            OSError: of the disk; nothing is left behind.
        """
        part = path.with_name(f".{path.name}.part")
        try:
            with part.open("wb") as file:
                part.chmod(0o600)  # it holds what only an administrator may read
                lines = await self._fetch(file)
                file.flush()
            counts = await anyio.to_thread.run_sync(_counts, part)
            if lines != 1 + sum(counts.values()):
                raise UnavailableError(f"the model registry at {self._where} broke off the export")
            part.replace(path)
            return counts
        finally:
            part.unlink(missing_ok=True)

    async def load(self, path: Path) -> dict[str, int]:
        """Read an export into the registry, which must be empty; how many of each kind it holds.

        Raises:
            InvalidError: the file is no export, or the registry refuses it.
            ConflictError: the registry is not empty.
            DeniedError: the token does not allow it.
            UnavailableError: the registry does not answer.
        """
        await anyio.to_thread.run_sync(_counts, path)
        with path.open("rb") as file:
            try:
                answer = await self._http.post(
                    f"{self._base}/import",
                    content=_pieces(file),
                    headers={"Content-Type": MEDIA_TYPE},
                )
            except (httpx2.RequestError, httpx2.InvalidURL) as exc:
                raise self._silent() from exc
        if answer.status_code >= 300:
            raise self._refusal(answer.status_code, answer.content)
        return dict(orjson.loads(answer.content)["counts"])

    async def _fetch(self, file: IO[bytes]) -> int:
        lines = 0
        try:
            async with self._http.stream("GET", f"{self._base}/export") as answer:
                if answer.status_code in (404, 405):  # another server of the same API
                    return await listed(self._http, self._base, file)
                if answer.status_code != 200:
                    raise self._refusal(answer.status_code, await answer.aread())
                async for chunk in answer.aiter_bytes(PIECE):
                    lines += chunk.count(b"\n")
                    await anyio.to_thread.run_sync(file.write, chunk)
        except (httpx2.RequestError, httpx2.InvalidURL) as exc:
            raise self._silent() from exc
        return lines

    def _silent(self) -> UnavailableError:
        return UnavailableError(
            f"the model registry at {self._where} does not answer", hint="Is it running there?"
        )

    def _refusal(self, status: int, content: bytes) -> TowpathError:
        try:
            said = str(orjson.loads(content)["message"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            said = f"the model registry at {self._where} answered {status}"
        if status >= 500:
            return UnavailableError(said)
        kind, reason = _KINDS.get(status, (InvalidError, Reason.INVALID))
        hint = "Name a file with an admin's token by --token-file." if status == 401 else ""
        return kind(said, reason=reason, hint=hint)


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await anyio.to_thread.run_sync(file.read, PIECE):
        yield piece


def _counts(path: Path) -> dict[str, int]:
    """What the first line of an export says."""
    with path.open("rb") as file:
        line = file.readline(FIRST_LINE)
    try:
        told: Any = orjson.loads(line)
        known = told["format"] == FORMAT
        counts = {str(kind): int(count) for kind, count in told["counts"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        known, counts = False, {}
    if not known:
        raise InvalidError(f"{path} is no export of a model registry")
    return counts

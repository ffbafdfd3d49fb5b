"""Git's smart HTTP from the client's side, over the HTTP client that everything here uses.

dulwich knows the protocol and leaves the transport open (:class:`AbstractHttpGitClient`). Ours
bounds what it reads, closes what it opens, gives credentials to no other origin than the one they
were meant for, and says what went wrong in our errors.
"""

import ipaddress
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx2
from dulwich.client import AbstractHttpGitClient, default_user_agent_string

from towpath.errors import (
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.telemetry import redact

__all__ = ["SmartHttp"]

TIMEOUT: Final = httpx2.Timeout(30.0, connect=5.0)
"""Seconds of silence until a connection counts as dropped, and until it counts as not coming."""
ANSWER_BYTES: Final = 80 * 1024 * 1024
"""Most bytes of one answer: the refs, or the largest pack with its framing."""

_ERRORS: Final[dict[int, tuple[type[TowpathError], Reason, str]]] = {
    401: (DeniedError, Reason.UNAUTHENTICATED, "wants other credentials"),
    403: (DeniedError, Reason.FORBIDDEN, "does not allow that with these credentials"),
    404: (NotFoundError, Reason.NOT_FOUND, "is not there"),
    407: (DeniedError, Reason.UNAUTHENTICATED, "is behind a proxy that wants credentials"),
    408: (UnavailableError, Reason.TIMEOUT, "answered 408"),
    410: (NotFoundError, Reason.NOT_FOUND, "is not there any more"),
    413: (InvalidError, Reason.TOO_LARGE, "takes no push as large as this"),
    429: (UnavailableError, Reason.TOO_MANY, "is asked too often"),
}


class SmartHttp(AbstractHttpGitClient):
    """A client for one repository; to be closed.

    Args:
        url: Of the repository, without credentials.
        auth: User and password, for this origin only.
    """

    def __init__(self, url: str, auth: tuple[str, str] | None) -> None:
        super().__init__(url)
        self._origin = httpx2.URL(url)
        self._auth = httpx2.BasicAuth(*auth) if auth else None
        local = _loopback(self._origin.host)
        plain = local and self._origin.scheme == "http"
        self._client = httpx2.Client(
            headers={"User-Agent": default_user_agent_string(), "Pragma": "no-cache"},
            timeout=TIMEOUT,
            trust_env=not local,
            # Reading the certificates of all authorities takes longer than a push to ourselves.
            verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT) if plain else True,
        )

    def close(self) -> None:
        """Close its connections, those of unread answers too."""
        self._client.close()

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> tuple[Any, Callable[[int], bytes]]:
        """One request; dulwich's own hook for a transport.

        Raises:
            NotFoundError, DeniedError, UnavailableError, InvalidError: by the answer's status.
        """
        target = httpx2.URL(url)
        where = (target.scheme, target.host, target.port)
        home = (self._origin.scheme, self._origin.host, self._origin.port)
        method = "GET" if data is None else "POST"
        request = self._client.build_request(method, url, headers=headers, content=data)
        response = self._client.send(
            request,
            stream=True,
            auth=self._auth if where == home else None,
            follow_redirects=data is None,
        )
        answer = _Answer(response, url)
        if response.status_code != 200 and raise_for_status:
            answer.close()
            raise _error(response)
        if data is None and not answer.content_type.startswith("application/x-git-"):
            answer.close()
            raise InvalidError(
                f"{redact(url)} does not speak git's smart protocol",
                hint="Is that the URL that 'git clone' takes?",
            )
        return answer, answer.read


class _Answer:
    """An answer as dulwich wants it: read by exact sizes."""

    def __init__(self, response: httpx2.Response, asked: str) -> None:
        self._response = response
        self._chunks = response.iter_bytes()
        self._buffer = bytearray()
        self._total = 0
        self.status = response.status_code
        self.content_type = response.headers.get("content-type", "")
        self.redirect_location = str(response.url) if str(response.url) != asked else ""

    def read(self, size: int) -> bytes:
        """As many bytes as asked for; fewer only at the end."""
        while len(self._buffer) < size and (chunk := next(self._chunks, None)) is not None:
            self._buffer += chunk
            self._total += len(chunk)
            if self._total > ANSWER_BYTES:
                raise InvalidError(
                    f"the answer of {redact(str(self._response.url))} is larger than the limit "
                    f"of {ANSWER_BYTES} bytes",
                    reason=Reason.TOO_LARGE,
                )
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def close(self) -> None:
        """Close the response, read or not."""
        self._response.close()


def _error(response: httpx2.Response) -> TowpathError:
    status = response.status_code
    known = _ERRORS.get(status)
    if known is None and status >= 500:
        known = (UnavailableError, Reason.UNAVAILABLE, f"answered {status}")
    kind, reason, what = known or (InvalidError, Reason.BAD_REQUEST, f"answered {status}")
    url = redact(str(response.url.copy_with(query=None))).removesuffix("/info/refs")
    return kind(f"the git repository at {url} {what}", reason=reason)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

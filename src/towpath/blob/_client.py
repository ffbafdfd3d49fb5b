"""What the HTTP clients of this plane share: one way to connect and one way to fail."""

import functools
import ipaddress
import logging
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)
from towpath.settings import Blob

__all__ = ["connect", "errors", "is_loopback", "length", "refusal", "starts_at"]

_REDIRECTS = 5

logging.getLogger("httpx2").setLevel(logging.WARNING)  # its INFO lines show whole URLs, secrets too


def is_loopback(host: str) -> bool:
    """Whether a host (without port) is this machine itself."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Which servers are trusted: read once, since it takes 0.1 s."""
    return httpx2.create_ssl_context()


def connect(settings: Blob, host: str, auth: httpx2.Auth | None = None) -> httpx2.AsyncClient:
    """A client for one host; proxies of the environment are used for other machines only."""
    return httpx2.AsyncClient(
        auth=auth,
        verify=_certificates(),
        timeout=httpx2.Timeout(settings.timeout_seconds),
        follow_redirects=True,
        max_redirects=_REDIRECTS,
        trust_env=not is_loopback(host),
        headers={"Accept-Encoding": "identity", "User-Agent": "towpath"},
    )


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Translate the HTTP client's errors inside the block; ``what`` names the place, redacted."""
    try:
        yield
    except httpx2.TooManyRedirects as exc:
        raise InvalidError(f"{what} redirects more than {_REDIRECTS} times") from exc
    except (httpx2.UnsupportedProtocol, httpx2.InvalidURL) as exc:
        raise InvalidError(f"{what} leads to an address that is not http or https") from exc
    except httpx2.TimeoutException as exc:
        raise UnavailableError(f"{what} does not answer in time", reason=Reason.TIMEOUT) from exc
    except httpx2.ConnectError as exc:
        raise UnavailableError(
            f"{what} cannot be reached", hint="Is its server running, and its name right?"
        ) from exc
    except (httpx2.TransportError, OSError) as exc:
        raise UnavailableError(f"the connection to {what} broke off") from exc
    except httpx2.RequestError as exc:
        raise UnavailableError(f"{what} cannot be read") from exc


def refusal(response: httpx2.Response, what: str, detail: str = "") -> TowpathError:
    """The error that an answer of 300 or more stands for."""
    status = response.status_code
    said = f"{what} answers {status}" + (f": {detail}" if detail else "")
    if status == 401:
        return DeniedError(said, reason=Reason.UNAUTHENTICATED, hint="Give credentials for it.")
    if status == 403:
        return DeniedError(said)
    if status in (404, 410):
        return NotFoundError(f"{what} is not there" + (f": {detail}" if detail else ""))
    if status == 409:
        return ConflictError(said)
    if status == 413:
        return InvalidError(said, reason=Reason.TOO_LARGE)
    if status == 416:
        return InvalidError(said, reason=Reason.RANGE_NOT_SATISFIABLE)
    if status == 429:
        return UnavailableError(said, reason=Reason.TOO_MANY, retry_after=_retry_after(response))
    if status == 507:
        return UnavailableError(said, reason=Reason.NO_SPACE)
    if status in (408, 425) or (status >= 500 and status != 501):
        return UnavailableError(said, retry_after=_retry_after(response))
    return InvalidError(said, reason=Reason.BAD_REQUEST)


def _retry_after(response: httpx2.Response) -> float | None:
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def length(response: httpx2.Response) -> int | None:
    """``Content-Length``, where there is a sound one."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else None


def starts_at(response: httpx2.Response) -> tuple[int, int | None] | None:
    """First byte and total of a ``Content-Range`` (RFC 9110, 14.4), or None when it is unsound."""
    unit, _, rest = response.headers.get("content-range", "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    if unit != "bytes" or not (first.isdecimal() or span == "*"):
        return None
    return int(first) if first.isdecimal() else 0, int(total) if total.isdecimal() else None

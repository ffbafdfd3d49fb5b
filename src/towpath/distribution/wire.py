"""How requests and errors look on the wire of the distribution specification 1.1."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request

from towpath.errors import InvalidError, NotFoundError, Reason, TowpathError
from towpath.spec.names import Digest, digest

__all__ = ["byte_range", "codes", "content_range", "digest_in", "uploaded"]

_SPAN: Final = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/.*)?")
_RANGE: Final = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


@contextmanager
def codes(missing: str, invalid: str) -> Iterator[None]:
    """Give errors in the block their code: one for what is not there, one for what is wrong.

    An error that has a code keeps it; a digest that differs keeps ``DIGEST_INVALID``.
    """
    try:
        yield
    except NotFoundError as exc:
        coded(exc, missing)
        raise
    except InvalidError as exc:
        if exc.reason in (Reason.INVALID, Reason.BAD_REQUEST, Reason.RANGE_NOT_SATISFIABLE):
            coded(exc, invalid)
        raise


def coded(error: TowpathError, code: str) -> TowpathError:
    """The error, with a code of the specification when it has none yet."""
    if not hasattr(error, "oci_code"):
        setattr(error, "oci_code", code)  # noqa: B010 - an attribute towpath.web looks for
    return error


def digest_in(text: str) -> Digest:
    """A digest from a path or query. Raises InvalidError with code ``DIGEST_INVALID``."""
    with codes("DIGEST_INVALID", "DIGEST_INVALID"):
        return digest(text)


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """First byte and count of a ``Range`` (RFC 9110, 14.2); None for the whole.

    What is no single byte range is ignored, as the RFC allows.

    Raises:
        InvalidError: nothing of it is there (reason ``RangeNotSatisfiable``).
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or match.group(0) == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        count = min(int(last), size)
        start = size - count
    else:
        start = int(first)
        end = min(int(last), size - 1) if last else size - 1
        if last and int(last) < start:
            return None
        count = end - start + 1
    if count <= 0:
        error = InvalidError(
            f"the range begins behind the {size} bytes", reason=Reason.RANGE_NOT_SATISFIABLE
        )
        setattr(error, "headers", {"Content-Range": f"bytes */{size}"})  # noqa: B010 - as in codes
        raise error
    return start, count


def content_range(request: Request) -> int | None:
    """Where a chunk belongs, by its ``Content-Range`` (``<start>-<end>``); None without.

    Raises:
        InvalidError: it is malformed, or its length is not that of the body.
    """
    header = request.headers.get("content-range")
    if header is None:
        return None
    match = _SPAN.fullmatch(header.strip())
    if match is None:
        raise InvalidError("header Content-Range is not <start>-<end>", reason=Reason.BAD_REQUEST)
    first, last = int(match.group(1)), int(match.group(2))
    length = request.headers.get("content-length")
    if length is not None and length.isdecimal() and int(length) != last - first + 1:
        raise InvalidError(
            "header Content-Range is not as long as the body", reason=Reason.BAD_REQUEST
        )
    return first


def uploaded(size: int) -> str:
    """``Range`` of an upload that has ``size`` bytes; of none it is ``0-0`` as well."""
    return f"0-{max(0, size - 1)}"

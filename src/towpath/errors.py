"""The five errors, each named by what its caller does next.

Foreign exceptions are translated at the edge of a plane (``raise … from exc``), so that no other
code has to know sqlite3, httpx2 or dulwich. A surface turns (class, reason) into its own wire
form in :mod:`towpath.web`; the command line turns the class into an exit code.

    TowpathError
    ├── NotFoundError      it is not there
    ├── ConflictError      read again, then decide
    ├── InvalidError       stop until the input changes
    ├── DeniedError        stop; other credentials are needed
    └── UnavailableError   try again (after ``retry_after`` seconds)
"""

from collections.abc import Iterator
from enum import StrEnum
from errno import ENOSPC
from typing import ClassVar

__all__ = [
    "ConflictError",
    "DeniedError",
    "InvalidError",
    "NotFoundError",
    "Reason",
    "TowpathError",
    "UnavailableError",
    "first_known",
]


class Reason(StrEnum):
    """Why, from a closed set: what a surface needs to choose its own code."""

    NOT_FOUND = "NotFound"
    ALREADY_EXISTS = "AlreadyExists"
    CONFLICT = "Conflict"
    EXPIRED = "Expired"
    PRECONDITION_FAILED = "PreconditionFailed"
    BAD_REQUEST = "BadRequest"
    INVALID = "Invalid"
    METHOD_NOT_ALLOWED = "MethodNotAllowed"
    NOT_ACCEPTABLE = "NotAcceptable"
    UNSUPPORTED_MEDIA_TYPE = "UnsupportedMediaType"
    RANGE_NOT_SATISFIABLE = "RangeNotSatisfiable"
    TOO_LARGE = "TooLarge"
    TOO_MANY = "TooMany"
    UNAUTHENTICATED = "Unauthenticated"
    FORBIDDEN = "Forbidden"
    DIGEST_MISMATCH = "DigestMismatch"
    MISSING_EXTRA = "MissingExtra"
    NO_SPACE = "NoSpace"
    TIMEOUT = "Timeout"
    UNAVAILABLE = "Unavailable"


class TowpathError(Exception):
    """Base of the five. Never raised itself.

    Args:
        message: One sentence: what happened, to which field or thing. No secret in it.
        reason: From the closed set; each class has its usual one.
        hint: What to do next, as a sentence. Empty when the message says it all.
    """

    default: ClassVar[Reason]
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, reason: Reason | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.default
        self.hint = hint


class NotFoundError(TowpathError):
    """The named thing is not there."""

    default = Reason.NOT_FOUND
    exit_code = 3


class ConflictError(TowpathError):
    """The world is not as the caller thought: read again, then decide."""

    default = Reason.CONFLICT
    exit_code = 4


class InvalidError(TowpathError):
    """The input is wrong: trying again changes nothing until the input does."""

    default = Reason.INVALID
    exit_code = 2


class DeniedError(TowpathError):
    """Not allowed with these credentials."""

    default = Reason.FORBIDDEN
    exit_code = 5


class UnavailableError(TowpathError):
    """Not now: the same call may go through later.

    Args:
        retry_after: Seconds to wait before the next try, where the other side said so.
    """

    default = Reason.UNAVAILABLE
    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        reason: Reason | None = None,
        hint: str = "",
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, reason=reason, hint=hint)
        self.retry_after = retry_after


def first_known(error: BaseException) -> TowpathError | None:
    """The error to tell of an exception or a (nested) exception group.

    Returns:
        The first of our own errors; an error of the operating system as one of ours; None when
        anything else is among them, which is a fault that must not be hidden.
    """
    leaves = list(_leaves(error))
    known = [_known(leaf) for leaf in leaves]
    return known[0] if known and all(known) else None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _known(error: BaseException) -> TowpathError | None:
    if isinstance(error, TowpathError):
        return error
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        reason = Reason.NO_SPACE if error.errno == ENOSPC else Reason.UNAVAILABLE
        return UnavailableError(f"{where}{error.strerror}", reason=reason)
    return None

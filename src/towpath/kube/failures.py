"""A Kubernetes API's refusals, as our five errors: with its reason, details and patience."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import httpx2
from lightkube.core.exceptions import ApiError, ConfigError

from towpath.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    NotFoundError,
    Reason,
    TowpathError,
    UnavailableError,
)

__all__ = ["translated"]

_Known = tuple[type[TowpathError], Reason]

_BY_CODE: Final[Mapping[int, _Known]] = {
    400: (InvalidError, Reason.BAD_REQUEST),
    401: (DeniedError, Reason.UNAUTHENTICATED),
    403: (DeniedError, Reason.FORBIDDEN),
    404: (NotFoundError, Reason.NOT_FOUND),
    405: (InvalidError, Reason.METHOD_NOT_ALLOWED),
    406: (InvalidError, Reason.NOT_ACCEPTABLE),
    409: (ConflictError, Reason.CONFLICT),
    410: (ConflictError, Reason.EXPIRED),
    413: (InvalidError, Reason.TOO_LARGE),
    415: (InvalidError, Reason.UNSUPPORTED_MEDIA_TYPE),
    422: (InvalidError, Reason.INVALID),
    429: (UnavailableError, Reason.TOO_MANY),
    504: (UnavailableError, Reason.TIMEOUT),
}
_BY_REASON: Final[Mapping[str, _Known]] = {
    "AlreadyExists": (ConflictError, Reason.ALREADY_EXISTS),
    "ServerTimeout": (UnavailableError, Reason.TIMEOUT),
}
_OTHER: Final[_Known] = (UnavailableError, Reason.UNAVAILABLE)
_WORDS: Final = 500
"""Characters kept of what a credential plugin wrote."""


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Raise what lightkube raises as one of the five errors.

    A refusal keeps the details of its ``Status`` (causes with their fields) in ``details``.
    """
    try:
        yield
    except ApiError as exc:
        raise _of_status(exc) from exc
    except httpx2.HTTPStatusError as exc:
        code = exc.response.status_code
        raise _error(_BY_CODE.get(code, _OTHER), f"{_api(server)} answered {code}") from exc
    except KeyError as exc:  # lightkube looks for the Content-Type of an answer that has none
        raise UnavailableError(f"{_api(server)} gave no answer that can be read") from exc
    except (ConfigError, FileNotFoundError, PermissionError) as exc:
        raise DeniedError(
            f"there are no credentials for {_api(server)}: {str(exc)[:_WORDS]}",
            reason=Reason.UNAUTHENTICATED,
            hint="Look at the user in the kubeconfig.",
        ) from exc
    except (httpx2.TransportError, OSError) as exc:
        raise UnavailableError(
            f"{_api(server)} does not answer", hint="Is that platform running?"
        ) from exc


def _api(server: str) -> str:
    return f"the Kubernetes API at {server}"


def _of_status(exc: ApiError) -> TowpathError:
    status = exc.status
    known = _BY_REASON.get(status.reason or "") or _BY_CODE.get(status.code or 500, _OTHER)
    error = _error(known, status.message or str(exc))
    if status.details is not None:
        vars(error)["details"] = status.details.to_dict()
        if isinstance(error, UnavailableError) and status.details.retryAfterSeconds:
            error.retry_after = float(status.details.retryAfterSeconds)
    return error


def _error(known: _Known, message: str) -> TowpathError:
    kind, reason = known
    return kind(message, reason=reason)

"""Tokens that a Kubernetes API is asked about: its ServiceAccounts may call other surfaces too.

Source: Kubernetes API ``authentication.k8s.io/v1``, ``TokenReview``.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import anyio

from towpath import kube
from towpath.auth import Identity
from towpath.auth.tokens import digest
from towpath.errors import DeniedError, TowpathError, UnavailableError
from towpath.spec.kube import Kind, Object
from towpath.telemetry import fields

__all__ = ["Reviews"]

log = logging.getLogger(__name__)

REVIEW: Final = Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", namespaced=False)
GOOD_SECONDS: Final = 30.0
"""How long an answer holds: a token that was taken back is refused by then."""
BAD_SECONDS: Final = 5.0
REMEMBERED: Final = 1024
AT_ONCE: Final = 8
"""Questions under way: a flood of invented tokens is no flood for the API behind."""
TOKEN: Final = 64 * 1024


class Reviews:
    """Knows the tokens that a Kubernetes API knows. An :class:`towpath.auth.Authenticator`.

    Args:
        client: Of the API; its user needs the right to create ``tokenreviews``.
        audience: Whom a token must be for; empty for the API's own audience.
        now: Seconds that only grow.
    """

    def __init__(
        self,
        client: kube.Writer,
        audience: str = "",
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._audiences = [audience] if audience else []
        self._now = now
        self._known: OrderedDict[bytes, tuple[float, Identity | None]] = OrderedDict()
        self._turns = anyio.CapacityLimiter(AT_ONCE)

    async def authenticate(self, token: str) -> Identity | None:
        """Whom a token stands for; None when the API does not know it.

        Raises:
            UnavailableError: the API gives no answer.
        """
        if not token or len(token) > TOKEN:
            return None
        known = self._remembered(token)
        if known is None:
            async with self._turns:
                known = self._remembered(token)  # somebody asked while this one waited
                if known is None:
                    found = await self._ask(token)
                    known = self._now() + (GOOD_SECONDS if found else BAD_SECONDS), found
                    self._known[digest(token)] = known
                    if len(self._known) > REMEMBERED:
                        self._known.popitem(last=False)
        return known[1]

    def _remembered(self, token: str) -> tuple[float, Identity | None] | None:
        known = self._known.get(digest(token))
        return known if known is not None and self._now() < known[0] else None

    async def _ask(self, token: str) -> Identity | None:
        spec: dict[str, Any] = {"token": token}
        if self._audiences:
            spec["audiences"] = self._audiences
        try:
            answer = await self._client.create(REVIEW, {"metadata": {}, "spec": spec})
        except TowpathError as exc:
            what = type(exc).__name__
            log.warning("failed to review token", extra=fields(error=exc.message, kind=what))
            hint = ""
            if isinstance(exc, DeniedError):
                hint = "The registry's own account there needs the right to create tokenreviews."
            raise UnavailableError(
                "the Kubernetes API that knows the tokens gives no answer",
                hint=hint,
                retry_after=BAD_SECONDS,
            ) from exc
        return _identity(answer, self._audiences)


def _identity(answer: Object, audiences: list[str]) -> Identity | None:
    status = kube.mapping(answer, "status")
    if status.get("authenticated") is not True:
        return None
    told = status.get("audiences") or []
    if audiences and not set(audiences) & set(told):
        return None  # an API that knows no audiences: the token may be for anybody
    user = kube.mapping(answer, "status", "user")
    name = user.get("username")
    if not isinstance(name, str) or not name:
        return None
    groups = (group for group in user.get("groups") or () if isinstance(group, str))
    return Identity(name, frozenset(groups), str(user.get("uid") or ""))

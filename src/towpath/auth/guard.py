"""The guard in front of a surface: who calls, and whether the surface's rule lets them in."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from towpath.auth.identity import ANONYMOUS, Authenticator, Identity, token_of
from towpath.errors import DeniedError, Reason, TowpathError

__all__ = ["Admission", "Guard", "Rule", "Several", "refusal"]

Admission = Identity | bool
"""Yes, no, or yes and as somebody else."""
Rule = Callable[[Identity, Scope], Admission | Awaitable[Admission]]
"""A surface's own rule: may this caller do what this ASGI scope asks? It may say so by an error,
and may let the caller in as somebody else (impersonation)."""


class Several:
    """Authenticators in turn: the first that knows a token says whom it stands for.

    Args:
        known: The authenticators, the quick ones first.
    """

    def __init__(self, known: Sequence[Authenticator]) -> None:
        self._known = tuple(known)

    async def authenticate(self, token: str) -> Identity | None:
        """As :class:`towpath.auth.Authenticator`."""
        for authenticator in self._known:
            found = await authenticator.authenticate(token)
            if found is not None:
                return found
        return None


def refusal() -> DeniedError:
    """The error of credentials that are not good here."""
    return DeniedError("the token is not known here", reason=Reason.UNAUTHENTICATED)


class Guard:
    """ASGI middleware: identify the caller, ask the rule, or answer 401/403 in the surface's shape.

    The identity is left in ``scope["state"]["identity"]``.

    Args:
        inner: The guarded app.
        known: Who knows the tokens. Where there is nobody, tokens are not looked at: whoever stands
            in front may have, and passes them on.
        rule: What their holders may.
        shape: The surface's error shape (see :mod:`towpath.web`).
    """

    def __init__(
        self,
        inner: ASGIApp,
        known: Authenticator | Sequence[Authenticator],
        rule: Rule,
        shape: Callable[[TowpathError, int], Mapping[str, object]],
    ) -> None:
        self._inner = inner
        self._known = Several(known) if isinstance(known, Sequence) and known else known
        self._rule = rule
        self._shape = shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; only ``http`` is guarded."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        try:
            identity = await self._admit(scope)
        except TowpathError as error:
            await self._refuse(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["identity"] = identity
        await self._inner(scope, receive, send)

    async def _admit(self, scope: Scope) -> Identity:
        identity = await self._identify(scope)
        admitted = self._rule(identity, scope)
        if isinstance(admitted, Awaitable):
            admitted = await admitted
        if isinstance(admitted, Identity):
            return admitted
        if admitted:
            return identity
        if identity.anonymous:
            raise DeniedError("credentials are needed here", reason=Reason.UNAUTHENTICATED)
        raise DeniedError(f"user {identity.user!r} may not {scope['method']} {scope['path']}")

    async def _identify(self, scope: Scope) -> Identity:
        headers = [value for name, value in scope["headers"] if name == b"authorization"]
        if isinstance(self._known, Sequence) or not headers or not headers[0]:
            return ANONYMOUS
        if len(headers) > 1:  # whoever stands in front may have looked at the other one
            raise refusal()
        token = token_of(headers[0].decode("latin-1"))
        found = await self._known.authenticate(token) if token else None
        if found is None:
            raise refusal()
        return found

    def _refuse(self, error: TowpathError) -> JSONResponse:
        status = _STATUS.get(error.reason, 503)
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        return JSONResponse(self._shape(error, status), status_code=status, headers=headers)


_STATUS: Final[Mapping[Reason, int]] = {
    Reason.UNAUTHENTICATED: 401,
    Reason.FORBIDDEN: 403,
    Reason.BAD_REQUEST: 400,
}

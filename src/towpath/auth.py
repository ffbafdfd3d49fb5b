"""Who calls, and what they may: bearer tokens and the guard in front of a surface.

A surface passes its own rule in; this module knows no resources. Tokens are kept as SHA-256
digests, so that the file of tokens is not a file of secrets in memory dumps, and are compared in
constant time.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from towpath.errors import DeniedError, Reason, TowpathError

__all__ = ["ANONYMOUS", "Guard", "Identity", "Rule", "Tokens", "new_token"]


@dataclass(frozen=True)
class Identity:
    """A caller: a user name and groups, as Kubernetes names them."""

    user: str
    groups: frozenset[str] = frozenset()

    @property
    def anonymous(self) -> bool:
        """Whether no credentials came with the call."""
        return self.user == "system:anonymous"


ANONYMOUS = Identity("system:anonymous", frozenset({"system:unauthenticated"}))


def new_token() -> str:
    """A random token of 256 bits, safe in URLs and files."""
    return secrets.token_urlsafe(32)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


class Tokens:
    """Static tokens and whom they stand for.

    Args:
        identities: Pairs of token and identity.
    """

    def __init__(self, identities: Iterable[tuple[str, Identity]]) -> None:
        self._known = [(_hash(token), identity) for token, identity in identities if token]

    def identify(self, authorization: str | None) -> Identity:
        """The caller of an ``Authorization`` header: Bearer, or Basic with the token as password.

        Returns:
            :data:`ANONYMOUS` when there is no header.

        Raises:
            DeniedError: there is one and it names nobody (reason ``Unauthenticated``).
        """
        if not authorization:
            return ANONYMOUS
        presented = _hash(_token(authorization))
        found: Identity | None = None
        for known, identity in self._known:
            if hmac.compare_digest(known, presented):
                found = identity
        if found is None:
            raise DeniedError("the token is not known here", reason=Reason.UNAUTHENTICATED)
        return found


def _token(authorization: str) -> str:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return ""
        return pair.partition(":")[2]
    return ""


Rule = Callable[[Identity, Scope], bool]
"""A surface's own rule: may this caller do what this ASGI scope asks?"""


class Guard:
    """ASGI middleware: identify the caller, ask the rule, or answer 401/403 in the surface's shape.

    The identity is left in ``scope["state"]["identity"]``.

    Args:
        inner: The guarded app.
        tokens: Who is known.
        rule: What they may.
        shape: The surface's error shape (see :mod:`towpath.web`).
    """

    def __init__(
        self,
        inner: ASGIApp,
        tokens: Tokens,
        rule: Rule,
        shape: Callable[[TowpathError, int], Mapping[str, object]],
    ) -> None:
        self._inner = inner
        self._tokens = tokens
        self._rule = rule
        self._shape = shape

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI scope; only ``http`` is guarded."""
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        header = next(
            (v.decode("latin-1") for k, v in scope["headers"] if k == b"authorization"), None
        )
        try:
            identity = self._admit(header, scope)
        except DeniedError as error:
            status = 401 if error.reason is Reason.UNAUTHENTICATED else 403
            headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            refusal = JSONResponse(self._shape(error, status), status_code=status, headers=headers)
            await refusal(scope, receive, send)
            return
        scope.setdefault("state", {})["identity"] = identity
        await self._inner(scope, receive, send)

    def _admit(self, authorization: str | None, scope: Scope) -> Identity:
        identity = self._tokens.identify(authorization)
        if self._rule(identity, scope):
            return identity
        if identity.anonymous:
            raise DeniedError("credentials are needed here", reason=Reason.UNAUTHENTICATED)
        raise DeniedError(f"user {identity.user!r} may not {scope['method']} {scope['path']}")

"""Static tokens: random texts that stand for somebody until they are taken away."""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

from towpath.auth.identity import ANONYMOUS, Identity, token_of
from towpath.errors import DeniedError, Reason

__all__ = ["Tokens", "digest", "new_token"]

_SLOT: Final = 4
"""Bytes of a digest that may be told apart by the time a look-up takes."""


def new_token() -> str:
    """A random token of 256 bits, safe in URLs and files."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()


class Tokens:
    """Static tokens and whom they stand for.

    Args:
        identities: Pairs of token and identity.
    """

    def __init__(self, identities: Iterable[tuple[str, Identity]]) -> None:
        self._slots: dict[bytes, list[tuple[bytes, Identity]]] = {}
        for token, identity in identities:
            if token:
                known = digest(token)
                self._slots.setdefault(known[:_SLOT], []).append((known, identity))

    def find(self, token: str) -> Identity | None:
        """Whom a token stands for, if it is known."""
        presented = digest(token)
        found: Identity | None = None
        for known, identity in self._slots.get(presented[:_SLOT], ()):
            if hmac.compare_digest(known, presented):
                found = identity
        return found

    async def authenticate(self, token: str) -> Identity | None:
        """As :class:`towpath.auth.Authenticator`."""
        return self.find(token)

    def identify(self, authorization: str | None) -> Identity:
        """The caller of an ``Authorization`` header: Bearer, or Basic with the token as password.

        Returns:
            :data:`ANONYMOUS` when there is no header.

        Raises:
            DeniedError: there is one and it names nobody (reason ``Unauthenticated``).
        """
        if not authorization:
            return ANONYMOUS
        found = self.find(token_of(authorization))
        if found is None:
            raise DeniedError("the token is not known here", reason=Reason.UNAUTHENTICATED)
        return found

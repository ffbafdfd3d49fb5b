"""A caller, the token of a request, and what it takes to know whom a token stands for."""

import base64
import binascii
from dataclasses import dataclass, field
from typing import Final, Protocol

__all__ = ["ANONYMOUS", "Authenticator", "Extra", "Identity", "token_of"]

Extra = tuple[tuple[str, tuple[str, ...]], ...]
"""More facts about a caller, as pairs of key and values."""


@dataclass(frozen=True)
class Identity:
    """A caller, as Kubernetes names them.

    Attributes:
        user: The user name.
        groups: The groups.
        uid: What tells the user from another of the same name; may be empty.
        extra: More facts, such as the id of the token.
    """

    user: str
    groups: frozenset[str] = frozenset()
    uid: str = ""
    extra: Extra = field(default=())

    @property
    def anonymous(self) -> bool:
        """Whether no credentials came with the call."""
        return self.user == "system:anonymous"


ANONYMOUS: Final = Identity("system:anonymous", frozenset({"system:unauthenticated"}))


class Authenticator(Protocol):
    """Knows some tokens."""

    async def authenticate(self, token: str) -> Identity | None:
        """Whom a token stands for; None when it is none of those known here.

        Raises:
            DeniedError: it is one of those, and no longer good (reason ``Unauthenticated``).
        """
        ...


def token_of(authorization: str) -> str:
    """The token of an ``Authorization`` header: Bearer, or Basic with the token as password."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() == "basic":
        try:
            pair = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError):
            return ""
        return pair.partition(":")[2]
    return ""

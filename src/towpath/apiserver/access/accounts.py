"""ServiceAccount tokens: given out for an account, good for as long as it is the same account.

Source: Kubernetes API reference, ``TokenRequest``; Kubernetes documentation, "Managing Service
Accounts", "Bound service account tokens".
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Final, NamedTuple

from towpath.apiserver.access.rbac import account_user
from towpath.apiserver.access.signing import SigningKey
from towpath.apiserver.record import Address, Record
from towpath.apiserver.store import Store
from towpath.auth import Identity, refusal
from towpath.auth.tokens import digest
from towpath.errors import UnavailableError
from towpath.spec._wire import Json, JsonObject

__all__ = ["Accounts", "Bound", "Known"]

_REMEMBERED: Final = 4096
_TOKEN: Final = 16 * 1024
"""Most characters of a token; one of ours has below one thousand."""
_FAREWELL: Final = 60.0
"""Seconds that the tokens of an account, Pod or Secret that is being deleted stay good."""
_LEEWAY: Final = 10.0
"""Seconds that the clock may have been set back since a token was made."""
_BINDABLE: Final = {"pod": "pods", "secret": "secrets"}


class Known(NamedTuple):
    """Whom a token stands for, and for which of the audiences asked about."""

    identity: Identity
    audiences: tuple[str, ...]


class Bound(NamedTuple):
    """What a token goes with: ``pod`` or ``secret``, its name and uid."""

    kind: str
    name: str
    uid: str


class Accounts:
    """Gives out tokens and knows them again. An :class:`towpath.auth.Authenticator`.

    Args:
        store: Where accounts are.
        issuer: Who signs; by default also whom the tokens are for.
        now: Seconds since 1970.

    Attributes:
        key: What signs; nothing is known before there is one.
    """

    def __init__(self, store: Store, issuer: str, now: Callable[[], float] = time.time) -> None:
        self._store = store
        self.key: SigningKey | None = None
        self.issuer = issuer
        self._now = now
        self._claims: OrderedDict[bytes, JsonObject] = OrderedDict()

    def give(
        self, account: Record, seconds: int, audiences: Collection[str], bound: Bound | None
    ) -> tuple[str, int]:
        """A token for an account, and when it ends (seconds since 1970)."""
        metadata = account.object()["metadata"]
        namespace, name = metadata["namespace"], metadata["name"]
        begin = int(self._now())
        about: JsonObject = {
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": metadata["uid"]},
        }
        if bound is not None:
            about[bound.kind] = {"name": bound.name, "uid": bound.uid}
        claims = {
            "aud": list(audiences),
            "exp": begin + seconds,
            "iat": begin,
            "iss": self.issuer,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": about,
            "nbf": begin,
            "sub": account_user(namespace, name),
        }
        if self.key is None:
            raise UnavailableError("the server has not started yet")
        return self.key.sign(claims), begin + seconds

    async def authenticate(self, token: str) -> Identity | None:
        """Whom a token stands for here; None when it is not one of ours.

        Raises:
            DeniedError: it is one of ours, and not good here or no longer (reason
                ``Unauthenticated``).
        """
        claims = self._read(token)
        if claims is None:
            return None
        known = await self._known(claims, (self.issuer,))
        if known is None:
            raise refusal()
        return known.identity

    async def review(self, token: str, audiences: Collection[str]) -> Known | None:
        """Whom a token stands for where any of these audiences is meant; None: nobody."""
        claims = self._read(token)
        return None if claims is None else await self._known(claims, audiences)

    def _read(self, token: str) -> JsonObject | None:
        """The claims of a token of ours; a signature is checked once."""
        if self.key is None or token.count(".") != 2 or len(token) > _TOKEN:
            return None
        known = digest(token)
        claims = self._claims.get(known)
        if claims is None:
            claims = self.key.verified(token)
            if claims is None:
                return None
            self._claims[known] = claims
            if len(self._claims) > _REMEMBERED:
                self._claims.popitem(last=False)
        return claims

    async def _known(self, claims: JsonObject, audiences: Collection[str]) -> Known | None:
        meant = claims.get("aud")
        shared = tuple(a for a in audiences if isinstance(meant, list) and a in meant)
        now = self._now()
        begun, ended = claims.get("nbf"), claims.get("exp")
        if (
            claims.get("iss") != self.issuer
            or not shared
            or not isinstance(begun, int)
            or not isinstance(ended, int)
            or not begun - _LEEWAY <= now < ended
        ):
            return None
        about = claims.get("kubernetes.io")
        return await self._alive(claims, about, shared) if isinstance(about, dict) else None

    async def _alive(
        self, claims: JsonObject, about: JsonObject, audiences: tuple[str, ...]
    ) -> Known | None:
        namespace, account = str(about.get("namespace")), about.get("serviceaccount") or {}
        if not await self._there("serviceaccounts", namespace, account):
            return None
        extra = [("authentication.kubernetes.io/credential-id", (f"JTI={claims.get('jti')}",))]
        for kind, resource in _BINDABLE.items():
            if kind not in about:
                continue
            bound = about[kind]
            if not await self._there(resource, namespace, bound):
                return None
            if kind == "pod":
                extra.append(("authentication.kubernetes.io/pod-name", (bound["name"],)))
                extra.append(("authentication.kubernetes.io/pod-uid", (bound["uid"],)))
        groups = {
            "system:authenticated",
            "system:serviceaccounts",
            f"system:serviceaccounts:{namespace}",
        }
        user = account_user(namespace, account["name"])
        identity = Identity(user, frozenset(groups), account["uid"], tuple(extra))
        return Known(identity, audiences)

    async def _there(self, resource: str, namespace: str, reference: Json) -> bool:
        """Whether an object is there, and is the one that was meant."""
        if not isinstance(reference, dict):
            return False
        record = await self._store.get(Address(resource, namespace, str(reference.get("name"))))
        if record is None:
            return False
        metadata = record.object()["metadata"]
        leaving = metadata.get("deletionTimestamp")
        if leaving and self._now() - datetime.fromisoformat(leaving).timestamp() > _FAREWELL:
            return False
        return bool(metadata["uid"] == reference.get("uid"))

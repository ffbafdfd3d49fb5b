"""The judge of all requests: who calls, as whom, and whether they may.

Roles and bindings are kept in memory, brought up to date from the store's changes before a request
is judged, so what was written is heeded by the very next request.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import anyio
from anyio import to_thread
from starlette.types import Scope

from towpath.apiserver.access import escalation, impersonation
from towpath.apiserver.access.accounts import Accounts, Known
from towpath.apiserver.access.attributes import Attributes, denial, of_request, quoted
from towpath.apiserver.access.rbac import KEYS, Decision, Policy
from towpath.apiserver.access.reviews import Answer, Reviews
from towpath.apiserver.access.rules import Rule
from towpath.apiserver.access.signing import ALGORITHM, SigningKey
from towpath.apiserver.kinds import Resource
from towpath.apiserver.store import Store
from towpath.auth import Authenticator, Identity, Several, outside, refusal
from towpath.errors import ConflictError, DeniedError, Reason
from towpath.settings import Api
from towpath.spec._wire import JsonObject

__all__ = ["ADMINISTRATORS", "Access", "cluster_user"]

ADMINISTRATORS: Final = "system:masters"
"""Group that may do everything, whatever the roles say."""

_AUTHENTICATED: Final = "system:authenticated"
_CLUSTER: Final = "system:cluster:"
_OPEN: Final = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})
"""What may be asked for without credentials, if the roles allow it."""
_READING: Final = frozenset({"GET", "HEAD"})
_CHANGING: Final = frozenset({"PATCH", "PUT"})
"""Methods that make an object where there is none only for those who may create one."""
_REMEMBERED: Final = 1024


def cluster_user(name: str) -> str:
    """The user name of a cluster's agent."""
    return f"{_CLUSTER}{name}"


class Access:
    """Who may do what. An :class:`towpath.auth.Authenticator` of everybody who is known.

    Args:
        store: Where roles, bindings and accounts are.
        settings: The issuer of tokens, how long they last, and an outside issuer.
        known: Who knows other tokens.

    Attributes:
        accounts: ServiceAccount tokens.
        answers: To the kinds that are only asked, by ``plural.group`` and subresource.
    """

    def __init__(self, store: Store, settings: Api, known: Sequence[Authenticator] = ()) -> None:
        self._store = store
        self.accounts = Accounts(store, settings.issuer, time.time)
        others = outside(settings)
        self._others = Several((*known, *others))
        self._known = Several((*known, self.accounts, *others))
        reviews = Reviews(self, self.accounts, store, settings.token_seconds)
        self.answers: Mapping[tuple[str, str], Answer] = reviews.answers()
        self._policy = Policy()
        self._seen = -1
        self._cursors: dict[str, int] = {}
        self._turn = anyio.Lock(fast_acquire=True)
        self._whole: dict[Identity, Identity] = {}

    async def start(self, signing_key: Path | None) -> None:
        """Make ready to judge and to sign.

        Args:
            signing_key: File of the key that tokens are signed with; None: one of this moment.

        Raises:
            DeniedError: others may read the file.
            InvalidError: it holds no key.
            UnavailableError: it cannot be read or written.
        """
        if signing_key is None:
            self.accounts.key = SigningKey()
        else:
            self.accounts.key = await to_thread.run_sync(SigningKey.kept, signing_key)
        await self._read()

    async def authenticate(self, token: str) -> Identity | None:
        """As :class:`towpath.auth.Authenticator`."""
        found = await self._known.authenticate(token)
        return None if found is None else self._complete(found)

    def _complete(self, identity: Identity) -> Identity:
        if _AUTHENTICATED in identity.groups or identity.anonymous:
            return identity
        whole = self._whole.get(identity)
        if whole is None:
            if len(self._whole) >= _REMEMBERED:
                self._whole.clear()
            whole = replace(identity, groups=identity.groups | {_AUTHENTICATED})
            self._whole[identity] = whole
        return whole

    async def rule(self, identity: Identity, scope: Scope) -> Identity:
        """Let a request in, as the caller or as whom the caller may be, or say why not.

        ``scope["state"]["admit"]`` is what judges the object that the request leads to.

        Raises:
            DeniedError: it may not be done, or there are no credentials.
            InvalidError: it asks to be somebody, and does not say whom (reason ``BadRequest``).
        """
        if self._seen != self._store.revision:
            await self._refresh()
        caller = self._complete(identity)
        if caller.anonymous and not _open(scope):
            raise refusal()
        acting = self._acting(caller, scope)
        if ADMINISTRATORS not in acting.groups:
            self._require(acting, of_request(scope))
        scope.setdefault("state", {})["admit"] = partial(self.admit, acting, scope["method"])
        return acting

    def _acting(self, caller: Identity, scope: Scope) -> Identity:
        if not impersonation.asked(scope["headers"]):
            return caller
        wish = impersonation.wish(scope["headers"])
        for needed in impersonation.needed(wish):
            self._require(caller, needed)
        return wish.identity

    def _require(self, identity: Identity, asked: Attributes) -> None:
        decision = self.decide(identity, asked)
        if decision.allowed:
            return
        why = denial(identity.user, asked)
        if decision.reason:
            why = f"{why}: {decision.reason}"
        raise _denied(asked, why)

    def decide(self, identity: Identity, asked: Attributes) -> Decision:
        """Whether a caller may do what is asked, by what was known before this request."""
        if ADMINISTRATORS in identity.groups:
            return Decision(True)
        return self._policy.decide(identity, asked)

    def rules(self, identity: Identity, namespace: str) -> tuple[list[Rule], str]:
        """Every rule that holds for a caller in a namespace, and what could not be found."""
        return self._policy.rules(identity, namespace)

    def admit(
        self,
        identity: Identity,
        method: str,
        resource: Resource,
        old: JsonObject | None,
        new: JsonObject,
    ) -> None:
        """Judge what a caller is about to write.

        Raises:
            DeniedError: it gives away rights that the caller does not have, or makes what the
                caller may only change.
            NotFoundError: it binds a role that is not there.
        """
        if ADMINISTRATORS in identity.groups:
            return
        if old is None and method in _CHANGING:
            kind, metadata = resource.kind, new["metadata"]
            where = metadata.get("namespace", ""), metadata["name"]
            asked = Attributes("create", kind.group, kind.version, kind.plural, "", *where)
            self._require(identity, asked)
        if resource.key in KEYS:
            escalation.check(self._policy, identity, resource, old, new)

    async def review(self, token: str, audiences: Collection[str]) -> Known | None:
        """Whom a token stands for where one of these audiences is meant; None: nobody."""
        known = await self.accounts.review(token, audiences)
        if known is not None or self.accounts.issuer not in audiences:
            return known
        try:
            found = await self._others.authenticate(token)
        except DeniedError:
            return None
        return None if found is None else Known(self._complete(found), (self.accounts.issuer,))

    def keys(self) -> JsonObject:
        """What ServiceAccount tokens are checked with, as a set of keys (RFC 7517)."""
        return self.accounts.key.public() if self.accounts.key else {"keys": []}

    def configuration(self, base: str) -> JsonObject:
        """How ServiceAccount tokens are checked (OpenID Connect Discovery).

        Args:
            base: URL of this server.
        """
        return {
            "issuer": self.accounts.issuer,
            "jwks_uri": f"{base}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }

    async def _refresh(self) -> None:
        """Heed every change made until now."""
        async with self._turn:
            while self._seen != self._store.revision:
                newest = self._store.revision
                try:
                    for key in KEYS:
                        await self._follow(key, newest)
                except ConflictError as error:
                    if error.reason is not Reason.EXPIRED:
                        raise
                    await self._read()
                else:
                    self._seen = newest

    async def _read(self) -> None:
        """Know what is there now: more has changed than is still told."""
        policy, cursors = Policy(), {}
        for key in KEYS:
            listing = await self._store.page(key)
            for record in listing.records:
                policy.put(key, record.object())
            cursors[key] = listing.revision
        self._policy, self._cursors = policy, cursors

    async def _follow(self, key: str, newest: int) -> None:
        while self._cursors[key] < newest:
            changes, cursor = await self._store.changes(key, self._cursors[key])
            for change in changes:
                if change.type == "DELETED":
                    _, namespace, name = change.record.address
                    self._policy.drop(key, namespace, name)
                else:
                    self._policy.put(key, change.object)
            self._cursors[key] = cursor


def _open(scope: Scope) -> bool:
    return scope["path"] in _OPEN and scope["method"] in _READING


def _denied(asked: Attributes, why: str) -> DeniedError:
    if asked.path is not None:
        return DeniedError(f"forbidden: {why}")
    name = f" {quoted(asked.name)}" if asked.name else ""
    error = DeniedError(f"{asked.key}{name} is forbidden: {why}")
    details = {"name": asked.name, "group": asked.group, "kind": asked.resource}
    vars(error)["details"] = {key: value for key, value in details.items() if value}
    return error

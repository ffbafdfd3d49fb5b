"""Tokens of an outside issuer (OpenID Connect): who calls stands in the token's claims.

The issuer is asked for its keys only, over verified TLS, with bounds on time and size, and not more
often than every few seconds whatever comes in. While it cannot be reached, the keys it gave before
go on; without any, its tokens are refused and the log says why.

Source: OpenID Connect Core 1.0, "ID Token"; OpenID Connect Discovery 1.0; Kubernetes documentation,
"Authenticating", "OpenID Connect Tokens".
"""

import logging
import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import anyio
import httpx2
import jwt
import orjson
from jwt.types import Options

from towpath.auth.identity import Identity
from towpath.auth.tokens import digest
from towpath.errors import DeniedError, InvalidError, Reason
from towpath.telemetry import fields

__all__ = ["ALGORITHMS", "Claims", "Oidc"]

log = logging.getLogger(__name__)

ALGORITHMS: Final = frozenset(
    f"{kind}{bits}" for kind in ("RS", "ES", "PS") for bits in (256, 384, 512)
)
"""What a token may be signed with: never a shared secret, never nothing."""
_SECONDS: Final = 5.0
"""Time that the issuer has to answer."""
_BYTES: Final = 1024 * 1024
_TOKEN: Final = 64 * 1024
_RETRY_SECONDS: Final = 10.0
"""Time between two questions to the issuer, however many tokens name unknown keys."""
_KEYS_SECONDS: Final = 3600.0
"""Time after which keys are asked for anew: one that the issuer took back goes by then."""
_REMEMBERED: Final = 1024
_REMEMBER_SECONDS: Final = 10.0
_LEEWAY: Final = 10.0
_RESERVED: Final = "system:"
_CHECKS: Final[Options] = {
    "require": ["exp", "iss", "aud"],
    "verify_exp": False,  # the times are checked here, by the clock given
    "verify_nbf": False,
    "verify_iat": False,
    "verify_sub": False,
    "verify_jti": False,
}


@dataclass(frozen=True)
class Claims:
    """How claims become a user.

    Args:
        user: Claim that holds the user name; ``email`` counts only when verified.
        user_prefix: Put before it; empty is ``ISSUER#`` (nothing for ``email``), ``-`` is nothing.
        groups: Claim that holds a group or a list of them; empty is none.
        groups_prefix: Put before each.
        required: Claims that must have these values.
    """

    user: str = "sub"
    user_prefix: str = ""
    groups: str = ""
    groups_prefix: str = ""
    required: Mapping[str, str] | None = None

    def identity(self, issuer: str, claims: Mapping[str, Any]) -> Identity | str:
        """The user of checked claims, or why there is none."""
        for name, value in (self.required or {}).items():
            if claims.get(name) != value:
                return f"claim {name} is not the one required"
        user = claims.get(self.user)
        if not isinstance(user, str) or not user:
            return f"claim {self.user} holds no user name"
        if self.user == "email" and claims.get("email_verified", True) is not True:
            return "the email address is not verified"
        user = f"{self._user_prefix(issuer)}{user}"
        if user.startswith(_RESERVED):
            return f"user names that begin with {_RESERVED} are the cluster's own"
        held = claims.get(self.groups, []) if self.groups else []
        names = [held] if isinstance(held, str) else held
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return f"claim {self.groups} holds no groups"
        groups = {f"{self.groups_prefix}{name}" for name in names}
        own = {name for name in groups if name.startswith(_RESERVED)}
        return Identity(user, frozenset(groups - own))

    def _user_prefix(self, issuer: str) -> str:
        if self.user_prefix == "-":
            return ""
        if not self.user_prefix and self.user != "email":
            return f"{issuer}#"
        return self.user_prefix


class _Key(NamedTuple):
    """A public key, and what it is for where its issuer says so."""

    public: Any
    algorithm: str


class Oidc:
    """Knows the tokens of one issuer. An :class:`towpath.auth.Authenticator`.

    Args:
        issuer: Its URL, as in the tokens; ``https`` only.
        audience: Whom its tokens must be for.
        claims: How claims become a user.
        authorities: PEM file of the authorities that its certificate may be from; None: the
            machine's.
        algorithms: What its tokens may be signed with.
        now: Seconds since 1970.

    Raises:
        InvalidError: one of these cannot be used.
    """

    def __init__(
        self,
        issuer: str,
        audience: str,
        *,
        claims: Claims = Claims(),
        authorities: Path | None = None,
        algorithms: frozenset[str] = frozenset({"RS256"}),
        now: Callable[[], float] = time.time,
    ) -> None:
        if not issuer.startswith("https://"):
            raise InvalidError("the OIDC issuer must be an https:// URL")
        if not audience:
            raise InvalidError("an OIDC issuer needs an audience (client id)")
        if not algorithms or algorithms - ALGORITHMS:
            raise InvalidError(f"OIDC algorithms must be among {', '.join(sorted(ALGORITHMS))}")
        self._issuer = issuer
        self._audience = audience
        self._rules = claims
        self._algorithms = sorted(algorithms)
        self._tls = _trusting(authorities)
        self._now = now
        self._keys: dict[str, _Key] = {}
        self._asked = float("-inf")
        self._fetched = float("-inf")
        self._turn = anyio.Lock()
        self._known: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()

    async def authenticate(self, token: str) -> Identity | None:
        """Whom a token stands for; None when it is of another issuer.

        Raises:
            DeniedError: it is of this issuer, and not good (reason ``Unauthenticated``).
        """
        if token.count(".") != 2 or len(token) > _TOKEN:
            return None
        slot = digest(token)
        until, identity = self._known.get(slot, (0.0, None))
        if identity is not None and self._now() < until:
            return identity
        header = self._header(token)
        if header is None:
            return None  # of another issuer
        key = await self._key(str(header.get("kid", "")))
        if key is None or key.algorithm not in ("", header["alg"]):
            raise self._refused("the issuer has no such key, or does not answer")
        claims = self._claims(token, key.public, str(header["alg"]))
        found = self._rules.identity(self._issuer, claims)
        if isinstance(found, str):
            raise self._refused(found)
        self._known[slot] = min(self._now() + _REMEMBER_SECONDS, float(claims["exp"])), found
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found

    def _refused(self, why: str) -> DeniedError:
        log.info("failed to accept oidc token", extra=fields(issuer=self._issuer, reason=why))
        return DeniedError("the token is not known here", reason=Reason.UNAUTHENTICATED)

    def _header(self, token: str) -> Mapping[str, Any] | None:
        """The header of a token that says it is of this issuer."""
        try:
            header = jwt.get_unverified_header(token)
            claims = jwt.decode(token, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        if claims.get("iss") != self._issuer or header.get("alg") not in self._algorithms:
            return None
        return header

    def _claims(self, token: str, key: Any, algorithm: str) -> Mapping[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                [algorithm],
                _CHECKS,
                audience=self._audience,
                issuer=self._issuer,
            )
        except (jwt.PyJWTError, ValueError, TypeError) as exc:
            raise self._refused(type(exc).__name__) from exc
        now = self._now()
        ended, begun, made = claims["exp"], claims.get("nbf", 0), claims.get("iat", 0)
        if not all(_is_time(moment) for moment in (ended, begun, made)):
            raise self._refused("its times are not numbers")
        if now >= ended:
            raise self._refused("it is expired")
        if now + _LEEWAY < max(begun, made):
            raise self._refused("it is not valid yet")
        return claims

    async def _key(self, name: str) -> _Key | None:
        """The issuer's key of a name; where tokens name none, its only one."""
        if self._find(name) is None or (self._stale() and not self._turn.locked()):
            async with self._turn:
                asked = self._now() - self._asked
                if (self._find(name) is None or self._stale()) and not 0 <= asked < _RETRY_SECONDS:
                    self._asked = self._now()
                    await self._fetch()
        return self._find(name)

    def _stale(self) -> bool:
        return not 0 <= self._now() - self._fetched < _KEYS_SECONDS

    def _find(self, name: str) -> _Key | None:
        if not name and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(name)

    async def _fetch(self) -> None:
        try:
            with anyio.fail_after(_SECONDS):
                async with httpx2.AsyncClient(verify=self._tls, trust_env=False) as http:
                    keys = await _published(http, self._issuer)
        except (OSError, TimeoutError, ValueError, httpx2.HTTPError, httpx2.InvalidURL) as exc:
            log.warning(
                "failed to read keys of oidc issuer",
                extra=fields(issuer=self._issuer, error=str(exc) or type(exc).__name__),
            )
            return
        self._keys = keys
        self._fetched = self._now()


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _trusting(authorities: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=authorities and str(authorities))
    except (OSError, ssl.SSLError) as exc:
        raise InvalidError(f"{authorities} holds no authorities to trust: {exc}") from exc


async def _published(http: httpx2.AsyncClient, issuer: str) -> dict[str, _Key]:
    """The keys of an issuer. Raises ValueError where it does not say which."""
    told = await _read(http, f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    if told.get("issuer") != issuer:
        raise ValueError("it gives another issuer")
    source = str(told.get("jwks_uri", ""))
    if not source.startswith("https://"):
        raise ValueError("it names no jwks_uri that is https")
    return _keys(await _read(http, source))


async def _read(http: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    """A JSON object, bounded. Raises ValueError for anything else."""
    data = bytearray()
    async with http.stream("GET", url, follow_redirects=False) as answer:
        if answer.status_code != 200:
            raise ValueError(f"{httpx2.URL(url).path} answers {answer.status_code}")
        async for chunk in answer.aiter_bytes():
            data += chunk
            if len(data) > _BYTES:
                raise ValueError(f"{httpx2.URL(url).path} answers more than {_BYTES} bytes")
    value = orjson.loads(bytes(data))
    if isinstance(value, dict):
        return value
    raise ValueError(f"{httpx2.URL(url).path} answers no object")


def _keys(jwks: Mapping[str, Any]) -> dict[str, _Key]:
    """The keys of a set that tokens may be signed with; what cannot be read is left out."""
    found = {}
    listed = jwks.get("keys")
    for key in listed if isinstance(listed, list) else ():
        if not isinstance(key, dict) or key.get("use", "sig") != "sig":
            continue
        if key.get("kty") not in ("RSA", "EC"):
            continue
        try:
            known = _Key(jwt.PyJWK(key).key, str(key.get("alg", "")))
            found[str(key.get("kid", ""))] = known
        except (jwt.PyJWTError, ValueError, TypeError, KeyError):
            continue
    return found

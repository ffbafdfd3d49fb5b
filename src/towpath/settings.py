"""Every knob, frozen, with its unit and the reason of its default.

A stage receives only its own slice. Only the command line fills these in: from arguments, then
``TOWPATH_<SLICE>_<FIELD>`` in the environment, then the file ``HOME/settings.toml``.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from math import inf
from typing import Any

from towpath.errors import InvalidError

__all__ = [
    "Api",
    "Blob",
    "Distribution",
    "Edge",
    "Gitops",
    "Issuer",
    "Registry",
    "Serve",
    "Settings",
]


@dataclass(frozen=True)
class Issuer:
    """An OpenID Connect issuer whose users may call."""

    oidc_issuer: str = ""
    """URL of an OpenID Connect issuer whose users may call (`https` only); empty for none."""
    oidc_audience: str = ""
    """Whom its tokens must be for (client id); needed with an issuer."""
    oidc_user_claim: str = "sub"
    """Claim that holds the user name; `email` counts only when verified."""
    oidc_user_prefix: str = ""
    """Put before user names; empty puts the issuer and `#` (nothing for `email`), `-` nothing."""
    oidc_groups_claim: str = ""
    """Claim that holds the groups; empty for none."""
    oidc_groups_prefix: str = ""
    """Put before the names of groups."""
    oidc_required_claims: str = ""
    """Claims that a token must have, as `claim=value,claim=value`."""
    oidc_ca_file: str = ""
    """PEM file of authorities for the issuer's certificate; empty for the machine's."""
    oidc_algorithms: str = "RS256"
    """What its tokens may be signed with, separated by commas: RS, ES, PS with 256, 384, 512."""


@dataclass(frozen=True)
class Api(Issuer):
    """The embedded Kubernetes API."""

    body_bytes: int = 3 * 1024 * 1024
    """Largest request body; the limit of the real API server."""
    history: int = 10_000
    """Changes kept for watches that resume; an hour of a busy fleet, a few MB of SQLite."""
    issuer: str = "https://kubernetes.default.svc.cluster.local"
    """Who signs ServiceAccount tokens, and whom they are for unless they say so; as most clusters
    have it."""
    token_seconds: int = 2**32
    """Longest life of a ServiceAccount token; one asked for longer is cut. The API's own bound."""


@dataclass(frozen=True)
class Blob:
    """Reading and writing bytes."""

    chunk_bytes: int = 1024 * 1024
    """Bytes read at a time: large enough to keep SHA-256 busy, small enough to stay in cache."""
    attempts: int = 5
    """Tries of a request that failed in a way that may pass; with backoff this bridges 15 s."""
    timeout_seconds: float = 30.0
    """Silence after which a connection counts as dropped; a read goes on by range afterwards."""


@dataclass(frozen=True)
class Distribution:
    """The embedded OCI distribution."""

    manifest_bytes: int = 4 * 1024 * 1024
    """Largest manifest; the limit the distribution specification asks registries to support."""


@dataclass(frozen=True)
class Registry(Issuer):
    """The model registry."""

    body_bytes: int = 16 * 1024 * 1024
    """Largest request body: a readme of several MB with its metadata fits."""
    page: int = 1000
    """Most entities in one page; a larger pageSize is answered with this many."""
    readers: str = "system:authenticated"
    """Users and groups that may read, separated by commas. `system:authenticated` is whoever has a
    token that is known, `system:unauthenticated` everybody."""
    writers: str = "registry-writers"
    """Users and groups that may read and write: a token alone gives no right to change anything."""
    admins: str = "registry-admins"
    """Users and groups that may do everything: delete, import and export as well."""
    allow_delete: bool = False
    """Whether archived entities may be deleted: upstream knows no way to lose a record."""
    import_bytes: int = 8 * 1024 * 1024 * 1024
    """Largest file that an import accepts: a million versions with their history are about 2 GB."""
    token_audience: str = ""
    """Whom tokens that Kubernetes reviews must be for; empty for its API's own audience."""
    cors_origins: str = ""
    """Web origins whose pages may call, besides those that may anyway, separated by commas."""
    access_log: bool = True
    """Whether each request of `towpath registry serve` is a line in its log."""
    connect_seconds: float = 300.0
    """Time that the database has to be there at the start; upstream tries for as long."""


@dataclass(frozen=True)
class Gitops:
    """Git to API."""

    poll_seconds: float = 180.0
    """Time between two looks at a repository nobody announced a push to; Argo CD's default."""
    branch: str = "main"
    """Branch that `ship` commits to and Applications follow."""


@dataclass(frozen=True)
class Edge:
    """InferenceServices as processes."""

    start_seconds: float = 60.0
    """Time a runtime has to become ready before its start counts as failed."""
    drain_seconds: float = 10.0
    """Time an old version's open requests get after traffic moved."""
    resync_seconds: float = 30.0
    """Time between two looks at a service nobody announced a change of."""


@dataclass(frozen=True)
class Serve:
    """The inference runtime."""

    body_bytes: int = 64 * 1024 * 1024
    """Largest inference request; 16 million FP32 values."""
    threads: int = 1
    """Threads of one inference; for small models one is fastest, and edges have few cores."""


@dataclass(frozen=True)
class Settings:
    """All slices together."""

    api: Api = field(default_factory=Api)
    blob: Blob = field(default_factory=Blob)
    distribution: Distribution = field(default_factory=Distribution)
    registry: Registry = field(default_factory=Registry)
    gitops: Gitops = field(default_factory=Gitops)
    edge: Edge = field(default_factory=Edge)
    serve: Serve = field(default_factory=Serve)

    def merged(self, values: Mapping[str, Any], origin: str) -> "Settings":
        """These settings with others over them: ``{"edge": {"drain_seconds": 5}}``.

        Args:
            values: By slice and field; a text is read as the field's type.
            origin: Where they come from, for the message.

        Raises:
            InvalidError: there is no such setting, or its value is of another type, or not above 0.
        """
        slices = {}
        for name, knobs in values.items():
            known = getattr(self, name, None) if name in _SLICES else None
            if known is None or not isinstance(knobs, Mapping):
                raise InvalidError(
                    f"{origin}: there are no settings {name!r}",
                    hint=f"Slices: {', '.join(sorted(_SLICES))}; 'towpath settings' lists all.",
                )
            slices[name] = replace(known, **_read(known, name, knobs, origin))
        return replace(self, **slices)

    def to_config(self) -> dict[str, dict[str, Any]]:
        """All values, for a child process; :meth:`merged` reads them back."""
        return asdict(self)


_SLICES = frozenset(f.name for f in fields(Settings))


_KINDS = {int: "a whole number above 0", float: "a number above 0", bool: "true or false"}
_SWITCH = {"true": True, "1": True, "false": False, "0": False}


def _read(known: Any, name: str, knobs: Mapping[str, Any], origin: str) -> dict[str, Any]:
    found = {}
    for knob, value in knobs.items():
        if knob not in {f.name for f in fields(known)}:
            raise InvalidError(
                f"{origin}: there is no setting {name}.{knob}",
                hint="'towpath settings' lists all.",
            )
        default = getattr(type(known)(), knob)
        wanted = type(default)
        read = value if value == default == "" else _value(wanted, value)
        if read is None:
            kind = _KINDS.get(wanted, "a text")
            raise InvalidError(f"{origin}: {name}.{knob} is {value!r}, not {kind}")
        found[knob] = read
    return found


def _value(wanted: type, value: Any) -> Any:
    """A value as its field's type; None for what it cannot be."""
    if wanted is str:
        return value if isinstance(value, str) and value else None
    if wanted is bool:
        return value if isinstance(value, bool) else _SWITCH.get(str(value).lower())
    fits = isinstance(value, str | int) or (wanted is float and isinstance(value, float))
    try:
        number = wanted(value) if fits and not isinstance(value, bool) else 0
    except ValueError:
        return None
    return number if 0 < number < inf else None

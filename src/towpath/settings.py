"""Every knob, frozen, with its unit and the reason of its default.

A stage receives only its own slice. Only the command line fills these in: from arguments, then
``TOWPATH_<SLICE>_<FIELD>`` in the environment, then the file ``HOME/settings.toml``.
"""

from dataclasses import dataclass, field

__all__ = [
    "Api",
    "Blob",
    "Distribution",
    "Edge",
    "Gitops",
    "Registry",
    "Serve",
    "Settings",
]


@dataclass(frozen=True)
class Api:
    """The embedded Kubernetes API."""

    body_bytes: int = 3 * 1024 * 1024
    """Largest request body; the limit of the real API server."""
    history: int = 10_000
    """Changes kept for watches that resume; an hour of a busy fleet, a few MB of SQLite."""


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
class Registry:
    """The model registry."""

    body_bytes: int = 16 * 1024 * 1024
    """Largest request body: a readme of several MB with its metadata fits."""
    page: int = 1000
    """Most entities in one page; a larger pageSize is answered with this many."""


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

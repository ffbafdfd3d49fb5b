"""What the registry counts of itself, in Prometheus' own format.

Several worker processes count into files of one folder, and any of them tells the sum. Whether
they do is decided by the environment before this module is loaded (``PROMETHEUS_MULTIPROC_DIR``),
which is how the library wants it.

Source: Prometheus documentation, "Exposition formats"; "Metric and label naming".
"""

from pathlib import Path
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

__all__ = ["Metrics"]

BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
"""Seconds. A get takes one or two milliseconds, an export of everything takes many seconds."""
_LABELS: Final = ("route", "method")

# else there is a second series for each, which says when it began
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The counters of one process, and the answer to whoever asks for them.

    Args:
        shared: The folder that all workers count into; None where there is one process.
    """

    def __init__(self, shared: Path | None = None) -> None:
        self._shared = shared
        self._own = CollectorRegistry()
        if shared is None:  # what they tell is of one process, and has no meaning for several
            ProcessCollector(registry=self._own)
            PlatformCollector(registry=self._own)
        self._requests = Counter(
            "towpath_registry_requests",
            "Requests that were answered.",
            (*_LABELS, "status"),
            registry=self._own,
        )
        self._seconds = Histogram(
            "towpath_registry_request_seconds",
            "Time to an answer; of a stream, to its beginning.",
            _LABELS,
            buckets=BUCKETS,
            registry=self._own,
        )
        self._pending = Gauge(
            "towpath_registry_requests_pending",
            "Requests under way.",
            registry=self._own,
            multiprocess_mode="livesum",
        )
        self._connections = Gauge(
            "towpath_registry_database_connections",
            "Connections to the database: those in use, and how many there may be.",
            ("state",),
            registry=self._own,
            multiprocess_mode="livesum",
        )
        self._in_use = self._connections.labels("in_use")
        self._limit = self._connections.labels("limit")
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def begun(self) -> None:
        """A request has come."""
        self._pending.inc()

    def ended(self, route: str, method: str, status: int, seconds: float) -> None:
        """It is answered.

        Args:
            route: The template of its path, one of a bounded number.
            method: One of a bounded number.
            status: Of the answer.
            seconds: That it took.
        """
        self._pending.dec()
        key = (route, method, status)
        found = self._known.get(key)
        if found is None:
            found = (
                self._requests.labels(route, method, str(status)),
                self._seconds.labels(route, method),
            )
            self._known[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def database(self, in_use: int, limit: int) -> None:
        """How many connections to the database are in use, and how many there may be."""
        self._in_use.set(in_use)
        self._limit.set(limit)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All of it, and its media type (blocking: of several workers, it reads their files).

        Args:
            accept: What the caller can read.
        """
        encode, media_type = choose_encoder(accept)
        registry = self._own
        if self._shared is not None:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._shared))  # type: ignore[no-untyped-call]
        return encode(registry), media_type

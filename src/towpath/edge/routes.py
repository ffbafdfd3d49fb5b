"""The gateway's table of routes: which process answers for a host or a model's name.

Pure. A table is never changed: a new one takes its place.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import orjson

from towpath.errors import ConflictError, InvalidError, NotFoundError
from towpath.spec._wire import Json

__all__ = ["Route", "Table"]

_UPSTREAM: Final = re.compile(r"(127\.0\.0\.1|localhost|\[::1\]):([1-9][0-9]{0,4})")


@dataclass(frozen=True, slots=True)
class Route:
    """One InferenceService.

    Args:
        namespace: Its namespace.
        name: Its name; ``<name>-<namespace>`` begins its host name.
        model: What its runtime calls the model: the name in the path.
        upstream: ``host:port`` of its runtime on this machine; None while none runs.
    """

    namespace: str
    name: str
    model: str
    upstream: str | None

    @property
    def key(self) -> str:
        """``namespace/name``."""
        return f"{self.namespace}/{self.name}"


class Table:
    """Routes by host and by model name.

    Args:
        routes: The routes.

    Raises:
        InvalidError: two are of one service.
    """

    def __init__(self, routes: Iterable[Route] = ()) -> None:
        self.routes: Final = tuple(routes)
        hosts: Mapping[str, list[Route]] = defaultdict(list)
        models: Mapping[str, list[Route]] = defaultdict(list)
        seen: set[str] = set()
        for route in self.routes:
            if route.key in seen:
                raise InvalidError(f"service {route.key} has two routes")
            seen.add(route.key)
            hosts[f"{route.name}-{route.namespace}"].append(route)
            models[route.model].append(route)
        self._hosts = dict(hosts)
        self._models = dict(models)

    def resolve(self, host: str, model: str) -> Route:
        """The route of a request.

        Args:
            host: Its ``Host`` header: ``<name>-<namespace>``, with or without a domain and a port.
            model: The model name in its path; it counts when the host names no service.

        Raises:
            NotFoundError: neither names a service.
            ConflictError: more than one service is meant; the message names them.
        """
        label = host.partition(":")[0].partition(".")[0].lower()
        found = self._hosts.get(label) or self._models.get(model)
        if not found:
            raise NotFoundError(f"no service here serves model {model[:100]!r}")
        if len(found) > 1:
            raise ConflictError(
                f"model {model[:100]!r} may mean {' or '.join(sorted(one.key for one in found))}",
                hint="Say which by the header 'Host: <name>-<namespace>'.",
            )
        return found[0]

    @property
    def models(self) -> list[str]:
        """The model names it routes, sorted, each once."""
        return sorted(self._models)

    @property
    def upstreams(self) -> frozenset[str]:
        """The processes it leads to."""
        return frozenset(route.upstream for route in self.routes if route.upstream)

    def dump(self) -> bytes:
        """The table as JSON; :meth:`parse` reads it back."""
        return orjson.dumps({"routes": self.routes})

    @classmethod
    def parse(cls, content: bytes) -> "Table":
        """Read a table from JSON: ``{"routes": [{"namespace", "name", "model", "upstream"}]}``.

        Raises:
            InvalidError: it is not a table; the message names the field.
        """
        try:
            document: Json = orjson.loads(content)
        except orjson.JSONDecodeError as exc:
            raise InvalidError(f"the route table is not valid JSON: {exc}") from exc
        routes: Json = document.get("routes") if isinstance(document, dict) else None
        if not isinstance(routes, list):
            raise InvalidError("a route table is an object with an array 'routes'")
        return cls(_route(item, f"routes[{index}]") for index, item in enumerate(routes))


def _route(item: Json, field: str) -> Route:
    if not isinstance(item, dict):
        raise InvalidError(f"{field} is not an object")
    namespace, name, model = (_text(item, one, field) for one in ("namespace", "name", "model"))
    upstream = item.get("upstream")
    if upstream is not None and not _is_upstream(upstream):
        raise InvalidError(f"{field}.upstream is not 'host:port' of a process on this machine")
    return Route(namespace, name, model, upstream)


def _text(item: Mapping[str, Json], name: str, field: str) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value or "/" in value:
        raise InvalidError(f"{field}.{name} is not a name")
    return value


def _is_upstream(value: Json) -> bool:
    if not isinstance(value, str):
        return False
    match = _UPSTREAM.fullmatch(value)
    return match is not None and int(match[2]) < 65536

"""Routes found in a table: a request is compared with those of its own collection only.

There are more than a hundred of them, of two generations. One after another, they cost a request
to the last as much as all the rest of its way to the handler.
"""

from collections.abc import Iterable
from typing import Final

from starlette.routing import BaseRoute, Match, Route
from starlette.types import Receive, Scope, Send

__all__ = ["Table"]

_SEGMENTS: Final = 5
"""Of a path, up to the name of the collection: "", "api", "model_registry", "v1", "artifacts"."""


class Table(BaseRoute):
    """Routes as one route. Of those that match, the first one counts.

    Args:
        routes: The routes; none has a parameter before its collection.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: dict[tuple[str, ...], list[Route]] = {}
        for route in routes:
            self._routes.setdefault(_collection(route.path), []).append(route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As of any route; ``route`` of the scope becomes the one of the table."""
        found: tuple[Match, Scope] = Match.NONE, {}
        if scope["type"] == "http":
            for route in self._routes.get(_collection(scope["path"]), ()):
                match, child = route.matches(scope)
                if match.value > found[0].value:
                    found = match, {**child, "route": route}
                if match is Match.FULL:
                    break
        return found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave it to the route that matched."""
        await scope["route"].handle(scope, receive, send)


def _collection(path: str) -> tuple[str, ...]:
    return tuple(path.split("/", _SEGMENTS)[:_SEGMENTS])

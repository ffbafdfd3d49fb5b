"""Reads requests of the Kubeflow Model Registry REST API; writes the account book's entities.

Both generations come from one set of handlers, which a :class:`Surface` tells what is theirs. A
handler turns a request into values, runs one transaction, and turns the outcome into an answer.
Who may call is decided in front of this app.
"""

from collections.abc import Callable, Iterator
from typing import Final

from starlette.applications import Starlette
from starlette.routing import Route

from towpath import web
from towpath.registry import health
from towpath.registry.api import artifacts, collections, extras, nested
from towpath.registry.api.surface import GENERATIONS, Entry, Surface
from towpath.registry.api.table import Table
from towpath.registry.database import Database
from towpath.registry.feed import Feed
from towpath.settings import Registry

__all__ = ["app"]

_ROUTES: Final[tuple[Callable[[Surface], Iterator[Entry]], ...]] = (
    artifacts.entries,  # before the collections: "metric_history" is no id
    collections.entries,
    nested.entries,
    extras.entries,
)


def app(database: Database, knobs: Registry) -> Starlette:
    """The model registry as an ASGI app. It does not close the database.

    Args:
        database: From :func:`open_database`.
        knobs: Limits.

    Returns:
        The app; its ``state.feed`` is to be closed when it stops (``web.serve(stopping=…)``), as
        those who follow it do not leave by themselves.
    """
    feed = Feed(database)
    routes = Table(
        Route(surface.generation.prefix + path, handler, methods=[method])
        for surface in (Surface(database, knobs, generation, feed) for generation in GENERATIONS)
        for entries in _ROUTES
        for method, path, handler in entries(surface)
    )
    served = web.app([routes, *health.routes(database)], web.kubeflow_error)
    served.router.redirect_slashes = False  # a path that is none is told so
    served.state.feed = feed
    return served

"""What lies below an entity: versions, runs, inference services, what those serve."""

from collections.abc import Callable, Iterator

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from towpath.registry import serving, upserts
from towpath.registry.api.collections import listing
from towpath.registry.api.surface import Entry, Handler, Surface, path_id, stamp
from towpath.registry.kinds import (
    EXPERIMENT,
    EXPERIMENT_RUN,
    INFERENCE_SERVICE,
    MODEL_VERSION,
    REGISTERED_MODEL,
    SERVE_MODEL,
    SERVING_ENVIRONMENT,
    Kind,
)
from towpath.registry.records import Record, accept, require
from towpath.registry.store import create, get

__all__ = ["entries"]


def entries(surface: Surface) -> Iterator[Entry]:
    """The routes of one generation."""
    path = "/registered_models/{id}/versions"
    yield "GET", path, listing(surface, (MODEL_VERSION,), REGISTERED_MODEL)
    yield "POST", path, _upsert(surface, MODEL_VERSION)
    path = "/serving_environments/{id}/inference_services"
    yield "GET", path, listing(surface, (INFERENCE_SERVICE,), SERVING_ENVIRONMENT)
    yield "POST", path, _create(surface, INFERENCE_SERVICE)
    path = "/inference_services/{id}/serves"
    yield "GET", path, listing(surface, (SERVE_MODEL,), INFERENCE_SERVICE)
    yield "POST", path, _serve(surface)
    for name, look in (("model", serving.served_model), ("version", serving.served_version)):
        yield "GET", f"/inference_services/{{id}}/{name}", _served(surface, look)
    if surface.generation.experiments:
        path = "/experiments/{id}/experiment_runs"
        yield "GET", path, listing(surface, (EXPERIMENT_RUN,), EXPERIMENT, must=True)
        yield "POST", path, _upsert(surface, EXPERIMENT_RUN)


def _upsert(surface: Surface, kind: Kind) -> Handler:
    """Create below the entity in the path, or update what the body's ``id`` names."""
    assert kind.parent is not None  # noqa: S101 - only kinds with a parent lie below one
    field, parent_kind = kind.parent

    async def handler(request: Request) -> Response:
        parent = path_id(request, (parent_kind,))
        fields = accept(kind, await surface.body(request), kind.fields)
        require(kind, fields)
        fields[field] = str(parent)
        by = stamp(request)
        record = await surface.database.write(
            lambda tx: upserts.owned(tx, kind, fields, by), locks=(parent_kind.place, parent)
        )
        return surface.entity(record, 201)

    return handler


def _create(surface: Surface, kind: Kind) -> Handler:
    """Create below the entity in the path."""
    assert kind.parent is not None  # noqa: S101 - only kinds with a parent lie below one
    field, parent_kind = kind.parent

    async def handler(request: Request) -> Response:
        parent = path_id(request, (parent_kind,))
        fields = accept(kind, await surface.body(request), kind.creatable)
        require(kind, fields)
        fields[field] = str(parent)
        by = stamp(request)
        record = await surface.database.write(
            lambda tx: create(tx, kind, fields, by), locks=(parent_kind.place, parent)
        )
        return surface.entity(record, 201)

    return handler


def _serve(surface: Surface) -> Handler:
    async def handler(request: Request) -> Response:
        service = path_id(request, (INFERENCE_SERVICE,))
        fields = accept(SERVE_MODEL, await surface.body(request), SERVE_MODEL.creatable)
        require(SERVE_MODEL, fields)
        by = stamp(request)
        record = await surface.database.write(
            lambda tx: serving.serve(tx, service, fields, by),
            locks=(INFERENCE_SERVICE.place, service),
        )
        return surface.entity(record, 201)

    return handler


def _served(surface: Surface, look: Callable[[Connection, Record], Record]) -> Handler:
    async def handler(request: Request) -> Response:
        ident = path_id(request, (INFERENCE_SERVICE,))
        return surface.seen(
            request,
            await surface.database.read(lambda tx: look(tx, get(tx, (INFERENCE_SERVICE,), ident))),
        )

    return handler

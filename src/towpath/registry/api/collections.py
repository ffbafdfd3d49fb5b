"""The collections: list, create, read, update and find one, the same for every kind."""

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from towpath.registry import paging, store
from towpath.registry.api.surface import (
    Entry,
    Handler,
    Surface,
    expression,
    path_id,
    query,
    stamp,
)
from towpath.registry.kinds import (
    ARTIFACTS,
    EXPERIMENT,
    EXPERIMENT_RUN,
    INFERENCE_SERVICE,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    REGISTERED_MODEL,
    SERVING_ENVIRONMENT,
    Kind,
    Kinds,
)
from towpath.registry.records import (
    Record,
    accept,
    bad_request,
    check_type,
    identifier,
    kind_of_artifact,
    require,
)
from towpath.registry.store import Filter

__all__ = ["COLLECTIONS", "EXPERIMENTS", "entries", "listing"]

COLLECTIONS: Final[Mapping[str, Kinds]] = {
    "registered_models": (REGISTERED_MODEL,),
    "model_versions": (MODEL_VERSION,),
    "model_artifacts": (MODEL_ARTIFACT,),
    "artifacts": ARTIFACTS,
    "serving_environments": (SERVING_ENVIRONMENT,),
    "inference_services": (INFERENCE_SERVICE,),
}
EXPERIMENTS: Final[Mapping[str, Kinds]] = {
    "experiments": (EXPERIMENT,),
    "experiment_runs": (EXPERIMENT_RUN,),
}
"""Collections that not every generation has."""


def entries(surface: Surface) -> Iterator[Entry]:
    """The routes of one generation."""
    known = {**COLLECTIONS, **(EXPERIMENTS if surface.generation.experiments else {})}
    for name, kinds in known.items():
        yield "GET", f"/{name}", listing(surface, kinds)
        yield "POST", f"/{name}", _create(surface, kinds)
        yield "GET", f"/{name}/{{id}}", _get(surface, kinds)
        yield "PATCH", f"/{name}/{{id}}", _update(surface, kinds)
        yield "GET", f"/{name[:-1]}", _find(surface, kinds)


def listing(
    surface: Surface, kinds: Kinds, parent: Kind | None = None, *, must: bool = False
) -> Handler:
    """A handler that lists.

    Args:
        surface: Its generation.
        kinds: What it lists.
        parent: Kind of the entity in the path, whose own it lists; nothing for all.
        must: That entity has to be there; else the list of none is empty.
    """

    async def handler(request: Request) -> Response:
        asked = query(request)
        wanted_page = paging.parse(asked, surface.knobs.page)
        chosen = kinds
        if len(kinds) > 1 and asked.get("artifactType"):
            chosen = (kind_of_artifact(kinds, asked["artifactType"]),)
        wanted = Filter(
            name=asked.get("name") or None,
            external_id=asked.get("externalId") or None,
            parent=path_id(request, (parent,)) if parent else None,
            expression=expression(asked),
        )

        def work(tx: Connection) -> tuple[list[Record], tuple[int, int] | None]:
            if must and parent and wanted.parent is not None:
                store.get(tx, (parent,), wanted.parent)
            return store.page(tx, chosen, wanted, wanted_page)

        return surface.page(await surface.database.read(work), wanted_page)

    return handler


def _get(surface: Surface, kinds: Kinds) -> Handler:
    async def handler(request: Request) -> Response:
        ident = path_id(request, kinds)
        found = await surface.database.read(lambda tx: store.get(tx, kinds, ident), brief=True)
        return surface.seen(request, found)

    return handler


def _find(surface: Surface, kinds: Kinds) -> Handler:
    owned = kinds[0].parent is not None or kinds[0].place == "artifact"

    async def handler(request: Request) -> Response:
        asked = query(request)
        name, external_id = asked.get("name"), asked.get("externalId")
        parent = asked.get("parentResourceId") if owned else None
        if name and (parent or not owned):
            context = identifier(parent, "parent resource") if parent else None
            wanted = Filter(name=name, parent=context)
        elif external_id:
            wanted = Filter(external_id=external_id)
        else:
            by_name = "(name and parentResourceId)," if owned else "name"
            raise bad_request(f"invalid parameters call, supply either {by_name} or externalId")
        found = await surface.database.read(
            lambda tx: store.find(tx, kinds, wanted), brief=kinds[0].place == "context"
        )
        return surface.seen(request, found)

    return handler


def _create(surface: Surface, kinds: Kinds) -> Handler:
    async def handler(request: Request) -> Response:
        body = await surface.body(request)
        kind, lenient = kinds[0], len(kinds) > 1
        if lenient:
            kind = kind_of_artifact(kinds, body.get("artifactType"))
        fields = accept(kind, body, kind.creatable, lenient=lenient)
        require(kind, fields)
        by = stamp(request)
        parent = identifier(fields[kind.parent[0]], kind.parent[1].title) if kind.parent else 0
        record = await surface.database.write(
            lambda tx: store.create(tx, kind, fields, by), locks=("context", parent)
        )
        return surface.entity(record, 201)

    return handler


def _update(surface: Surface, kinds: Kinds) -> Handler:
    async def handler(request: Request) -> Response:
        ident = path_id(request, kinds)
        body = await surface.body(request)
        by = stamp(request)
        polymorphic = len(kinds) > 1

        def work(tx: Connection) -> Record:
            record = store.get(tx, kinds, ident, lock=True)
            check_type(record.kind, body, must=polymorphic)
            fields = accept(record.kind, body, record.kind.updatable, lenient=polymorphic)
            return store.update_record(tx, record, fields, by)

        locks = (kinds[0].place, ident)
        return surface.entity(await surface.database.write(work, locks=locks))

    return handler

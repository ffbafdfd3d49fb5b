"""Artifacts below a version or a run, and what the metrics of runs were over time."""

from collections.abc import Iterator

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from towpath.registry import history, paging, upserts
from towpath.registry.api.collections import listing
from towpath.registry.api.surface import (
    Entry,
    Handler,
    Page,
    Surface,
    expression,
    path_id,
    query,
    stamp,
)
from towpath.registry.kinds import (
    ARTIFACTS,
    EXPERIMENT_RUN,
    METRIC_POINT,
    MODEL_VERSION,
    Kind,
)
from towpath.registry.records import accept, kind_of_artifact
from towpath.registry.store import Filter, get, page

__all__ = ["entries"]


def entries(surface: Surface) -> Iterator[Entry]:
    """The routes of one generation."""
    below = {"model_versions": MODEL_VERSION}
    if surface.generation.experiments:
        below["experiment_runs"] = EXPERIMENT_RUN
        yield "GET", "/experiment_runs/metric_history", _history(surface)
        yield "GET", "/experiment_runs/{id}/metric_history", _history(surface, EXPERIMENT_RUN)
    for name, parent in below.items():
        path = f"/{name}/{{id}}/artifacts"
        yield "GET", path, listing(surface, ARTIFACTS, parent)
        yield "POST", path, _upsert(surface, parent)


def _upsert(surface: Surface, parent_kind: Kind) -> Handler:
    async def handler(request: Request) -> Response:
        parent = path_id(request, (parent_kind,))
        body = await surface.body(request)
        kind = kind_of_artifact(ARTIFACTS, body.get("artifactType"))
        fields = accept(kind, body, kind.fields, lenient=True)
        by = stamp(request)
        record, new = await surface.database.write(
            lambda tx: upserts.artifact(
                tx, get(tx, (parent_kind,), parent, lock=kind in upserts.NAMED), kind, fields, by
            ),
            locks=(parent_kind.place, parent),
        )
        return surface.entity(record, 201 if new else 200)

    return handler


def _history(surface: Surface, run_kind: Kind | None = None) -> Handler:
    """The points of one run, or of all."""

    async def handler(request: Request) -> Response:
        asked = query(request)
        wanted_page = paging.parse(asked, surface.knobs.page)
        wanted = Filter(
            name=asked.get("name") or None,
            parent=path_id(request, (run_kind,)) if run_kind else None,
            expression=history.narrowed(expression(asked), asked.get("stepIds", "")),
        )

        def work(tx: Connection) -> Page:
            if run_kind and wanted.parent is not None:
                get(tx, (run_kind,), wanted.parent)
            return page(tx, (METRIC_POINT,), wanted, wanted_page)

        return surface.page(await surface.database.read(work), wanted_page)

    return handler

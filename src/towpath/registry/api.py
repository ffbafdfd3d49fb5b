"""The REST surface: both generations of the Kubeflow Model Registry API, from one set of handlers.

Routes are made from :data:`COLLECTIONS`; a handler turns a request into values, runs one
transaction, and turns the outcome into an answer. Who may call is decided in front of this app.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import orjson
from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from towpath import web
from towpath.errors import InvalidError, Reason
from towpath.registry import health, paging, store
from towpath.registry.database import Database
from towpath.registry.events import Stamp
from towpath.registry.kinds import (
    ARTIFACTS,
    INFERENCE_SERVICE,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    REGISTERED_MODEL,
    SERVING_ENVIRONMENT,
    Kind,
    Kinds,
    title_of,
)
from towpath.registry.records import (
    Record,
    accept,
    bad_request,
    decode,
    document,
    identifier,
    kind_of_artifact,
    require,
)
from towpath.registry.store import Filter
from towpath.settings import Registry
from towpath.spec._wire import JsonObject
from towpath.spec.registry import PREFIXES

__all__ = ["app"]

Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
Entry: TypeAlias = tuple[str, str, Handler]
"""Method, path below the prefix, handler."""

COLLECTIONS: Final[dict[str, Kinds]] = {
    "registered_models": (REGISTERED_MODEL,),
    "model_versions": (MODEL_VERSION,),
    "model_artifacts": (MODEL_ARTIFACT,),
    "artifacts": ARTIFACTS,
    "serving_environments": (SERVING_ENVIRONMENT,),
    "inference_services": (INFERENCE_SERVICE,),
}


def app(database: Database, knobs: Registry) -> Starlette:
    """The model registry as an ASGI app. It does not close the database.

    Args:
        database: From :func:`open_database`.
        knobs: Limits.
    """
    entries = list(_Surface(database, knobs).entries())
    routes: list[BaseRoute] = [
        Route(prefix + path, handler, methods=[method])
        for prefix in PREFIXES
        for method, path, handler in entries
    ]
    return web.app([*routes, *health.routes(database)], web.kubeflow_error)


@dataclass(frozen=True)
class _Surface:
    database: Database
    knobs: Registry

    def entries(self) -> Iterator[Entry]:
        for name, kinds in COLLECTIONS.items():
            yield "GET", f"/{name}", self.list(kinds)
            yield "POST", f"/{name}", self.create(kinds)
            yield "GET", f"/{name}/{{id}}", self.get(kinds)
            yield "PATCH", f"/{name}/{{id}}", self.update(kinds)
            yield "GET", f"/{name[:-1]}", self.find(kinds)
        for path, parent, kinds in (
            ("/registered_models/{id}/versions", REGISTERED_MODEL, (MODEL_VERSION,)),
            ("/model_versions/{id}/artifacts", MODEL_VERSION, ARTIFACTS),
            (
                "/serving_environments/{id}/inference_services",
                SERVING_ENVIRONMENT,
                (INFERENCE_SERVICE,),
            ),
        ):
            yield "GET", path, self.list(kinds, parent)
        yield "POST", "/registered_models/{id}/versions", self.create_or_update_version
        yield "POST", "/model_versions/{id}/artifacts", self.upsert_artifact
        yield "POST", "/serving_environments/{id}/inference_services", self.create_service
        yield "GET", "/inference_services/{id}/model", self.served(store.served_model)
        yield "GET", "/inference_services/{id}/version", self.served(store.served_version)

    def get(self, kinds: Kinds) -> Handler:
        async def handler(request: Request) -> Response:
            ident = _path_id(request, kinds)
            return _entity(await self.database.read(lambda tx: store.get(tx, kinds, ident)))

        return handler

    def find(self, kinds: Kinds) -> Handler:
        owned = kinds[0].parent is not None or kinds[0].place == "artifact"

        async def handler(request: Request) -> Response:
            query = _query(request)
            name, external_id = query.get("name"), query.get("externalId")
            parent = query.get("parentResourceId") if owned else None
            if name and (parent or not owned):
                context = identifier(parent, "parent resource") if parent else None
                wanted = Filter(name=name, parent=context)
            elif external_id:
                wanted = Filter(external_id=external_id)
            else:
                by_name = "(name and parentResourceId)," if owned else "name"
                raise bad_request(f"invalid parameters call, supply either {by_name} or externalId")
            return _entity(await self.database.read(lambda tx: store.find(tx, kinds, wanted)))

        return handler

    def list(self, kinds: Kinds, parent: Kind | None = None) -> Handler:
        async def handler(request: Request) -> Response:
            query = _query(request)
            asked = paging.parse(query, self.knobs.page)
            if query.get("filterQuery", "").strip():
                raise bad_request(
                    "filterQuery is not served yet", "Filter by name or externalId instead."
                )
            chosen = kinds
            if len(kinds) > 1 and query.get("artifactType"):
                chosen = (kind_of_artifact(kinds, query["artifactType"]),)
            wanted = Filter(
                name=query.get("name") or None,
                external_id=query.get("externalId") or None,
                parent=_path_id(request, (parent,)) if parent else None,
            )
            records, more = await self.database.read(
                lambda tx: store.page(tx, chosen, wanted, asked)
            )
            return _json(
                {
                    "items": [document(record) for record in records],
                    "nextPageToken": paging.token(*more) if more else "",
                    "pageSize": asked.echo,
                    "size": len(records),
                }
            )

        return handler

    def create(self, kinds: Kinds) -> Handler:
        async def handler(request: Request) -> Response:
            body = await self.body(request)
            kind, lenient = kinds[0], len(kinds) > 1
            if lenient:
                kind = kind_of_artifact(kinds, body.get("artifactType"))
            fields = accept(kind, body, kind.creatable, lenient=lenient)
            require(kind, fields)
            return _entity(
                await self.database.write(lambda tx: store.create(tx, kind, fields, _stamp())), 201
            )

        return handler

    def update(self, kinds: Kinds) -> Handler:
        async def handler(request: Request) -> Response:
            ident = _path_id(request, kinds)
            body = await self.body(request)
            polymorphic = len(kinds) > 1

            def work(tx: Connection) -> Record:
                record = store.get(tx, kinds, ident, lock=True)
                _check_type(record.kind, body, must=polymorphic)
                fields = accept(record.kind, body, record.kind.updatable, lenient=polymorphic)
                return store.update_record(tx, record, fields, _stamp())

            return _entity(await self.database.write(work))

        return handler

    def served(self, look: Callable[[Connection, Record], Record]) -> Handler:
        async def handler(request: Request) -> Response:
            ident = _path_id(request, (INFERENCE_SERVICE,))
            return _entity(
                await self.database.read(
                    lambda tx: look(tx, store.get(tx, (INFERENCE_SERVICE,), ident))
                )
            )

        return handler

    async def create_service(self, request: Request) -> Response:
        kind = INFERENCE_SERVICE
        fields = accept(kind, await self.body(request), kind.creatable)
        require(kind, fields)
        fields["servingEnvironmentId"] = str(_path_id(request, (SERVING_ENVIRONMENT,)))
        return _entity(
            await self.database.write(lambda tx: store.create(tx, kind, fields, _stamp())), 201
        )

    async def create_or_update_version(self, request: Request) -> Response:
        kind = MODEL_VERSION
        model = _path_id(request, (REGISTERED_MODEL,))
        fields = accept(kind, await self.body(request), kind.fields)
        require(kind, fields)
        fields["registeredModelId"] = str(model)

        def work(tx: Connection) -> Record:
            store.get(tx, (REGISTERED_MODEL,), model)
            if "id" not in fields:
                return store.create(tx, kind, _only(fields, kind.creatable), _stamp())
            version = store.get(tx, (kind,), identifier(fields["id"], kind.title), lock=True)
            if version.parent != model:
                raise bad_request(
                    f"model version {version.id} does not belong to registered model {model}"
                )
            return store.update_record(tx, version, _only(fields, kind.updatable), _stamp())

        return _entity(await self.database.write(work), 201)

    async def upsert_artifact(self, request: Request) -> Response:
        version = _path_id(request, (MODEL_VERSION,))
        body = await self.body(request)
        kind = kind_of_artifact(ARTIFACTS, body.get("artifactType"))
        fields = accept(kind, body, kind.fields, lenient=True)

        def work(tx: Connection) -> Record:
            store.get(tx, (MODEL_VERSION,), version)
            if "id" not in fields:
                new = _only(fields, kind.creatable)
                return store.create(tx, kind, new, _stamp(), under=version)
            artifact = store.get(tx, ARTIFACTS, identifier(fields["id"], "artifact"), lock=True)
            _check_type(artifact.kind, body, must=True)
            changed = store.update_record(tx, artifact, _only(fields, kind.updatable), _stamp())
            store.attach(tx, artifact.id, version)
            return changed

        return _entity(await self.database.write(work), 200 if "id" in fields else 201)

    async def body(self, request: Request) -> JsonObject:
        _check_media_type(request)
        return decode(await web.body(request, self.knobs.body_bytes))


def _stamp() -> Stamp:
    return Stamp(time.time_ns() // 1_000_000)


def _check_media_type(request: Request) -> None:
    """That the body says it is JSON: what any web page may send unasked says something else."""
    told = request.headers.get("content-type", "")
    if told.partition(";")[0].strip().lower() != "application/json":
        raise InvalidError(
            f"content type {told[:60]!r} is not served",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
            hint="Send JSON with the header 'Content-Type: application/json'.",
        )


def _path_id(request: Request, kinds: Kinds) -> int:
    return identifier(request.path_params["id"], title_of(kinds))


def _query(request: Request) -> dict[str, str]:
    query = dict(request.query_params)
    for name, value in query.items():
        if "\x00" in value or "\\u0000" in value:
            raise bad_request(f"query parameter {name[:60]!r} holds a NUL character")
    return query


def _only(fields: JsonObject, allowed: frozenset[str]) -> JsonObject:
    return {field: value for field, value in fields.items() if field in allowed}


def _check_type(kind: Kind, body: JsonObject, *, must: bool) -> None:
    if kind.artifact_type is None or ("artifactType" not in body and not must):
        return
    sent = body.get("artifactType")
    if sent != kind.artifact_type:
        shown = sent[:40] if isinstance(sent, str) else "unknown"
        raise InvalidError(
            f"cannot change artifact type from '{kind.artifact_type}' to '{shown}': artifact type "
            "is immutable: bad request"
        )


def _json(content: JsonObject, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json; charset=UTF-8")


def _entity(record: Record, status: int = 200) -> Response:
    return _json(document(record), status)

"""The HTTP face: a request becomes a verb, the verb's answer becomes JSON, rows or lines."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from random import uniform
from typing import Final, cast

import orjson
from anyio import to_thread
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from towpath.apiserver import bodies, failures, patch, selectors, shapes, table
from towpath.apiserver.kinds import Catalogue, Resource, unknown
from towpath.apiserver.listing import page, presented
from towpath.apiserver.record import Address
from towpath.apiserver.store import Store
from towpath.apiserver.target import Target, parse
from towpath.apiserver.verbs import Options, Outcome, Preconditions, Verbs
from towpath.apiserver.watch import Watch, line, stream
from towpath.errors import ConflictError, InvalidError, NotFoundError, Reason, UnavailableError
from towpath.settings import Api
from towpath.spec._wire import Json, JsonObject
from towpath.web import body

__all__ = ["Surface"]

_JSON: Final = "application/json"
_LARGE: Final = 64 * 1024
"""Bytes from which on a body is decoded beside the event loop; YAML takes its time."""
_WATCH_SECONDS: Final = (1800.0, 3600.0)
"""A watch that names no end lasts this long, at random: clients do not all return at once."""
_PATCHES: Final[Mapping[str, Callable[[Json, Json], Json]]] = {
    "application/merge-patch+json": patch.merge_patch,
    "application/json-patch+json": patch.json_patch,
    "application/strategic-merge-patch+json": patch.strategic_merge,
}
_APPLY: Final = frozenset({"application/apply-patch+yaml", "application/apply-patch+cbor"})

Handler = Callable[[Request, Resource, Target], Awaitable[Response]]


class Surface:
    """Handlers of every resource path.

    Args:
        store: Where objects are read.
        catalogue: What is served.
        verbs: How they are written.
        settings: Limits.
        stopped: Whether the server stops.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        verbs: Verbs,
        settings: Api,
        stopped: Callable[[], bool],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._verbs = verbs
        self._settings = settings
        self._stopped = stopped
        self._collection: Mapping[str, Handler] = {
            "GET": self._list,
            "POST": self._create,
            "DELETE": self._delete_collection,
        }
        self._object: Mapping[str, Handler] = {
            "GET": self._get,
            "PUT": self._update,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }

    async def __call__(self, request: Request) -> Response:
        """Answer one request on a resource path."""
        target = parse(request.scope["path"])
        if target is None:
            raise unknown()
        resource = self._catalogue.find(target.group, target.version, target.plural)
        namespaced = resource.kind.namespaced
        status = target.subresource == "status" and resource.status
        if (
            (target.namespace and not namespaced)
            or (target.name and namespaced and not target.namespace)
            or (target.subresource and not status)
        ):
            raise unknown()
        handlers = self._object if target.name else self._collection
        handler = handlers.get(request.method)
        if (
            handler is None
            or (status and request.method == "DELETE")
            or (request.method == "POST" and namespaced and not target.namespace)
        ):
            raise InvalidError(
                "the server does not allow this method on the requested resource",
                reason=Reason.METHOD_NOT_ALLOWED,
            )
        return await handler(request, resource, target)

    async def _get(self, request: Request, resource: Resource, target: Target) -> Response:
        if _flag(request.query_params, "watch"):
            return await self._list(request, resource, target)
        record = await self._verbs.get(resource, _address(resource, target))
        return self._one(request, resource, record.data)

    def _one(
        self, request: Request, resource: Resource, data: bytes, status: int = 200
    ) -> Response:
        data = presented(resource, data)
        if table.requested(request.headers.get("accept", "")):
            obj = orjson.loads(data)
            rows = table.table(resource, [obj], datetime.now(UTC), _include(request))
            rows["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            data = orjson.dumps(rows)
        return Response(data, status, media_type=_JSON)

    async def _list(self, request: Request, resource: Resource, target: Target) -> Response:
        query = request.query_params
        selector = _selector(resource, target, query)
        if _flag(query, "watch"):
            return self._watch(request, resource, target, selector)
        wanted = query.get("resourceVersion", "")
        found = await page(
            self._store,
            resource,
            target.namespace,
            selector,
            _number(query, "limit") or None,
            query.get("continue", ""),
        )
        _fresh(wanted, query.get("resourceVersionMatch", ""), found.revision)
        metadata: JsonObject = {"resourceVersion": str(found.revision)}
        if found.token:
            metadata["continue"] = found.token
        items = [presented(resource, record.data) for record in found.records]
        if table.requested(request.headers.get("accept", "")):
            objects = map(orjson.loads, items)
            rows = table.table(resource, objects, datetime.now(UTC), _include(request))
            rows["metadata"] = metadata
            return Response(orjson.dumps(rows), media_type=_JSON)
        kind = {"kind": resource.list_kind, "apiVersion": resource.kind.api_version}
        head = orjson.dumps({**kind, "metadata": metadata})
        return Response(b'%s,"items":[%s]}' % (head[:-1], b",".join(items)), media_type=_JSON)

    def _watch(
        self, request: Request, resource: Resource, target: Target, selector: selectors.Selector
    ) -> Response:
        query = request.query_params
        since = query.get("resourceVersion", "")
        initial = _flag(query, "sendInitialEvents")
        if since and not since.isdigit():
            raise failures.bad_request(f"invalid resource version {since[:50]!r}")
        watch = Watch(
            resource,
            target.namespace,
            selector,
            None if since in ("", "0") or initial else int(since),
            _flag(query, "allowWatchBookmarks"),
            initial,
            float(_number(query, "timeoutSeconds") or uniform(*_WATCH_SECONDS)),  # noqa: S311
        )
        encode: Callable[[str, bytes], bytes] = partial(_plain, resource)
        if table.requested(request.headers.get("accept", "")):
            encode = _Rows(resource, _include(request)).encode
        lines: AsyncIterator[bytes] = stream(self._store, watch, encode, self._stopped)
        return StreamingResponse(lines, media_type=_JSON)

    async def _create(self, request: Request, resource: Resource, target: Target) -> Response:
        value = await self._value(request)
        obj = bodies.matching(resource, target.namespace, "", value)
        outcome = await self._verbs.create(resource, target.namespace, obj, _options(request))
        return self._one(request, resource, outcome.record.data, 201)

    async def _update(self, request: Request, resource: Resource, target: Target) -> Response:
        obj = bodies.matching(resource, target.namespace, target.name, await self._value(request))
        if resource.custom and not obj["metadata"].get("resourceVersion"):
            problem = "Invalid value: 0x0: must be specified for an update"
            raise failures.invalid(resource, target.name, "metadata.resourceVersion", problem)
        outcome = await self._verbs.change(
            resource,
            _address(resource, target),
            lambda _: obj,
            _options(request),
            target.subresource,
        )
        return self._one(request, resource, outcome.record.data)

    async def _patch(self, request: Request, resource: Resource, target: Target) -> Response:
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        options, address = _options(request), _address(resource, target)
        outcome: Outcome
        if media in _APPLY:
            if not request.query_params.get("fieldManager"):
                raise failures.bad_request(
                    "fieldManager: Required value: is required for apply patch"
                )
            obj = bodies.matching(
                resource,
                target.namespace,
                target.name,
                await self._value(request, yaml_too=True),
            )
            outcome = await self._verbs.apply(resource, address, obj, options, target.subresource)
        else:
            change = _PATCHES.get(media)
            if change is None or (change is patch.strategic_merge and resource.custom):
                raise InvalidError(
                    "the body of the request was in an unknown format - accepted media types "
                    "include: application/json-patch+json, application/merge-patch+json, "
                    "application/apply-patch+yaml",
                    reason=Reason.UNSUPPORTED_MEDIA_TYPE,
                )
            value = await self._value(request, yaml_too=False)

            def rule(old: JsonObject) -> JsonObject:
                patched = change({**old, "apiVersion": resource.kind.api_version}, value)
                bodies.check_writable(patched)
                return bodies.matching(resource, target.namespace, target.name, patched)

            outcome = await self._verbs.change(resource, address, rule, options, target.subresource)
        status = 201 if outcome.new else 200
        return self._one(request, resource, outcome.record.data, status)

    async def _delete(self, request: Request, resource: Resource, target: Target) -> Response:
        wishes = await self._wishes(request)
        conditions = wishes.get("preconditions") or {}
        preconditions = Preconditions(
            conditions.get("uid") or "", conditions.get("resourceVersion") or ""
        )
        outcome = await self._verbs.delete(
            resource, _address(resource, target), preconditions, _ending(request, wishes)
        )
        if not outcome.gone:
            return self._one(request, resource, outcome.record.data)
        details = {
            "name": target.name,
            "group": resource.kind.group,
            "kind": resource.kind.plural,
            "uid": outcome.record.object()["metadata"]["uid"],
        }
        status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {key: value for key, value in details.items() if value},
        }
        return Response(orjson.dumps(status), media_type=_JSON)

    async def _delete_collection(
        self, request: Request, resource: Resource, target: Target
    ) -> Response:
        wishes = await self._wishes(request)
        selector = _selector(resource, target, request.query_params)
        found = await page(self._store, resource, target.namespace, selector)
        gone = []
        for record in found.records:
            listed = Preconditions(record.object()["metadata"]["uid"])
            try:
                outcome = await self._verbs.delete(
                    resource, record.address, listed, _ending(request, wishes)
                )
            except (NotFoundError, ConflictError):  # it went meanwhile, or another has its name
                continue
            gone.append(presented(resource, outcome.record.data))
        kind = {"kind": resource.list_kind, "apiVersion": resource.kind.api_version}
        metadata = {"resourceVersion": str(self._store.revision)}
        head = orjson.dumps({**kind, "metadata": metadata})
        return Response(b'%s,"items":[%s]}' % (head[:-1], b",".join(gone)), media_type=_JSON)

    async def _value(self, request: Request, *, yaml_too: bool = False) -> Json:
        data = await body(request, self._settings.body_bytes)
        decode = partial(
            bodies.decoded, data, request.headers.get("content-type", ""), yaml_too=yaml_too
        )
        return decode() if len(data) < _LARGE else await to_thread.run_sync(decode)

    async def _wishes(self, request: Request) -> JsonObject:
        """``DeleteOptions`` of the body, if there is one."""
        data = await body(request, self._settings.body_bytes)
        value = bodies.decoded(data, request.headers.get("content-type", "")) if data else None
        shapes.check("DeleteOptions", value or {}, shapes.DELETE_OPTIONS)
        return cast(JsonObject, value or {})


class _Rows:
    """Watch events as Tables; only the first describes its columns."""

    def __init__(self, resource: Resource, include: table.Include) -> None:
        self._resource = resource
        self._include = include
        self._headed = True

    def encode(self, kind: str, data: bytes) -> bytes:
        obj = orjson.loads(presented(self._resource, data))
        now = datetime.now(UTC)
        rows = table.table(self._resource, [obj], now, self._include, headed=self._headed)
        rows["metadata"] = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
        self._headed = False
        return line(kind, orjson.dumps(rows))


def _plain(resource: Resource, kind: str, data: bytes) -> bytes:
    return line(kind, presented(resource, data))


def _address(resource: Resource, target: Target) -> Address:
    return Address(resource.key, target.namespace, target.name)


def _flag(query: QueryParams, name: str) -> bool:
    return query.get(name, "").lower() in ("true", "1")


def _number(query: QueryParams, name: str) -> int:
    text = query.get(name, "")
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 15):
        raise failures.bad_request(f"{name} must be a number, 0 or above")
    return int(text)


def _fresh(wanted: str, match: str, revision: int) -> None:
    """resourceVersion of a list: the newest is read always, so only the future is refused."""
    if wanted in ("", "0"):
        return
    if not wanted.isdigit():
        raise failures.bad_request(f"invalid resource version {wanted[:50]!r}")
    if int(wanted) > revision:
        raise UnavailableError(
            f"Too large resource version: {wanted}, current: {revision}",
            reason=Reason.TIMEOUT,
            retry_after=1,
        )
    if match == "Exact" and int(wanted) != revision:
        raise ConflictError(f"too old resource version: {wanted}", reason=Reason.EXPIRED)


def _selector(resource: Resource, target: Target, query: QueryParams) -> selectors.Selector:
    text = query.get("labelSelector", "")
    wanted = selectors.fields(
        query.get("fieldSelector", ""),
        ("metadata.name", "metadata.namespace", *resource.selectable),
    )
    if target.name:
        wanted.append(("metadata.name", True, target.name))
    return selectors.Selector(selectors.labels(text) if text else None, tuple(wanted))


def _include(request: Request) -> table.Include:
    wanted = request.query_params.get("includeObject", "Metadata")
    if wanted not in ("None", "Metadata", "Object"):
        raise failures.bad_request("includeObject must be None, Metadata or Object")
    return cast(table.Include, wanted)


def _options(request: Request, wishes: JsonObject | None = None) -> Options:
    query = request.query_params
    dry = query.getlist("dryRun") or (wishes or {}).get("dryRun") or []
    if dry and dry != ["All"]:
        raise failures.bad_request('dryRun: Unsupported value: supported values: "All"')
    agent = request.headers.get("user-agent", "").partition("/")[0]
    manager = query.get("fieldManager") or agent or "unknown"
    return Options(manager[:128], bool(dry), _flag(query, "force"))


def _ending(request: Request, wishes: JsonObject) -> Options:
    """The options of a deletion."""
    policy = wishes.get("propagationPolicy") or request.query_params.get("propagationPolicy")
    legacy = wishes.get("orphanDependents") or _flag(request.query_params, "orphanDependents")
    orphan = policy == "Orphan" or (policy is None and bool(legacy))
    return replace(_options(request, wishes), orphan=orphan)

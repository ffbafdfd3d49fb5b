"""The writing verbs over HTTP: create, update, patch, apply and delete.

Source: Kubernetes API concepts, "Server-Side Apply", "Patch and apply", "Resource deletion".
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import orjson
from starlette.responses import Response

from towpath.apiserver import bodies, deletion, failures, options, patch, presentation, scale
from towpath.apiserver.call import Call
from towpath.apiserver.kinds import Resource
from towpath.apiserver.listing import page, wish
from towpath.apiserver.reading import selector
from towpath.apiserver.store import Store
from towpath.apiserver.terms import Options, Outcome, Preconditions
from towpath.apiserver.verbs import Verbs
from towpath.errors import ConflictError, InvalidError, NotFoundError, Reason
from towpath.spec._wire import Json, JsonObject

__all__ = ["Writing"]

_APPLY: Final = frozenset({"application/apply-patch+yaml", "application/apply-patch+cbor"})
_STRATEGIC: Final = "application/strategic-merge-patch+json"
_PATCHES: Final[Mapping[str, Callable[[Json, Json], Json]]] = {
    "application/json-patch+json": patch.json_patch,
    "application/merge-patch+json": patch.merge_patch,
}
_READ_FIRST: Final = frozenset(
    {
        "customresourcedefinitions.apiextensions.k8s.io",
        "leases.coordination.k8s.io",
    }
)
"""Built-in kinds of which an update says which revision it has read; of custom kinds all do."""

Change = Callable[[JsonObject], Json]


class Writing:
    """Handlers that change something.

    Args:
        store: Where objects are listed that are to be deleted.
        verbs: How objects are written.
    """

    def __init__(self, store: Store, verbs: Verbs) -> None:
        self._store = store
        self._verbs = verbs

    async def create(self, call: Call) -> Response:
        """Create an object."""
        resource, namespace = call.resource, call.target.namespace
        body = await call.body()
        wanted = call.options("CreateOptions", body)
        obj = bodies.matching(resource, namespace, "", body.value)
        outcome = await self._verbs.create(resource, namespace, obj, wanted)
        return await _answer(call, outcome)

    async def update(self, call: Call) -> Response:
        """Replace an object, or its status, or what holds a namespace."""
        resource, target = call.resource, call.target
        body = await call.body()
        wanted = call.options("UpdateOptions", body)
        obj = bodies.matching(resource, target.namespace, target.name, body.value)
        if resource.custom or resource.key in _READ_FIRST:
            _check_read(resource, target.name, obj)
        outcome = await self._verbs.put(resource, call.address, obj, wanted, target.subresource)
        return await _answer(call, outcome)

    async def patch(self, call: Call) -> Response:
        """Change an object, or its status, by a patch of one of the four kinds."""
        media = _media(call)
        if media in _APPLY:
            return await self._apply(call)
        change, wanted = await self._patched(call, media)
        resource, target = call.resource, call.target

        def rule(old: JsonObject) -> JsonObject:
            patched = change(old)
            bodies.check_writable(patched)
            return bodies.matching(resource, target.namespace, target.name, patched)

        outcome = await self._verbs.change(resource, call.address, rule, wanted, target.subresource)
        return await _answer(call, outcome)

    async def _patched(self, call: Call, media: str) -> tuple[Change, Options]:
        """What a patch does to an object, and the options it comes with."""
        merge: Callable[[Json, Json], Json]
        if media == _STRATEGIC and not call.resource.custom:
            merge = partial(patch.strategic_merge, topology=call.resource.topology)
        elif media in _PATCHES:
            merge = _PATCHES[media]
        else:
            kinds = [*_PATCHES, *(() if call.resource.custom else (_STRATEGIC,)), *sorted(_APPLY)]
            raise InvalidError(
                "the body of the request was in an unknown format - accepted media types include: "
                f"{', '.join(kind for kind in kinds if not kind.endswith('cbor'))}",
                reason=Reason.UNSUPPORTED_MEDIA_TYPE,
            )
        body = await call.body()
        if not isinstance(body.value, list if media == "application/json-patch+json" else dict):
            raise failures.bad_request("error decoding patch: it is of the wrong type")
        wanted = call.options("PatchOptions", body)
        return (lambda old: merge(old, body.value)), wanted

    async def _apply(self, call: Call) -> Response:
        resource, target = call.resource, call.target
        body = await call.body(yaml_too=True)
        wanted = call.options("PatchOptions", body, apply=True)
        obj = bodies.matching(resource, target.namespace, target.name, body.value)
        outcome = await self._verbs.apply(resource, call.address, obj, wanted, target.subresource)
        return await _answer(call, outcome)

    async def scale(self, call: Call) -> Response:
        """Change how many of something are wanted, by a Scale or a patch of one."""
        resource, name = call.resource, call.target.name
        where = resource.scale
        assert where is not None  # noqa: S101 - what the route is for
        media = _media(call)
        if call.request.method == "PATCH" and media in _APPLY:
            return await self._apply_scale(call)
        if call.request.method == "PATCH":
            change, wanted = await self._patched(call, media)
        else:
            body = await call.body()
            wanted = call.options("UpdateOptions", body)
            change = lambda _: body.value  # noqa: E731 - what a patch is in the other branch

        def rule(old: JsonObject) -> JsonObject:
            asked = _scale(name, change(scale.of(where, orjson.dumps(old))))
            return scale.written(where, old, asked, scale.wanted(resource, name, asked))

        outcome = await self._verbs.change(resource, call.address, rule, wanted, "scale")
        return await self._scaled(call, outcome)

    async def _apply_scale(self, call: Call) -> Response:
        resource, name, where = call.resource, call.target.name, call.resource.scale
        assert where is not None  # noqa: S101 - what the route is for
        body = await call.body(yaml_too=True)
        wanted = call.options("PatchOptions", body, apply=True)
        asked = _scale(name, body.value)
        kind = {"apiVersion": resource.kind.api_version, "kind": resource.kind.kind}
        obj: JsonObject = {**kind, "metadata": {"name": name}}
        if "replicas" in (asked.get("spec") or {}):
            obj = scale.written(where, obj, asked, scale.wanted(resource, name, asked))
        outcome = await self._verbs.apply(resource, call.address, obj, wanted, "scale")
        return await self._scaled(call, outcome)

    async def _scaled(self, call: Call, outcome: Outcome) -> Response:
        assert call.resource.scale is not None  # noqa: S101 - what the route is for
        data = presentation.plain(call.resource, outcome.record.data)
        return await call.value(scale.of(call.resource.scale, data), warnings=outcome.warnings)

    async def delete(self, call: Call) -> Response:
        """Delete an object."""
        resource, target = call.resource, call.target
        preconditions, wanted = await self._ending(call)
        outcome = await self._verbs.delete(resource, call.address, preconditions, wanted)
        if not outcome.gone or deletion.answered_with_object(resource):
            return await call.one(outcome.record.data)
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
        return await call.value(status)

    async def delete_collection(self, call: Call) -> Response:
        """Delete what a list finds."""
        resource = call.resource
        preconditions, wanted = await self._ending(call)
        chosen = selector(resource, call.target, call.query)
        found = await page(self._store, resource, call.target.namespace, chosen, wish(call.query))
        gone = []
        for record in found.records:
            listed = Preconditions(record.object()["metadata"]["uid"], preconditions.revision)
            try:
                outcome = await self._verbs.delete(resource, record.address, listed, wanted)
            except (NotFoundError, ConflictError):  # it went meanwhile, or another has its name
                continue
            gone.append(outcome.record.data)
        metadata: JsonObject = {"resourceVersion": str(self._store.revision)}
        if found.token:
            metadata["continue"] = found.token
        return await call.many(gone, metadata)

    async def _ending(self, call: Call) -> tuple[Preconditions, Options]:
        data = await call.data()
        body = None
        if data:
            media = call.request.headers.get("content-type", "")
            body = bodies.decoded(data, media, kind="DeleteOptions").value
        return options.ending(call.query, body, call.agent)


async def _answer(call: Call, outcome: Outcome) -> Response:
    status = 201 if outcome.new else 200
    return await call.one(outcome.record.data, status, outcome.warnings)


def _media(call: Call) -> str:
    return call.request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _check_read(resource: Resource, name: str, obj: JsonObject) -> None:
    if not str(obj["metadata"].get("resourceVersion") or "").strip("0"):  # 0 is any, as none is
        problem = "Invalid value: 0x0: must be specified for an update"
        raise failures.invalid(resource, name, "metadata.resourceVersion", problem)


def _scale(name: str, value: Json) -> JsonObject:
    if not isinstance(value, dict):
        raise failures.bad_request(f"the body is not a Scale of {name}")
    return value

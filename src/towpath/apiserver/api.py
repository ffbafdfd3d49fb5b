"""The HTTP face: a request on a resource path finds its kind, its verb and the handler of both."""

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response

from towpath.apiserver import bodies, failures
from towpath.apiserver.access import Answer
from towpath.apiserver.call import Call, Handler
from towpath.apiserver.kinds import Catalogue, Resource, unknown
from towpath.apiserver.reading import Reading
from towpath.apiserver.target import Target
from towpath.apiserver.writing import Writing
from towpath.spec.kube import Kind

__all__ = ["Surface"]

_COLLECTION: Mapping[str, str] = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT: Mapping[str, str] = {
    "GET": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


class Surface:
    """Handlers of every resource path.

    Args:
        reading: Handlers that change nothing.
        writing: Handlers that change something.
        catalogue: What is served.
        answers: Who answers what is only asked, by the kind's key and the subresource or ``""``.
        limit: Most bytes of a body.
    """

    def __init__(
        self,
        reading: Reading,
        writing: Writing,
        catalogue: Catalogue,
        answers: Mapping[tuple[str, str], Answer],
        limit: int,
    ) -> None:
        self._catalogue = catalogue
        self._answers = answers
        self._limit = limit
        self._whole: Mapping[str, Handler] = {
            "create": writing.create,
            "delete": writing.delete,
            "deletecollection": writing.delete_collection,
            "get": reading.get,
            "list": reading.list,
            "patch": writing.patch,
            "update": writing.update,
        }
        self._status: Mapping[str, Handler] = {
            "GET": reading.get,
            "PATCH": writing.patch,
            "PUT": writing.update,
        }
        self._scale: Mapping[str, Handler] = {
            "GET": reading.scale,
            "PATCH": writing.scale,
            "PUT": writing.scale,
        }
        self._finalize: Mapping[str, Handler] = {"PUT": writing.update}

    async def __call__(self, request: Request) -> Response:
        """Answer one request on a resource path."""
        target: Target | None = request.scope.get("target")  # from the route
        if target is None:
            raise unknown()
        resource = self._catalogue.find(target.group, target.version, target.plural)
        namespaced = resource.kind.namespaced
        if (target.namespace and not namespaced) or (
            target.name and namespaced and not target.namespace
        ):
            raise unknown()
        _check_name(target.name)
        call = Call(request, resource, target, self._limit)
        handler = self._handler(call)
        if handler is None or (request.method == "POST" and namespaced and not target.namespace):
            raise failures.method_not_allowed()
        return await handler(call)

    def _handler(self, call: Call) -> Handler | None:
        resource, target, method = call.resource, call.target, call.request.method
        if target.subresource == "status" and resource.status:
            return self._status.get(method)
        if target.subresource == "scale" and resource.scale:
            return self._scale.get(method)
        if target.subresource:
            found = next((s for s in resource.subresources if s.name == target.subresource), None)
            if found is None:
                raise unknown()
            if found.name == "finalize" and "update" in found.verbs:
                return self._finalize.get(method)
            return self._answered if method == "POST" and "create" in found.verbs else None
        verb = (_OBJECT if target.name else _COLLECTION).get(method, "")
        if verb not in resource.verbs:
            return None
        stored = "get" in resource.verbs
        return self._whole.get(verb) if stored else self._answered

    async def _answered(self, call: Call) -> Response:
        """What is only asked: nothing of it is stored."""
        resource, target = call.resource, call.target
        answer = self._answers.get((resource.key, target.subresource))
        if answer is None:
            raise failures.method_not_allowed()
        body = await call.body()
        kind = _asked(resource, target)
        obj = bodies.matching(resource, target.namespace, target.name, body.value, kind)
        return await call.value(await answer(call.identity, target, obj), 201)


def _asked(resource: Resource, target: Target) -> Kind:
    """The kind of a question."""
    of = {subresource.name: subresource.kind for subresource in resource.subresources}
    return of.get(target.subresource, resource.kind)


def _check_name(name: str) -> None:
    if name in (".", ".."):
        raise failures.bad_request(f"Name parameter invalid: \"{name}\": may not be '{name}'")
    if "%" in name:
        raise failures.bad_request(f"Name parameter invalid: \"{name}\": may not contain '%'")

"""What a request asks for, in the words that rules are written in.

The path is read by the same parser as the routes use, so that what is allowed and what is done
cannot be two things.

Source: Kubernetes documentation, "Authorization Overview", "Request attributes used in
authorization".
"""

from typing import Final, NamedTuple

from starlette.datastructures import QueryParams
from starlette.types import Scope

from towpath.apiserver import selectors
from towpath.apiserver.target import Target, parse
from towpath.errors import InvalidError

__all__ = ["Attributes", "denial", "of_request", "quoted"]

_VERBS: Final = {
    "POST": "create",
    "GET": "get",
    "HEAD": "get",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}
_DISCOVERY: Final = {"api": 1, "apis": 2}
"""Where resources lie -> how many parts a path has that only tells of them, after the first."""
_OF_MANY: Final = {"get": "list", "delete": "deletecollection"}
_IN_NO_NAME: Final = frozenset({".", ".."})


class Attributes(NamedTuple):
    """What is asked: a verb on a resource, or, where there is a ``path``, on that.

    ``namespace`` is empty at the cluster scope, ``name`` where the verb is about no single object.
    """

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str | None = None

    @property
    def combined(self) -> str:
        """``resource`` or ``resource/subresource``, as rules spell it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource

    @property
    def key(self) -> str:
        """``resource.group``, as messages spell it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


def of_request(scope: Scope) -> Attributes:
    """The attributes of an HTTP request."""
    method, path = scope["method"], scope["path"]
    target = parse(path)
    verb = _VERBS.get(method, method.lower())
    if target is None:
        if _deep(path):  # below what discovery tells, and no resource: right for nobody
            return Attributes(verb, resource=path)
        return Attributes(method.lower(), path=path)
    name = target.name
    if verb == "get" and scope["query_string"]:
        query = QueryParams(scope["query_string"])
        if _watches(query):
            verb = "watch"
        if not name:
            name = _selected(query)
    if not target.name:
        verb = _OF_MANY.get(verb, verb)
    return _resource(verb, target, name)


def _deep(path: str) -> bool:
    first, *rest = path.strip("/").split("/")
    return len(rest) > _DISCOVERY.get(first, len(rest))


def _resource(verb: str, target: Target, name: str) -> Attributes:
    namespace = target.namespace
    if target.plural == "namespaces" and not namespace:
        namespace = target.name  # a Namespace lies in itself: its own roles may speak of it
    return Attributes(
        verb,
        target.group,
        target.version,
        target.plural,
        target.subresource,
        namespace,
        name,
    )


def _watches(query: QueryParams) -> bool:
    return query.get("watch", "false").lower() not in ("false", "0")


class _AnyField(frozenset[str]):
    """A set of every field there may be."""

    def __contains__(self, _: object) -> bool:
        return True


def _selected(query: QueryParams) -> str:
    """The one name that a fieldSelector leaves, which counts as the name asked for."""
    text = query.get("fieldSelector", "")
    if "metadata.name" not in text:
        return ""
    try:
        terms = selectors.fields(text, _AnyField())
    except InvalidError:
        return ""  # the request will be refused for it
    names = [value for field, equal, value in terms if field == "metadata.name" and equal]
    name = names[0] if names else ""
    return "" if name in _IN_NO_NAME or {"/", "%"} & set(name) else name


def denial(user: str, asked: Attributes) -> str:
    """Why not, in Kubernetes' own words."""
    who = f"User {quoted(user)} cannot {asked.verb}"
    if asked.path is not None:
        return f"{who} path {quoted(asked.path)}"
    what = f"{who} resource {quoted(asked.combined)} in API group {quoted(asked.group)}"
    if asked.namespace:
        return f"{what} in the namespace {quoted(asked.namespace)}"
    return f"{what} at the cluster scope"


def quoted(text: str) -> str:
    """A text in a message."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

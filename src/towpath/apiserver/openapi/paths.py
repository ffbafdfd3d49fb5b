"""The operations of an OpenAPI document: what can be done with each kind, and how it is asked.

Source: OpenAPI 3.0.3; Kubernetes API reference, "Common Parameters".
"""

from collections.abc import Iterable
from typing import Final

from towpath.apiserver.kinds import Resource
from towpath.apiserver.openapi.components import GVK, gvk, named, reference, referred
from towpath.spec._wire import Json, JsonObject
from towpath.spec.kube import Kind

__all__ = ["paths"]

_JSON: Final = "application/json"
_BODIES: Final = (_JSON, "application/yaml")
_APPLY: Final = "application/apply-patch+yaml"
_MERGES: Final = ("application/merge-patch+json", _APPLY)
_STRATEGIC: Final = "application/strategic-merge-patch+json"
_JSON_PATCH: Final = "application/json-patch+json"
_ANY_OBJECT: Final[JsonObject] = {"type": "object"}
_PATCH: Final[JsonObject] = {"type": "object", "description": "The fields to change."}
_STEPS: Final[JsonObject] = {
    "type": "array",
    "description": "Changes, made one after the other.",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"type": "string", "enum": ["add", "copy", "move", "remove", "replace", "test"]},
            "path": {"type": "string"},
            "from": {"type": "string"},
            "value": {},
        },
    },
}


def _parameter(name: str, told: str, schema: JsonObject | None = None) -> JsonObject:
    kind = schema or {"type": "string"}
    return {"name": name, "in": "query", "description": told, "schema": kind}


_FLAG: Final[JsonObject] = {"type": "boolean"}
_COUNT: Final[JsonObject] = {"type": "integer", "minimum": 0}
_DRY_RUN: Final = _parameter(
    "dryRun", "All: check everything, and write nothing.", {"type": "string", "enum": ["All"]}
)
_MANAGER: Final = _parameter("fieldManager", "Who writes, for managedFields.")
_VALIDATION: Final = _parameter(
    "fieldValidation",
    "What becomes of fields that are unknown or stand twice: Ignore, Warn or Strict.",
    {"type": "string", "enum": ["Ignore", "Strict", "Warn"]},
)
_WRITE: Final = (_DRY_RUN, _MANAGER, _VALIDATION)
_FORCE: Final = _parameter(
    "force", "Server-side apply: take over fields that others manage.", _FLAG
)
_SELECT: Final = (
    _parameter("continue", "Token of the part before; goes on where that ended."),
    _parameter("fieldSelector", "Only objects with these fields."),
    _parameter("labelSelector", "Only objects with these labels."),
    _parameter("limit", "Most objects in one answer.", _COUNT),
    _parameter("resourceVersion", "Revision that the answer must show at least."),
    _parameter("resourceVersionMatch", "How resourceVersion is meant: Exact or NotOlderThan."),
    _parameter("sendInitialEvents", "Watch: begin with what is there, then a bookmark.", _FLAG),
    _parameter("timeoutSeconds", "Seconds after which the answer ends.", _COUNT),
)
_WATCH: Final = (
    _parameter("allowWatchBookmarks", "Watch: tell the revision from time to time.", _FLAG),
    _parameter("watch", "Stay, and tell of every change.", _FLAG),
)
_DELETE: Final = (
    _DRY_RUN,
    _parameter("gracePeriodSeconds", "Seconds the object is given to end by itself.", _COUNT),
    _parameter("orphanDependents", "Older way to say propagationPolicy=Orphan.", _FLAG),
    _parameter(
        "propagationPolicy",
        "What becomes of the objects it owns: Background, Foreground or Orphan.",
        {"type": "string", "enum": ["Background", "Foreground", "Orphan"]},
    ),
)
_PLACES: Final = {
    "namespace": "Namespace of the object.",
    "name": "Name of the object.",
}
_METHODS: Final = {
    "create": "post",
    "get": "get",
    "list": "get",
    "update": "put",
    "patch": "patch",
    "delete": "delete",
    "deletecollection": "delete",
}
_WORDS: Final = {"get": "read", "update": "replace", "deletecollection": "deleteCollection"}


def paths(resources: Iterable[Resource]) -> JsonObject:
    """Every path of some kinds, with its operations."""
    found: JsonObject = {}
    for resource in resources:
        found |= _Paths(resource).all()
    return dict(sorted(found.items()))


class _Paths:
    """The paths of one kind."""

    def __init__(self, resource: Resource) -> None:
        kind = resource.kind
        self._resource = resource
        self._kind = kind
        self._me = named(resource)
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        self._across = f"{root}/{kind.plural}"
        self._here = f"{root}/namespaces/{{namespace}}/{kind.plural}"

    def all(self) -> JsonObject:
        verbs, namespaced = self._resource.verbs, self._kind.namespaced
        here = self._here if namespaced else self._across
        place = ("namespace",) if namespaced else ()
        found: JsonObject = {}
        if collection := self._some(verbs, ("list", "create", "deletecollection")):
            found[here] = {**collection, "parameters": _placed(*place)}
        if namespaced and "list" in verbs:
            across = self._operation("list", suffix="ForAllNamespaces")
            found[self._across] = {"get": across}
        one = f"{here}/{{name}}"
        places = _placed(*place, "name")
        if single := self._some(verbs, ("get", "update", "patch", "delete")):
            found[one] = {**single, "parameters": places}
        if self._resource.status:
            status = self._some(("get", "patch", "update"), ("get", "update", "patch"), "status")
            found[f"{one}/status"] = {**status, "parameters": places}
        if self._resource.scale is not None:
            scale = Kind("autoscaling", "v1", "Scale", "")
            changes = self._some(
                ("get", "patch", "update"), ("get", "update", "patch"), "scale", scale
            )
            found[f"{one}/scale"] = {**changes, "parameters": places}
        for sub in self._resource.subresources:
            changes = self._some(sub.verbs, tuple(sub.verbs), sub.name, sub.kind)
            found[f"{one}/{sub.name}"] = {**changes, "parameters": places}
        return found

    def _some(
        self,
        verbs: Iterable[str],
        order: tuple[str, ...],
        subresource: str = "",
        kind: Kind | None = None,
    ) -> JsonObject:
        return {
            _METHODS[verb]: self._operation(verb, subresource, kind)
            for verb in order
            if verb in verbs
        }

    def _operation(
        self, verb: str, subresource: str = "", kind: Kind | None = None, suffix: str = ""
    ) -> JsonObject:
        mine = self._kind
        told = kind or mine
        schema = reference(self._me) if kind is None else referred(kind.kind)
        answer = schema
        if verb == "list":
            answer = reference(named(self._resource, self._resource.list_kind))
        name = _identifier(mine.group, mine.version)
        scope = "" if suffix or not mine.namespaced else "Namespaced"
        word = _WORDS.get(verb, verb)
        operation: JsonObject = {
            "tags": [f"{_identifier(mine.group, '').lower() or 'core'}_{mine.version}"],
            "operationId": f"{word}{name}{scope}{mine.kind}{subresource.title()}{suffix}",
            "description": _told(verb, mine.kind, subresource),
            "x-kubernetes-action": verb if verb in ("get", "list", "patch") else _ACTIONS[verb],
            GVK: gvk(told.group, told.version, told.kind),
            "responses": _responses(verb, answer),
        }
        if parameters := _PARAMETERS.get(verb):
            operation["parameters"] = list(parameters)
        if content := self._content(verb, schema):
            required = verb not in ("delete", "deletecollection")
            operation["requestBody"] = {"content": content, "required": required}
        return operation

    def _content(self, verb: str, schema: JsonObject) -> JsonObject:
        if verb in ("create", "update"):
            return {media: {"schema": schema} for media in _BODIES}
        if verb in ("delete", "deletecollection"):
            return {media: {"schema": referred("DeleteOptions")} for media in _BODIES}
        if verb != "patch":
            return {}
        merges = _MERGES if self._resource.custom else (*_MERGES, _STRATEGIC)
        return {
            _JSON_PATCH: {"schema": _STEPS},
            **{media: {"schema": _PATCH} for media in sorted(merges)},
        }


_ACTIONS: Final = {
    "create": "post",
    "update": "put",
    "delete": "delete",
    "deletecollection": "deletecollection",
}
_PARAMETERS: Final = {
    "create": _WRITE,
    "update": _WRITE,
    "patch": (*_WRITE, _FORCE),
    "list": (*_SELECT, *_WATCH),
    "delete": _DELETE,
    "deletecollection": (*_SELECT, *_DELETE),
}
_SENTENCES: Final = {
    "get": "Read one {}.",
    "list": "List objects of kind {}, or watch them.",
    "create": "Create a {}.",
    "update": "Replace one {}.",
    "patch": "Change one {} in part.",
    "delete": "Delete one {}.",
    "deletecollection": "Delete every {} that is selected.",
}


def _told(verb: str, kind: str, subresource: str) -> str:
    what = f"{subresource} of a {kind}" if subresource else kind
    return _SENTENCES[verb].format(what)


def _identifier(group: str, version: str) -> str:
    parts = (group.removesuffix(".k8s.io") or "core").split(".")
    return "".join(part[:1].upper() + part[1:] for part in (*parts, version))


def _placed(*names: str) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": _PLACES[name],
            "schema": {"type": "string"},
        }
        for name in names
    ]


def _responses(verb: str, answer: JsonObject) -> JsonObject:
    codes = {
        "create": ("200", "201", "202"),
        "update": ("200", "201"),
        "patch": ("200", "201"),
        "delete": ("200", "202"),
    }.get(verb, ("200",))
    words = {"200": "OK", "201": "Created", "202": "Accepted"}
    content: JsonObject = {_JSON: {"schema": answer}}
    if verb == "list":
        content["application/json;stream=watch"] = {"schema": _ANY_OBJECT}
    elif verb in ("delete", "deletecollection"):  # what went, or a Status
        content = {_JSON: {"schema": _ANY_OBJECT}}
    failed = {_JSON: {"schema": referred("Status")}}
    return {
        **{code: {"description": words[code], "content": content} for code in codes},
        "401": {"description": "Unauthorized", "content": failed},
        "default": {
            "description": "The request cannot be met; the Status says why.",
            "content": failed,
        },
    }

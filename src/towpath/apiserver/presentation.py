"""The form in which an answer is sent: what the client accepts, of what is kept as JSON.

Objects and lists go as they are, as rows of a Table, or as their metadata alone; in JSON or YAML.

Source: Kubernetes API concepts, "Alternate representations of resources", "Receiving resources as
Tables"; API reference, PartialObjectMetadata (meta.k8s.io/v1).
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Final, NamedTuple, cast

import orjson
import yaml

from towpath.apiserver import failures, intake, table
from towpath.apiserver.kinds import Resource
from towpath.errors import InvalidError, Reason
from towpath.spec._wire import JsonObject

__all__ = ["Encode", "Form", "encoded", "events", "line", "many", "negotiated", "one", "plain"]

_GROUP: Final = "meta.k8s.io"
_PARTIAL: Final = "PartialObjectMetadata"
_KINDS: Final = frozenset({"Table", _PARTIAL, f"{_PARTIAL}List"})
_HUMAN: Final = ("curl/", "Wget/", "Mozilla/5.0")
"""Beginnings of user agents whose answers are spread over lines."""
_Dumper: Final[type[yaml.SafeDumper]] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

Encode = Callable[[str, bytes], bytes]
"""Event type and object's bytes in, a line out."""


class Form(NamedTuple):
    """How to answer.

    Attributes:
        kind: ``Table`` or ``PartialObjectMetadata``; empty: as it is.
        version: Of that kind's group.
        yaml: Whether in YAML.
        pretty: Whether spread over lines.
        include: What of each object goes with its row of a Table.
    """

    kind: str = ""
    version: str = "v1"
    yaml: bool = False
    pretty: bool = False
    include: table.Include = "Metadata"

    @property
    def media(self) -> str:
        """``Content-Type`` of the answer."""
        return "application/yaml" if self.yaml else "application/json"

    @property
    def plain(self) -> bool:
        """Whether stored bytes can be sent as they are."""
        return not (self.kind or self.yaml or self.pretty)


def negotiated(accept: str, agent: str = "", pretty: str = "", include: str = "") -> Form:
    """The form that a request asks for.

    Args:
        accept: Its ``Accept`` header.
        agent: Its ``User-Agent``.
        pretty: ``pretty`` of its query.
        include: ``includeObject`` of its query.

    Raises:
        InvalidError: nothing it accepts can be sent (reason ``NotAcceptable``), or ``include`` is
            not one of the three (reason ``BadRequest``).
    """
    form = _accepted(accept)
    if form is None:
        raise _not_acceptable()
    if include not in ("", "None", "Metadata", "Object"):
        raise failures.bad_request(
            f'includeObject: Invalid value: "{include[:100]}": '
            "must be 'Metadata', 'Object', 'None', or empty"
        )
    if include:
        form = form._replace(include=cast(table.Include, include))
    spread = pretty.lower() not in ("0", "false") if pretty else agent.startswith(_HUMAN)
    return form._replace(pretty=True) if spread else form


def _not_acceptable(why: str = "") -> InvalidError:
    return InvalidError(
        why or "only the following media types are accepted: application/json, application/yaml",
        reason=Reason.NOT_ACCEPTABLE,
    )


@lru_cache(maxsize=256)
def _accepted(accept: str) -> Form | None:
    """The first of what a client accepts, by its weights, that can be sent."""
    if not accept.strip():
        return Form()
    clauses = []
    for clause in accept.split(","):
        media, *rest = (piece.strip() for piece in clause.split(";"))
        parameters = dict(piece.partition("=")[::2] for piece in rest)
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            weight = 0.0
        clauses.append((weight, media.lower(), parameters))
    for _, media, parameters in sorted(clauses, key=lambda clause: -clause[0]):
        form = _form(media, parameters)
        if form is not None:
            return form
    return None


def _form(media: str, parameters: dict[str, str]) -> Form | None:
    if media in ("*/*", "application/*", "application/json"):
        form = Form()
    elif media == "application/yaml":
        form = Form(yaml=True)
    else:
        return None
    if parameters.get("pretty") == "1":
        form = form._replace(pretty=True)
    kind, version = parameters.get("as", ""), parameters.get("v", "")
    if not kind:
        return form
    if kind in _KINDS and parameters.get("g") == _GROUP and version in ("v1", "v1beta1"):
        return form._replace(kind=kind, version=version)
    return None


def plain(resource: Resource, data: bytes) -> bytes:
    """A stored object's bytes in the version asked for."""
    if not resource.mixed:
        return data
    return orjson.dumps(intake.converted(resource, orjson.loads(data)))


def one(form: Form, resource: Resource, data: bytes) -> bytes:
    """An object.

    Raises:
        InvalidError: the form is one of lists (reason ``NotAcceptable``).
    """
    data = plain(resource, data)
    if form.plain:
        return data
    obj = orjson.loads(data)
    if form.kind == "Table":
        obj = _table(form, resource, [obj], _revision(obj))
    elif form.kind == _PARTIAL:
        obj = _partial(form, obj)
    elif form.kind:
        raise _not_acceptable(f"you requested {form.kind}, but the requested object is not a list")
    return _encoded(form, obj)


def many(form: Form, resource: Resource, items: Sequence[bytes], metadata: JsonObject) -> bytes:
    """A list of objects.

    Args:
        form: How.
        resource: Their kind.
        items: The stored bytes of each.
        metadata: Of the list.

    Raises:
        InvalidError: the form is one of single objects (reason ``NotAcceptable``).
    """
    if resource.mixed:
        items = [plain(resource, item) for item in items]
    if form.plain:
        kind = {"kind": resource.list_kind, "apiVersion": resource.kind.api_version}
        head = orjson.dumps({**kind, "metadata": metadata})
        return b'%s,"items":[%s]}\n' % (head[:-1], b",".join(items))
    objects = [orjson.loads(item) for item in items]
    if form.kind == "Table":
        return _encoded(form, _table(form, resource, objects, metadata))
    if form.kind == _PARTIAL:
        why = f"you requested {_PARTIAL}, but the requested object is a list"
        raise _not_acceptable(why)
    found: JsonObject = {
        "kind": resource.list_kind,
        "apiVersion": resource.kind.api_version,
        "metadata": metadata,
        "items": objects,
    }
    if form.kind:
        found["kind"], found["apiVersion"] = form.kind, f"{_GROUP}/{form.version}"
        found["items"] = [_partial(form, obj) for obj in objects]
    return _encoded(form, found)


def events(form: Form, resource: Resource) -> Encode:
    """What encodes the events of a watch; one watch has one, since a Table names its columns once.

    Raises:
        InvalidError: a stream cannot be sent so (reason ``NotAcceptable``).
    """
    if form.yaml or form.kind == f"{_PARTIAL}List":
        raise _not_acceptable()
    if form.kind == "Table":
        return _Rows(form, resource).encode
    if form.kind:
        return partial(_metadata_line, form)
    return partial(_plain_line, resource)


def line(kind: str, data: bytes) -> bytes:
    """A watch event as a line."""
    return b'{"type":"%s","object":%s}\n' % (kind.encode(), data)


def _plain_line(resource: Resource, kind: str, data: bytes) -> bytes:
    return line(kind, plain(resource, data))


def _metadata_line(form: Form, kind: str, data: bytes) -> bytes:
    return line(kind, orjson.dumps(_partial(form, orjson.loads(data))))


class _Rows:
    """Watch events as Tables; only the first describes its columns."""

    def __init__(self, form: Form, resource: Resource) -> None:
        self._form = form
        self._resource = resource
        self._headed = True

    def encode(self, kind: str, data: bytes) -> bytes:
        obj = orjson.loads(plain(self._resource, data))
        shown = [] if kind == "BOOKMARK" else [obj]
        rows = _table(self._form, self._resource, shown, obj["metadata"], headed=self._headed)
        if shown:
            rows["metadata"] = _revision(obj)
        self._headed = False
        return line(kind, orjson.dumps(rows))


def _revision(obj: JsonObject) -> JsonObject:
    return {"resourceVersion": obj["metadata"].get("resourceVersion", "")}


def _partial(form: Form, obj: JsonObject) -> JsonObject:
    api_version = f"{_GROUP}/{form.version}"
    return {"kind": _PARTIAL, "apiVersion": api_version, "metadata": obj["metadata"]}


def _table(
    form: Form,
    resource: Resource,
    objects: Sequence[JsonObject],
    metadata: JsonObject,
    *,
    headed: bool = True,
) -> JsonObject:
    rows = table.table(resource, objects, datetime.now(UTC), form.include, headed=headed)
    rows["apiVersion"] = f"{_GROUP}/{form.version}"
    rows["metadata"] = metadata
    return rows


def encoded(form: Form, data: bytes) -> bytes:
    """JSON of another kind, in the writing that a form asks for."""
    return _encoded(form, orjson.loads(data)) if form.yaml or form.pretty else data


def _encoded(form: Form, value: JsonObject) -> bytes:
    if form.yaml:
        text: bytes = yaml.dump(value, Dumper=_Dumper, encoding="utf-8", allow_unicode=True)
        return text
    if form.pretty:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return orjson.dumps(value)

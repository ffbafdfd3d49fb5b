"""Request bodies: JSON or YAML in, a value that can be written as JSON out."""

from typing import Final

import orjson
import yaml

from towpath.apiserver import failures, protobuf, shapes
from towpath.apiserver.kinds import Resource
from towpath.errors import InvalidError, Reason
from towpath.spec._wire import Json, JsonObject

__all__ = ["check_writable", "decoded", "matching"]

_JSON: Final = frozenset({"", "application/json"})
_YAML: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})


_DEPTH: Final = 250
"""Deepest nesting; what JSON is written with goes no deeper."""
_SafeLoader: Final[type[yaml.SafeLoader]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_SafeLoader):  # type: ignore[valid-type,misc]  # chosen when imported
    """YAML as JSON: no timestamps."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the name that the base class reads
        first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:timestamp"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def decoded(data: bytes, media: str, *, yaml_too: bool = False) -> Json:
    """The value of a body.

    Args:
        data: The bytes.
        media: ``Content-Type`` of the request.
        yaml_too: Whether this media type, though not YAML's own, may hold YAML.

    Raises:
        InvalidError: neither JSON nor YAML (reason ``BadRequest``), or another media type (reason
            ``UnsupportedMediaType``).
    """
    media = media.partition(";")[0].strip().lower()
    if media == protobuf.MEDIA:
        return protobuf.decoded(data)
    if not yaml_too and media not in _JSON and media not in _YAML and not media.endswith("+json"):
        raise InvalidError(
            f"the body of the request was in an unknown format - accepted media types include: "
            f'application/json, application/yaml; got "{media[:100]}"',
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
        )
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        if not yaml_too and media not in _YAML:
            raise failures.bad_request(f"the body is not JSON: {exc}") from exc
        value = _from_yaml(data)
    check_writable(value)
    return value


def check_writable(value: Json) -> None:
    """Refuse what JSON cannot say, and nesting too deep to work with.

    Raises:
        InvalidError: it is so (reason ``BadRequest``).
    """
    try:
        orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError as exc:
        raise failures.bad_request(f"the value cannot be written as JSON: {exc}") from exc


def _from_yaml(data: bytes) -> Json:
    try:
        _check(data)
        return yaml.load(data, Loader=_Loader)  # noqa: S506 - it is a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        problem = getattr(exc, "problem", None) or str(exc) or "nested too deeply"
        raise failures.bad_request(f"the body is not YAML: {problem}") from exc


def _check(data: bytes) -> None:
    """Refuse aliases, which grow without bound, and nesting that would exhaust the stack."""
    depth = 0
    for event in yaml.parse(data, Loader=_Loader):
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not accepted")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEPTH:
            raise yaml.YAMLError("nested too deeply")


def matching(resource: Resource, namespace: str, name: str, value: Json) -> JsonObject:
    """A body as an object of the kind, namespace and name that its path says.

    Null metadata, spec and status mean the same as none, and go.

    Args:
        resource: Kind of the path.
        namespace: Of the path; empty for kinds without.
        name: Of the path; empty for a creation.
        value: The body.

    Raises:
        InvalidError: it is something else (reason ``BadRequest``).
    """
    if not isinstance(value, dict) or not isinstance(value.get("metadata", {}), dict):
        raise failures.bad_request("the body is not a Kubernetes object")
    kind = resource.kind
    obj = {k: v for k, v in value.items() if v is not None or k not in ("spec", "status")}
    if not resource.custom:
        obj["kind"] = obj.get("kind") or kind.kind
        obj["apiVersion"] = obj.get("apiVersion") or kind.api_version
    for field, wanted in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        if obj.get(field) != wanted:
            raise failures.bad_request(
                f"the {field} in the data ({str(obj.get(field) or '')[:200]}) does not match "
                f"the expected {field} ({wanted})"
            )
    shapes.check(kind.kind, obj, shapes.of(resource))
    metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if v is not None}
    for field, text in (("namespace", namespace), ("name", name)):
        given = metadata.get(field)
        if text and given and given != text:
            raise failures.bad_request(
                f"the {field} of the object ({given[:300]}) does not match the {field} on the URL "
                f"({text})"
                if field == "name"
                else "the namespace of the provided object does not match the namespace sent on "
                "the request"
            )
    if name:
        metadata["name"] = name
    return {**obj, "metadata": metadata}

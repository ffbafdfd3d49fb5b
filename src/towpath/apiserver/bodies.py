"""Request bodies: JSON or YAML in, a value that can be written as JSON out."""

import json
import re
from typing import Final, NamedTuple

import orjson
import yaml

from towpath.apiserver import failures, protobuf
from towpath.apiserver.kinds import Resource
from towpath.errors import InvalidError, Reason
from towpath.spec._wire import Json, JsonObject
from towpath.spec.kube import Kind

__all__ = ["Body", "check_writable", "decoded", "matching"]

_JSON: Final = frozenset({"", "application/json"})
_YAML: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})

_DEPTH: Final = 250
"""Deepest nesting; what JSON is written with goes no deeper."""
_TWICE: Final = 100
"""Fields standing twice that are told; a body may have any number."""
_SUMMARY: Final = 30
"""Bytes of a body that cannot be read which its refusal repeats."""
_NO_KIND: Final = "couldn't get version/kind; json parse error"
_SCHEME: Final = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"
_FIELD: Final = re.compile(rb'"\s*:')
_SafeLoader: Final[type[yaml.SafeLoader]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Body(NamedTuple):
    """What a body holds.

    Attributes:
        value: Its value.
        found: What to warn of: fields that stand in it twice, of which the last counts.
    """

    value: Json
    found: tuple[str, ...] = ()


class _Loader(_SafeLoader):  # type: ignore[valid-type,misc]  # chosen when imported
    """YAML as JSON: no timestamps, and what stands twice is noted."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - the name that the base class reads
        first: [(tag, rule) for tag, rule in rules if tag != "tag:yaml.org,2002:timestamp"]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self.twice: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Json]:
        """The mapping; of keys that stand twice, the last counts."""
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen and len(self.twice) < _TWICE:
                    at = key.start_mark.line + 1
                    self.twice.append(f'line {at}: key "{key.value}" already set in map')
                seen.add(key.value)
        found: dict[str, Json] = super().construct_mapping(node, deep)
        return found


def decoded(data: bytes, media: str, *, kind: str = "", yaml_too: bool = False) -> Body:
    """The value of a body.

    Args:
        data: The bytes.
        media: ``Content-Type`` of the request.
        kind: What it is to be, for the message.
        yaml_too: Whether this media type, though not YAML's own, may hold YAML.

    Raises:
        InvalidError: neither JSON nor YAML (reason ``BadRequest``), or another media type (reason
            ``UnsupportedMediaType``).
    """
    media = media.partition(";")[0].strip().lower()
    if media == protobuf.MEDIA:
        return Body(protobuf.decoded(data))
    if not yaml_too and media not in _JSON and media not in _YAML and not media.endswith("+json"):
        raise InvalidError(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf",
            reason=Reason.UNSUPPORTED_MEDIA_TYPE,
        )
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        if not yaml_too and media not in _YAML:
            raise _unrecognized(data, kind, f"{_NO_KIND}: {exc}") from exc
        body = _from_yaml(data, kind)
        check_writable(body.value)
        return body
    written = check_writable(value)
    if len(_FIELD.findall(data)) <= len(_FIELD.findall(written)):
        return Body(value)
    return Body(value, _twice(data))


def _twice(data: bytes) -> tuple[str, ...]:
    """Fields of JSON that stand twice in their object, by their paths."""

    class Pairs(list[tuple[str, Json]]):
        """An object as it is written."""

    found: list[str] = []

    def visit(value: Json, path: str) -> None:
        if isinstance(value, Pairs):
            seen = set()
            for name, member in value:
                inner = f"{path}.{name}" if path else name
                if name in seen and len(found) < _TWICE:
                    found.append(f'duplicate field "{inner}"')
                seen.add(name)
                visit(member, inner)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                visit(item, f"{path}[{index}]")

    visit(json.loads(data, object_pairs_hook=Pairs), "")
    return tuple(found)


def check_writable(value: Json) -> bytes:
    """A value as JSON; what JSON cannot say, and nesting too deep to work with, is refused.

    Raises:
        InvalidError: it is so (reason ``BadRequest``).
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_DATETIME)
    except TypeError as exc:
        raise failures.bad_request(f"the value cannot be written as JSON: {exc}") from exc


def _unrecognized(data: bytes, kind: str, why: str) -> InvalidError:
    start = data[:_SUMMARY]
    summary = start.decode(errors="replace") if start[:1] == b"{" else start.hex()
    if len(data) > _SUMMARY:
        summary += " ..."
    return failures.bad_request(
        f"the object provided is unrecognized (must be of type {kind}): {why} "
        f"({summary or '<empty>'})"
    )


def _from_yaml(data: bytes, kind: str) -> Body:
    try:
        _check(data)
        loader = _Loader(data)
        try:
            value = loader.get_single_data()
        finally:
            loader.dispose()
        return Body(value, tuple(loader.twice))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as exc:
        problem = getattr(exc, "problem", None) or str(exc) or "nested too deeply"
        raise _unrecognized(data, kind, f"error converting YAML to JSON: {problem}") from exc


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


def matching(
    resource: Resource, namespace: str, name: str, value: Json, kind: Kind | None = None
) -> JsonObject:
    """A body as an object of the kind, namespace and name that its path says.

    Null metadata, spec and status mean the same as none, and go.

    Args:
        resource: Kind of the path.
        namespace: Of the path; empty for kinds without.
        name: Of the path; empty for a creation.
        value: The body.
        kind: What a subresource takes, where that is another kind.

    Raises:
        InvalidError: it is something else (reason ``BadRequest``).
    """
    wanted = kind or resource.kind
    if not isinstance(value, dict):
        why = f"{_NO_KIND}: an object was expected"
        raise _unrecognized(orjson.dumps(value), wanted.kind, why)
    if not isinstance(value.get("metadata"), dict | None):
        raise failures.bad_request("the body is not a Kubernetes object: metadata is no object")
    obj = {k: v for k, v in value.items() if v is not None or k not in ("spec", "status")}
    if not resource.custom:
        obj["kind"] = obj.get("kind") or wanted.kind
        obj["apiVersion"] = obj.get("apiVersion") or wanted.api_version
    if (obj.get("apiVersion"), obj.get("kind")) != (wanted.api_version, wanted.kind):
        raise _other(resource, wanted, obj)
    metadata = {k: v for k, v in (obj.get("metadata") or {}).items() if v is not None}
    if namespace and metadata.get("namespace", namespace) not in ("", namespace):
        raise failures.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if name and metadata.get("name", name) not in ("", name):
        raise failures.bad_request(
            f"the name of the object ({str(metadata['name'])[:300]}) does not match the name on "
            f"the URL ({name})"
        )
    if name:
        metadata["name"] = name
    return {**obj, "metadata": metadata}


def _other(resource: Resource, wanted: Kind, obj: JsonObject) -> InvalidError:
    """The refusal of an object of another kind."""
    found, kind = str(obj.get("apiVersion") or "")[:200], str(obj.get("kind") or "")[:200]
    if not kind:
        why = "Object 'Kind' is missing"
        return failures.bad_request(
            f"the object provided is unrecognized (must be of type {wanted.kind}): {why}"
        )
    if resource.custom:
        if found != wanted.api_version:
            return failures.bad_request(
                f"the API version in the data ({found}) does not match the expected API version "
                f"({wanted.api_version})"
            )
        problem = f'Invalid value: "{kind}": must be {wanted.kind}'
        name = str((obj.get("metadata") or {}).get("name", ""))[:300]
        return failures.invalid(resource, name, "kind", problem)
    why = f'no kind "{kind}" is registered for version "{found}" in scheme "{_SCHEME}"'
    version = found.rpartition("/")[2]
    return failures.bad_request(
        f'{kind} in version "{version}" cannot be handled as a {wanted.kind}: {why}'
    )

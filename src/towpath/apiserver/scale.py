"""The ``scale`` subresource: how many of something are wanted, in one form for every kind.

Pure: an object in, its Scale out, and the other way round.

Source: Kubernetes API reference, Scale (autoscaling/v1); CustomResourceDefinition documentation,
"Scale subresource".
"""

from collections.abc import Mapping
from typing import Final

import orjson

from towpath.apiserver import failures
from towpath.apiserver.kinds import Resource, Scale
from towpath.apiserver.schema import Problem
from towpath.spec._wire import Json, JsonObject
from towpath.spec.kube import Kind

__all__ = ["KIND", "of", "wanted", "written"]

KIND: Final = Kind("autoscaling", "v1", "Scale", "scales")
_KEPT: Final = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def of(scale: Scale, data: bytes) -> JsonObject:
    """The Scale of an object's bytes."""
    obj = orjson.loads(data)
    metadata = obj["metadata"]
    spec: JsonObject = {}
    status: JsonObject = {"replicas": _number(_at(obj, scale.status))}
    if replicas := _number(_at(obj, scale.spec)):
        spec["replicas"] = replicas
    if selector := _selector(_at(obj, scale.selector)):
        status["selector"] = selector
    return {
        "kind": KIND.kind,
        "apiVersion": KIND.api_version,
        "metadata": {field: metadata[field] for field in _KEPT if field in metadata},
        "spec": spec,
        "status": status,
    }


def wanted(resource: Resource, name: str, value: JsonObject) -> int:
    """How many a Scale asks for.

    Raises:
        InvalidError: it is not a Scale (reason ``BadRequest``), or of another object, or asks for
            less than none.
    """
    found = (value.get("apiVersion"), value.get("kind"))
    if found != (KIND.api_version, KIND.kind):
        raise failures.bad_request(
            f"the API version in the data ({found[0]}, Kind={found[1]}) does not match the "
            f"expected API version ({KIND.api_version}, Kind={KIND.kind})"
        )
    metadata, spec = value.get("metadata") or {}, value.get("spec") or {}
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise failures.bad_request("the body is not a Scale")
    if metadata.get("name", name) != name:
        raise failures.bad_request(
            f"the name of the object ({str(metadata['name'])[:300]}) does not match the name on "
            f"the URL ({name})"
        )
    replicas = spec.get("replicas", 0)
    if replicas is None:
        return 0
    if isinstance(replicas, bool) or not isinstance(replicas, int) or abs(replicas) >= 2**31:
        raise failures.bad_request(
            'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal '
            "value into Go struct field ScaleSpec.spec.replicas of type int32"
        )
    if replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        problem = Problem("spec.replicas", "FieldValueInvalid", why)
        of_scale = Resource(KIND, "scale") if not resource.custom else resource
        raise failures.illegal(of_scale, name, [problem])
    return replicas


def written(scale: Scale, obj: JsonObject, value: JsonObject, replicas: int) -> JsonObject:
    """An object that is to have so many, on the conditions that the Scale's metadata names."""
    conditions = {
        field: found
        for field in ("uid", "resourceVersion")
        if (found := (value.get("metadata") or {}).get(field))
    }
    changed = {**obj, "metadata": {**obj["metadata"], **conditions}}
    node = changed
    *above, last = _names(scale.spec)
    for name in above:
        inner = node.get(name)
        node[name] = dict(inner) if isinstance(inner, dict) else {}
        node = node[name]
    node[last] = replicas
    return changed


def _names(path: str) -> list[str]:
    return path.removeprefix(".").split(".")


def _at(obj: JsonObject, path: str) -> Json:
    value: Json = obj
    for name in _names(path) if path else ():
        value = value.get(name) if isinstance(value, dict) else None
    return value if path else None


def _number(value: Json) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _selector(value: Json) -> str:
    """A label selector as text: custom kinds keep it so, built-in ones in parts."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        return ""
    parts = [f"{key}={text}" for key, text in (value.get("matchLabels") or {}).items()]
    for requirement in value.get("matchExpressions") or ():
        key, operator = requirement.get("key", ""), requirement.get("operator")
        values = ",".join(sorted(requirement.get("values") or ()))
        if operator in ("In", "NotIn"):
            parts.append(f"{key} {operator.lower()} ({values})")
        else:
            parts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(sorted(parts))

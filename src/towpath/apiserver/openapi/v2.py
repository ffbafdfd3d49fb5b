"""The same document as OpenAPI 2.0, which older clients and Argo CD read.

2.0 knows neither alternatives nor null, and no references with company: what it cannot say is left
out, as the Kubernetes API server leaves it out.

Source: OpenAPI 2.0; Kubernetes CustomResourceDefinition documentation, "Publish Validation Schema
in OpenAPI".
"""

from collections.abc import Iterable
from typing import Final

from towpath.apiserver.kinds import Resource
from towpath.apiserver.openapi.components import components
from towpath.apiserver.openapi.paths import paths
from towpath.spec._wire import Json, JsonObject

__all__ = ["document"]

_V3: Final = "#/components/schemas/"
_UNSAID: Final = frozenset({"allOf", "anyOf", "not", "nullable", "oneOf"})


def document(resources: Iterable[Resource], title: str, version: str) -> JsonObject:
    """The document of some kinds, of whatever groups."""
    groups: dict[tuple[str, str], list[Resource]] = {}
    for resource in resources:
        groups.setdefault((resource.kind.group, resource.kind.version), []).append(resource)
    definitions: JsonObject = {}
    routes: JsonObject = {}
    for served in groups.values():
        for name, schema in components(served).items():
            known = definitions.get(name, {})
            marks = _united(known, schema)
            definitions[name] = {**_converted(schema), **marks}
        for path, item in paths(served).items():
            routes[path] = _item(item)
    return {
        "swagger": "2.0",
        "info": {"title": title, "version": version},
        "paths": dict(sorted(routes.items())),
        "definitions": dict(sorted(definitions.items())),
        "securityDefinitions": {
            "BearerToken": {
                "type": "apiKey",
                "name": "authorization",
                "in": "header",
                "description": "Bearer token.",
            }
        },
        "security": [{"BearerToken": []}],
    }


def _united(known: JsonObject, schema: JsonObject) -> JsonObject:
    """The kinds that a type of several groups stands for."""
    key = "x-kubernetes-group-version-kind"
    marks = [*known.get(key, ())]
    marks += [mark for mark in schema.get(key, ()) if mark not in marks]
    return {key: marks} if marks else {}


def _converted(schema: JsonObject) -> JsonObject:
    """A schema in the words of 2.0."""
    if schema.get("format") == "int-or-string":
        told = {"description": schema["description"]} if "description" in schema else {}
        return {**told, "type": "string", "format": "int-or-string"}
    found: JsonObject = {}
    if "allOf" in schema and len(schema["allOf"]) == 1 and "$ref" in schema["allOf"][0]:
        found["$ref"] = schema["allOf"][0]["$ref"].replace(_V3, "#/definitions/")
    elif {"type": "number"} in schema.get("oneOf", ()):  # a quantity
        found["type"] = "string"
    loose = schema.get("nullable") or schema.get("x-kubernetes-int-or-string")
    for key, value in schema.items():
        if key in _UNSAID or (loose and key in ("items", "properties", "type")):
            continue
        if key == "$ref":
            found[key] = value.replace(_V3, "#/definitions/")
        elif key == "properties":
            found[key] = {name: _converted(child) for name, child in value.items()}
        elif key in ("items", "additionalProperties") and isinstance(value, dict):
            found[key] = _converted(value)
        else:
            found[key] = value
    return found


def _item(item: JsonObject) -> JsonObject:
    found: JsonObject = {}
    for key, value in item.items():
        if key == "parameters":
            found[key] = [_parameter(parameter) for parameter in value]
        else:
            found[key] = _operation(value)
    return found


def _operation(operation: JsonObject) -> JsonObject:
    found = {k: v for k, v in operation.items() if k not in ("requestBody", "parameters")}
    parameters: list[Json] = [_parameter(p) for p in operation.get("parameters", ())]
    body = operation.get("requestBody")
    if body:
        found["consumes"] = list(body["content"])
        schema = next(iter(body["content"].values()))["schema"]
        if operation["x-kubernetes-action"] == "patch":
            schema = {"type": "object"}
        parameters.append(
            {
                "name": "body",
                "in": "body",
                "required": body["required"],
                "schema": _converted(schema),
            }
        )
    if parameters:
        found["parameters"] = parameters
    found["produces"] = ["application/json"]
    found["schemes"] = ["https"]
    found["responses"] = {
        code: _response(response) for code, response in operation["responses"].items()
    }
    return found


def _parameter(parameter: JsonObject) -> JsonObject:
    return {**{k: v for k, v in parameter.items() if k != "schema"}, **parameter["schema"]}


def _response(response: JsonObject) -> JsonObject:
    schema = response["content"]["application/json"]["schema"]
    return {"description": response["description"], "schema": _converted(schema)}

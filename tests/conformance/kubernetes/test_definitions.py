"""Definitions of kinds: which are refused and why, and the life of one that is not."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.conformance.kubernetes.conftest import Api, definition, eventually, refused

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
STRING, NUMBER = {"type": "string"}, {"type": "integer"}
TYPE, VALUE = "FieldValueTypeInvalid", "FieldValueInvalid"


def obj(**properties: Any) -> Any:
    return {"type": "object", "properties": properties}


def inside(**properties: Any) -> Any:
    """A whole schema with these properties in ``spec``."""
    return obj(spec=obj(**properties))


def crd(schema: Any) -> Callable[[str], Any]:
    return lambda group: definition(group, schema)


def changed(change: Callable[[Any], object]) -> Callable[[str], Any]:
    def made(group: str) -> Any:
        body = definition(group)
        change(body)
        return body

    return made


def without_storage(body: Any) -> None:
    body["spec"]["versions"][0]["storage"] = False


SCHEMA = "spec.validation.openAPIV3Schema"
REQUIRED = "FieldValueRequired"
ILLEGAL: Any = {
    "a property without type": (crd(obj(spec={})), REQUIRED, f"{SCHEMA}.properties[spec].type"),
    "a root without type": (crd({"description": "d"}), REQUIRED, f"{SCHEMA}.type"),
    "an unknown type": (
        crd(inside(a={"type": "text"})), "FieldValueNotSupported",
        f"{SCHEMA}.properties[spec].properties[a].type",
    ),
    "a list without items": (
        crd(inside(a={"type": "array"})), REQUIRED,
        f"{SCHEMA}.properties[spec].properties[a].items",
    ),
    "properties and additionalProperties": (
        crd(inside(a={**obj(b=STRING), "additionalProperties": STRING})), "FieldValueForbidden",
        f"{SCHEMA}.properties[spec].properties[a].additionalProperties",
    ),
    "unique items": (
        crd(inside(a={"type": "array", "items": STRING, "uniqueItems": True})),
        "FieldValueForbidden", f"{SCHEMA}.properties[spec].properties[a].uniqueItems",
    ),
    "a reference": (
        crd(inside(a={"$ref": "#/definitions/a"})), "FieldValueForbidden",
        f"{SCHEMA}.properties[spec].properties[a].$ref",
    ),
    "a default that is not legal": (
        crd(inside(a={**NUMBER, "default": "x"})), TYPE,
        f"{SCHEMA}.properties[spec].properties[a].default",
    ),
    "a rule that does not parse": (
        crd(inside(a={**STRING, "x-kubernetes-validations": [{"rule": "self +"}]})), VALUE,
        f"{SCHEMA}.properties[spec].properties[a].x-kubernetes-validations[0].rule",
    ),
    "a rule with an unknown function": (
        crd(inside(a={**STRING, "x-kubernetes-validations": [{"rule": "self.nonesuch() == 1"}]})),
        VALUE, f"{SCHEMA}.properties[spec].properties[a].x-kubernetes-validations[0].rule",
    ),
    "a rule without one": (
        crd(inside(a={**STRING, "x-kubernetes-validations": [{"rule": ""}]})), REQUIRED,
        f"{SCHEMA}.properties[spec].properties[a].x-kubernetes-validations[0].rule",
    ),
    "a map list without keys": (
        crd(inside(a={"type": "array", "items": obj(), "x-kubernetes-list-type": "map"})), REQUIRED,
        f"{SCHEMA}.properties[spec].properties[a].x-kubernetes-list-map-keys",
    ),
    "a pattern that is none": (
        crd(inside(a={**STRING, "pattern": "("})), VALUE,
        f"{SCHEMA}.properties[spec].properties[a].pattern",
    ),
    "no stored version": (changed(without_storage), VALUE, "spec.versions"),
    "another name": (
        changed(lambda b: b["metadata"].update(name="others.example.com")), VALUE, "metadata.name"
    ),
    "another scope": (
        changed(lambda b: b["spec"].update(scope="World")), "FieldValueNotSupported", "spec.scope"
    ),
    "no plural": (
        changed(lambda b: b["spec"]["names"].update(plural="")), REQUIRED, "spec.names.plural"
    ),
    "no kind": (
        changed(lambda b: b["spec"]["names"].update(kind="")), REQUIRED, "spec.names.kind"
    ),
    "no schema": (
        changed(lambda b: b["spec"]["versions"][0].pop("schema")), REQUIRED,
        "spec.versions[0].schema.openAPIV3Schema",
    ),
    "a group that is none": (
        changed(lambda b: b["spec"].update(group="Under_score")), VALUE, "spec.group"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ILLEGAL)
def test_a_definition_is_refused(api: Api, group: str, name: str) -> None:
    make, reason, field = ILLEGAL[name]
    body = make(group)
    said = api("POST", DEFINITIONS, body)

    kind, name = "CustomResourceDefinition.apiextensions.k8s.io", body["metadata"]["name"]
    refused(said, 422, "Invalid", rf'{kind} "{name}" is invalid: .+', kind=kind.partition(".")[0])
    told = {(c["reason"], c["field"]) for c in said["details"]["causes"]}
    assert (reason, field) in told, told
    assert api("GET", f"{DEFINITIONS}/{name}").code == 404


def test_the_life_of_a_definition(
    api: Api, define: Callable[..., str], group: str, namespace: str
) -> None:
    things = define(namespace=namespace, names={"shortNames": ["tg"], "categories": ["all"]})
    path = f"{DEFINITIONS}/things.{group}"
    status = api.got(path)["status"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "NamesAccepted": "True", "Established": "True"
    }  # fmt: skip
    assert status["acceptedNames"] == {
        "plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList",
        "shortNames": ["tg"], "categories": ["all"],
    }  # fmt: skip
    served = api.got(f"/apis/{group}/v1")["resources"]
    assert [r["name"] for r in served] == ["things"]
    assert (served[0]["shortNames"], served[0]["namespaced"]) == (["tg"], True)
    eventually(lambda: f"/apis/{group}/v1" in api.got("/")["paths"])
    eventually(lambda: f"apis/{group}/v1" in api.got("/openapi/v3")["paths"])

    held = {"apiVersion": f"{group}/v1", "kind": "Thing",
            "metadata": {"name": "x", "finalizers": ["example.com/held"]}}  # fmt: skip
    api.made(things, held)
    assert api("DELETE", path).code == 200
    eventually(lambda: "deletionTimestamp" in api.got(f"{things}/x")["metadata"])
    conditions = {c["type"]: c["status"] for c in api.got(path)["status"]["conditions"]}
    assert conditions["Terminating"] == "True"
    refusal = api("POST", things, {**held, "metadata": {"name": "y"}})
    assert refusal.code == 405, refusal
    api.patched(f"{things}/x", {"metadata": {"finalizers": None}})
    eventually(lambda: api("GET", path).code == 404)
    eventually(lambda: api("GET", things).code == 404)

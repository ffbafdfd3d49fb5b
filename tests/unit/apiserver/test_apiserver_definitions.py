"""CustomResourceDefinitions: what is refused, in which words, and what a legal one serves."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from towpath.apiserver.builtin import BUILTIN, DEFINITION
from towpath.apiserver.definitions import established, own, served
from towpath.apiserver.kinds import Catalogue, Scale
from towpath.errors import InvalidError

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
SCHEMA = {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}}


def version(name: str = "v1", **more: Any) -> dict[str, Any]:
    return {"name": name, "served": True, "storage": True, "schema": SCHEMA, **more}


def definition(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things"},
            "versions": [version()],
            **spec,
        },
    }


def named(plural: str, **names: Any) -> dict[str, Any]:
    crd = definition(names={"plural": plural, **names})
    crd["metadata"]["name"] = f"{plural}.example.com"
    return crd


def refused(crd: dict[str, Any], old: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    with pytest.raises(InvalidError) as caught:
        established(DEFINITION, crd, NOW, old)
    causes = vars(caught.value)["details"]["causes"]
    return [(cause["field"], cause["message"]) for cause in causes]


def condition(crd: dict[str, Any], type_: str) -> dict[str, Any]:
    return next(each for each in crd["status"]["conditions"] if each["type"] == type_)


def test_what_is_left_out_is_completed() -> None:
    given = definition()
    before = copy.deepcopy(given)
    crd = established(DEFINITION, given, NOW)
    assert given == before
    assert crd["spec"]["names"] == {
        "kind": "Thing",
        "plural": "things",
        "singular": "thing",
        "listKind": "ThingList",
    }
    assert crd["spec"]["conversion"] == {"strategy": "None"}
    assert crd["status"]["acceptedNames"] == crd["spec"]["names"]
    assert crd["status"]["storedVersions"] == ["v1"]
    assert [(c["type"], c["status"]) for c in crd["status"]["conditions"]] == [
        ("NamesAccepted", "True"),
        ("Established", "True"),
    ]


LABEL = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', "
    "regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
NAMES = {"kind": "Thing", "plural": "things"}


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        ({"scope": "Everywhere"}, "spec.scope", 'Unsupported value: "Everywhere": supported val'),
        ({"scope": None}, "spec.scope", "Required value"),
        ({"names": {**NAMES, "kind": "A b"}}, "spec.names.kind", 'Invalid value: "A b": may have'),
        (
            {"names": {**NAMES, "singular": "Thing"}},
            "spec.names.singular",
            f'Invalid value: "Thing": {LABEL}',
        ),
        (
            {"names": {**NAMES, "shortNames": ["ok", "Not"]}},
            "spec.names.shortNames[1]",
            f'Invalid value: "Not": {LABEL}',
        ),
        (
            {"names": {**NAMES, "categories": ["A"]}},
            "spec.names.categories[0]",
            f'Invalid value: "A": {LABEL}',
        ),
        (
            {"names": {**NAMES, "listKind": "Thing"}},
            "spec.names.listKind",
            'Invalid value: "Thing": kind and listKind may not be the same',
        ),
        ({"versions": [version("V1")]}, "spec.versions[0].name", f'Invalid value: "V1": {LABEL}'),
        (
            {"versions": [version(), version(storage=False)]},
            "spec.versions",
            'Invalid value: ["v1","v1"]: must contain unique version names',
        ),
        (
            {"versions": [version(), version("v2")]},
            "spec.versions",
            'Invalid value: ["v1","v2"]: must have exactly one version marked as storage version',
        ),
        ({"versions": []}, "spec.versions", "Required value: at least one version"),
        (
            {"versions": [version(schema=None)]},
            "spec.versions[0].schema.openAPIV3Schema",
            "Required value: schemas are required",
        ),
        (
            {"versions": [version(schema={"openAPIV3Schema": {"properties": {}}})]},
            "spec.validation.openAPIV3Schema.type",
            "Required value: must not be empty at the root",
        ),
        (
            {
                "versions": [
                    version(
                        schema={"openAPIV3Schema": {"type": "object", "maxProperties": 1}},
                        subresources={"status": {}},
                    )
                ]
            },
            "spec.validation.openAPIV3Schema",
            'Invalid value: ["maxProperties"]: only [',
        ),
        (
            {"versions": [version(subresources={"scale": {"specReplicasPath": ".spec.n"}})]},
            "spec.subresources.scale.statusReplicasPath",
            "Required value",
        ),
        (
            {
                "versions": [
                    version(
                        subresources={
                            "scale": {
                                "specReplicasPath": ".status.n",
                                "statusReplicasPath": ".status.n",
                            }
                        }
                    )
                ]
            },
            "spec.subresources.scale.specReplicasPath",
            'Invalid value: ".status.n": should be a json path under .spec',
        ),
        (
            {"versions": [version(additionalPrinterColumns=[{"name": "A", "type": "text"}])]},
            "spec.additionalPrinterColumns[0].type",
            'Unsupported value: "text": supported values: "boolean", "date", "integer", "number", '
            '"string"',
        ),
        (
            {
                "versions": [
                    version(
                        additionalPrinterColumns=[{"name": "A", "type": "date", "jsonPath": "a"}]
                    )
                ]
            },
            "spec.additionalPrinterColumns[0].JSONPath",
            'Invalid value: "a": must be a simple json path starting with .',
        ),
        (
            {"versions": [version(selectableFields=[{"jsonPath": ".spec.nope"}])]},
            "spec.selectableFields[0].jsonPath",
            'Invalid value: ".spec.nope": is an invalid path: does not refer to a valid field',
        ),
        (
            {"versions": [version(selectableFields=[{"jsonPath": ".spec"}])]},
            "spec.selectableFields[0]",
            'Invalid value: ".spec": must point to a field of type string, boolean or integer.',
        ),
        (
            {"versions": [version(deprecationWarning="old")]},
            "spec.versions[0].deprecationWarning",
            'Invalid value: "old": can only be set for deprecated versions',
        ),
        (
            {"conversion": {"strategy": "Webhook", "webhook": {}}},
            "spec.conversion.strategy",
            'Unsupported value: "Webhook": supported values: "None"',
        ),
        (
            {"preserveUnknownFields": True},
            "spec.preserveUnknownFields",
            "Invalid value: true: cannot set to true, set x-kubernetes-preserve-unknown-fields",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(spec: dict[str, Any], field: str, message: str) -> None:
    found = refused(definition(**spec))
    assert field in [name for name, _ in found]
    assert any(name == field and text.startswith(message) for name, text in found), found


def test_what_is_the_same_in_all_versions_is_told_once() -> None:
    bad = {"openAPIV3Schema": {"type": "object", "properties": {"a": {}}}}
    both = [version(schema=bad, storage=False), version("v2", schema=bad)]
    assert [f for f, _ in refused(definition(versions=both))] == [
        "spec.validation.openAPIV3Schema.properties[a].type"
    ]
    one = [version(storage=False), version("v2", schema=bad)]
    assert [f for f, _ in refused(definition(versions=one))] == [
        "spec.versions[1].schema.openAPIV3Schema.properties[a].type"
    ]


def test_names_and_groups() -> None:
    crd = definition(group="example")
    assert refused(crd) == [
        (
            "metadata.name",
            'Invalid value: "things.example.com": must be spec.names.plural+"."+spec.group',
        ),
        ("spec.group", 'Invalid value: "example": should be a domain with at least one dot'),
    ]
    crd = definition(group="Example.com")
    assert "a lowercase RFC 1123 subdomain" in dict(refused(crd))["spec.group"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    crd = definition(scope="x", group="", versions=[version("V", schema=None), version("w")])
    fields = [field for field, _ in refused(crd)]
    assert {
        "metadata.name",
        "spec.group",
        "spec.scope",
        "spec.versions[0].name",
        "spec.versions[0].schema.openAPIV3Schema",
        "spec.versions",
    } == set(fields)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda spec: spec.update(scope="Cluster"), "spec.scope"),
        (lambda spec: spec["names"].update(kind="Other"), "spec.names.kind"),
        (lambda spec: spec["names"].update(plural="others"), "spec.names.plural"),
        (lambda spec: spec.update(group="other.com"), "spec.group"),
    ],
)
def test_what_cannot_be_changed(change: Callable[[dict[str, Any]], None], field: str) -> None:
    old = established(DEFINITION, definition(), NOW)
    new = copy.deepcopy(old)
    change(new["spec"])
    told = dict(refused(new, old))
    assert told[field].endswith(": field is immutable")


def test_stored_versions_are_remembered() -> None:
    old = established(DEFINITION, definition(), NOW)
    both = [version(storage=False), version("v2")]
    moved = established(DEFINITION, {**old, "spec": {**old["spec"], "versions": both}}, LATER, old)
    assert moved["status"]["storedVersions"] == ["v1", "v2"]
    assert condition(moved, "Established")["lastTransitionTime"] == NOW
    gone = {**moved, "spec": {**moved["spec"], "versions": [version("v2")]}}
    told = dict(refused(gone, moved))["status.storedVersions[0]"]
    assert told.startswith('Invalid value: "v1": missing from spec.versions; v1 was previously')
    migrated = {**gone, "status": {**gone["status"], "storedVersions": ["v2"]}}
    assert established(DEFINITION, migrated, LATER, moved)["status"]["storedVersions"] == ["v2"]


def test_an_old_flaw_does_not_stand_against_a_change() -> None:
    old = established(DEFINITION, definition(), NOW)
    broken = {"openAPIV3Schema": {"type": "object", "properties": {"a": {}}}}
    old["spec"]["versions"] = [version(schema=broken)]
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"a": "b"}
    assert established(DEFINITION, new, NOW, old)["metadata"]["labels"] == {"a": "b"}
    new["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["b"] = {}
    assert len(refused(new, old)) == 2


@pytest.mark.parametrize(
    ("names", "reason", "message"),
    [
        ({"kind": "Thing"}, "ListKindConflict", '"ThingList" is already in use'),
        ({"kind": "X", "singular": "thing"}, "SingularConflict", '"thing" is already in use'),
        ({"kind": "X", "shortNames": ["a", "th"]}, "ShortNamesConflict", '"th" is already in use'),
    ],
)
def test_names_that_are_taken(names: dict[str, Any], reason: str, message: str) -> None:
    first = definition(names={**NAMES, "shortNames": ["th"]})
    known = Catalogue([*BUILTIN, *served(established(DEFINITION, first, NOW))])
    crd = established(DEFINITION, named("others", **names), NOW, None, known)
    accepted = condition(crd, "NamesAccepted")
    assert (accepted["status"], accepted["reason"]) == ("False", reason)
    assert accepted["message"] == message
    assert condition(crd, "Established")["reason"] == "NotAccepted"
    assert served(crd) == []
    known.remove("example.com", "things")
    crd = established(DEFINITION, crd, LATER, crd, known)
    assert condition(crd, "Established")["status"] == "True"
    assert len(served(crd)) == 1


def test_what_is_established_stays_so() -> None:
    first = definition(names={**NAMES, "shortNames": ["th"]})
    known = Catalogue(served(established(DEFINITION, first, NOW)))
    old = established(DEFINITION, named("others", kind="Other"), NOW, None, known)
    new = copy.deepcopy(old)
    new["spec"]["names"]["shortNames"] = ["th"]
    new = established(DEFINITION, new, LATER, old, known)
    assert condition(new, "NamesAccepted")["status"] == "False"
    (resource,) = served(new)
    assert resource.short_names == ()


@pytest.mark.parametrize(
    ("annotation", "status", "reason"),
    [
        ("https://github.com/kubernetes/kubernetes/pull/1", "True", "ApprovedAnnotation"),
        ("unapproved, an experiment", "False", "UnapprovedAnnotation"),
    ],
)
def test_groups_of_the_community(annotation: str, status: str, reason: str) -> None:
    crd = definition(group="things.k8s.io")
    crd["metadata"]["name"] = "things.things.k8s.io"
    field = "metadata.annotations[api-approved.kubernetes.io]"
    ((found, message),) = refused(crd)
    assert found == field
    assert message.startswith("Required value: protected groups must have approval annotation")
    crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": "please"}
    ((found, message),) = refused(crd)
    assert found == field
    assert 'with either a URL or a reason starting with "unapproved"' in message
    crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": annotation}
    found_ = condition(established(DEFINITION, crd, NOW), "KubernetesAPIApprovalPolicyConformant")
    assert (found_["status"], found_["reason"]) == (status, reason)


def test_what_a_version_serves() -> None:
    scale = {
        "specReplicasPath": ".spec.n",
        "statusReplicasPath": ".status.n",
        "labelSelectorPath": ".status.selector",
    }
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"n": {
        "type": "integer"}}}}}  # fmt: skip
    crd = definition(
        versions=[
            version(
                subresources={"status": {}, "scale": scale},
                selectableFields=[{"jsonPath": ".spec.n"}],
                schema={"openAPIV3Schema": schema},
            ),
            version("v2alpha1", storage=False, served=False),
        ]
    )
    (resource,) = served(established(DEFINITION, crd, NOW))
    assert resource.status
    assert resource.scale == Scale(".spec.n", ".status.n", ".status.selector")
    assert resource.selectable == ("spec.n",)
    assert resource.schema is not None
    assert resource.schema.document == schema
    assert resource.mixed
    assert resource.stored == "v1"
    assert resource.deprecated == ""


def test_versions_that_are_deprecated() -> None:
    crd = definition(
        versions=[
            version("v1alpha1", storage=False, deprecated=True),
            version("v1beta1", storage=False, deprecated=True, deprecationWarning="use v1!"),
            version("v1"),
            version("v2alpha1", storage=False, deprecated=True),
        ]
    )
    told = {r.kind.version: r.deprecated for r in served(established(DEFINITION, crd, NOW))}
    assert told == {
        "v1alpha1": "example.com/v1alpha1 Thing is deprecated; use example.com/v1 Thing",
        "v1beta1": "use v1!",
        "v1": "",
        "v2alpha1": "example.com/v2alpha1 Thing is deprecated; use example.com/v1 Thing",
    }


@pytest.mark.parametrize(
    "spec",
    [
        {"versions": "v1"},
        {"versions": [5]},
        {"versions": [version(subresources=5, selectableFields=[5], additionalPrinterColumns="a")]},
        {"names": []},
        {"names": {"kind": 5, "plural": ["a"], "shortNames": [5]}},
        {"conversion": "None"},
        {"group": 5, "scope": []},
    ],
)
def test_what_is_no_definition_is_refused(spec: dict[str, Any]) -> None:
    assert refused(definition(**spec))


def test_ours_are_legal() -> None:
    for crd in own():
        assert served(established(DEFINITION, crd, NOW, None, BUILTIN))

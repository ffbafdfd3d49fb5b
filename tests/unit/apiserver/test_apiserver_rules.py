"""What the server decides about objects, paths, callers, definitions and bodies."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from towpath.apiserver import bodies, deletion, discovery, intake, lifecycle, protobuf
from towpath.apiserver.builtin import BUILTIN, DEFINITION, NAMESPACES
from towpath.apiserver.definitions import established, own, served
from towpath.apiserver.kinds import Catalogue, Resource
from towpath.apiserver.target import Target, parse
from towpath.errors import ConflictError, InvalidError, Reason, UnavailableError
from towpath.web import kubernetes_status

NOW = "2026-01-01T00:00:00Z"
FAST = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def kinds() -> Catalogue:
    known = Catalogue(BUILTIN)
    for crd in own():
        known.add(served(established(DEFINITION, crd, NOW)))
    return known


def service() -> Resource:
    return kinds().find("serving.kserve.io", "v1beta1", "inferenceservices")


def born(resource: Resource, obj: dict[str, Any]) -> dict[str, Any]:
    namespace = "models" if resource.kind.namespaced else ""
    new = lifecycle.created(resource, obj, lifecycle.Birth(namespace, "uid-1", NOW))
    new["metadata"]["resourceVersion"] = "7"
    return new


def test_birth() -> None:
    new = born(service(), {"kind": "I", "metadata": {"name": "a"}, "spec": {}, "status": {"x": 1}})
    assert new["metadata"] == {
        "name": "a",
        "namespace": "models",
        "uid": "uid-1",
        "creationTimestamp": NOW,
        "generation": 1,
        "resourceVersion": "7",
    }
    assert "status" not in new


def test_generation_counts_what_is_wanted() -> None:
    old = born(service(), {"apiVersion": "v", "kind": "I", "metadata": {"name": "a"}, "spec": {}})
    labelled = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
    assert lifecycle.updated(service(), old, labelled)["metadata"]["generation"] == 1
    changed = {**old, "spec": {"x": 1}, "status": {"ready": True}}
    new = lifecycle.updated(service(), old, changed)
    assert new["metadata"]["generation"] == 2
    assert "status" not in new
    ready = lifecycle.updated(service(), old, changed, "status")
    assert ready["status"] == {"ready": True}
    assert ready["spec"] == {}
    assert ready["metadata"]["generation"] == 1


def test_update_cannot_touch_identity() -> None:
    old = born(service(), {"apiVersion": "v", "kind": "I", "metadata": {"name": "a"}})
    stolen = {"metadata": {"name": "b", "creationTimestamp": "x", "deletionTimestamp": NOW}}
    kept = lifecycle.updated(service(), old, stolen)["metadata"]
    assert kept == old["metadata"]
    with pytest.raises(ConflictError, match="the object has been modified; please apply"):
        lifecycle.updated(service(), old, {"metadata": {"resourceVersion": "6"}})
    with pytest.raises(ConflictError, match="Precondition failed: UID in precondition: other"):
        lifecycle.updated(service(), old, {"metadata": {"uid": "other"}})


def test_finalizers_cannot_come_late() -> None:
    obj = {"apiVersion": "v", "kind": "I", "metadata": {"name": "a", "finalizers": ["x"]}}
    gone = deletion.ended(service(), born(service(), obj), "", NOW)
    assert not lifecycle.leaving(service(), gone)
    more = {**gone, "metadata": {**gone["metadata"], "finalizers": ["x", "y"]}}
    with pytest.raises(InvalidError, match="no new finalizers can be added"):
        lifecycle.updated(service(), gone, more)
    fewer = {**gone, "metadata": {**gone["metadata"], "finalizers": []}}
    assert lifecycle.leaving(service(), lifecycle.updated(service(), gone, fewer))


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "Bad"},
        {"name": "a" * 254},
        {"name": ""},
        {},
        {"name": "a", "labels": {"k": "not a value"}},
        {"name": "a", "labels": {"not a key": "v"}},
        {"name": "a", "labels": {"a": 1}},
        {"name": "a", "annotations": {"a": "x" * 300_000}},
        {"name": "a", "finalizers": [1]},
        {"name": "a", "ownerReferences": [{"name": "x"}]},
        {"name": "a", "ownerReferences": "x"},
    ],
)
def test_illegal_metadata(metadata: dict[str, Any]) -> None:
    def taken() -> None:
        read, _ = intake.pruned(service(), {"metadata": metadata})
        intake.check(service(), born(service(), read))

    with pytest.raises(InvalidError):
        taken()


def test_built_in_kinds_are_completed() -> None:
    namespace = born(NAMESPACES, {"metadata": {"name": "a"}})
    assert namespace["status"] == {"phase": "Active"}
    assert namespace["metadata"]["labels"] == {"kubernetes.io/metadata.name": "a"}
    secret = born(kinds().find("", "v1", "secrets"), {
        "metadata": {"name": "a"}, "stringData": {"k": "v"},
    })  # fmt: skip
    assert (secret["type"], secret["data"]) == ("Opaque", {"k": "dg=="})
    assert "stringData" not in secret


@given(st.binary(min_size=5, max_size=9))
def test_generated_names(entropy: bytes) -> None:
    name = lifecycle.generated_name("p" * 70, entropy)
    assert len(name) == 63
    assert lifecycle.generated_name("job-", entropy).startswith("job-")


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/namespaces", Target("", "v1", "", "namespaces")),
        ("/api/v1/namespaces/a", Target("", "v1", "", "namespaces", "a")),
        ("/api/v1/namespaces/a/status", Target("", "v1", "", "namespaces", "a", "status")),
        ("/api/v1/namespaces/a/pods", Target("", "v1", "a", "pods")),
        ("/api/v1/namespaces/a/pods/b/status", Target("", "v1", "a", "pods", "b", "status")),
        ("/apis/g/v1/things/x", Target("g", "v1", "", "things", "x")),
        ("/apis/g/v1/namespaces/a/things/x", Target("g", "v1", "a", "things", "x")),
        ("/apis/g/v1", None),
        ("/api/v1", None),
        ("/healthz", None),
        ("/", None),
        ("/api/v1/namespaces/a/pods/b/status/deeper", None),
        ("/api/v1//pods", None),
        ("/apis//v1/namespaces/a", None),
        ("/api/v1/namespaces/a/\t", None),
        ("/api/v1/namespaces/a\r/pods", None),
        ("/api/v1/namespaces/a/pods/b\x00", None),
    ],
)
def test_paths(path: str, target: Target | None) -> None:
    assert parse(path) == target


@given(st.lists(st.sampled_from(["api", "apis", "v1", "namespaces", "a", "..", ""]), max_size=9))
def test_any_path_parses(parts: list[str]) -> None:
    assert parse("/" + "/".join(parts)) is None or len(parts) >= 3


def test_our_definitions_agree_with_upstream(shared: Path) -> None:
    ours = {(crd["metadata"]["name"]): served(established(DEFINITION, crd, NOW)) for crd in own()}
    for file in ("argocd-applications", "kserve-inferenceservices", "kserve-servingruntimes",
                 "kserve-clusterservingruntimes"):  # fmt: skip
        crd = yaml.load((shared / "schemas" / "crds" / f"{file}.yaml").read_text(), Loader=FAST)
        theirs = served(established(DEFINITION, crd, NOW))
        mine = ours[crd["metadata"]["name"]]
        assert [r.kind for r in mine] == [r.kind for r in theirs]
        for a, b in zip(mine, theirs, strict=True):
            assert (a.singular, a.short_names, a.status) == (b.singular, b.short_names, b.status)
            assert [(c.name, c.value, c.type, c.priority) for c in a.columns] == [
                (c.name, c.value, c.type, c.priority) for c in b.columns
            ]


def test_upstream_definitions_load(shared: Path) -> None:
    files = sorted((shared / "schemas" / "crds").glob("*.yaml"))
    assert len(files) >= 10
    for file in files:
        crd = yaml.load(file.read_text(), Loader=FAST)
        assert served(established(DEFINITION, crd, NOW))


def definition(**changes: Any) -> dict[str, Any]:
    spec = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "things", "kind": "Thing"},
        "versions": [{"name": "v1", "served": True, "storage": True}],
        **changes,
    }
    return {"metadata": {"name": "things.example.com"}, "spec": spec}


@pytest.mark.parametrize(
    "changes",
    [
        {"group": None},
        {"group": "other.com"},
        {"scope": "Everywhere"},
        {"names": {"plural": "things"}},
        {"names": []},
        {"versions": []},
        {"versions": "v1"},
        {"versions": [{"name": "v1", "served": True}]},
        {"versions": [{"name": 1, "storage": True}]},
        {"versions": [{"name": "v1", "storage": True, "served": True,
                       "additionalPrinterColumns": [{}]}]},
    ],
)  # fmt: skip
def test_bad_definitions(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidError):
        established(DEFINITION, definition(**changes), NOW)


def test_versions_come_in_kubernetes_order() -> None:
    versions = ["v1alpha1", "v1", "v10", "v2beta1", "v2", "foo", "v1beta2"]
    some = {"served": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    crd = definition(versions=[{"name": v, **some, "storage": v == "v1"} for v in versions])
    found = discovery.group(Catalogue(served(established(DEFINITION, crd, NOW))), "example.com")
    assert [v["version"] for v in found["versions"]] == [
        "v10", "v2", "v1", "v2beta1", "v1beta2", "v1alpha1", "foo",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "media"),
    [
        (b"{", "application/json"),
        (b"a: [", "application/yaml"),
        (b"a: &x [1]\nb: *x", "application/yaml"),
        (b"[" * 3000, "application/yaml"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "application/json"),
        (b"a: !!binary aGk=", "application/yaml"),
        (b"1: x", "application/yaml"),
        (b"\xff\xfe\x00", "application/yaml"),
        (b"k8s\x00\xff", protobuf.MEDIA),
        (b"nothing", protobuf.MEDIA),
    ],
)
def test_bad_bodies(data: bytes, media: str) -> None:
    with pytest.raises(InvalidError) as caught:
        bodies.decoded(data, media)
    assert caught.value.reason is Reason.BAD_REQUEST


def test_media_types() -> None:
    assert bodies.decoded(b"a: 2026-01-01", "application/yaml").value == {"a": "2026-01-01"}
    applied = bodies.decoded(b"a: 1", "application/apply-patch+yaml", yaml_too=True)
    assert applied.value == {"a": 1}
    assert bodies.decoded(b"{}", "application/json; charset=utf-8").value == {}
    with pytest.raises(InvalidError) as caught:
        bodies.decoded(b"{}", "text/html")
    assert caught.value.reason is Reason.UNSUPPORTED_MEDIA_TYPE


@given(st.binary(max_size=60))
def test_any_protobuf_is_an_object_or_refused(data: bytes) -> None:
    for body in (data, b"k8s\x00" + data, b"k8s\x00\n\x0d\n\x02v1\x12\x07Service\x12" + data):
        try:
            assert orjson.dumps(protobuf.decoded(body))
        except InvalidError:
            continue


def test_protobuf_config_map() -> None:
    def field(number: int, data: bytes) -> bytes:
        return bytes((number << 3 | 2, len(data))) + data

    metadata = field(1, b"x") + field(2, b"") + field(8, b"")
    pair = field(1, b"k") + field(2, b"v")
    raw = field(1, metadata) + field(2, pair) + b"\x20\x00"
    body = b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"ConfigMap")) + field(2, raw)
    assert protobuf.decoded(body) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x"},
        "data": {"k": "v"},
        "immutable": False,
    }
    secret = field(1, metadata) + field(2, field(1, b"k") + field(2, b"\x00\xff"))
    body = b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"Secret")) + field(2, secret)
    assert base64.b64decode(protobuf.decoded(body)["data"]["k"]) == b"\x00\xff"


def test_a_body_must_be_what_its_path_says() -> None:
    good = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    assert bodies.matching(service(), "a", "n", good)["metadata"] == {"name": "n"}
    for wrong in (
        [],
        {"kind": "InferenceService"},
        {**good, "metadata": {"namespace": "b"}},
        {**good, "metadata": {"name": "m"}},
        {**good, "metadata": {"name": 1}},
        {**good, "metadata": []},
        {**good, "metadata": {"labels": {"a": 1}}},
        {**good, "metadata": {"managedFields": [None]}},
    ):
        with pytest.raises(InvalidError) as caught:
            intake.pruned(service(), bodies.matching(service(), "a", "n", wrong))
        assert caught.value.reason is Reason.BAD_REQUEST


def test_null_is_nothing() -> None:
    good = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
    nulls = dict.fromkeys(("annotations", "labels", "finalizers", "creationTimestamp"))
    body = {**good, "metadata": {"name": "n", **nulls}, "spec": None, "status": None}
    assert bodies.matching(service(), "a", "n", body) == {**good, "metadata": {"name": "n"}}


@pytest.mark.parametrize(
    ("plural", "fields"),
    [
        ("services", {"spec": {"ports": [1]}}),
        ("services", {"spec": {"ports": [{"port": "x"}]}}),
        ("services", {"spec": {"ports": [{"port": True}]}}),
        ("services", {"spec": "x"}),
        ("services", {"status": []}),
        ("namespaces", {"spec": "x"}),
        ("namespaces", {"status": "x"}),
        ("pods", {"status": "x"}),
        ("pods", {"spec": {"containers": ["x"]}}),
        ("pods", {"status": {"containerStatuses": [{"restartCount": "x"}]}}),
        ("events", {"involvedObject": "x"}),
        ("secrets", {"data": ["x"]}),
        ("secrets", {"stringData": {"a": 1}}),
        ("configmaps", {"data": {"a": {}}}),
    ],
)
def test_a_built_in_kind_has_its_shape(plural: str, fields: dict[str, Any]) -> None:
    resource = next(r for r in BUILTIN if r.kind.plural == plural)
    with pytest.raises(InvalidError) as caught:
        intake.pruned(resource, bodies.matching(resource, "a", "n", fields))
    assert caught.value.reason is Reason.BAD_REQUEST
    assert bodies.matching(resource, "a", "n", dict.fromkeys(fields))["metadata"] == {"name": "n"}


def test_version_speaks_of_both() -> None:
    told = discovery.version("0.1.0")
    assert told["gitVersion"] == "v1.32.0+towpath.0.1.0"
    assert datetime.fromisoformat(told["buildDate"]).tzinfo == UTC


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (UnavailableError("x"), 503, "ServiceUnavailable"),
        (UnavailableError("x"), 500, "InternalError"),
        (UnavailableError("x", reason=Reason.NO_SPACE), 507, "InternalError"),
    ],
)
def test_a_fault_is_called_one(error: UnavailableError, status: int, reason: str) -> None:
    assert kubernetes_status(error, status)["reason"] == reason

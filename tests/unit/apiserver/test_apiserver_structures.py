"""The data that built-in kinds and our own definitions are made of."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.apiserver import completion, invariants, table
from towpath.apiserver.builtin import BUILTIN, DEFINITION
from towpath.apiserver.decoding import decoded
from towpath.apiserver.definitions import established, own, served
from towpath.apiserver.kinds import VERBS, Catalogue, Resource
from towpath.apiserver.quantity import canonical
from towpath.apiserver.schema import flaws
from towpath.apiserver.structures import REFERENCE, TYPES

NOW = "2026-01-01T00:00:00Z"
UNTYPED = {"IntOrString", "Quantity"}
"""Types that are a number or a text."""


def catalogue() -> Catalogue:
    known = Catalogue(BUILTIN)
    for crd in own():
        known.add(served(established(DEFINITION, crd, NOW)))
    return known


def kind(name: str) -> Resource:
    return next(r for r in BUILTIN if r.kind.kind == name)


def nodes(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A schema and all below it."""
    yield path, schema
    for name, child in (schema.get("properties") or {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from nodes(schema[key], f"{path}.{key}")


EVERY = [found for name in TYPES for found in nodes(TYPES[name], name)]


def test_every_reference_leads_to_a_type() -> None:
    for path, node in EVERY:
        if "$ref" in node:
            assert node["$ref"].startswith(REFERENCE), path
            assert node["$ref"].removeprefix(REFERENCE) in TYPES, path
            assert "type" not in node, path


def test_every_node_is_structural() -> None:
    for path, node in EVERY:
        if "$ref" in node or path in UNTYPED or "x-kubernetes-preserve-unknown-fields" in node:
            continue
        kind = node.get("type")
        assert kind in ("array", "boolean", "integer", "number", "object", "string"), path
        assert ("items" in node) == (kind == "array"), path
        assert not {"properties", "additionalProperties"} <= node.keys(), path
        if kind == "integer":
            assert node["format"] in ("int32", "int64"), path
        assert set(node.get("required", ())) <= node.get("properties", {}).keys(), path
        if node.get("default", "") != "" and "enum" in node:
            assert node["default"] in node["enum"], path
        if "enum" in node:
            assert node["enum"] == sorted(node["enum"]), path


def test_lists_that_merge_have_keys_that_items_have() -> None:
    for path, node in EVERY:
        keys = node.get("x-kubernetes-list-map-keys")
        assert (keys is not None) == (node.get("x-kubernetes-list-type") == "map"), path
        merge = node.get("x-kubernetes-patch-merge-key")
        if keys or merge:
            item = TYPES[node["items"]["$ref"].removeprefix(REFERENCE)]
            assert {*(keys or ()), *([merge] if merge else ())} <= item["properties"].keys(), path


def test_every_type_belongs_to_one_package() -> None:
    assert TYPES.package("PodSpec") == "io.k8s.api.core.v1"
    assert TYPES.package("ObjectMeta") == "io.k8s.apimachinery.pkg.apis.meta.v1"
    assert TYPES.package("Quantity") == "io.k8s.apimachinery.pkg.api.resource"
    for name in TYPES:
        assert TYPES.package(name).startswith("io.k8s.")


def test_a_type_that_users_look_at_is_told() -> None:
    for name in ("ObjectMeta", "PodSpec", "Container", "DeploymentSpec", "JobSpec", "ServiceSpec"):
        for field, node in TYPES[name]["properties"].items():
            assert node.get("description"), f"{name}.{field}"


def test_topologies_are_those_of_kubernetes() -> None:
    pod = kind("Pod").topology
    assert pod.keys(("spec", "containers")) == ("name",)
    assert pod.keys(("spec", "initContainers", "ports")) == ("containerPort", "protocol")
    assert pod.keys(("spec", "containers", "env")) == ("name",)
    assert pod.keys(("spec", "containers", "volumeMounts")) == ("mountPath",)
    assert pod.keys(("spec", "containers", "args")) is None
    assert pod.keys(("spec", "tolerations")) is None
    assert pod.keys(("spec", "topologySpreadConstraints")) == ("topologyKey", "whenUnsatisfiable")
    assert pod.keys(("status", "conditions")) == ("type",)
    assert pod.keys(("metadata", "ownerReferences")) == ("uid",)
    assert pod.keys(("metadata", "finalizers")) == ()
    assert ("spec", "nodeSelector") in pod.atomic
    deployment = kind("Deployment").topology
    assert deployment.keys(("spec", "template", "spec", "containers")) == ("name",)
    assert ("spec", "selector") in deployment.atomic
    assert kind("Service").topology.keys(("spec", "ports")) == ("port", "protocol")
    assert ("roleRef",) in kind("RoleBinding").topology.atomic
    assert kind("Job").topology.keys(("status", "conditions")) is None
    assert kind("ServiceAccount").topology.keys(("secrets",)) == ("name",)


def test_kinds_that_are_only_asked() -> None:
    asked = {r.kind.kind: r for r in BUILTIN if r.verbs == ("create",)}
    assert asked.keys() == {
        "LocalSubjectAccessReview",
        "SelfSubjectAccessReview",
        "SelfSubjectReview",
        "SelfSubjectRulesReview",
        "SubjectAccessReview",
        "TokenReview",
    }
    assert [r for r in asked.values() if r.kind.namespaced] == [asked["LocalSubjectAccessReview"]]
    stored = [r for r in BUILTIN if r.kind.kind not in asked and r.kind.kind != "Namespace"]
    assert all(r.verbs == VERBS for r in stored)


def test_a_kind_is_found_at_once() -> None:
    known = catalogue()
    for resource in known:
        found = known.of_kind(resource.kind.api_version, resource.kind.kind)
        assert found is resource
        assert known.of_key(resource.key) is not None
    known.remove("serving.kserve.io", "inferenceservices")
    assert known.of_kind("serving.kserve.io/v1beta1", "InferenceService") is None
    assert known.of_key("inferenceservices.serving.kserve.io") is None


def test_our_definitions_are_structural_and_told() -> None:
    definitions = own()
    assert {crd["spec"]["names"]["kind"] for crd in definitions} >= {
        "Application", "ClusterServingRuntime", "ImageStream", "InferenceService", "Project",
        "Route", "ServingRuntime", "Template",
    }  # fmt: skip
    for crd in definitions:
        for version in crd["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            assert flaws(schema, crd["metadata"]["name"]) == []
            for path, node in nodes(schema, ""):
                unnamed = path.endswith((".items", ".additionalProperties"))
                assert path.count(".") > 2 or unnamed or node.get("description"), path


def test_no_kind_has_a_column_of_an_unknown_type() -> None:
    for resource in catalogue():
        for column in resource.columns:
            assert column.type in ("string", "integer", "number", "boolean", "date")


def read(name: str, value: Any) -> Any:
    return decoded({"$ref": REFERENCE + name}, TYPES, value)


def test_null_and_the_empty_word_are_nothing() -> None:
    deployment = {
        "metadata": {"name": "a", "creationTimestamp": None},
        "spec": {"replicas": None, "template": {"spec": {"restartPolicy": "", "nodeName": ""}}},
        "status": None,
        "more": None,
    }
    assert read("Deployment", deployment) == {
        "metadata": {"name": "a"},
        "spec": {"template": {"spec": {"nodeName": ""}}},
    }
    assert read("ConfigMap", {"data": {"a": None}}) == {"data": {"a": ""}}
    assert read("ServiceSpec", {"ports": [None]}) == {"ports": [{}]}


def test_quantities_get_one_spelling() -> None:
    limits = {"cpu": 0.5, "memory": "1024Mi", "gpu": 1}
    read_back = read("ResourceRequirements", {"limits": limits})
    assert read_back == {"limits": {"cpu": "500m", "memory": "1Gi", "gpu": "1"}}


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "Deployment", {"spec": {"replicas": "2"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas "
            "of type int32",
        ),
        (
            "Deployment",
            {"spec": {"template": {"spec": {"containers": [{"env": [{"value": 1}]}]}}}},
            "json: cannot unmarshal number into Go struct field "
            "EnvVar.spec.template.spec.containers.env.value of type string",
        ),
        (
            "Pod", {"spec": []},
            "json: cannot unmarshal array into Go struct field Pod.spec of type v1.PodSpec",
        ),
        (
            "Pod", {"spec": {"containers": {}}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers "
            "of type []v1.Container",
        ),
        (
            "ConfigMap", {"data": {"a": True}},
            "json: cannot unmarshal bool into Go struct field ConfigMap.data of type string",
        ),
        ("Deployment", {"spec": {"replicas": 1.5}}, "json: cannot unmarshal number 1.5 into"),
        ("Deployment", {"spec": {"replicas": 2**31}}, "json: cannot unmarshal number 2147483648"),
        ("Pod", {"spec": {"hostNetwork": "yes"}}, "of type bool"),
        ("Secret", {"data": {"a": "%"}}, "illegal base64 data at input byte 0"),
        ("ObjectMeta", {"creationTimestamp": "x"}, 'parsing time "x" as'),
        ("ObjectMeta", {"creationTimestamp": 1}, "into Go value of type string"),
        ("Probe", {"httpGet": {"port": True}}, "cannot unmarshal bool"),
        ("ResourceRequirements", {"limits": {"cpu": "lots"}}, "quantities must match"),
        ("ResourceRequirements", {"limits": {"cpu": []}}, "quantities must match"),
        ("Pod", 1, "json: cannot unmarshal number into Go value of type v1.Pod"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused(name: str, value: Any, told: str) -> None:
    with pytest.raises(ValueError) as found:  # noqa: PT011 - the text is asserted below
        read(name, value)
    assert told in str(found.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["metadata", "spec", "containers", "name", "env", "template", "x"]),
            inner,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_anything_is_read_or_refused_once_and_for_all(value: Any) -> None:
    for name in ("Pod", "Deployment", "Service"):
        try:
            first = read(name, value)
        except ValueError:
            continue
        assert read(name, first) == first


@pytest.mark.parametrize(
    ("text", "same"),
    [("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1500", "1500"),
     ("2000", "2k"), ("0.5Ki", "512"), ("1e3", "1e3"), ("0", "0"), ("-1", "-1"), ("1u", "1u"),
     ("0.0000000001", "1n"), ("9Ei", "9223372036854775807")],
)  # fmt: skip
def test_quantities(text: str, same: str) -> None:
    assert canonical(text) == same


@given(st.integers(0, 2**40), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "e3", "e-3", "n"]))
def test_a_canonical_quantity_is_its_own(number: int, suffix: str) -> None:
    once = canonical(f"{number}{suffix}")
    assert canonical(once) == once


@given(st.text(max_size=12))
def test_no_text_breaks_a_quantity(text: str) -> None:
    try:
        once = canonical(text)
    except ValueError:
        return
    assert canonical(once) == once


def pod_template(**spec: Any) -> Any:
    return {
        "metadata": {"labels": {"app": "a"}},
        "spec": {"containers": [{"name": "m", "image": "i:1"}], **spec},
    }


def full(name: str, obj: Any) -> Any:
    resource = kind(name)
    assert resource.schema is not None
    obj = {"metadata": {"name": "x", "namespace": "default"}, **obj}
    return completion.completed(resource, resource.schema.complete(read(name, obj)))


def test_a_deployment_is_completed() -> None:
    wanted = {"selector": {"matchLabels": {"app": "a"}}, "template": pod_template()}
    spec = full("Deployment", {"spec": wanted})["spec"]
    assert spec["replicas"] == 1
    assert spec["revisionHistoryLimit"] == 10
    assert spec["progressDeadlineSeconds"] == 600
    rolling = {"maxSurge": "25%", "maxUnavailable": "25%"}
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": rolling}
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Always"
    assert pod["dnsPolicy"] == "ClusterFirst"
    assert pod["terminationGracePeriodSeconds"] == 30
    assert pod["containers"][0] == {
        "name": "m",
        "image": "i:1",
        "imagePullPolicy": "IfNotPresent",
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
    }
    recreate = full("Deployment", {"spec": {**wanted, "strategy": {"type": "Recreate"}}})
    assert recreate["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("image", "policy"),
    [("a", "Always"), ("a:latest", "Always"), ("h:5000/a", "Always"),
     ("h:5000/a:1", "IfNotPresent"), ("a@sha256:0", "IfNotPresent")],
)  # fmt: skip
def test_when_an_image_is_pulled(image: str, policy: str) -> None:
    pod = full("Pod", {"spec": {"containers": [{"name": "m", "image": image}]}})
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_pods_jobs_services_and_bindings_are_completed() -> None:
    limits = {"name": "m", "image": "i", "resources": {"limits": {"cpu": "1"}}}
    pod = full("Pod", {"spec": {"containers": [limits], "serviceAccountName": "bob"}})["spec"]
    assert pod["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    assert pod["enableServiceLinks"] is True
    assert pod["serviceAccount"] == "bob"
    job = full("Job", {"spec": {"template": pod_template(restartPolicy="Never")}})
    spec = {k: v for k, v in job["spec"].items() if k != "template"}
    assert spec == {
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "completions": 1,
        "parallelism": 1,
        "podReplacementPolicy": "TerminatingOrFailed",
        "suspend": False,
    }
    service = full("Service", {"spec": {"ports": [{"port": 80}]}})["spec"]
    assert service == {
        "internalTrafficPolicy": "Cluster",
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }
    role = {"kind": "Role", "name": "r"}
    binding = full("RoleBinding", {"roleRef": role, "subjects": [{"kind": "User", "name": "u"}]})
    assert binding["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"
    assert binding["subjects"][0]["apiGroup"] == "rbac.authorization.k8s.io"


LABELLED = {"selector": {"matchLabels": {"app": "a"}}, "template": pod_template()}
ROLE = {"roleRef": {"kind": "Role", "name": "r"}}


@pytest.mark.parametrize(
    ("name", "obj", "field", "told"),
    [
        ("ConfigMap", {"data": {"a b": "c"}}, "data[a b]", "a valid config key must consist of"),
        ("ConfigMap", {"data": {"a": "b"}, "binaryData": {"a": "YQ=="}}, "data[a]", "duplicate"),
        ("ConfigMap", {"data": {"a": "b" * 1048577}}, "", "Too long: may not be more than 1048576"),
        ("Secret", {"type": "kubernetes.io/tls"}, "data[tls.key]", "Required value"),
        ("Secret", {"type": "kubernetes.io/basic-auth"}, "data[username]", "Required value"),
        ("Service", {"spec": {}}, "spec.ports", "Required value"),
        ("Service", {"spec": {"type": "ExternalName"}}, "spec.externalName", "Required value"),
        ("Service", {"spec": {"ports": [{"port": 0}]}}, "spec.ports[0].port", "between 1 and"),
        ("Service", {"spec": {"ports": [{"port": 1}, {"port": 2}]}}, "spec.ports[1].name", "Req"),
        (
            "Service",
            {"spec": {"ports": [{"name": "a", "port": 1}, {"name": "a", "port": 2}]}},
            "spec.ports[1].name", 'Duplicate value: "a"',
        ),
        ("PersistentVolumeClaim", {"spec": {}}, "spec.accessModes", "at least 1 access mode"),
        ("Role", {"rules": [{"verbs": []}]}, "rules[0].verbs", "must contain at least one value"),
        (
            "Role", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]},
            "rules[0].nonResourceURLs", "namespaced rules cannot apply to non-resource URLs",
        ),
        ("ClusterRole", {"rules": [{"verbs": ["get"], "apiGroups": [""]}]}, "rules[0].resources",
         "at least one resource"),
        ("RoleBinding", {**ROLE, "subjects": [{"kind": "X", "name": "n"}]}, "subjects[0].kind",
         'supported values: "ServiceAccount", "User", "Group"'),
        ("ClusterRoleBinding", {**ROLE, "subjects": [{"kind": "ServiceAccount", "name": "n"}]},
         "subjects[0].namespace", "Required value"),
        ("ClusterRoleBinding", ROLE, "roleRef.kind", 'supported values: "ClusterRole"'),
        ("Lease", {"spec": {"leaseDurationSeconds": 0}}, "spec.leaseDurationSeconds",
         "must be greater than 0"),
        ("Event", {"involvedObject": {"namespace": "x"}}, "involvedObject.namespace",
         "does not match event.namespace"),
        ("Pod", {"spec": {"containers": []}}, "spec.containers", "Required value"),
        ("Pod", {"spec": {"containers": [{"name": "A", "image": "i"}]}},
         "spec.containers[0].name", "RFC 1123 label"),
        ("Pod", {"spec": {"containers": [{"name": "a"}]}}, "spec.containers[0].image", "Required"),
        ("Pod", {"spec": {"containers": [{"name": "a", "image": "i"}] * 2}},
         "spec.containers[1].name", 'Duplicate value: "a"'),
        (
            "Pod",
            {"spec": {"containers": [
                {"name": "a", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/"}]}]}},
            "spec.containers[0].volumeMounts[0].name", 'Not found: "v"',
        ),
        ("Deployment", {"spec": {**LABELLED, "replicas": -1}}, "spec.replicas",
         "must be greater than or equal to 0"),
        ("Deployment", {"spec": {**LABELLED, "selector": {}}}, "spec.selector", "empty selector"),
        ("Deployment", {"spec": {**LABELLED, "selector": {"matchLabels": {"app": "b"}}}},
         "spec.template.metadata.labels", "`selector` does not match template `labels`"),
        ("Deployment", {"spec": {**LABELLED, "template": pod_template(restartPolicy="Never")}},
         "spec.template.spec.restartPolicy", 'supported values: "Always"'),
        ("Job", {"spec": {"template": pod_template()}}, "spec.template.spec.restartPolicy",
         'Required value: valid values: "OnFailure", "Never"'),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(name: str, obj: Any, field: str, told: str) -> None:
    found = invariants.problems(kind(name), full(name, obj))
    assert [p for p in found if p.field == field and told in p.message], found


@pytest.mark.parametrize(
    ("name", "obj"),
    [
        ("ConfigMap", {"data": {"a.b-c_d": ""}}),
        ("Service", {"spec": {"clusterIP": "None"}}),
        ("Deployment", {"spec": LABELLED}),
        ("Job", {"spec": {"template": pod_template(restartPolicy="Never")}}),
        ("RoleBinding", {**ROLE, "subjects": [{"kind": "Group", "name": "system:masters"}]}),
        ("ClusterRole", {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/metrics"]}]}),
    ],
)
def test_nothing_is_wrong_twice_over(name: str, obj: Any) -> None:
    new = full(name, obj)
    assert invariants.problems(kind(name), new, new) == []


@pytest.mark.parametrize(
    ("name", "old", "new", "field"),
    [
        ("ConfigMap", {"immutable": True, "data": {"a": "1"}},
         {"immutable": True, "data": {"a": "2"}}, "data"),
        ("ConfigMap", {"immutable": True}, {}, "immutable"),
        ("Secret", {"type": "a"}, {"type": "b"}, "type"),
        ("RoleBinding", ROLE, {"roleRef": {"kind": "Role", "name": "s"}}, "roleRef"),
        ("Deployment", {"spec": LABELLED},
         {"spec": {**LABELLED, "selector": {"matchLabels": {"app": "a", "b": "c"}}}},
         "spec.selector"),
        ("Job", {"spec": {"template": pod_template(restartPolicy="Never")}},
         {"spec": {"template": pod_template(restartPolicy="OnFailure")}}, "spec.template"),
        ("Pod", {"spec": pod_template()["spec"]},
         {"spec": pod_template(hostNetwork=True)["spec"]}, "spec"),
        ("Service", {"spec": {"clusterIP": "None"}}, {"spec": {"clusterIP": "10.0.0.1"}},
         "spec.clusterIPs[0]"),
    ],
)  # fmt: skip
def test_what_cannot_change(name: str, old: Any, new: Any, field: str) -> None:
    found = invariants.problems(kind(name), full(name, new), full(name, old))
    assert field in {problem.field for problem in found}


def test_columns_of_workloads_and_rights() -> None:
    now = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)

    def row(name: str, obj: Any) -> dict[str, Any]:
        obj = {"metadata": {"name": "x", "creationTimestamp": NOW}, **obj}
        rows = table.table(kind(name), [obj], now)
        names = [column["name"] for column in rows["columnDefinitions"]]
        return dict(zip(names, rows["rows"][0]["cells"], strict=True))

    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "a"}}, "template": pod_template()}
    status = {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}
    assert row("Deployment", {"spec": spec, "status": status}) == {
        "Name": "x", "Ready": "1/2", "Up-to-date": 2, "Available": 1, "Age": "5m",
        "Containers": "m", "Images": "i:1", "Selector": "app=a",
    }  # fmt: skip
    done = {
        "succeeded": 1, "startTime": NOW, "completionTime": "2026-01-01T00:01:00Z",
        "conditions": [{"type": "Complete", "status": "True"}],
    }  # fmt: skip
    job = row("Job", {"spec": {"completions": 1, "template": pod_template()}, "status": done})
    assert (job["Status"], job["Completions"], job["Duration"]) == ("Complete", "1/1", "60s")
    assert row("Role", {})["Created At"] == NOW
    subjects = [
        {"kind": "User", "name": "u"},
        {"kind": "ServiceAccount", "name": "s", "namespace": "n"},
    ]
    binding = row("RoleBinding", {**ROLE, "subjects": subjects})
    assert (binding["Role"], binding["Users"], binding["ServiceAccounts"]) == ("Role/r", "u", "n/s")

"""Bad input: each answer is the Status that Kubernetes gives, compared field by field."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from tests.conformance.kubernetes.conftest import Answer, Api, refused

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
FUTURE = 10**15
SUBDOMAIN = (
    r"a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
    r"'\.', and must start and end with an alphanumeric character \(e\.g\. 'example\.com', regex "
    r"used for validation is .*\)"
)


class Case(NamedTuple):
    """A request and the failure it earns; ``{n}`` in a path is the namespace."""

    method: str
    path: str
    code: int
    reason: str
    message: str
    body: Any = None
    media: str = "application/json"
    causes: Any = None
    headers: Any = None


CONFIGS = "/api/v1/namespaces/{n}/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/{n}/deployments"
UNRECOGNIZED = (
    r"the object provided is unrecognized \(must be of type ConfigMap\): "
    r"couldn't get version/kind; json parse error: .+"
)
CASES = {
    "not JSON": Case("POST", CONFIGS, 400, "BadRequest", UNRECOGNIZED, b'{"metadata": '),
    "not UTF-8": Case("POST", CONFIGS, 400, "BadRequest", UNRECOGNIZED, b"\xff\xfe{"),
    "JSON, but no object": Case("POST", CONFIGS, 400, "BadRequest", UNRECOGNIZED, b"[1, 2]"),
    "not YAML": Case(
        "POST", CONFIGS, 400, "BadRequest",
        r"the object provided is unrecognized \(must be of type ConfigMap\): .+",
        b"a: [b\nc: }", "application/yaml",
    ),
    "an unknown format": Case(
        "POST", CONFIGS, 415, "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        r"application/json, application/yaml, application/vnd\.kubernetes\.protobuf.*",
        b"hello", "text/plain",
    ),
    "an unknown kind of patch": Case(
        "PATCH", CONFIGS + "/c", 415, "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        r"application/json-patch\+json, application/merge-patch\+json, "
        r"application/strategic-merge-patch\+json, application/apply-patch\+yaml.*",
        {}, "application/json",
    ),
    "an answer nobody can write": Case(
        "GET", CONFIGS, 406, "NotAcceptable",
        r"only the following media types are accepted: application/json, application/yaml.*",
        headers={"Accept": "text/html"},
    ),
    "a field of another type": Case(
        "POST", CONFIGS, 400, "BadRequest",
        r'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
        r"json: cannot unmarshal .+",
        {**CONFIG, "data": ["a"]},
    ),
    "bytes that are not base64": Case(
        "POST", "/api/v1/namespaces/{n}/secrets", 400, "BadRequest",
        r'Secret in version "v1" cannot be handled as a Secret: illegal base64 data at .+',
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"a": "%"}},
    ),
    "too large": Case(
        "POST", CONFIGS, 413, "RequestEntityTooLarge",
        "Request entity too large: limit is 3145728",
        {**CONFIG, "data": {"a": "x" * (3 * 1024 * 1024)}},
    ),
    "another version of the group": Case(
        "POST", CONFIGS, 400, "BadRequest",
        r'ConfigMap in version "v7" cannot be handled as a ConfigMap: no kind "ConfigMap" is '
        r'registered for version "v7" in scheme .+',
        {**CONFIG, "apiVersion": "v7"},
    ),
    "another group": Case(
        "POST", CONFIGS, 400, "BadRequest",
        r'ConfigMap in version "v1" cannot be handled as a ConfigMap: no kind "ConfigMap" is '
        r'registered for version "apps/v1" in scheme .+',
        {**CONFIG, "apiVersion": "apps/v1"},
    ),
    "another kind": Case(
        "POST", CONFIGS, 400, "BadRequest",
        r'Secret in version "v1" cannot be handled as a ConfigMap: .+',
        {**CONFIG, "kind": "Secret"},
    ),
    "an unknown resource": Case(
        "GET", "/api/v1/namespaces/{n}/nothings", 404, "NotFound",
        "the server could not find the requested resource",
    ),
    "an unknown subresource": Case(
        "GET", CONFIGS + "/c/status", 404, "NotFound",
        "the server could not find the requested resource",
    ),
    "a method that is not there": Case(
        "POST", CONFIGS + "/c", 405, "MethodNotAllowed",
        "the server does not allow this method on the requested resource", CONFIG,
    ),
    "a creation in no namespace": Case(
        "POST", "/api/v1/configmaps", 405, "MethodNotAllowed",
        "the server does not allow this method on the requested resource", CONFIG,
    ),
    "another namespace than the path's": Case(
        "POST", CONFIGS, 400, "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
        {**CONFIG, "metadata": {"name": "c", "namespace": "elsewhere"}},
    ),
    "another name than the path's": Case(
        "PUT", CONFIGS + "/d", 400, "BadRequest",
        r"the name of the object \(c\) does not match the name on the URL \(d\)", CONFIG,
    ),
    "no such namespace": Case(
        "POST", "/api/v1/namespaces/nowhere-at-all/configmaps", 404, "NotFound",
        'namespaces "nowhere-at-all" not found', CONFIG,
    ),
    "no such object": Case("GET", CONFIGS + "/no", 404, "NotFound", 'configmaps "no" not found'),
    "nothing to delete": Case(
        "DELETE", DEPLOYMENTS + "/no", 404, "NotFound", 'deployments.apps "no" not found'
    ),
    "a change of nothing": Case(
        "PATCH", CONFIGS + "/no", 404, "NotFound", 'configmaps "no" not found',
        {}, "application/merge-patch+json",
    ),
    "a revision for a new object": Case(
        "POST", CONFIGS, 400, "BadRequest",
        "resourceVersion should not be set on objects to be created",
        {**CONFIG, "metadata": {"name": "c", "resourceVersion": "1"}},
    ),
    "no name": Case(
        "POST", CONFIGS, 422, "Invalid",
        r'ConfigMap "" is invalid: metadata\.name: Required value: '
        "name or generateName is required",
        {"metadata": {}}, causes=[("FieldValueRequired", "metadata.name")],
    ),
    "a name that is none": Case(
        "POST", CONFIGS, 422, "Invalid",
        r'ConfigMap "A_b" is invalid: metadata\.name: Invalid value: "A_b": ' + SUBDOMAIN,
        {"metadata": {"name": "A_b"}}, causes=[("FieldValueInvalid", "metadata.name")],
    ),
    "labels that are none": Case(
        "POST", CONFIGS, 422, "Invalid",
        r'ConfigMap "c" is invalid: \[?metadata\.labels: Invalid value: .+',
        {"metadata": {"name": "c", "labels": {"a": "not so", "-": "x"}}},
        causes=[("FieldValueInvalid", "metadata.labels")] * 2,
    ),
    "an annotation without limit": Case(
        "POST", CONFIGS, 422, "Invalid",
        r'ConfigMap "c" is invalid: metadata\.annotations: Too long: '
        r"(must have at most|may not be more than) 262144 bytes",
        {"metadata": {"name": "c", "annotations": {"a": "x" * 262_145}}},
        causes=[("FieldValueTooLong", "metadata.annotations")],
    ),
    "a label selector that is none": Case(
        "GET", CONFIGS + "?labelSelector=a+in+(", 400, "BadRequest",
        r"unable to parse requirement: .+",
    ),
    "a field selector that is none": Case(
        "GET", CONFIGS + "?fieldSelector=a", 400, "BadRequest",
        r"invalid selector: 'a'; can't understand 'a'",
    ),
    "a field nobody selects by": Case(
        "GET", CONFIGS + "?fieldSelector=data.a=b", 400, "BadRequest",
        r'"data\.a" is not a known field selector: '
        r'only "metadata\.name", "metadata\.namespace"',
    ),
    "a field of pods nobody selects by": Case(
        "GET", "/api/v1/pods?fieldSelector=spec.color=red", 400, "BadRequest",
        r"field label not supported: spec\.color",
    ),
    "a revision of the future": Case(
        "GET", f"{CONFIGS}?resourceVersion={FUTURE}", 504, "Timeout",
        rf"Timeout: Too large resource version: {FUTURE}, current: \d+",
        causes=[("ResourceVersionTooLarge", None)],
    ),
    "a revision that is none": Case(
        "GET", CONFIGS + "?resourceVersion=abc", 400, "BadRequest", r".*[Ii]nvalid.*"
    ),
    "a continuation that is none": Case(
        "GET", CONFIGS + "?continue=abc", 400, "BadRequest",
        r"(invalid continue token: )?continue key is not valid: .+",
    ),
    "an apply that names nobody": Case(
        "PATCH", CONFIGS + "/c", 422, "Invalid",
        r'PatchOptions\.meta\.k8s\.io "" is invalid: fieldManager: Required value: '
        "is required for apply patch",
        CONFIG, "application/apply-patch+yaml",
        causes=[("FieldValueRequired", "fieldManager")],
    ),
    "a dry run of another kind": Case(
        "POST", CONFIGS + "?dryRun=Some", 422, "Invalid",
        r'CreateOptions\.meta\.k8s\.io "" is invalid: dryRun: Unsupported value: .+',
        CONFIG, causes=[("FieldValueNotSupported", "dryRun")],
    ),
    "a field validation of another kind": Case(
        "POST", CONFIGS + "?fieldValidation=Some", 422, "Invalid",
        r'CreateOptions\.meta\.k8s\.io "" is invalid: fieldValidation: Unsupported value: .+',
        CONFIG, causes=[("FieldValueNotSupported", "fieldValidation")],
    ),
    "a propagation of another kind": Case(
        "DELETE", CONFIGS + "/c?propagationPolicy=Some", 422, "Invalid",
        r'DeleteOptions\.meta\.k8s\.io "" is invalid: propagationPolicy: .+',
    ),
    "an unknown field, asked to be strict": Case(
        "POST", CONFIGS + "?fieldValidation=Strict", 400, "BadRequest",
        r'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
        r'strict decoding error: unknown field "dat"',
        {**CONFIG, "dat": {}},
    ),
    "the same field twice, asked to be strict": Case(
        "POST", CONFIGS + "?fieldValidation=Strict", 400, "BadRequest",
        r'ConfigMap in version "v1" cannot be handled as a ConfigMap: '
        r'strict decoding error: duplicate field "data"',
        b'{"metadata": {"name": "c"}, "data": {}, "data": {}}',
    ),
    "a namespace that stays": Case(
        "DELETE", "/api/v1/namespaces/default", 403, "Forbidden",
        'namespaces "default" is forbidden: this namespace may not be deleted',
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_request_is_refused(api: Api, namespace: str, name: str) -> None:
    case = CASES[name]
    path = case.path.replace("{n}", namespace)
    said = api(case.method, path, case.body, case.media, case.headers)

    causes = case.causes
    if causes and causes[0][1] is None:  # causes without a field
        told = said["details"]["causes"]
        assert [c["reason"] for c in told] == [reason for reason, _ in causes]
        causes = None
    refused(said, case.code, case.reason, case.message, causes)


def pod(**spec: Any) -> Any:
    return {"spec": {"containers": [{"name": "m", "image": "i"}], **spec}}


def deployment(labels: Any, selector: Any, **spec: Any) -> Any:
    return {
        "metadata": {"name": "x"},
        "spec": {
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels}, **pod()},
            **spec,
        },
    }


INVALID = {
    "a pod without containers": (
        "/api/v1/namespaces/{n}/pods", {"spec": {"containers": []}}, "Pod",
        {"FieldValueRequired": "spec.containers"},
    ),
    "a container without image": (
        "/api/v1/namespaces/{n}/pods", {"spec": {"containers": [{"name": "m"}]}}, "Pod",
        {"FieldValueRequired": "spec.containers[0].image"},
    ),
    "a pod with a policy of its own": (
        "/api/v1/namespaces/{n}/pods", pod(restartPolicy="Perhaps"), "Pod",
        {"FieldValueNotSupported": "spec.restartPolicy"},
    ),
    "a deployment that selects others": (
        DEPLOYMENTS, deployment({"a": "b"}, {"a": "c"}), "Deployment.apps",
        {"FieldValueInvalid": "spec.template.metadata.labels"},
    ),
    "a deployment of fewer than none": (
        DEPLOYMENTS, deployment({"a": "b"}, {"a": "b"}, replicas=-1), "Deployment.apps",
        {"FieldValueInvalid": "spec.replicas"},
    ),
    "a service without ports": (
        "/api/v1/namespaces/{n}/services", {"spec": {"selector": {"a": "b"}}}, "Service",
        {"FieldValueRequired": "spec.ports"},
    ),
    "a service at no port": (
        "/api/v1/namespaces/{n}/services", {"spec": {"ports": [{"port": 70_000}]}}, "Service",
        {"FieldValueInvalid": "spec.ports[0].port"},
    ),
    "a secret of another type's shape": (
        "/api/v1/namespaces/{n}/secrets", {"type": "kubernetes.io/tls", "data": {}}, "Secret",
        {"FieldValueRequired": "data[tls.crt]"},
    ),
    "a key that is none": (
        CONFIGS, {"data": {"a/b": "c"}}, "ConfigMap", {"FieldValueInvalid": "data[a/b]"}
    ),
    "a binding to nothing": (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{n}/rolebindings",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": ""}},
        "RoleBinding.rbac.authorization.k8s.io", {"FieldValueRequired": "roleRef.name"},
    ),
    "a rule without verbs": (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{n}/roles",
        {"rules": [{"apiGroups": [""], "resources": ["pods"]}]},
        "Role.rbac.authorization.k8s.io", {"FieldValueRequired": "rules[0].verbs"},
    ),
    "a lease that lasts no time": (
        "/apis/coordination.k8s.io/v1/namespaces/{n}/leases",
        {"spec": {"leaseDurationSeconds": 0}}, "Lease.coordination.k8s.io",
        {"FieldValueInvalid": "spec.leaseDurationSeconds"},
    ),
    "a claim of nothing": (
        "/api/v1/namespaces/{n}/persistentvolumeclaims", {"spec": {"accessModes": []}},
        "PersistentVolumeClaim", {"FieldValueRequired": "spec.accessModes"},
    ),
    "a job that restarts always": (
        "/apis/batch/v1/namespaces/{n}/jobs",
        {"spec": {"template": pod(restartPolicy="Always")}}, "Job.batch",
        {"FieldValueRequired": "spec.template.spec.restartPolicy"},
    ),
    "an owner without uid": (
        CONFIGS,
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}},
        "ConfigMap", {"FieldValueInvalid": "metadata.ownerReferences.uid"},
    ),
    "an event of elsewhere": (
        "/api/v1/namespaces/{n}/events",
        {"involvedObject": {"kind": "Pod", "namespace": "elsewhere", "name": "p"}},
        "Event", {"FieldValueInvalid": "involvedObject.namespace"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", INVALID)
def test_a_built_in_object_is_judged(api: Api, namespace: str, name: str) -> None:
    path, body, kind, causes = INVALID[name]
    _account(api, namespace)
    metadata = {"name": "x", **body.get("metadata", {})}
    said = api("POST", path.replace("{n}", namespace), {**body, "metadata": metadata})

    refused(said, 422, "Invalid", rf'{kind} "x" is invalid: .+', name="x")
    told = {(c["reason"], c["field"]) for c in said["details"]["causes"]}
    assert set(causes.items()) <= told, told


CHANGES = {
    "the type of a secret": (
        "/api/v1/namespaces/{n}/secrets", {"type": "a", "data": {}}, {"type": "b"}, "type",
    ),
    "a config map that is done": (
        CONFIGS, {"data": {"a": "b"}, "immutable": True}, {"data": {"a": "c"}}, "data",
    ),
    "the mark that it is done": (
        CONFIGS, {"immutable": True}, {"immutable": False}, "immutable",
    ),
    "what a deployment selects": (
        DEPLOYMENTS, deployment({"a": "b", "c": "d"}, {"a": "b"}),
        {"spec": {"selector": {"matchLabels": {"c": "d"}}}}, "spec.selector",
    ),
    "what a binding gives": (
        "/apis/rbac.authorization.k8s.io/v1/namespaces/{n}/rolebindings",
        {"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}},
        {"roleRef": {"name": "b"}}, "roleRef",
    ),
    "the template of a job": (
        "/apis/batch/v1/namespaces/{n}/jobs",
        {"spec": {"template": pod(restartPolicy="Never")}},
        {"spec": {"template": {"spec": {"restartPolicy": "OnFailure"}}}}, "spec.template",
    ),
    "the address of a service": (
        "/api/v1/namespaces/{n}/services",
        {"spec": {"clusterIP": "None", "ports": [{"port": 80}]}},
        {"spec": {"clusterIP": "10.0.0.77", "clusterIPs": ["10.0.0.77"]}},
        "spec.clusterIPs[0]",
    ),
    "the containers of a pod": (
        "/api/v1/namespaces/{n}/pods", pod(), {"spec": {"restartPolicy": "Never"}}, "spec",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_change(api: Api, namespace: str, name: str) -> None:
    path, body, patch, field = CHANGES[name]
    collection = path.replace("{n}", namespace)
    _account(api, namespace)
    api.made(collection, {**body, "metadata": {"name": "x"}})

    said = api("PATCH", f"{collection}/x", patch, "application/merge-patch+json")

    assert said.code == 422, said
    assert said["reason"] == "Invalid"
    assert field in {cause["field"] for cause in said["details"]["causes"]}, said
    assert api("PATCH", f"{collection}/x", {"metadata": {"labels": {"a": "b"}}},
               "application/merge-patch+json").code == 200  # fmt: skip


def _account(api: Api, namespace: str) -> None:
    """The account that pods run as; a real cluster makes it, and admits no pod before."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    said = api("POST", path, {"metadata": {"name": "default"}})
    assert said.code in (201, 409)


def test_the_uid_and_the_revision_that_were_read(api: Api, namespace: str) -> None:
    path = CONFIGS.replace("{n}", namespace)
    first = api.made(path, CONFIG)
    second = api.patched(f"{path}/c", {"data": {"a": "b"}})
    modified = (
        r'Operation cannot be fulfilled on configmaps "c": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    refused(api("PUT", f"{path}/c", first), 409, "Conflict", modified, name="c", kind="configmaps")
    stale = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}}
    said = api("PATCH", f"{path}/c", stale, "application/merge-patch+json")
    refused(said, 409, "Conflict", modified)

    other = json.loads(json.dumps(second))
    other["metadata"]["uid"] = "1-2-3"
    said = api("PUT", f"{path}/c", other)
    refused(said, 409, "Conflict",
            r'Operation cannot be fulfilled on configmaps "c": (StorageError: .+ErrorMsg: )?'
            r"Precondition failed: UID in precondition: 1-2-3, UID in object meta: .+")  # fmt: skip
    said = api("DELETE", f"{path}/c", {"preconditions": {"uid": "1-2-3"}})
    refused(said, 409, "Conflict",
            r'Operation cannot be fulfilled on ConfigMap "c": the UID in the precondition '
            r"\(1-2-3\) does not match the UID in record \(.+\)\. "
            "The object might have been deleted and then recreated")  # fmt: skip
    said = api("DELETE", f"{path}/c", {"preconditions": {"resourceVersion": "1"}})
    refused(said, 409, "Conflict",
            r'Operation cannot be fulfilled on ConfigMap "c": the ResourceVersion in the '
            r"precondition \(1\) does not match the ResourceVersion in record \(\d+\)\. "
            "The object might have been modified")  # fmt: skip
    assert api("GET", f"{path}/c").body == second


@pytest.mark.parametrize("token", ["", "no-such-token", "a.b.c"])
def test_who_is_unknown(as_token: Callable[[str], Api], namespace: str, token: str) -> None:
    said: Answer = as_token(token)("GET", CONFIGS.replace("{n}", namespace))

    if token or said.code == 401:  # nobody may also be a stranger: anonymous access is optional
        refused(said, 401, "Unauthorized", "Unauthorized")
    else:
        refused(
            said, 403, "Forbidden",
            'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps" '
            f'in API group "" in the namespace "{namespace}"',
            kind="configmaps",
        )  # fmt: skip
    for path in ("/version", "/healthz", "/livez", "/readyz"):
        assert as_token("")("GET", path).code == 200


def test_a_group_that_is_not_served(api: Api) -> None:
    assert api("GET", "/apis/nothing.example.com/v1/things").code == 404
    assert api("GET", "/apis/nothing.example.com").code == 404
    assert api("GET", "/nothing").code == 404

"""What the agent of a cluster may do on the hub."""

import pytest

from towpath.apiserver import cluster_user
from towpath.apiserver.access.attributes import of_request
from towpath.apiserver.access.defaults import bindings, roles
from towpath.apiserver.access.rbac import BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, ROLES, Policy
from towpath.app.guests import welcome
from towpath.auth import Identity
from towpath.spec.kube import NAMESPACE, Kind
from towpath.testing import MemoryCluster

pytestmark = pytest.mark.anyio

GROUP = "rbac.authorization.k8s.io"
SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/{}/inferenceservices"


async def policy() -> Policy:
    found, hub = Policy(), MemoryCluster()
    await welcome(hub, ["edge-1", "edge-2"])
    await welcome(hub, ["edge-1"])
    for role in await hub.list(Kind(GROUP, "v1", "Role", "roles")):
        found.put(ROLES, dict(role))
    for binding in await hub.list(Kind(GROUP, "v1", "RoleBinding", "rolebindings")):
        found.put(BINDINGS, dict(binding))
    for default in roles():
        found.put(CLUSTER_ROLES, default)
    for default in bindings():
        found.put(CLUSTER_BINDINGS, default)
    assert {n["metadata"]["name"] for n in await hub.list(NAMESPACE)} >= {"edge-1", "edge-2"}
    return found


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/apis", True),
        ("GET", "/openapi/v3", True),
        ("POST", "/apis", False),
        ("GET", SERVICES.format("edge-1"), True),
        ("POST", SERVICES.format("edge-1"), True),
        ("PATCH", SERVICES.format("edge-1") + "/fraud/status", True),
        ("GET", "/apis/argoproj.io/v1alpha1/namespaces/edge-1/applications", True),
        ("PUT", "/api/v1/namespaces/edge-1/secrets/x", True),
        ("GET", "/api/v1/namespaces/edge-1", True),
        ("GET", SERVICES.format("edge-2"), False),
        ("GET", "/apis/serving.kserve.io/v1beta1/inferenceservices", False),
        ("DELETE", "/api/v1/namespaces/edge-1", False),
        ("PATCH", "/api/v1/namespaces/edge-1", False),
        ("PUT", "/api/v1/namespaces/edge-1/status", False),
        ("PUT", "/api/v1/namespaces/edge-1/finalize", False),
        ("GET", "/api/v1/namespaces/edge-2", False),
        ("GET", "/api/v1/namespaces", False),
        ("GET", "/api/v1/namespaces/edge-1/../edge-2/secrets/x", False),
        ("DELETE", "/api/v1/namespaces/edge-1/\t", False),
        ("POST", "/api/v1/namespaces/edge-1/namespaces", False),
        ("POST", "/api/v1/namespaces", False),
        ("POST", "/api/v1/namespaces/edge-1/serviceaccounts/x/token", False),
        ("POST", f"/apis/{GROUP}/v1/namespaces/edge-1/roles", False),
        ("POST", f"/apis/{GROUP}/v1/namespaces/edge-1/rolebindings", False),
        ("GET", f"/apis/{GROUP}/v1/namespaces/edge-1/roles", False),
        ("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", False),
        ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", False),
    ],
)
async def test_a_cluster_keeps_to_its_namespace(method: str, path: str, allowed: bool) -> None:
    groups = frozenset({"system:authenticated"})
    edge = Identity(cluster_user("edge-1"), groups)
    asked = of_request({"method": method, "path": path, "query_string": b""})
    assert (await policy()).decide(edge, asked).allowed is allowed


async def test_the_name_alone_is_nobody() -> None:
    asked = of_request({"method": "GET", "path": SERVICES.format("edge-1"), "query_string": b""})
    for user in ("edge-1", "system:cluster:", "system:cluster:edge-3"):
        assert not (await policy()).decide(Identity(user), asked).allowed

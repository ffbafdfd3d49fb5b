"""Who may do what, on a running server: over TLS, by plain HTTP and by kubectl."""

import contextlib
import json
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
import yaml

from towpath import apiserver, web
from towpath.auth import Identity, Tokens
from towpath.settings import Api

pytestmark = pytest.mark.anyio

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1"
AUTHENTICATION = "/apis/authentication.k8s.io/v1"
PODS = "/api/v1/namespaces/default/pods"
ACCOUNTS = "/api/v1/namespaces/default/serviceaccounts"
ISSUER = Api().issuer
USERS = {
    "admin": Identity("admin", frozenset({apiserver.ADMINISTRATORS})),
    "ada": Identity("ada", frozenset({"team"})),
    "bob": Identity("bob"),
}


@dataclass
class Cluster:
    """A running API."""

    url: str
    authority: str
    home: Path

    def http(self, token: str, **headers: str) -> httpx2.AsyncClient:
        given = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx2.AsyncClient(
            base_url=self.url,
            verify=ssl.create_default_context(cadata=self.authority),
            headers={**given, **headers},
            timeout=20,
            trust_env=False,
        )

    async def kubectl(self, token: str, *words: str, given: str = "", ok: bool = True) -> str:
        """What kubectl prints."""
        config = self.home / f"{token[:20]}.kubeconfig"
        apiserver.write_kubeconfig(
            config, apiserver.kubeconfig(self.url, self.authority, token, "test")
        )
        env = {"KUBECONFIG": str(config), "HOME": str(self.home), "PATH": os.environ["PATH"]}
        done = await anyio.run_process(
            ["kubectl", *words], input=given.encode(), check=False, env=env
        )
        told = (done.stdout + done.stderr).decode()
        assert (done.returncode == 0) is ok, told
        return told


@contextlib.asynccontextmanager
async def running(home: Path, settings: Api | None = None) -> AsyncIterator[Cluster]:
    certificate = apiserver.ensure(home / "tls")
    tokens = Tokens(USERS.items())
    async with apiserver.Store(home / "api.db") as store:
        server = apiserver.ApiServer(
            store, settings or Api(), known=[tokens], signing_key=home / "secrets/tokens.key"
        )
        sock = web.listen("127.0.0.1", 0)
        url = f"https://127.0.0.1:{sock.getsockname()[1]}"
        serve = partial(
            web.serve,
            server.guarded,
            sock,
            certificate=(str(certificate.chain), str(certificate.key)),
            drain=1,
            stopping=server.stop,
        )
        async with anyio.create_task_group() as tasks:
            await tasks.start(serve)
            yield Cluster(url, certificate.authority, home)
            tasks.cancel_scope.cancel()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(tmp_path) as found:
        yield found


@pytest.fixture
async def admin(cluster: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    async with cluster.http("admin") as found:
        yield found


@pytest.fixture
async def ada(cluster: Cluster) -> AsyncIterator[httpx2.AsyncClient]:
    async with cluster.http("ada") as found:
        yield found


def role(name: str, *rules: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "rules": list(rules)}


def rule(verbs: str, group: str, resources: str, **more: Any) -> dict[str, Any]:
    return {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), **more}


def binding(name: str, ref: str, *subjects: str) -> dict[str, Any]:
    kind, _, bound = ref.partition("/")
    return {
        "metadata": {"name": name},
        "roleRef": {"kind": kind, "name": bound},
        "subjects": [dict(zip(("kind", "name"), s.split("/"), strict=True)) for s in subjects],
    }


async def made(http: httpx2.AsyncClient, path: str, obj: Any) -> Any:
    answer = await http.post(path, json=obj)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def grant(admin: httpx2.AsyncClient, *rules: Any, where: str = "default") -> None:
    """Rules for ada, in a namespace or everywhere."""
    kind, at = ("Role", f"{RBAC}/namespaces/{where}/") if where else ("ClusterRole", f"{RBAC}/")
    low = kind.lower()
    await made(admin, f"{at}{low}s", role("given", *rules))
    await made(admin, f"{at}{low}bindings", binding("given", f"{kind}/given", "User/ada"))


async def account(admin: httpx2.AsyncClient, name: str = "bot", **spec: Any) -> str:
    """A token for a ServiceAccount, which is made when missing."""
    await admin.post(ACCOUNTS, json={"metadata": {"name": name}})
    answer = await made(admin, f"{ACCOUNTS}/{name}/token", {"spec": spec})
    return str(answer["status"]["token"])


async def test_without_credentials_only_health_and_version(cluster: Cluster) -> None:
    async with cluster.http("") as nobody:
        for path in ("/healthz", "/livez", "/readyz", "/version"):
            assert (await nobody.get(path)).status_code == 200
        for path in ("/", "/api", "/apis", PODS, "/openapi/v3", "/openid/v1/jwks", "/foo"):
            answer = await nobody.get(path)
            assert answer.status_code == 401, path
            assert answer.json()["message"] == answer.json()["reason"] == "Unauthorized"
        assert (await nobody.post("/version")).status_code == 401
    async with cluster.http("wrong") as wrong:
        assert (await wrong.get("/healthz")).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        (
            "GET",
            PODS,
            'pods is forbidden: User "bob" cannot list resource "pods" in API group "" '
            'in the namespace "default"',
        ),
        (
            "DELETE",
            f"{PODS}/x",
            'pods "x" is forbidden: User "bob" cannot delete resource "pods" in API group "" '
            'in the namespace "default"',
        ),
        (
            "GET",
            "/api/v1/namespaces",
            'namespaces is forbidden: User "bob" cannot list resource "namespaces" '
            'in API group "" at the cluster scope',
        ),
        (
            "GET",
            "/apis/apps/v1/namespaces/a/deployments/d/scale",
            'deployments.apps "d" is forbidden: User "bob" cannot get resource '
            '"deployments/scale" in API group "apps" in the namespace "a"',
        ),
        ("GET", "/foo", 'forbidden: User "bob" cannot get path "/foo"'),
        ("POST", "/apis", 'forbidden: User "bob" cannot post path "/apis"'),
    ],
)
async def test_a_refusal_says_what_kubernetes_says(
    cluster: Cluster, method: str, path: str, message: str
) -> None:
    async with cluster.http("bob") as bob:
        answer = await bob.request(method, path)
    assert answer.status_code == 403
    status = answer.json()
    assert (status["message"], status["reason"], status["code"]) == (message, "Forbidden", 403)
    if "resource" in message:
        assert status["details"]["kind"] in path


async def test_rights_come_and_go_at_once(
    admin: httpx2.AsyncClient, ada: httpx2.AsyncClient
) -> None:
    assert (await ada.get(PODS)).status_code == 403
    await grant(admin, rule("get list", "", "pods"))
    assert (await ada.get(PODS)).status_code == 200
    assert (await ada.get(f"{PODS}/x")).status_code == 404
    assert (await ada.get(PODS, params={"watch": "1"})).status_code == 403
    assert (await ada.get("/api/v1/pods")).status_code == 403
    assert (await ada.get(PODS.replace("default", "kube-system"))).status_code == 403
    path = f"{RBAC}/namespaces/default/rolebindings/given"
    assert (await admin.delete(path)).status_code == 200
    assert (await ada.get(PODS)).status_code == 403


async def test_a_name_counts_where_a_selector_leaves_one(
    admin: httpx2.AsyncClient, ada: httpx2.AsyncClient
) -> None:
    await grant(admin, rule("get list watch", "", "secrets", resourceNames=["mine"]))
    path = "/api/v1/namespaces/default/secrets"
    for name in ("mine", "other"):
        await made(admin, path, {"metadata": {"name": name}})
    found = await ada.get(path, params={"fieldSelector": "metadata.name=mine"})
    assert [s["metadata"]["name"] for s in found.json()["items"]] == ["mine"]
    assert (await ada.get(f"{path}/mine")).status_code == 200
    for query in (
        "",
        "fieldSelector=metadata.name=other",
        "fieldSelector=metadata.name!=mine",
        "fieldSelector=metadata.name=mine&fieldSelector=",
        "fieldSelector=metadata.namespace=default",
    ):
        answer = await ada.get(f"{path}?{query}")
        assert answer.status_code == 403, query
    twice = await ada.get(f"{path}?fieldSelector=&fieldSelector=metadata.name=mine")
    if twice.status_code == 200:
        assert [s["metadata"]["name"] for s in twice.json()["items"]] == ["mine"]


async def test_default_roles_are_there_and_come_back(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster, cluster.http("admin") as admin:
        view = (await admin.get(f"{RBAC}/clusterroles/view")).json()
        assert view["metadata"]["labels"]["kubernetes.io/bootstrapping"] == "rbac-defaults"
        annotations = view["metadata"]["annotations"]
        assert annotations == {"rbac.authorization.kubernetes.io/autoupdate": "true"}
        assert {"apiGroups", "resources", "verbs"} <= set(view["rules"][0])
        assert (await admin.delete(f"{RBAC}/clusterroles/system:discovery")).status_code == 200
        path = f"{RBAC}/clusterrolebindings/system:public-info-viewer"
        changed = {**(await admin.get(path)).json(), "subjects": []}
        assert (await admin.put(path, json=changed)).status_code == 200
        async with cluster.http("") as nobody:
            assert (await nobody.get("/version")).status_code == 403
        async with cluster.http("bob") as bob:
            refused = await bob.get("/api")
            assert refused.json()["message"].endswith(
                'RBAC: clusterrole.rbac.authorization.k8s.io "system:discovery" not found'
            )
    async with (
        running(tmp_path) as cluster,
        cluster.http("") as nobody,
        cluster.http("bob") as bob,
    ):
        assert (await nobody.get("/version")).status_code == 200
        assert (await bob.get("/api")).status_code == 200


async def test_gathering_roles_follow(admin: httpx2.AsyncClient, ada: httpx2.AsyncClient) -> None:
    bound = binding("v", "ClusterRole/view", "Group/team")
    await made(admin, f"{RBAC}/namespaces/default/rolebindings", bound)
    assert (await ada.get(PODS)).status_code == 200
    things = f"{REVIEWS}/selfsubjectaccessreviews"
    asked = {"namespace": "default", "verb": "list", "group": "x.io", "resource": "things"}

    async def may() -> bool:
        answer = await made(ada, things, {"spec": {"resourceAttributes": asked}})
        return bool(answer["status"]["allowed"])

    assert not await may()
    part = role("things", rule("list", "x.io", "things"))
    part["metadata"]["labels"] = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    await made(admin, f"{RBAC}/clusterroles", part)
    with anyio.fail_after(10):
        while not await may():
            await anyio.sleep(0.02)
    edit = (await admin.get(f"{RBAC}/clusterroles/edit")).json()
    assert rule("list", "x.io", "things") in edit["rules"]


async def test_more_than_can_be_gathered_keeps_no_server_from_starting(tmp_path: Path) -> None:
    label = {"rbac.authorization.k8s.io/aggregate-to-view": "true"}
    async with running(tmp_path) as cluster, cluster.http("admin") as admin:
        for index in range(2):
            names = [f"{index}-{number}-{'x' * 200}" for number in range(8500)]
            large = role(f"large-{index}", rule("get", "x.io", "things", resourceNames=names))
            large["metadata"]["labels"] = label
            await made(admin, f"{RBAC}/clusterroles", large)
    async with running(tmp_path) as cluster, cluster.http("admin") as admin:
        deleted = await admin.delete(f"{RBAC}/clusterroles/large-0")
        assert deleted.status_code == 200
        with anyio.fail_after(10):
            while True:
                view = (await admin.get(f"{RBAC}/clusterroles/view")).json()
                if any(found.get("resourceNames") for found in view["rules"]):
                    break
                await anyio.sleep(0.02)


async def test_nobody_gives_what_they_lack(
    admin: httpx2.AsyncClient, ada: httpx2.AsyncClient
) -> None:
    at = f"{RBAC}/namespaces/default"
    write = "create get update patch"
    group = "rbac.authorization.k8s.io"
    await grant(admin, rule(write, group, "roles rolebindings"), rule("get list", "", "pods"))
    fine = await ada.post(f"{at}/roles", json=role("fine", rule("get", "", "pods")))
    assert fine.status_code == 201
    refused = await ada.post(
        f"{at}/roles", json=role("more", rule("get delete", "", "pods secrets"))
    )
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "ada" (groups=["system:'
        'authenticated" "team"]) is attempting to grant RBAC permissions not currently held:\n'
        '{APIGroups:[""], Resources:["pods"], Verbs:["delete"]}\n'
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete"]}'
    )
    more = {"rules": [rule("*", "*", "*")]}
    for media in ("merge-patch", "strategic-merge-patch"):
        patched = await ada.patch(
            f"{at}/roles/fine", json=more, headers={"Content-Type": f"application/{media}+json"}
        )
        assert patched.status_code == 403
    applied = await ada.patch(
        f"{at}/roles/given?fieldManager=x&force=true",
        json={"apiVersion": f"{group}/v1", "kind": "Role", **role("given", rule("*", "*", "*"))},
        headers={"Content-Type": "application/apply-patch+yaml"},
    )
    assert applied.status_code == 403
    dry = await ada.post(f"{at}/roles?dryRun=All", json=role("more", rule("*", "*", "*")))
    assert dry.status_code == 403
    note = {"metadata": {"finalizers": ["example.com/x"]}}
    merge = {"Content-Type": "application/merge-patch+json"}
    await made(admin, f"{at}/roles", role("strong", rule("*", "*", "*")))
    assert (await ada.patch(f"{at}/roles/strong", json=note, headers=merge)).status_code == 200
    label = {"metadata": {"labels": {"a": "b"}}}
    assert (await ada.patch(f"{at}/roles/strong", json=label, headers=merge)).status_code == 403

    for ref, code in (
        ("Role/fine", 201),
        ("Role/strong", 403),
        ("ClusterRole/cluster-admin", 403),
        ("ClusterRole/nothing", 404),
    ):
        named = binding(ref.partition("/")[2], ref, "User/ada")
        answer = await ada.post(f"{at}/rolebindings", json=named)
        assert answer.status_code == code, answer.text
    assert (await ada.post(f"{RBAC}/clusterroles", json=role("x"))).status_code == 403

    allowed = rule("bind", group, "clusterroles", resourceNames=["cluster-admin"])
    changed = {**(await admin.get(f"{at}/roles/given")).json()}
    changed["rules"] = [*changed["rules"], allowed, rule("escalate", group, "roles")]
    assert (await admin.put(f"{at}/roles/given", json=changed)).status_code == 200
    named = binding("all", "ClusterRole/cluster-admin", "User/bob")
    assert (await ada.post(f"{at}/rolebindings", json=named)).status_code == 201
    assert (await ada.post(f"{at}/roles", json=role("z", rule("*", "*", "*")))).status_code == 201


async def test_who_may_change_may_not_make(
    admin: httpx2.AsyncClient, ada: httpx2.AsyncClient
) -> None:
    path = "/api/v1/namespaces/default/configmaps/c?fieldManager=x"
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
    apply = {"Content-Type": "application/apply-patch+yaml"}
    await grant(admin, rule("patch", "", "configmaps"))
    refused = await ada.patch(path, json=wanted, headers=apply)
    assert refused.status_code == 403
    assert 'cannot create resource "configmaps"' in refused.json()["message"]
    assert (await admin.patch(path, json=wanted, headers=apply)).status_code == 201
    assert (await ada.patch(path, json=wanted, headers=apply)).status_code == 200


async def test_an_aggregation_rule_needs_everything(
    admin: httpx2.AsyncClient, ada: httpx2.AsyncClient
) -> None:
    await grant(admin, rule("create", "rbac.authorization.k8s.io", "clusterroles"), where="")
    gathering = role("g") | {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {}}]}}
    refused = await ada.post(f"{RBAC}/clusterroles", json=gathering)
    assert refused.status_code == 403
    why = "must have cluster-admin privileges to use the aggregationRule"
    assert refused.json()["message"].endswith(f'"g" is forbidden: {why}')


@pytest.mark.parametrize(
    ("kind", "obj", "field", "message"),
    [
        ("roles", role("x", {"verbs": []}), "rules[0].verbs", "Required value"),
        (
            "roles",
            role("x", {"verbs": ["get"], "nonResourceURLs": ["/x"]}),
            "rules[0].nonResourceURLs",
            "namespaced rules cannot apply to non-resource URLs",
        ),
        ("roles", role("x", {"verbs": ["get"]}), "rules[0].apiGroups", "at least one api group"),
        ("rolebindings", binding("x", "Foo/y"), "roleRef.kind", 'supported values: "Role", "Cl'),
        ("rolebindings", binding("x", "Role/y", "Pet/z"), "subjects[0].kind", '"Group"'),
    ],
)
async def test_illegal_roles_are_422(
    admin: httpx2.AsyncClient, kind: str, obj: Any, field: str, message: str
) -> None:
    answer = await admin.post(f"{RBAC}/namespaces/default/{kind}", json=obj)
    assert answer.status_code == 422, answer.text
    causes = answer.json()["details"]["causes"]
    assert any(c["field"] == field and message in c["message"] for c in causes), causes


async def test_what_a_binding_binds_cannot_change(admin: httpx2.AsyncClient) -> None:
    at = f"{RBAC}/namespaces/default/rolebindings"
    first = await made(admin, at, binding("b", "ClusterRole/view", "User/ada"))
    assert first["roleRef"]["apiGroup"] == first["subjects"][0]["apiGroup"]
    changed = {**first, "roleRef": {**first["roleRef"], "name": "edit"}}
    answer = await admin.put(f"{at}/b", json=changed)
    assert answer.status_code == 422
    assert answer.json()["details"]["causes"][0]["message"] == (
        'Invalid value: rbac.RoleRef{APIGroup:"rbac.authorization.k8s.io", Kind:"ClusterRole", '
        'Name:"edit"}: cannot change roleRef'
    )


async def test_impersonation_needs_the_right_to_each_part(
    cluster: Cluster, admin: httpx2.AsyncClient
) -> None:
    who = f"{AUTHENTICATION}/selfsubjectreviews"

    async def asked(token: str, *headers: tuple[str, str]) -> httpx2.Response:
        async with cluster.http(token) as http:
            return await http.post(who, json={}, headers=list(headers))

    refused = await asked("ada", ("Impersonate-User", "bob"))
    assert refused.status_code == 403
    assert refused.json()["message"] == (
        'users "bob" is forbidden: User "ada" cannot impersonate resource "users" '
        'in API group "" at the cluster scope'
    )
    alone = await asked("ada", ("Impersonate-Group", apiserver.ADMINISTRATORS))
    assert alone.status_code == 400
    for header in ("Impersonate-Uid", "Impersonate-Extra-scopes", "Impersonate-Anything"):
        assert (await asked("ada", (header, "x"))).status_code == 400
    await grant(admin, rule("impersonate", "", "users", resourceNames=["bob"]), where="")
    found = (await asked("ada", ("Impersonate-User", "bob"))).json()["status"]["userInfo"]
    assert found == {"username": "bob", "groups": ["system:authenticated"]}
    for header, value in (
        ("Impersonate-Group", apiserver.ADMINISTRATORS),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-Scopes", "all"),
    ):
        answer = await asked("ada", ("Impersonate-User", "bob"), (header, value))
        assert answer.status_code == 403, header
    assert (await asked("ada", ("Impersonate-User", "admin"))).status_code == 403
    assert (await asked("", ("Impersonate-User", "bob"))).status_code == 401
    whole = await asked(
        "admin",
        ("Impersonate-User", "carl"),
        ("Impersonate-Group", "g1"),
        ("Impersonate-Group", "g2"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-acme.com%2Fscope", "a"),
        ("Impersonate-Extra-acme.com%2Fscope", "b"),
    )
    assert whole.json()["status"]["userInfo"] == {
        "username": "carl",
        "uid": "7",
        "groups": ["g1", "g2", "system:authenticated"],
        "extra": {"acme.com/scope": ["a", "b"]},
    }
    robot = ("Impersonate-User", "system:serviceaccount:default:bot")
    groups = (await asked("admin", robot)).json()["status"]["userInfo"]["groups"]
    assert groups == [
        "system:authenticated",
        "system:serviceaccounts",
        "system:serviceaccounts:default",
    ]
    nobody = await asked("admin", ("Impersonate-User", "system:anonymous"))
    assert nobody.status_code == 403
    lost = await cluster_get(cluster, "admin", PODS, ("Impersonate-User", "bob"))
    assert lost.status_code == 403


async def cluster_get(
    cluster: Cluster, token: str, path: str, *headers: tuple[str, str]
) -> httpx2.Response:
    async with cluster.http(token) as http:
        return await http.get(path, headers=list(headers))


async def test_two_credentials_are_none(cluster: Cluster) -> None:
    async with cluster.http("") as http:
        both = [("Authorization", "Bearer ada"), ("Authorization", "Bearer admin")]
        assert (await http.get("/api", headers=both)).status_code == 401


async def test_an_account_has_a_token_and_rights(
    cluster: Cluster, admin: httpx2.AsyncClient
) -> None:
    token = await account(admin)
    async with cluster.http(token) as bot:
        assert (await bot.get(PODS)).status_code == 403
        subject = {"kind": "ServiceAccount", "name": "bot"}
        bound = binding("b", "ClusterRole/view") | {"subjects": [subject]}
        await made(admin, f"{RBAC}/namespaces/default/rolebindings", bound)
        assert (await bot.get(PODS)).status_code == 200
        issuer = (await bot.get("/.well-known/openid-configuration")).json()
        assert issuer["issuer"] == ISSUER
        assert issuer["jwks_uri"] == f"{cluster.url}/openid/v1/jwks"
        assert (await bot.get("/openid/v1/jwks")).json()["keys"][0]["alg"] == "ES256"
        assert (await admin.delete(f"{ACCOUNTS}/bot")).status_code == 200
        assert (await bot.get(PODS)).status_code == 401
        await admin.post(ACCOUNTS, json={"metadata": {"name": "bot"}})
        assert (await bot.get(PODS)).status_code == 401
    async with cluster.http("ada") as ada:
        assert (await ada.get("/openid/v1/jwks")).status_code == 403


async def test_a_token_outlives_the_server_and_stays_there(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with running(tmp_path / "a") as one, one.http("admin") as admin:
        token = await account(admin)
    async with running(tmp_path / "a") as again, again.http(token) as bot:
        assert (await bot.get("/api")).status_code == 200
    async with running(tmp_path / "b") as other, other.http("admin") as admin:
        await account(admin)
        async with other.http(token) as bot:
            assert (await bot.get("/api")).status_code == 401


async def test_token_requests(cluster: Cluster, admin: httpx2.AsyncClient) -> None:
    await account(admin)
    path = f"{ACCOUNTS}/bot/token"
    pod = {"apiVersion": "v1", "kind": "Pod", "name": "box"}
    for spec, code, message in (
        ({"expirationSeconds": 599}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 2**32 + 1}, 422, "may not specify a duration larger than 2^32"),
        ({"boundObjectRef": pod}, 404, 'pods "box" not found'),
        ({"boundObjectRef": pod | {"kind": "Node"}}, 400, "cannot bind token to object of type"),
    ):
        answer = await admin.post(path, json={"spec": spec})
        assert answer.status_code == code, answer.text
        assert message in answer.json()["message"]
    assert (await admin.post(f"{ACCOUNTS}/gone/token", json={})).status_code == 404
    containers = [{"name": "c", "image": "i"}]
    for name, runs_as in (("box", "bot"), ("alien", "other")):
        spec = {"serviceAccountName": runs_as, "containers": containers}
        await made(admin, PODS, {"metadata": {"name": name}, "spec": spec})
    wrong = {"boundObjectRef": pod | {"name": "alien"}}
    assert (await admin.post(path, json={"spec": wrong})).status_code == 400
    stale = {"boundObjectRef": pod | {"uid": "x"}}
    assert (await admin.post(path, json={"spec": stale})).status_code == 409
    token = await account(admin, boundObjectRef=pod)
    async with cluster.http(token) as bot:
        assert (await bot.get("/api")).status_code == 200
        assert (await admin.delete(f"{PODS}/box")).status_code == 200
        assert (await bot.get("/api")).status_code == 401
    elsewhere = await account(admin, audiences=["vault"])
    async with cluster.http(elsewhere) as bot:
        assert (await bot.get("/api")).status_code == 401


async def test_a_long_token_is_cut(tmp_path: Path) -> None:
    settings = Api(token_seconds=1200)
    async with running(tmp_path, settings) as cluster, cluster.http("admin") as admin:
        await account(admin)
        spec = {"expirationSeconds": 86400}
        answer = await made(admin, f"{ACCOUNTS}/bot/token", {"spec": spec})
        assert answer["spec"]["expirationSeconds"] == 1200


async def test_token_reviews(admin: httpx2.AsyncClient, ada: httpx2.AsyncClient) -> None:
    path = f"{AUTHENTICATION}/tokenreviews"

    async def review(token: str, *audiences: str) -> Any:
        spec: dict[str, Any] = {"token": token}
        if audiences:
            spec["audiences"] = list(audiences)
        return (await made(admin, path, {"spec": spec}))["status"]

    assert await review("ada") == {
        "authenticated": True,
        "user": {"username": "ada", "groups": ["system:authenticated", "team"]},
        "audiences": [ISSUER],
    }
    assert "authenticated" not in await review("ada", "vault")
    assert (await review("nonsense"))["error"]
    vault = await account(admin, audiences=["vault"])
    assert "authenticated" not in await review(vault)
    found = await review(vault, "vault", "other")
    assert (found["authenticated"], found["audiences"]) == (True, ["vault"])
    assert found["user"]["username"] == "system:serviceaccount:default:bot"
    assert (await admin.post(path, json={"spec": {}})).status_code == 400
    assert (await ada.post(path, json={"spec": {"token": "admin"}})).status_code == 403


async def test_access_reviews(admin: httpx2.AsyncClient, ada: httpx2.AsyncClient) -> None:
    await grant(admin, rule("get list", "", "pods"))
    asked = {"namespace": "default", "verb": "get", "resource": "pods"}
    whole = f"{REVIEWS}/subjectaccessreviews"
    local = f"{REVIEWS}/namespaces/default/localsubjectaccessreviews"
    for path in (whole, local):
        spec = {"user": "ada", "resourceAttributes": asked}
        status = (await made(admin, path, {"spec": spec}))["status"]
        assert status == {
            "allowed": True,
            "reason": 'RBAC: allowed by RoleBinding "given/default" of Role "given" to User "ada"',
        }
        spec["user"] = "bob"
        assert (await made(admin, path, {"spec": spec}))["status"] == {"allowed": False}
    group = {"groups": ["system:masters"], "nonResourceAttributes": {"verb": "get", "path": "/x"}}
    assert (await made(admin, whole, {"spec": group}))["status"] == {"allowed": True}
    for path, spec in (
        (whole, {"user": "ada"}),
        (whole, {"resourceAttributes": asked}),
        (whole, {"user": "a", "resourceAttributes": asked, "nonResourceAttributes": {}}),
        (local, {"user": "a", "nonResourceAttributes": {"path": "/"}}),
        (local, {"user": "a", "resourceAttributes": {**asked, "namespace": "other"}}),
        (f"{REVIEWS}/selfsubjectaccessreviews", {}),
    ):
        answer = await admin.post(path, json={"spec": spec})
        assert answer.status_code == 422, answer.text
    assert (await ada.post(whole, json={"spec": {"user": "x"}})).status_code == 403
    rules = await made(
        ada, f"{REVIEWS}/selfsubjectrulesreviews", {"spec": {"namespace": "default"}}
    )
    assert rule("get list", "", "pods") in rules["status"]["resourceRules"]
    assert rules["status"]["incomplete"] is False
    empty = await ada.post(f"{REVIEWS}/selfsubjectrulesreviews", json={"spec": {}})
    assert empty.status_code == 400


async def test_kubectl_asks(cluster: Cluster, admin: httpx2.AsyncClient, kubectl: str) -> None:
    assert kubectl
    await grant(admin, rule("get list", "", "pods"))
    assert await cluster.kubectl("ada", "auth", "can-i", "list", "pods") == "yes\n"
    assert await cluster.kubectl("ada", "auth", "can-i", "delete", "pods", ok=False) == "no\n"
    assert await cluster.kubectl("admin", "auth", "can-i", "*", "*", "-A") == "yes\n"
    listed = await cluster.kubectl("ada", "auth", "can-i", "--list")
    assert "selfsubjectaccessreviews.authorization.k8s.io" in listed
    assert "pods" in listed
    told = json.loads(await cluster.kubectl("ada", "auth", "whoami", "-o", "json"))
    assert told["status"]["userInfo"]["username"] == "ada"
    refused = await cluster.kubectl("ada", "get", "secrets", ok=False)
    assert refused == (
        'Error from server (Forbidden): secrets is forbidden: User "ada" cannot list resource '
        '"secrets" in API group "" in the namespace "default"\n'
    )
    as_ada = ("--as", "ada", "--as-group", "team")
    assert await cluster.kubectl("admin", "auth", "can-i", "list", "pods", *as_ada) == "yes\n"
    as_bob = ("get", "pods", "--as", "bob")
    assert 'User "bob" cannot list' in await cluster.kubectl("admin", *as_bob, ok=False)


async def test_kubectl_creates_tokens_and_roles(cluster: Cluster, kubectl: str) -> None:
    assert kubectl
    await cluster.kubectl("admin", "create", "serviceaccount", "bot")
    short = ("create", "token", "bot", "--duration", "10m", "--audience", ISSUER)
    token = (await cluster.kubectl("admin", *short)).strip()
    told = await cluster.kubectl(token, "auth", "whoami")
    assert "system:serviceaccount:default:bot" in told
    refused = await cluster.kubectl("admin", "create", "token", "bot", "--duration", "1m", ok=False)
    assert "may not specify a duration less than 10 minutes" in refused
    words = "create rolebinding b --clusterrole=edit --serviceaccount=default:bot"
    await cluster.kubectl("admin", *words.split())
    assert await cluster.kubectl(token, "auth", "can-i", "create", "pods") == "yes\n"
    assert await cluster.kubectl(token, "create", "configmap", "c") == "configmap/c created\n"
    manifest = yaml.safe_dump_all(
        [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                **role("more", rule("get", "", "pods")),
            },
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                **binding("more", "ClusterRole/more", "User/bob"),
            },
        ]
    )
    again = ("auth", "reconcile", "-f", "-")
    first = await cluster.kubectl("admin", *again, given=manifest)
    assert "clusterrole.rbac.authorization.k8s.io/more reconciled" in first
    richer = manifest.replace("- get\n", "- get\n  - list\n")
    second = await cluster.kubectl("admin", *again, given=richer)
    assert "missing rules added" in second
    assert await cluster.kubectl("bob", "auth", "can-i", "list", "pods", "-A") == "yes\n"

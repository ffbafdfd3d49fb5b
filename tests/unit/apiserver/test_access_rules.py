"""What rules allow: the evaluator against tables, and against a slow one."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from towpath.apiserver.access import defaults
from towpath.apiserver.access.aggregation import gathered
from towpath.apiserver.access.attributes import Attributes, denial, of_request
from towpath.apiserver.access.rbac import (
    BINDINGS,
    CLUSTER_BINDINGS,
    CLUSTER_ROLES,
    GROUP,
    ROLES,
    Policy,
)
from towpath.apiserver.access.rules import EVERYTHING, Rule, compact, lacking, read
from towpath.auth import ANONYMOUS, Identity

PODS = Attributes("get", "", "v1", "pods", namespace="a", name="x")


def rule(**fields: Sequence[str]) -> Rule:
    (found,) = read([{key: list(value) for key, value in fields.items()}])
    return found


@pytest.mark.parametrize(
    ("fields", "asked", "allowed"),
    [
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}, PODS, True),
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, PODS, True),
        ({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"]}, PODS, False),
        ({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["pods"]}, PODS, False),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["services"]}, PODS, False),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]},
            PODS,
            True,
        ),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["y"]},
            PODS,
            False,
        ),
        (
            {"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "resourceNames": ["x"]},
            PODS._replace(verb="list", name=""),
            False,
        ),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]},
            PODS._replace(subresource="status"),
            False,
        ),
        (
            {"verbs": ["get"], "apiGroups": [""], "resources": ["pods/status"]},
            PODS._replace(subresource="status"),
            True,
        ),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/status"]}, PODS, False),
        (
            {"verbs": ["update"], "apiGroups": ["apps"], "resources": ["*/scale"]},
            Attributes("update", "apps", "v1", "deployments", "scale", "a", "x"),
            True,
        ),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["*/scale"]}, PODS, False),
        ({"verbs": ["get"], "apiGroups": [""], "resources": ["pods/*"]}, PODS, False),
        (
            {"verbs": ["get"], "nonResourceURLs": ["/metrics"]},
            Attributes("get", path="/metrics"),
            True,
        ),
        (
            {"verbs": ["get"], "nonResourceURLs": ["/logs/*"]},
            Attributes("get", path="/logs/a/b"),
            True,
        ),
        (
            {"verbs": ["get"], "nonResourceURLs": ["/logs/*"]},
            Attributes("get", path="/logs"),
            False,
        ),
        ({"verbs": ["get"], "nonResourceURLs": ["*"]}, Attributes("get", path="/x"), True),
        ({"verbs": ["get"], "nonResourceURLs": ["*"]}, PODS, False),
        (
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]},
            Attributes("get", path="/x"),
            False,
        ),
        (
            {"verbs": ["get"], "nonResourceURLs": ["/a"]},
            Attributes("post", path="/a"),
            False,
        ),
    ],
)
def test_a_rule(fields: dict[str, list[str]], asked: Attributes, allowed: bool) -> None:
    assert rule(**fields).allows(asked) is allowed


def scope(method: str, path: str, query: str = "") -> dict[str, Any]:
    return {"method": method, "path": path, "query_string": query.encode()}


@pytest.mark.parametrize(
    ("request_line", "wanted"),
    [
        ("GET /api/v1/namespaces/a/pods/x", PODS),
        ("HEAD /api/v1/namespaces/a/pods/x", PODS),
        ("GET /api/v1/namespaces/a/pods", PODS._replace(verb="list", name="")),
        ("GET /api/v1/pods?limit=5", Attributes("list", "", "v1", "pods")),
        ("GET /api/v1/pods?watch=true", Attributes("watch", "", "v1", "pods")),
        ("GET /api/v1/pods?watch=1", Attributes("watch", "", "v1", "pods")),
        ("GET /api/v1/pods?watch", Attributes("watch", "", "v1", "pods")),
        ("GET /api/v1/pods?watch=false", Attributes("list", "", "v1", "pods")),
        (
            "GET /api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx",
            PODS._replace(verb="list"),
        ),
        (
            "GET /api/v1/namespaces/a/pods?watch=1&fieldSelector=metadata.name%3D%3Dx,spec.x%3D1",
            PODS._replace(verb="watch"),
        ),
        (
            "GET /api/v1/namespaces/a/pods?fieldSelector=metadata.name!%3Dx",
            PODS._replace(verb="list", name=""),
        ),
        (  # the last one counts, as it does for what is listed
            "GET /api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx&fieldSelector=",
            PODS._replace(verb="list", name=""),
        ),
        (
            "GET /api/v1/namespaces/a/pods?fieldSelector=metadata.name%3D..",
            PODS._replace(verb="list", name=""),
        ),
        ("POST /api/v1/namespaces/a/pods", PODS._replace(verb="create", name="")),
        ("PUT /api/v1/namespaces/a/pods/x", PODS._replace(verb="update")),
        (
            "PATCH /api/v1/namespaces/a/pods/x/status",
            PODS._replace(verb="patch", subresource="status"),
        ),
        ("DELETE /api/v1/namespaces/a/pods/x", PODS._replace(verb="delete")),
        (
            "DELETE /api/v1/namespaces/a/pods?fieldSelector=metadata.name%3Dx",
            PODS._replace(verb="deletecollection", name=""),
        ),
        (
            "GET /api/v1/namespaces/a",
            Attributes("get", "", "v1", "namespaces", namespace="a", name="a"),
        ),
        (
            "PUT /api/v1/namespaces/a/status",
            Attributes("update", "", "v1", "namespaces", "status", "a", "a"),
        ),
        ("GET /api/v1/namespaces", Attributes("list", "", "v1", "namespaces")),
        (
            "GET /apis/apps/v1/namespaces/a/deployments",
            Attributes("list", "apps", "v1", "deployments", namespace="a"),
        ),
        ("GET /apis/apps/v1", Attributes("get", path="/apis/apps/v1")),
        ("GET /version", Attributes("get", path="/version")),
        ("POST /", Attributes("post", path="/")),
    ],
)
def test_what_a_request_asks(request_line: str, wanted: Attributes) -> None:
    method, _, url = request_line.partition(" ")
    path, _, query = url.partition("?")
    assert of_request(scope(method, path, query)) == wanted


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            PODS._replace(verb="list", name=""),
            'User "x" cannot list resource "pods" in API group "" in the namespace "a"',
        ),
        (
            Attributes("get", "apps", "v1", "deployments", "scale", name="d"),
            'User "x" cannot get resource "deployments/scale" in API group "apps" '
            "at the cluster scope",
        ),
        (Attributes("get", path="/foo"), 'User "x" cannot get path "/foo"'),
    ],
)
def test_a_denial_is_told_as_kubernetes_tells_it(asked: Attributes, told: str) -> None:
    assert denial("x", asked) == told


def role(name: str, *rules: Any, namespace: str = "", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "rules": list(rules), **more}


def binding(name: str, ref: str, *subjects: Any, namespace: str = "") -> dict[str, Any]:
    kind, _, bound = ref.partition("/")
    return {
        "metadata": {"name": name, "namespace": namespace},
        "roleRef": {"apiGroup": GROUP, "kind": kind, "name": bound},
        "subjects": list(subjects),
    }


READ_PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}
ADA = {"kind": "User", "name": "ada"}


def test_bindings_reach_their_subjects_and_no_further() -> None:
    policy = Policy()
    policy.put(CLUSTER_ROLES, role("reader", READ_PODS))
    policy.put(ROLES, role("reader", {**READ_PODS, "verbs": ["delete"]}, namespace="a"))
    policy.put(BINDINGS, binding("r", "ClusterRole/reader", ADA, namespace="a"))
    ada, bob = Identity("ada"), Identity("bob", frozenset({"team"}))
    assert policy.decide(ada, PODS).reason == (
        'RBAC: allowed by RoleBinding "r/a" of ClusterRole "reader" to User "ada"'
    )
    assert not policy.decide(ada, PODS._replace(namespace="b")).allowed
    assert not policy.decide(ada, PODS._replace(namespace="")).allowed
    assert not policy.decide(ada, PODS._replace(verb="delete")).allowed
    assert not policy.decide(bob, PODS).allowed
    policy.put(
        CLUSTER_BINDINGS, binding("all", "ClusterRole/reader", {"kind": "Group", "name": "team"})
    )
    assert policy.decide(bob, PODS._replace(namespace="")).allowed
    assert policy.decide(bob, PODS).reason == (
        'RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "reader" to Group "team"'
    )
    policy.put(BINDINGS, binding("r", "Role/reader", ADA, namespace="a"))
    assert policy.decide(ada, PODS._replace(verb="delete")).allowed
    assert not policy.decide(ada, PODS).allowed
    policy.drop(BINDINGS, "a", "r")
    assert not policy.decide(ada, PODS._replace(verb="delete")).allowed


def test_a_service_account_without_namespace_is_of_the_binding() -> None:
    policy = Policy()
    policy.put(CLUSTER_ROLES, role("reader", READ_PODS))
    account = {"kind": "ServiceAccount", "name": "bot"}
    policy.put(BINDINGS, binding("r", "ClusterRole/reader", account, namespace="a"))
    policy.put(CLUSTER_BINDINGS, binding("c", "ClusterRole/reader", account))
    assert policy.decide(Identity("system:serviceaccount:a:bot"), PODS).reason == (
        'RBAC: allowed by RoleBinding "r/a" of ClusterRole "reader" to ServiceAccount "bot/a"'
    )
    assert not policy.decide(Identity("system:serviceaccount:b:bot"), PODS).allowed
    assert not policy.decide(Identity("bot"), PODS).allowed


def test_a_role_that_is_not_there_is_named() -> None:
    policy = Policy()
    policy.put(CLUSTER_BINDINGS, binding("c", "ClusterRole/gone", ADA))
    decision = policy.decide(Identity("ada"), PODS)
    assert decision == (False, f'RBAC: clusterrole.{GROUP} "gone" not found')
    policy.put(CLUSTER_ROLES, role("gone", READ_PODS))
    assert policy.decide(Identity("ada"), PODS).allowed


NAMES = st.sampled_from(["", "a", "b", "*"])
WORDS = st.lists(st.sampled_from(["a", "b", "a/s", "*/s", "*", ""]), max_size=3)
RULES = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "verbs": WORDS,
            "apiGroups": WORDS,
            "resources": WORDS,
            "resourceNames": WORDS,
            "nonResourceURLs": st.lists(st.sampled_from(["/a", "/a/*", "*", "/b*"]), max_size=2),
        },
    ),
    max_size=3,
)
PLACES = st.sampled_from(["", "n", "m"])
SUBJECTS = st.lists(
    st.one_of(
        st.builds(lambda name: {"kind": "User", "name": name}, NAMES),
        st.builds(lambda name: {"kind": "Group", "name": name}, NAMES),
        st.builds(
            lambda name, place: {"kind": "ServiceAccount", "name": name, "namespace": place},
            NAMES,
            PLACES,
        ),
    ),
    max_size=3,
)
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("role"), PLACES, NAMES, RULES),
        st.tuples(
            st.just("binding"),
            PLACES,
            NAMES,
            st.tuples(st.sampled_from(["Role", "ClusterRole"]), NAMES, SUBJECTS),
        ),
        st.tuples(st.just("drop role"), PLACES, NAMES, st.none()),
        st.tuples(st.just("drop binding"), PLACES, NAMES, st.none()),
    ),
    max_size=12,
)
WHO = st.one_of(
    st.builds(Identity, NAMES, st.frozensets(NAMES, max_size=2)),
    st.builds(
        lambda place, name: Identity(f"system:serviceaccount:{place}:{name}"),
        st.sampled_from(["n", "m"]),
        NAMES,
    ),
)
WHAT = st.one_of(
    st.builds(
        Attributes,
        verb=NAMES,
        group=NAMES,
        resource=NAMES,
        subresource=st.sampled_from(["", "s"]),
        namespace=PLACES,
        name=NAMES,
    ),
    st.builds(Attributes, verb=NAMES, path=st.sampled_from(["/a", "/a/b", "/b", "/"])),
)


def naive(objects: dict[Any, Any], who: Identity, what: Attributes) -> bool:
    """The evaluator as one reads the documentation: every object, every time."""
    for (kind, place, _), obj in objects.items():
        if kind != "binding" or place not in ("", what.namespace):
            continue
        if place and what.path is not None:
            continue
        reference, name, subjects = obj
        if reference == "Role" and not place:
            continue
        rules = objects.get(("role", place if reference == "Role" else "", name), [])
        bound = any(naive_subject(s, place, who) for s in subjects)
        if bound and any(naive_rule(r, what) for r in rules):
            return True
    return False


def naive_subject(subject: Any, place: str, who: Identity) -> bool:
    if subject["kind"] == "User":
        return bool(subject["name"] == who.user)
    if subject["kind"] == "Group":
        return subject["name"] in who.groups
    within = subject["namespace"] or place
    return bool(within) and who.user == f"system:serviceaccount:{within}:{subject['name']}"


def naive_rule(rule: Any, what: Attributes) -> bool:
    if not {what.verb, "*"} & set(rule.get("verbs", [])):
        return False
    if what.path is not None:
        return any(
            url == what.path or (url.endswith("*") and what.path.startswith(url[:-1]))
            for url in rule.get("nonResourceURLs", [])
        )
    if not {what.group, "*"} & set(rule.get("apiGroups", [])):
        return False
    if rule.get("resourceNames") and what.name not in rule["resourceNames"]:
        return False
    wanted = {"*", what.resource + ("/" + what.subresource if what.subresource else "")}
    if what.subresource:
        wanted.add("*/" + what.subresource)
    return bool(wanted & set(rule.get("resources", [])))


@settings(max_examples=400, deadline=None)
@given(CHANGES, st.lists(st.tuples(WHO, WHAT), max_size=6))
def test_the_index_agrees_with_reading_everything(
    changes: list[Any], questions: list[tuple[Identity, Attributes]]
) -> None:
    policy, objects = Policy(), {}
    for kind, place, name, value in changes:
        thing = kind.removeprefix("drop ")
        key = {
            ("role", False): CLUSTER_ROLES,
            ("role", True): ROLES,
            ("binding", False): CLUSTER_BINDINGS,
            ("binding", True): BINDINGS,
        }[thing, bool(place)]
        if kind != thing:
            objects.pop((thing, place, name), None)
            policy.drop(key, place, name)
        elif thing == "role":
            objects[thing, place, name] = value
            policy.put(key, role(name, *value, namespace=place))
        else:
            objects[thing, place, name] = value
            made = binding(name, f"{value[0]}/{value[1]}", *value[2], namespace=place)
            policy.put(key, made)
        for who, what in questions:
            assert policy.decide(who, what).allowed is naive(objects, who, what)


@settings(max_examples=300, deadline=None)
@given(RULES, RULES, st.lists(WHAT, min_size=1, max_size=8))
def test_what_is_covered_is_allowed(held: Any, wanted: Any, asked: list[Attributes]) -> None:
    """Whoever may give rules away can do all that they allow."""
    own, given_away = read(held), read(wanted)
    if lacking(own, given_away):
        return
    for what in asked:
        if any(one.allows(what) for one in given_away):
            assert any(one.allows(what) for one in own)


def test_lacking_is_told_compactly() -> None:
    held = read([{"verbs": ["get"], "apiGroups": [""], "resources": ["pods", "*/status"]}])
    wanted = read(
        [
            {"verbs": ["get", "list", "watch"], "apiGroups": [""], "resources": ["pods"]},
            {"verbs": ["get"], "apiGroups": [""], "resources": ["services/status"]},
            {"verbs": ["get"], "nonResourceURLs": ["/x"]},
        ]
    )
    assert [str(part) for part in compact(lacking(held, wanted))] == [
        '{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}',
        '{NonResourceURLs:["/x"], Verbs:["get"]}',
    ]
    assert lacking(EVERYTHING, wanted) == []


def test_roles_gather_by_label_and_in_turn() -> None:
    def gathering(name: str, by: str, **labels: str) -> dict[str, Any]:
        selectors = [{"matchLabels": {"to": by}}]
        obj = role(name, aggregationRule={"clusterRoleSelectors": selectors})
        return {**obj, "metadata": {"name": name, "labels": labels}}

    part = {"metadata": {"name": "part", "labels": {"to": "view"}}, "rules": [READ_PODS]}
    roles = {
        "part": part,
        "edit": gathering("edit", "edit"),
        "view": gathering("view", "view", to="edit"),
    }
    assert gathered(roles) == {"edit": [READ_PODS], "view": [READ_PODS]}
    settled = {**roles, "edit": {**roles["edit"], "rules": [READ_PODS]}}
    settled["view"] = {**roles["view"], "rules": [READ_PODS]}
    assert gathered(settled) == {}
    assert gathered({**settled, "part": {**part, "rules": []}}) == {"edit": [], "view": []}


def test_defaults_are_completed_and_more_is_left() -> None:
    wanted = next(r for r in defaults.roles() if r["metadata"]["name"] == "system:basic-user")
    assert defaults.completed(wanted, wanted) is None
    own = {"verbs": ["get"], "apiGroups": [""], "resources": ["x"]}
    poorer = {**wanted, "rules": [own, *wanted["rules"][1:]]}
    new = defaults.completed(poorer, wanted)
    assert new is not None
    assert new["rules"] == [own, *wanted["rules"][1:], wanted["rules"][0]]
    kept = {
        **poorer,
        "metadata": {**wanted["metadata"], "annotations": {defaults.AUTOUPDATE: "false"}},
    }
    assert defaults.completed(kept, wanted) is None
    bound = next(b for b in defaults.bindings() if b["metadata"]["name"] == "system:discovery")
    more = {**bound, "subjects": [*bound["subjects"], ADA]}
    assert defaults.completed(more, bound) is None
    completed = defaults.completed({**bound, "subjects": [ADA]}, bound)
    assert completed is not None
    assert completed["subjects"] == [ADA, *bound["subjects"]]


def default_policy() -> Policy:
    policy = Policy()
    roles = {r["metadata"]["name"]: r for r in defaults.roles()}
    for name, rules in gathered(roles).items():
        roles[name] = {**roles[name], "rules": rules}
    for obj in roles.values():
        policy.put(CLUSTER_ROLES, obj)
    for obj in defaults.bindings():
        policy.put(CLUSTER_BINDINGS, obj)
    return policy


@pytest.mark.parametrize(
    ("who", "asked", "allowed"),
    [
        (ANONYMOUS, Attributes("get", path="/healthz"), True),
        (ANONYMOUS, Attributes("get", path="/api"), False),
        (Identity("x", frozenset({"system:authenticated"})), Attributes("get", path="/apis"), True),
        (Identity("x", frozenset({"system:authenticated"})), PODS, False),
        (
            Identity("x", frozenset({"system:authenticated"})),
            Attributes("create", "authorization.k8s.io", "v1", "selfsubjectaccessreviews"),
            True,
        ),
        (
            Identity("x", frozenset({"system:authenticated"})),
            Attributes("create", "authorization.k8s.io", "v1", "subjectaccessreviews"),
            False,
        ),
    ],
)
def test_the_default_rights(who: Identity, asked: Attributes, allowed: bool) -> None:
    assert default_policy().decide(who, asked).allowed is allowed


@pytest.mark.parametrize(
    ("name", "verb", "group", "resource", "allowed"),
    [
        ("view", "list", "", "pods", True),
        ("view", "list", "", "secrets", False),
        ("view", "list", "serving.kserve.io", "inferenceservices", True),
        ("view", "create", "serving.kserve.io", "inferenceservices", False),
        ("edit", "create", "serving.kserve.io", "inferenceservices", True),
        ("edit", "list", "argoproj.io", "applications", True),
        ("edit", "get", "", "secrets", True),
        ("edit", "create", GROUP, "rolebindings", False),
        ("admin", "create", GROUP, "rolebindings", True),
        ("admin", "create", "", "configmaps", True),
        ("admin", "delete", "", "namespaces", False),
        ("cluster-admin", "delete", "", "namespaces", True),
    ],
)
def test_the_roles_for_people(
    name: str, verb: str, group: str, resource: str, allowed: bool
) -> None:
    policy = default_policy()
    policy.put(BINDINGS, binding("b", f"ClusterRole/{name}", ADA, namespace="a"))
    asked = Attributes(verb, group, "v1", resource, namespace="a", name="a")
    assert policy.decide(Identity("ada"), asked).allowed is allowed

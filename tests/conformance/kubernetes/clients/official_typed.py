"""The typed half of the official Python client."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cases import World, claims, main, needs_controllers, no_error, refused, until
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

MERGE = "application/merge-patch+json"


def lease(name: str, **more: Any) -> dict[str, Any]:
    metadata = {"name": name, **more}
    return {"metadata": metadata, "spec": {"holderIdentity": "me", "leaseDurationSeconds": 5}}


def deployment(name: str, replicas: int = 0) -> dict[str, Any]:
    container = {"name": "main", "image": "registry.example/app:1"}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def bearer(token: str) -> client.Configuration:
    """How to reach the same server with that token instead."""
    settings = client.Configuration.get_default_copy()
    settings.api_key = {"authorization": f"Bearer {token}"}
    settings.cert_file = settings.key_file = settings.refresh_api_key_hook = None
    return settings


def case_verbs(w: World) -> None:
    made = w.core.create_namespaced_config_map(
        w.namespace,
        client.V1ConfigMap(metadata={"name": "c", "labels": {"a": "b"}}, data={"k": "v"}),
    )
    assert (made.kind, made.api_version) == ("ConfigMap", "v1")
    assert made.metadata.uid
    assert abs(datetime.now(UTC) - made.metadata.creation_timestamp) < timedelta(minutes=5)
    read = w.core.read_namespaced_config_map("c", w.namespace)
    assert read.to_dict() == made.to_dict()
    listed = w.core.list_namespaced_config_map(w.namespace, label_selector="a in (b,c),!d")
    assert [i.metadata.name for i in listed.items] == ["c"]
    assert listed.kind == "ConfigMapList"
    everywhere = w.core.list_config_map_for_all_namespaces(field_selector="metadata.name=c")
    assert w.namespace in {i.metadata.namespace for i in everywhere.items}
    read.data = {"k": "w"}
    replaced = w.core.replace_namespaced_config_map("c", w.namespace, read)
    assert int(replaced.metadata.resource_version) > int(made.metadata.resource_version)
    with refused(409, "Conflict", "the object has been modified"):
        w.core.replace_namespaced_config_map("c", w.namespace, read)
    patched = w.core.patch_namespaced_config_map("c", w.namespace, {"data": {"k": None, "x": "y"}})
    assert patched.data == {"x": "y"}
    patch = [{"op": "test", "path": "/data/x", "value": "y"},
             {"op": "add", "path": "/data/z", "value": "1"}]  # fmt: skip
    assert w.core.patch_namespaced_config_map("c", w.namespace, patch).data == {"x": "y", "z": "1"}
    with refused(422, "Invalid"):
        patch[0]["value"] = "other"
        w.core.patch_namespaced_config_map("c", w.namespace, patch)
    same = w.core.patch_namespaced_config_map("c", w.namespace, {"data": {"x": "y"}})
    again = w.core.patch_namespaced_config_map("c", w.namespace, {"data": {"x": "y"}})
    assert same.metadata.resource_version == again.metadata.resource_version
    gone = w.client.sanitize_for_serialization(
        w.core.delete_namespaced_config_map("c", w.namespace)
    )
    details = {"name": "c", "kind": "configmaps", "uid": made.metadata.uid}
    assert (gone["status"], gone["details"]) == ("Success", details)
    with refused(404, "NotFound", 'configmaps "c" not found') as refusal:
        w.core.read_namespaced_config_map("c", w.namespace)
    assert refusal.status["details"] == {"name": "c", "kind": "configmaps"}


def case_secrets(w: World) -> None:
    body = client.V1Secret(metadata={"name": "s"}, string_data={"a": "b"}, data={"c": "ZA=="})
    made = w.core.create_namespaced_secret(w.namespace, body)
    assert (made.data, made.string_data, made.type) == ({"a": "Yg==", "c": "ZA=="}, None, "Opaque")
    found = w.core.list_namespaced_secret(w.namespace, field_selector="type=Opaque")
    assert [i.metadata.name for i in found.items] == ["s"]


def case_generated_names(w: World) -> None:
    names = {
        w.core.create_namespaced_config_map(w.namespace, {"metadata": {"generateName": "g-"}})
        .metadata.name
        for _ in range(5)
    }  # fmt: skip
    assert len(names) == 5
    assert all(n.startswith("g-") and len(n) == 7 for n in names)


def case_dry_run(w: World) -> None:
    made = w.core.create_namespaced_config_map(
        w.namespace, {"metadata": {"name": "c"}}, dry_run="All"
    )
    assert made.metadata.uid
    assert not made.metadata.resource_version
    assert not no_error(w.core.read_namespaced_config_map, "c", w.namespace)
    real = w.core.create_namespaced_config_map(w.namespace, {"metadata": {"name": "c"}})
    with refused(409, "AlreadyExists"):
        w.core.create_namespaced_config_map(w.namespace, {"metadata": {"name": "c"}}, dry_run="All")
    tried = w.core.patch_namespaced_config_map(
        "c", w.namespace, {"data": {"a": "b"}}, dry_run="All"
    )
    assert tried.data == {"a": "b"}
    w.core.delete_namespaced_config_map("c", w.namespace, dry_run="All")
    assert w.core.read_namespaced_config_map("c", w.namespace).to_dict() == real.to_dict()


def case_pages_are_of_one_moment(w: World) -> None:
    for n in range(7):
        w.leases.create_namespaced_lease(w.namespace, lease(f"l{n}"))
    first = w.leases.list_namespaced_lease(w.namespace, limit=3)
    assert first.metadata.remaining_item_count == 4
    w.leases.create_namespaced_lease(w.namespace, lease("l3a"))
    w.leases.delete_namespaced_lease("l6", w.namespace)
    w.leases.patch_namespaced_lease("l5", w.namespace, {"spec": {"holderIdentity": "you"}})
    pages, page = [first], first
    while page.metadata._continue:
        page = w.leases.list_namespaced_lease(
            w.namespace, limit=3, _continue=page.metadata._continue
        )
        pages.append(page)
    assert [len(p.items) for p in pages] == [3, 3, 1]
    items = [i for p in pages for i in p.items]
    assert [i.metadata.name for i in items] == [f"l{n}" for n in range(7)]
    assert {i.spec.holder_identity for i in items} == {"me"}
    assert len({p.metadata.resource_version for p in pages}) == 1


def case_lists_of_a_revision(w: World) -> None:
    one = w.leases.create_namespaced_lease(w.namespace, lease("a"))
    then = w.leases.list_namespaced_lease(w.namespace).metadata.resource_version
    w.leases.create_namespaced_lease(w.namespace, lease("b"))
    w.leases.delete_namespaced_lease("a", w.namespace)

    def names(**more: str) -> list[str]:
        found = w.leases.list_namespaced_lease(w.namespace, **more).items
        return [i.metadata.name for i in found]

    assert names(resource_version=then, resource_version_match="Exact") == ["a"]
    assert names(resource_version=then, resource_version_match="NotOlderThan") == ["b"]
    assert names(resource_version=one.metadata.resource_version) == ["b"]
    assert names() == ["b"]
    with refused(422, "Invalid", "resourceVersionMatch is forbidden unless resourceVersion"):
        names(resource_version_match="Exact")


def case_a_watch(w: World) -> None:
    w.leases.create_namespaced_lease(w.namespace, lease("before"))
    listed = w.leases.list_namespaced_lease(w.namespace)
    w.leases.create_namespaced_lease(w.namespace, lease("a", labels={"on": "yes"}))
    w.leases.patch_namespaced_lease("a", w.namespace, {"spec": {"holderIdentity": "you"}})
    w.leases.patch_namespaced_lease("a", w.namespace, {"metadata": {"labels": {"on": "no"}}})
    w.leases.delete_namespaced_lease("a", w.namespace)

    def events(**more: Any) -> list[tuple[str, str]]:
        stream = watch.Watch().stream(
            w.leases.list_namespaced_lease, w.namespace, timeout_seconds=1, **more
        )
        return [(e["type"], e["object"].metadata.name) for e in stream]

    since = listed.metadata.resource_version
    changes = [("ADDED", "a"), ("MODIFIED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert events(resource_version=since) == changes
    labelled = events(resource_version=since, label_selector="on=yes")
    assert labelled == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert events(resource_version=since, field_selector="metadata.name=before") == []
    assert ("ADDED", "before") in events()


def case_a_watch_that_comes_too_late(w: World) -> None:
    """A bounded history: who asks for what is forgotten is told, and can begin anew."""
    w.leases.create_namespaced_lease(w.namespace, lease("a"))
    w.leases.create_namespaced_lease(w.namespace, lease("b"))
    page = w.leases.list_namespaced_lease(w.namespace, limit=1)

    def expired() -> bool:
        try:
            list(watch.Watch().stream(
                w.leases.list_namespaced_lease, w.namespace, resource_version="1", timeout_seconds=1
            ))  # fmt: skip
        except ApiException as error:
            return error.status == 410 and "too old resource version" in error.reason
        return False

    churned = 0
    while not expired():
        assert churned < 12_000, "no revision ever expires"
        for n in range(1500):
            w.leases.patch_namespaced_lease("a", w.namespace, {"spec": {"leaseTransitions": n}})
        churned += 1500
    if churned:  # a real server's store forgets after minutes only
        with refused(410, "Expired", "The provided continue parameter is too old") as refusal:
            w.leases.list_namespaced_lease(w.namespace, limit=1, _continue=page.metadata._continue)
        token = refusal.status["metadata"]["continue"]
        rest = w.leases.list_namespaced_lease(w.namespace, limit=1, _continue=token)
        assert [i.metadata.name for i in rest.items] == ["b"]


def case_finalizers(w: World) -> None:
    held = {"metadata": {"name": "c", "finalizers": ["example.com/held"]}}
    w.core.create_namespaced_config_map(w.namespace, held)
    w.core.delete_namespaced_config_map("c", w.namespace)
    found = w.core.read_namespaced_config_map("c", w.namespace)
    assert found.metadata.deletion_timestamp
    assert found.metadata.deletion_grace_period_seconds == 0
    with refused(422, "Invalid", "metadata.finalizers: Forbidden: no new finalizers can be added"):
        w.core.patch_namespaced_config_map(
            "c", w.namespace, {"metadata": {"finalizers": ["example.com/held", "example.com/more"]}}
        )
    found.metadata.finalizers = []
    w.core.replace_namespaced_config_map("c", w.namespace, found)
    assert not no_error(w.core.read_namespaced_config_map, "c", w.namespace)


def owned(w: World, owner: Any, name: str, block: bool = False) -> Any:
    reference = {
        "apiVersion": "v1", "kind": "ConfigMap", "name": owner.metadata.name,
        "uid": owner.metadata.uid, "blockOwnerDeletion": block,
    }  # fmt: skip
    body = {"metadata": {"name": name, "ownerReferences": [reference]}}
    return w.core.create_namespaced_config_map(w.namespace, body)


@needs_controllers
def case_garbage(w: World) -> None:
    """What becomes of the owned: it goes, it stays, or it goes first."""
    exists = w.core.read_namespaced_config_map
    for policy in ("Background", "Orphan"):
        owner = w.core.create_namespaced_config_map(w.namespace, {"metadata": {"name": "owner"}})
        owned(w, owner, policy.lower())
        w.core.delete_namespaced_config_map("owner", w.namespace, propagation_policy=policy)
        until(lambda: not no_error(exists, "owner", w.namespace))
    until(lambda: not no_error(exists, "background", w.namespace))
    assert exists("orphan", w.namespace).metadata.owner_references is None

    owner = w.core.create_namespaced_config_map(w.namespace, {"metadata": {"name": "owner"}})
    blocking = owned(w, owner, "blocking", block=True)
    held = {"metadata": {"finalizers": ["example.com/held"]}}
    w.core.patch_namespaced_config_map("blocking", w.namespace, held)
    owned(w, owner, "loose")
    w.core.delete_namespaced_config_map("owner", w.namespace, propagation_policy="Foreground")
    until(lambda: exists("blocking", w.namespace).metadata.deletion_timestamp)
    waiting = exists("owner", w.namespace)
    assert waiting.metadata.finalizers == ["foregroundDeletion"]
    assert waiting.metadata.deletion_timestamp
    w.core.patch_namespaced_config_map(
        "blocking", w.namespace, {"metadata": {"finalizers": None, "uid": blocking.metadata.uid}}
    )
    for name in ("blocking", "owner", "loose"):
        until(lambda name=name: not no_error(exists, name, w.namespace))


@needs_controllers
def case_an_owner_that_never_was(w: World) -> None:
    nobody = client.V1ConfigMap(metadata=client.V1ObjectMeta(name="nobody", uid="1-2-3"))
    owned(w, nobody, "orphan")
    until(lambda: not no_error(w.core.read_namespaced_config_map, "orphan", w.namespace))


def case_delete_collection(w: World) -> None:
    for n in range(4):
        w.leases.create_namespaced_lease(w.namespace, lease(f"l{n}", labels={"odd": str(n % 2)}))
    w.leases.delete_collection_namespaced_lease(w.namespace, label_selector="odd=1")
    left = w.leases.list_namespaced_lease(w.namespace).items
    assert [i.metadata.name for i in left] == ["l0", "l2"]


def case_deployments(w: World) -> None:
    made = w.apps.create_namespaced_deployment(w.namespace, deployment("web"))
    assert made.metadata.generation == 1
    assert (made.spec.replicas, made.spec.revision_history_limit) == (0, 10)
    assert made.spec.strategy.type == "RollingUpdate"
    assert made.spec.strategy.rolling_update.max_surge == "25%"
    pod = made.spec.template.spec
    assert (pod.restart_policy, pod.dns_policy) == ("Always", "ClusterFirst")
    assert pod.containers[0].image_pull_policy == "IfNotPresent"
    scale = w.apps.read_namespaced_deployment_scale("web", w.namespace)
    assert (scale.kind, scale.spec.replicas, scale.status.selector) == ("Scale", None, "app=web")
    w.apps.patch_namespaced_deployment_scale("web", w.namespace, {"spec": {"replicas": 2}})
    w.apps.patch_namespaced_deployment_scale("web", w.namespace, {"spec": {"replicas": 0}})
    image = {"name": "main", "image": "registry.example/app:2"}
    merged = w.apps.patch_namespaced_deployment(
        "web", w.namespace, {"spec": {"template": {"spec": {"containers": [image]}}}}
    )
    assert [c.image for c in merged.spec.template.spec.containers] == ["registry.example/app:2"]
    assert merged.metadata.generation == 4
    with refused(422, "Invalid", "field is immutable"):
        w.apps.patch_namespaced_deployment(
            "web", w.namespace, {"spec": {"selector": {"matchLabels": {"app": "other"}}}}
        )


def case_a_definition(w: World) -> None:
    w.define(subresources={"status": {}})
    things = (w.group, "v1", w.namespace, "things")
    w.custom.create_namespaced_custom_object(*things, w.thing("x", spec={"a": 1}))
    w.custom.patch_namespaced_custom_object_status(*things, "x", {"status": {"ok": True}})
    w.custom.patch_namespaced_custom_object(*things, "x", {"spec": {"b": [1]}})
    found = w.custom.get_namespaced_custom_object(*things, "x")
    assert (found["spec"], found["status"]) == ({"a": 1, "b": [1]}, {"ok": True})
    assert found["metadata"]["generation"] == 2
    found["spec"] = {"c": 3}
    replaced = w.custom.replace_namespaced_custom_object(*things, "x", found)
    assert (replaced["spec"], replaced["status"]) == ({"c": 3}, {"ok": True})
    del replaced["metadata"]["resourceVersion"]
    with refused(422, "Invalid", "metadata.resourceVersion: Invalid value: 0x0: must be specified"):
        w.custom.replace_namespaced_custom_object(*things, "x", replaced)
    assert len(w.custom.list_namespaced_custom_object(*things)["items"]) == 1
    w.extensions.delete_custom_resource_definition(f"things.{w.group}")
    until(lambda: not no_error(w.custom.list_namespaced_custom_object, *things))


def case_tokens(w: World) -> None:
    w.core.create_namespaced_service_account(w.namespace, {"metadata": {"name": "bob"}})
    body = {"spec": {"audiences": ["one", "two"], "expirationSeconds": 3600}}
    made = w.core.create_namespaced_service_account_token("bob", w.namespace, body)
    said, user = claims(made.status.token), f"system:serviceaccount:{w.namespace}:bob"
    assert (said["sub"], said["aud"]) == (user, ["one", "two"])
    assert said["exp"] - said["iat"] == 3600
    assert said["kubernetes.io"]["serviceaccount"]["name"] == "bob"
    assert made.status.expiration_timestamp.timestamp() == said["exp"]

    def review(token: str, *audiences: str) -> Any:
        spec = client.V1TokenReviewSpec(token=token, audiences=list(audiences) or None)
        return w.authentication.create_token_review(client.V1TokenReview(spec=spec)).status

    seen = review(made.status.token, "two", "three")
    assert (seen.authenticated, seen.audiences, seen.user.username) == (True, ["two"], user)
    assert set(seen.user.groups) >= {
        "system:serviceaccounts", f"system:serviceaccounts:{w.namespace}", "system:authenticated"
    }  # fmt: skip
    assert not review(made.status.token).authenticated
    assert not review("nonsense").authenticated
    with refused(422, "Invalid", "may not specify a duration less than 10 minutes"):
        w.core.create_namespaced_service_account_token(
            "bob", w.namespace, {"spec": {"expirationSeconds": 10}}
        )
    with refused(404, "NotFound", 'serviceaccounts "eve" not found'):
        w.core.create_namespaced_service_account_token("eve", w.namespace, {"spec": {}})
    token = w.core.create_namespaced_service_account_token("bob", w.namespace, {"spec": {}})
    assert review(token.status.token).authenticated
    w.core.delete_namespaced_service_account("bob", w.namespace)
    until(lambda: not review(token.status.token).authenticated)


def case_access(w: World) -> None:
    w.core.create_namespaced_service_account(w.namespace, {"metadata": {"name": "bob"}})
    token = w.core.create_namespaced_service_account_token("bob", w.namespace, {"spec": {}})
    settings = bearer(token.status.token)
    bob = client.CoreV1Api(client.ApiClient(settings))
    user = f"system:serviceaccount:{w.namespace}:bob"
    told = f'configmaps is forbidden: User "{user}" cannot list resource "configmaps" in API group'
    with refused(403, "Forbidden", f'{told} "" in the namespace "{w.namespace}"'):
        bob.list_namespaced_config_map(w.namespace)
    with refused(403, "Forbidden", f'{told} "" at the cluster scope'):
        bob.list_config_map_for_all_namespaces()

    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["s"], "verbs": ["get"]},
    ]
    w.rbac.create_namespaced_role(w.namespace, {"metadata": {"name": "r"}, "rules": rules})
    group = "rbac.authorization.k8s.io"
    w.rbac.create_namespaced_role_binding(w.namespace, {
        "metadata": {"name": "b"}, "roleRef": {"apiGroup": group, "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "bob", "namespace": w.namespace}],
    })  # fmt: skip
    until(lambda: no_error(bob.list_namespaced_config_map, w.namespace))
    with refused(404, "NotFound"):
        bob.read_namespaced_secret("s", w.namespace)
    with refused(403, "Forbidden", f'secrets "t" is forbidden: User "{user}" cannot get resource'):
        bob.read_namespaced_secret("t", w.namespace)
    with refused(403, "Forbidden", "cannot create resource"):
        bob.create_namespaced_config_map(w.namespace, {"metadata": {"name": "c"}})

    def asked(api: client.AuthorizationV1Api, verb: str, resource: str, name: str = "") -> Any:
        attributes = {"namespace": w.namespace, "verb": verb, "resource": resource, "name": name}
        body = {"spec": {"resourceAttributes": attributes}}
        return api.create_self_subject_access_review(body).status

    bobs = client.AuthorizationV1Api(client.ApiClient(settings))
    assert asked(bobs, "list", "configmaps").allowed
    assert asked(bobs, "list", "configmaps").reason.startswith("RBAC: allowed by RoleBinding")
    assert not asked(bobs, "delete", "configmaps").allowed
    assert asked(bobs, "get", "secrets", "s").allowed
    assert not asked(bobs, "get", "secrets").allowed
    assert asked(w.authorization, "delete", "anything").allowed
    attributes = {"namespace": w.namespace, "verb": "get", "resource": "configmaps"}
    spec = {"user": user, "resourceAttributes": attributes}
    assert w.authorization.create_subject_access_review({"spec": spec}).status.allowed
    local = w.authorization.create_namespaced_local_subject_access_review(w.namespace, {
        "metadata": {"namespace": w.namespace}, "spec": {**spec, "user": "eve"}})  # fmt: skip
    assert not local.status.allowed
    mine = bobs.create_self_subject_rules_review({"spec": {"namespace": w.namespace}}).status
    assert not mine.incomplete
    assert (["configmaps"], ["get", "list"]) in [
        (r.resources, r.verbs) for r in mine.resource_rules
    ]
    me = client.AuthenticationV1Api(client.ApiClient(settings)).create_self_subject_review({})
    assert me.status.user_info.username == user


def case_nobody_gives_what_he_has_not(w: World) -> None:
    """RBAC: who may write roles may not write more into them than they may do."""
    w.core.create_namespaced_service_account(w.namespace, {"metadata": {"name": "bob"}})
    group = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [group], "resources": ["roles", "rolebindings"],
              "verbs": ["create", "list"]},
             {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]  # fmt: skip
    w.rbac.create_namespaced_role(w.namespace, {"metadata": {"name": "r"}, "rules": rules})
    binding = {
        "metadata": {"name": "b"}, "roleRef": {"apiGroup": group, "kind": "Role", "name": "r"},
        "subjects": [{"kind": "ServiceAccount", "name": "bob", "namespace": w.namespace}],
    }  # fmt: skip
    w.rbac.create_namespaced_role_binding(w.namespace, binding)
    token = w.core.create_namespaced_service_account_token("bob", w.namespace, {"spec": {}})
    settings = bearer(token.status.token)
    bob = client.RbacAuthorizationV1Api(client.ApiClient(settings))
    until(lambda: no_error(bob.list_namespaced_role, w.namespace))
    small = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    bob.create_namespaced_role(w.namespace, {"metadata": {"name": "small"}, "rules": small})
    large = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]
    with refused(403, "Forbidden", "is attempting to grant RBAC permissions not currently held"):
        bob.create_namespaced_role(w.namespace, {"metadata": {"name": "large"}, "rules": large})
    with refused(403, "Forbidden", "is attempting to grant RBAC permissions not currently held"):
        binding["metadata"]["name"] = "all"
        binding["roleRef"] = {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"}
        bob.create_namespaced_role_binding(w.namespace, binding)


def case_events(w: World) -> None:
    reference = {"kind": "ConfigMap", "namespace": w.namespace, "name": "c", "uid": "1"}
    body = {"metadata": {"name": "c.1"}, "involvedObject": reference, "reason": "Looked",
            "message": "it is there", "type": "Normal"}  # fmt: skip
    w.core.create_namespaced_event(w.namespace, body)
    for selector, names in (("involvedObject.name=c,reason=Looked", ["c.1"]), ("type=Warning", [])):
        found = w.core.list_namespaced_event(w.namespace, field_selector=selector).items
        assert [i.metadata.name for i in found] == names


def case_discovery(w: World) -> None:
    groups = {g.name: g for g in client.ApisApi(w.client).get_api_versions().groups}
    for group in (
        "apps",
        "batch",
        "coordination.k8s.io",
        "rbac.authorization.k8s.io",
        "apiextensions.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
    ):
        assert group in groups  # fmt: skip
    assert groups["apps"].preferred_version.group_version == "apps/v1"
    resources = {r.name: r for r in w.core.get_api_resources().resources}
    assert {
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    } == set(resources["configmaps"].verbs)
    assert resources["serviceaccounts/token"].kind == "TokenRequest"
    assert resources["pods"].short_names == ["po"]
    scale = {r.name: r for r in w.apps.get_api_resources().resources}["deployments/scale"]
    assert (scale.kind, scale.group, scale.version) == ("Scale", "autoscaling", "v1")
    assert client.VersionApi(w.client).get_code().major == "1"


if __name__ == "__main__":
    main(globals())

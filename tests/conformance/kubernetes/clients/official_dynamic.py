"""The dynamic half of the official Python client: discovery, server-side apply, watches."""

from typing import Any

from cases import World, main, no_error, refused, until


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def managers(obj: Any) -> set[tuple[str, str, str]]:
    return {
        (e["manager"], e["operation"], e.get("subresource", ""))
        for e in obj.to_dict()["metadata"]["managedFields"]
    }


def case_discovery(w: World) -> None:
    w.define(subresources={"status": {}, "scale": {
        "specReplicasPath": ".spec.n", "statusReplicasPath": ".status.n"}})  # fmt: skip
    things = w.things()
    assert (things.name, things.namespaced, things.group_version) == (
        "things", True, f"{w.group}/v1"
    )  # fmt: skip
    assert set(things.subresources) == {"status", "scale"}
    found = w.dynamic.resources.search(kind="Deployment")
    assert [(r.group_version, r.name) for r in found] == [("apps/v1", "deployments")]
    assert w.dynamic.resources.get(kind="Event", api_version="v1").name == "events"
    assert w.dynamic.version["kubernetes"]["major"] == "1"


def case_verbs(w: World) -> None:
    api = w.dynamic.resources.get(api_version="v1", kind="ConfigMap")
    made = api.create(body=config_map("c", a="b"), namespace=w.namespace)
    assert made.kind == "ConfigMap"
    assert api.get(name="c", namespace=w.namespace).data.a == "b"
    listed = api.get(namespace=w.namespace, label_selector="no=such")
    assert (listed.kind, listed.items) == ("ConfigMapList", [])
    patches: list[tuple[str, Any, dict[str, str]]] = [
        ("application/strategic-merge-patch+json", {"data": {"x": "1"}}, {"a": "b", "x": "1"}),
        ("application/merge-patch+json", {"data": {"a": None}}, {"x": "1"}),
        ("application/json-patch+json",
         [{"op": "replace", "path": "/data", "value": {"z": "2"}}], {"z": "2"}),
    ]  # fmt: skip
    for kind, body, wanted in patches:
        said = api.patch(name="c", namespace=w.namespace, body=body, content_type=kind)
        assert said.to_dict()["data"] == wanted
    replaced = api.replace(body=config_map("c", only="this"), namespace=w.namespace)
    assert replaced.to_dict()["data"] == {"only": "this"}
    gone = api.delete(name="c", namespace=w.namespace)
    assert (gone.kind, gone.status) == ("Status", "Success")
    with refused(404, "NotFound"):
        api.get(name="c", namespace=w.namespace)


def case_a_watch(w: World) -> None:
    w.define()
    things = w.things()
    first = things.create(body=w.thing("x", spec={"n": 1}), namespace=w.namespace)
    since = first.metadata.resourceVersion
    things.patch(name="x", namespace=w.namespace, body={"spec": {"n": 2}},
                 content_type="application/merge-patch+json")  # fmt: skip
    things.delete(name="x", namespace=w.namespace)
    seen = [
        (e["type"], e["object"].spec.n)
        for e in things.watch(namespace=w.namespace, resource_version=since, timeout=2)
    ]
    assert seen == [("MODIFIED", 2), ("DELETED", 2)]


def apply(w: World, api: Any, body: Any, manager: str, **more: Any) -> Any:
    return w.dynamic.server_side_apply(
        api, body=body, namespace=w.namespace, field_manager=manager, **more
    )


def case_apply_owns_fields(w: World) -> None:
    api = w.dynamic.resources.get(api_version="v1", kind="ConfigMap")
    made = apply(w, api, config_map("c", a="1", b="2"), "one")
    assert managers(made) == {("one", "Apply", "")}
    shared = apply(w, api, config_map("c", b="2", c="3"), "two")
    assert shared.to_dict()["data"] == {"a": "1", "b": "2", "c": "3"}
    with refused(409, "Conflict") as refusal:
        apply(w, api, config_map("c", b="other"), "two")
    assert refusal.status["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.b'
    assert refusal.status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".data.b"}
    ]
    forced = apply(w, api, config_map("c", b="other"), "two", force_conflicts=True)
    # two no longer applies c, so it goes; b is two's alone
    assert forced.to_dict()["data"] == {"a": "1", "b": "other"}
    after = apply(w, api, config_map("c", a="1"), "one")
    assert after.to_dict()["data"] == {"a": "1", "b": "other"}
    nothing = apply(w, api, config_map("c"), "two")
    assert nothing.to_dict()["data"] == {"a": "1"}
    same = apply(w, api, config_map("c", a="1"), "one")
    assert same.metadata.resourceVersion == nothing.metadata.resourceVersion


def case_apply_and_update(w: World) -> None:
    api = w.dynamic.resources.get(api_version="v1", kind="ConfigMap")
    apply(w, api, config_map("c", a="1"), "one")
    api.patch(name="c", namespace=w.namespace, body={"data": {"a": "2", "b": "3"}},
              content_type="application/merge-patch+json", field_manager="hand")  # fmt: skip
    found = api.get(name="c", namespace=w.namespace)
    assert managers(found) == {("one", "Apply", ""), ("hand", "Update", "")} or managers(found) == {
        ("hand", "Update", "")
    }
    with refused(409, "Conflict", 'conflict with "hand" using v1: .data.a'):
        apply(w, api, config_map("c", a="1"), "one")
    forced = apply(w, api, config_map("c", a="1"), "one", force_conflicts=True)
    assert forced.to_dict()["data"] == {"a": "1", "b": "3"}
    with refused(400, "BadRequest", "metadata.managedFields must be nil"):
        body = config_map("c", a="1")
        body["metadata"]["managedFields"] = forced.to_dict()["metadata"]["managedFields"]
        apply(w, api, body, "one")


def case_apply_merges_lists_by_their_keys(w: World) -> None:
    api = w.dynamic.resources.get(api_version="v1", kind="Service")

    def service(**ports: int) -> dict[str, Any]:
        listed = [{"name": n, "port": p, "protocol": "TCP"} for n, p in ports.items()]
        spec = {"clusterIP": "None", "selector": {"a": "b"}, "ports": listed}
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": spec}

    apply(w, api, service(web=80, admin=81), "one")
    other = service(metrics=90)
    other["spec"] = {"ports": other["spec"]["ports"]}
    merged = apply(w, api, other, "two")
    assert {p.name for p in merged.spec.ports} == {"web", "admin", "metrics"}
    fewer = apply(w, api, service(web=80), "one")
    assert {p.name for p in fewer.spec.ports} == {"web", "metrics"}


SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "set": {"type": "array", "items": {"type": "string"},
                        "x-kubernetes-list-type": "set"},
                "map": {"type": "array", "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["k"],
                        "items": {"type": "object", "required": ["k"], "properties": {
                            "k": {"type": "string"}, "v": {"type": "integer"},
                            "w": {"type": "integer"}}}},
                "whole": {"type": "array", "items": {"type": "string"},
                          "x-kubernetes-list-type": "atomic"},
                "block": {"type": "object", "x-kubernetes-map-type": "atomic",
                          "additionalProperties": {"type": "string"}},
                "open": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        },
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}  # fmt: skip


def case_apply_follows_the_schema(w: World) -> None:
    w.define(SCHEMA, subresources={"status": {}})
    things = w.things()

    def set_by(manager: str, **spec: Any) -> dict[str, Any]:
        return apply(w, things, w.thing("x", spec=spec), manager).to_dict()["spec"]

    set_by("one", set=["a", "b"], map=[{"k": "a", "v": 1}], open={"a": "1"})
    both = set_by("two", set=["b", "c"], map=[{"k": "a", "w": 2}, {"k": "b"}], open={"b": "2"})
    assert sorted(both["set"]) == ["a", "b", "c"]
    assert both["map"] == [{"k": "a", "v": 1, "w": 2}, {"k": "b"}]
    assert both["open"] == {"a": "1", "b": "2"}
    less = set_by("one", set=["a"])
    assert sorted(less["set"]) == ["a", "b", "c"]  # b is two's as well
    assert less["map"] == [{"k": "a", "w": 2}, {"k": "b"}]
    assert less["open"] == {"b": "2"}
    set_by("three", whole=["x"], block={"a": "1"})
    for wholly in ({"whole": ["y"]}, {"block": {"b": "1"}}):
        with refused(409, "Conflict", 'conflict with "three"'):
            set_by("four", **wholly)


def case_apply_of_status(w: World) -> None:
    w.define(SCHEMA, subresources={"status": {}})
    things = w.things()
    apply(w, things, w.thing("x", spec={"open": {"a": "1"}}), "user")
    status = w.dynamic.server_side_apply(
        things.status, body=w.thing("x", status={"ready": True}, spec={"open": {"a": "9"}}),
        namespace=w.namespace, field_manager="controller",
    )  # fmt: skip
    found = status.to_dict()
    assert (found["spec"], found["status"]) == ({"open": {"a": "1"}}, {"ready": True})
    assert managers(status) == {("user", "Apply", ""), ("controller", "Apply", "status")}
    again = apply(w, things, w.thing("x", spec={"open": {"a": "2"}}), "user").to_dict()
    assert (again["spec"], again["status"]) == ({"open": {"a": "2"}}, {"ready": True})
    assert again["metadata"]["generation"] == 2


def case_apply_tried_only(w: World) -> None:
    api = w.dynamic.resources.get(api_version="v1", kind="ConfigMap")
    tried = apply(w, api, config_map("c", a="1"), "one", dry_run="All")
    assert tried.data.a == "1"
    assert not no_error(lambda: api.get(name="c", namespace=w.namespace))


def case_a_collection_goes(w: World) -> None:
    w.define()
    things = w.things()
    for name in ("a", "b", "c"):
        things.create(body=w.thing(name, metadata={"labels": {"keep": str(name == "c").lower()}}),
                      namespace=w.namespace)  # fmt: skip
    things.delete(namespace=w.namespace, label_selector="keep=false")
    until(lambda: [i.metadata.name for i in things.get(namespace=w.namespace).items] == ["c"])


if __name__ == "__main__":
    main(globals())

"""What clients rely on in the protocol and no client shows: media types, watches, managers."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from tests.conformance.kubernetes.conftest import Api, eventually, refused

Define = Callable[..., str]


@pytest.fixture
def configs(namespace: str) -> str:
    """Where the namespace's config maps are."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


def config(name: str, **labels: str) -> Any:
    return {"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}


def accepting(api: Api, path: str, media: str) -> Any:
    said = api("GET", path, headers={"Accept": media})
    assert said.code == 200, said
    return said


def test_answers_in_yaml(api: Api, configs: str) -> None:
    made = api.made(configs, config("c"))
    said = accepting(api, f"{configs}/c", "application/yaml")
    assert said.headers["content-type"].startswith("application/yaml")
    assert yaml.safe_load(said.body)["metadata"]["uid"] == made["metadata"]["uid"]


def test_the_first_media_type_that_can_be_met(api: Api, configs: str) -> None:
    """kubectl asks for tables, others for protobuf or aggregated discovery, all with a way out."""
    table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
    rows = accepting(api, configs, table).body
    assert (rows["kind"], rows["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    for never in ("application/json;as=Nothing;v=v1;g=meta.k8s.io", "application/x-unknown"):
        assert accepting(api, configs, f"{never},application/json")["kind"] == "ConfigMapList"
    for either in ("*/*", "application/*", ""):
        assert accepting(api, configs, either)["kind"] == "ConfigMapList"


def test_metadata_only(api: Api, configs: str) -> None:
    api.made(configs, config("c"))
    only = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    one = accepting(api, f"{configs}/c", only).body
    assert (one["kind"], one["apiVersion"]) == ("PartialObjectMetadata", "meta.k8s.io/v1")
    assert (one["metadata"]["name"], "data" in one) == ("c", False)
    every = accepting(
        api, configs, "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    ).body
    assert every["kind"] == "PartialObjectMetadataList"
    assert "c" in {i["metadata"]["name"] for i in every["items"]}


def test_rows_hold_what_is_asked_for(api: Api, configs: str) -> None:
    api.made(configs, config("c"))
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    for include, kind in (
        ("", "PartialObjectMetadata"), ("Object", "ConfigMap"), ("None", None)
    ):  # fmt: skip
        path = f"{configs}/c" + (f"?includeObject={include}" if include else "")
        rows = accepting(api, path, table).body
        held = rows["rows"][0].get("object")
        assert (held["kind"] if held else None) == kind
        assert [c["name"] for c in rows["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert rows["rows"][0]["cells"][:2] == ["c", 1]


def test_a_watch_that_begins_with_what_is_there(api: Api, configs: str) -> None:
    """A streaming list: all there is, then a bookmark that says so, then changes."""
    for name in ("a", "b"):
        api.made(configs, config(name, on="yes"))
    events = api.watched(
        configs, sendInitialEvents="true", resourceVersionMatch="NotOlderThan",
        allowWatchBookmarks="true", labelSelector="on=yes",
    )  # fmt: skip
    assert [e["type"] for e in events[:3]] == ["ADDED", "ADDED", "BOOKMARK"]
    mark = events[2]["object"]
    assert mark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert (mark["kind"], mark["apiVersion"]) == ("ConfigMap", "v1")
    assert int(mark["metadata"]["resourceVersion"]) > 0
    wrong = api("GET", configs, watch="1", sendInitialEvents="true", timeoutSeconds=1)
    refused_options(wrong, "sendInitialEvents requires setting resourceVersionMatch")


def refused_options(said: Any, why: str) -> None:
    body = json.loads(said.body) if isinstance(said.body, str) else said.body
    assert (said.code, body["reason"]) == (422, "Invalid"), said
    assert body["message"].startswith('ListOptions.meta.k8s.io "" is invalid: ')
    assert why in body["message"]


def test_a_watch_of_one_object(api: Api, configs: str) -> None:
    since = api.made(configs, config("a"))["metadata"]["resourceVersion"]
    api.made(configs, config("b"))
    api.patched(f"{configs}/a", {"data": {"a": "2"}})
    by_name = api.watched(configs, resourceVersion=since, fieldSelector="metadata.name=a")
    assert [(e["type"], e["object"]["data"]) for e in by_name] == [("MODIFIED", {"a": "2"})]


def test_revisions_are_of_the_whole_store(api: Api, configs: str, namespace: str) -> None:
    first = api.made(configs, config("a"))
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    second = api.made(secrets, {"metadata": {"name": "s"}})
    revisions = [int(o["metadata"]["resourceVersion"]) for o in (first, second)]
    assert revisions[0] < revisions[1] <= int(api.got(configs)["metadata"]["resourceVersion"])


def test_the_writer_is_named(api: Api, configs: str) -> None:
    said = api("POST", configs, config("a"), headers={"User-Agent": "gardener/1.2 (linux)"})
    api.made(configs, config("b"), fieldManager="someone")
    named = [
        obj["metadata"]["managedFields"][0]["manager"]
        for obj in (said.body, api.got(f"{configs}/b"))
    ]
    assert named == ["gardener", "someone"]
    entry = said["metadata"]["managedFields"][0]
    assert (entry["operation"], entry["apiVersion"], entry["fieldsType"]) == (
        "Update", "v1", "FieldsV1",
    )  # fmt: skip
    assert "f:a" in entry["fieldsV1"]["f:data"]
    long = api("POST", configs, config("c"), fieldManager="x" * 129)
    refused(long, 422, "Invalid", r".*fieldManager: (Invalid value|Too long): .+")


def test_what_the_server_alone_writes(api: Api, configs: str) -> None:
    body = config("a")
    body["metadata"] |= {
        "uid": "mine", "generation": 7, "creationTimestamp": "2001-01-01T00:00:00Z",
        "selfLink": "/x", "deletionTimestamp": "2001-01-01T00:00:00Z",
    }  # fmt: skip
    made = api.made(configs, body)["metadata"]
    assert made["uid"] != "mine"
    assert not made["creationTimestamp"].startswith("2001")
    assert not {"deletionTimestamp", "selfLink"} & made.keys()
    changed = api.patched(f"{configs}/a", {"metadata": {"creationTimestamp": None}})
    assert changed["metadata"]["creationTimestamp"] == made["creationTimestamp"]


def test_a_put_creates_nothing(api: Api, configs: str) -> None:
    refused(api("PUT", f"{configs}/a", config("a")), 404, "NotFound", 'configmaps "a" not found')


def test_a_put_without_a_revision(api: Api, configs: str) -> None:
    api.made(configs, config("a"))
    said = api("PUT", f"{configs}/a", {**config("a"), "data": {"b": "2"}})
    assert (said.code, said["data"]) == (200, {"b": "2"})


def test_deletion_answers(api: Api, configs: str, define: Define, group: str) -> None:
    made = api.made(configs, config("a"))
    gone = api("DELETE", f"{configs}/a").body
    assert gone["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    things = define()
    thing = {"apiVersion": f"{group}/v1", "kind": "Thing",
             "metadata": {"name": "x", "finalizers": ["example.com/held"]}}  # fmt: skip
    api.made(things, thing)
    going = api("DELETE", f"{things}/x")
    assert (going.code, going["kind"]) == (200, "Thing")
    assert "deletionTimestamp" in going["metadata"]
    again = api("DELETE", f"{things}/x")
    assert going["metadata"]["deletionTimestamp"] == again["metadata"]["deletionTimestamp"]
    api.patched(f"{things}/x", {"metadata": {"finalizers": []}})
    assert api("GET", f"{things}/x").code == 404


def test_a_namespaces_own_status(api: Api, namespace: str) -> None:
    found = api.got(f"/api/v1/namespaces/{namespace}")
    assert (found["spec"], found["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})
    assert found["metadata"]["labels"] == {"kubernetes.io/metadata.name": namespace}


def test_selectors(api: Api, configs: str) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2", "y": "1"}), ("c", {"z": ""})):
        api.made(configs, config(name, **labels))
    for selector, names in (
        ("x", "ab"), ("!x,z", "c"), ("x=1", "a"), ("x==2", "b"), ("x!=1,x", "b"),
        ("x in (1,2)", "ab"), ("x notin (1),x", "b"), ("y,x", "b"), ("z=", "c"), ("x>1", "b"),
        ("x<2", "a"),
    ):  # fmt: skip
        found = api.got(configs, labelSelector=selector)["items"]
        assert "".join(i["metadata"]["name"] for i in found) == names, selector
    fields = api.got(configs, fieldSelector="metadata.name!=a,metadata.name!=b", labelSelector="z")
    assert [i["metadata"]["name"] for i in fields["items"]] == ["c"]


def test_fields_of_a_kind_that_select(api: Api, define: Define, group: str) -> None:
    schema = {"type": "object", "properties": {
        "spec": {"type": "object", "properties": {"color": {"type": "string"}}}}}  # fmt: skip
    things = define(schema, selectableFields=[{"jsonPath": ".spec.color"}])
    for name, color in (("a", "red"), ("b", "blue")):
        api.made(things, {"apiVersion": f"{group}/v1", "kind": "Thing",
                          "metadata": {"name": name}, "spec": {"color": color}})  # fmt: skip
    found = api.got(things, fieldSelector="spec.color=red")["items"]
    assert [i["metadata"]["name"] for i in found] == ["a"]
    said = api("GET", things, fieldSelector="spec.size=1")
    refused(said, 400, "BadRequest", r"field label not supported: spec\.size")


@pytest.mark.needs_controllers
def test_a_role_made_of_others(api: Api, namespace: str) -> None:
    """A ClusterRole with an aggregationRule gets the rules of those it selects."""
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    names = [f"{namespace}-sum", f"{namespace}-part"]
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    try:
        selectors = [{"matchLabels": {"of": namespace}}]
        api.made(roles, {"metadata": {"name": names[0]},
                         "aggregationRule": {"clusterRoleSelectors": selectors}})  # fmt: skip
        api.made(roles, {"metadata": {"name": names[1], "labels": {"of": namespace}},
                         "rules": [rule]})  # fmt: skip
        eventually(lambda: api.got(f"{roles}/{names[0]}").get("rules") == [rule])
    finally:
        for name in names:
            api("DELETE", f"{roles}/{name}")


def test_roles_that_every_cluster_has(api: Api) -> None:
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    for name in ("cluster-admin", "admin", "edit", "view", "system:discovery"):
        assert api("GET", f"{roles}/{name}").code == 200, name


@pytest.mark.differs("discovery")
def test_aggregated_discovery(api: Api) -> None:
    media = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    assert accepting(api, "/apis", f"{media},application/json")["kind"] == "APIGroupDiscoveryList"

"""Writing through the embedded API: unknown fields, patches, server-side apply, scale."""

from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.anyio

CONFIGS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.org/v1/namespaces/default/widgets"
MERGE = {"Content-Type": "application/merge-patch+json"}
JSON_PATCH = {"Content-Type": "application/json-patch+json"}
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
APPLY = {"Content-Type": "application/apply-patch+yaml"}
PARSING = "strconv.ParseUint: parsing"


def config(name: str = "c", **data: str) -> Any:
    return {"metadata": {"name": name}, "data": data}


def deployment(name: str = "web", replicas: int = 1) -> Any:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "a:1"}]},
            },
        },
    }


def definition(**spec: Any) -> Any:
    schema = {"type": "object", "properties": {"spec": {"type": "object", **spec}}}
    return {
        "metadata": {"name": "widgets.example.org"},
        "spec": {
            "group": "example.org",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {
                        "status": {},
                        "scale": {
                            "specReplicasPath": ".spec.size",
                            "statusReplicasPath": ".status.size",
                        },
                    },
                }
            ],
        },
    }


def widget(name: str = "w", **spec: Any) -> Any:
    return {
        "apiVersion": "example.org/v1",
        "kind": "Widget",
        "metadata": {"name": name},
        "spec": spec,
    }


async def made(http: httpx2.AsyncClient, path: str, obj: Any) -> Any:
    answer = await http.post(path, json=obj)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def test_fields_that_are_unknown_are_told_and_dropped(http: httpx2.AsyncClient) -> None:
    body = {**config("a"), "other": 1}
    answer = await http.post(CONFIGS, json=body)
    assert answer.status_code == 201
    assert answer.headers["warning"] == '299 - "unknown field \\"other\\""'
    assert "other" not in answer.json()
    quiet = await http.post(CONFIGS, params={"fieldValidation": "Ignore"}, json=config("b") | body)
    assert "warning" not in quiet.headers
    strict = {"fieldValidation": "Strict"}
    refused = await http.post(CONFIGS, params=strict, json={**body, "metadata": {"name": "x"}})
    assert refused.status_code == 400
    assert refused.json()["message"] == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: '
        'unknown field "other"'
    )
    patched = await http.patch(f"{CONFIGS}/a", params=strict, json={"other": 1}, headers=MERGE)
    assert patched.status_code == 422
    assert 'strict decoding error: unknown field "other"' in patched.json()["message"]
    applied = await http.patch(
        f"{CONFIGS}/a", params={"fieldManager": "m"}, json={"other": 1}, headers=APPLY
    )
    assert applied.status_code == 400
    assert ".other: field not declared in schema" in applied.json()["message"]
    wrong = await http.post(CONFIGS, params={"fieldValidation": "x"}, json=config())
    assert wrong.status_code == 422
    assert wrong.json()["message"] == (
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "x": '
        'supported values: "", "Ignore", "Strict", "Warn"'
    )


async def test_unknown_fields_of_custom_kinds(http: httpx2.AsyncClient) -> None:
    await made(http, DEFINITIONS, definition(properties={"size": {"type": "integer"}}))
    answer = await http.post(WIDGETS, json=widget(size=1, colour="red"))
    assert answer.headers["warning"] == '299 - "unknown field \\"spec.colour\\""'
    assert answer.json()["spec"] == {"size": 1}
    body = widget("v", size=1, colour="red", shape="x")
    body["metadata"]["other"] = 1
    refused = await http.post(WIDGETS, params={"fieldValidation": "Strict"}, json=body)
    assert refused.status_code == 400
    message = refused.json()["message"]
    assert message.startswith('Widget in version "v1" cannot be handled as a Widget: strict')
    for field in ("metadata.other", "spec.colour", "spec.shape"):
        assert f'unknown field "{field}"' in message


async def test_fields_that_stand_twice(http: httpx2.AsyncClient) -> None:
    text = '{"metadata":{"name":"a"},"data":{"x":"1", "x" : "2"}}'
    typed = {"Content-Type": "application/json"}
    strict = {"fieldValidation": "Strict"}
    refused = await http.post(CONFIGS, params=strict, content=text, headers=typed)
    assert refused.status_code == 400
    assert 'duplicate field "data.x"' in refused.json()["message"]
    answer = await http.post(CONFIGS, content=text, headers=typed)
    assert answer.json()["data"] == {"x": "2"}
    assert 'duplicate field \\"data.x\\"' in answer.headers["warning"]
    typed = {"Content-Type": "application/yaml"}
    text = "metadata: {name: b}\ndata: {x: '1'}\ndata: {x: '2'}\n"
    refused = await http.post(CONFIGS, params=strict, content=text, headers=typed)
    assert 'line 3: key \\"data\\" already set' in refused.text
    assert refused.status_code == 400


async def test_everything_that_is_wrong_is_told_at_once(http: httpx2.AsyncClient) -> None:
    body = config("Bad")
    body["metadata"] |= {"labels": {"a b": "c d"}, "finalizers": ["x y"]}
    refused = await http.post(CONFIGS, json=body)
    assert (refused.status_code, refused.json()["reason"]) == (422, "Invalid")
    fields = [cause["field"] for cause in refused.json()["details"]["causes"]]
    assert fields == ["metadata.name", "metadata.labels", "metadata.labels", "metadata.finalizers"]
    message = refused.json()["message"]
    assert message.startswith('ConfigMap "Bad" is invalid: [metadata.name: Invalid value: "Bad": ')
    assert message.endswith("]")


async def test_an_old_problem_does_not_stand_against_a_change(http: httpx2.AsyncClient) -> None:
    await made(http, DEFINITIONS, definition(properties={"size": {"type": "integer"}}))
    await made(http, WIDGETS, widget(size=9))
    limited = {"spec": definition(properties={"size": {"type": "integer", "maximum": 5}})["spec"]}
    path = f"{DEFINITIONS}/widgets.example.org"
    assert (await http.patch(path, json=limited, headers=MERGE)).status_code == 200
    refused = await http.post(WIDGETS, json=widget("v", size=9))
    assert refused.status_code == 422
    labelled = {"metadata": {"labels": {"a": "b"}}}
    assert (await http.patch(f"{WIDGETS}/w", json=labelled, headers=MERGE)).status_code == 200
    worse = await http.patch(f"{WIDGETS}/w", json={"spec": {"size": 10}}, headers=MERGE)
    assert worse.status_code == 422


async def test_options_of_patches(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a"))
    cases = [
        ({"force": "true"}, MERGE, "force: Forbidden: may not be specified for non-apply patch"),
        ({}, APPLY, "fieldManager: Required value: is required for apply patch"),
        ({"fieldManager": "x" * 129}, MERGE, "fieldManager: Too long: may not be more than 128"),
        ({"fieldManager": "a\nb"}, MERGE, "invalid character U+000A (at position 1)"),
    ]
    for params, headers, words in cases:
        refused = await http.patch(f"{CONFIGS}/a", params=params, json={}, headers=headers)
        assert refused.status_code == 422
        assert refused.json()["details"]["kind"] == "PatchOptions"
        assert words in refused.json()["message"]


async def test_applying_what_nobody_manages(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a", x="1"))
    reset = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    nobody = await http.patch(f"{CONFIGS}/a", json=reset, headers=JSON_PATCH)
    assert "managedFields" not in nobody.json()["metadata"]
    silent = await http.patch(f"{CONFIGS}/a", json={"data": {"y": "2"}}, headers=MERGE)
    assert "managedFields" not in silent.json()["metadata"]
    query = {"fieldManager": "m"}
    wish = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "2"}}
    refused = await http.patch(f"{CONFIGS}/a", params=query, json=wish, headers=APPLY)
    assert refused.status_code == 409
    assert refused.json()["message"] == (
        'Apply failed with 1 conflict: conflict with "before-first-apply" using v1: .data.x'
    )
    wish["data"]["x"] = "1"
    applied = await http.patch(f"{CONFIGS}/a", params=query, json=wish, headers=APPLY)
    managers = {e["manager"]: e for e in applied.json()["metadata"]["managedFields"]}
    assert managers.keys() == {"m", "before-first-apply"}
    kept = await http.patch(f"{CONFIGS}/a", json={"metadata": {"managedFields": []}}, headers=MERGE)
    assert len(kept.json()["metadata"]["managedFields"]) == 2


async def test_the_oldest_managers_are_merged(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a"))
    for index in range(15):
        await http.patch(
            f"{CONFIGS}/a",
            params={"fieldManager": f"m{index}"},
            json={"data": {f"k{index}": "v"}},
            headers=MERGE,
        )
    entries = (await http.get(f"{CONFIGS}/a")).json()["metadata"]["managedFields"]
    assert len(entries) == 10
    (ancient,) = [e for e in entries if e["manager"] == "ancient-changes"]
    assert {"f:k0", "f:k1"} <= ancient["fieldsV1"]["f:data"].keys()


async def test_apply_of_another_revision_or_object(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a"))
    query = {"fieldManager": "m"}
    for metadata in ({"resourceVersion": "1"}, {"uid": "x"}):
        wish = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        for name in ("a", "absent"):
            path = f"{CONFIGS}/{name}"
            refused = await http.patch(path, params=query, json=wish, headers=APPLY)
            assert refused.status_code == 409
    new = {"apiVersion": "v1", "kind": "ConfigMap", "data": {"x": "1"}}
    born = await http.patch(f"{CONFIGS}/new", params=query, json=new, headers=APPLY)
    assert born.status_code == 201
    assert [e["operation"] for e in born.json()["metadata"]["managedFields"]] == ["Apply"]


@pytest.mark.parametrize(
    ("revision", "builtin", "custom"),
    [
        ("", (200, ""), (422, "Invalid value: 0x0: must be specified for an update")),
        ("0", (200, ""), (422, "Invalid value: 0x0: must be specified for an update")),
        ("1", (409, "has been modified"), (409, "has been modified")),
        ("9" * 20, (409, "has been modified"), (409, "has been modified")),
        *(
            (revision, told, told)
            for revision, told in (
                ("x", (422, f'Invalid value: "x": {PARSING} "x": invalid syntax')),
                ("-1", (422, f'Invalid value: "-1": {PARSING} "-1": invalid syntax')),
                ("9" * 5000, (422, "value out of range")),
            )
        ),
    ],
)
async def test_the_revision_that_an_update_has_read(
    http: httpx2.AsyncClient, revision: str, builtin: tuple[int, str], custom: tuple[int, str]
) -> None:
    await made(http, DEFINITIONS, definition())
    for path, obj, (status, told) in (
        (CONFIGS, config("w"), builtin),
        (WIDGETS, widget("w"), custom),
    ):
        known = await made(http, path, obj)
        known["metadata"] |= {"resourceVersion": revision, "labels": {"a": "b"}}
        answer = await http.put(f"{path}/w", json=known)
        assert answer.status_code == status, answer.text
        if status == 200:
            assert answer.json()["metadata"]["labels"] == {"a": "b"}
        else:
            assert told in answer.json()["message"]
        if status == 422:
            (cause,) = answer.json()["details"]["causes"]
            assert cause["field"] == "metadata.resourceVersion"


async def test_apply_of_status(http: httpx2.AsyncClient) -> None:
    await made(http, DEPLOYMENTS, deployment())
    wish = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"replicas": 9},
        "status": {"replicas": 3},
    }
    path = f"{DEPLOYMENTS}/web/status"
    answer = await http.patch(path, params={"fieldManager": "m"}, json=wish, headers=APPLY)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["status"]["replicas"], found["spec"]["replicas"]) == (3, 1)
    (entry,) = [e for e in found["metadata"]["managedFields"] if e["manager"] == "m"]
    assert entry["subresource"] == "status"


async def test_strategic_merge_of_a_deployment(http: httpx2.AsyncClient) -> None:
    await made(http, DEPLOYMENTS, deployment())
    containers = [{"name": "side", "image": "b:1"}, {"name": "main", "image": "a:2"}]
    order = [{"name": "side"}, {"name": "main"}]
    spec = {"containers": containers, "$setElementOrder/containers": order}
    patch = {"spec": {"template": {"spec": spec}}}
    answer = await http.patch(f"{DEPLOYMENTS}/web", json=patch, headers=STRATEGIC)
    found = answer.json()["spec"]["template"]["spec"]["containers"]
    assert [(c["name"], c["image"]) for c in found] == [("side", "b:1"), ("main", "a:2")]


async def test_a_json_patch_that_fails(http: httpx2.AsyncClient) -> None:
    await made(http, CONFIGS, config("a", x="1"))
    patch = [{"op": "test", "path": "/data/x", "value": "2"}]
    refused = await http.patch(f"{CONFIGS}/a", json=patch, headers=JSON_PATCH)
    assert (refused.status_code, refused.json()["reason"]) == (422, "Invalid")
    assert refused.json()["message"] == (
        "the server rejected our request due to an error in our request"
    )
    many = await http.patch(f"{CONFIGS}/a", json=patch * 10_001, headers=JSON_PATCH)
    assert many.status_code == 413


async def test_scale_of_a_deployment(http: httpx2.AsyncClient) -> None:
    await made(http, DEPLOYMENTS, deployment(replicas=2))
    path = f"{DEPLOYMENTS}/web/scale"
    scale = (await http.get(path)).json()
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 0, "selector": "app=web"}
    scale["spec"]["replicas"] = 3
    assert (await http.put(path, json=scale)).json()["spec"] == {"replicas": 3}
    assert (await http.put(path, json=scale)).status_code == 409
    patched = await http.patch(path, json={"spec": {"replicas": 4}}, headers=MERGE)
    assert patched.json()["spec"] == {"replicas": 4}
    now = (await http.get(f"{DEPLOYMENTS}/web")).json()
    assert (now["spec"]["replicas"], now["metadata"]["generation"]) == (4, 3)
    scaled = [e for e in now["metadata"]["managedFields"] if e.get("subresource") == "scale"]
    assert [e["fieldsV1"] for e in scaled] == [{"f:spec": {"f:replicas": {}}}]
    refused = await http.patch(path, json={"spec": {"replicas": -1}}, headers=MERGE)
    assert refused.status_code == 422
    assert "must be greater than or equal to 0" in refused.json()["message"]
    query = {"fieldManager": "m"}
    wish = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 5}}
    assert (await http.patch(path, params=query, json=wish, headers=APPLY)).status_code == 409
    query["force"] = "true"
    applied = await http.patch(path, params=query, json=wish, headers=APPLY)
    assert applied.json()["spec"] == {"replicas": 5}
    assert (await http.delete(path)).status_code == 405
    assert (await http.get(f"{CONFIGS}/x/scale")).status_code == 404


async def test_scale_of_a_custom_kind(http: httpx2.AsyncClient) -> None:
    await made(http, DEFINITIONS, definition(properties={"size": {"type": "integer"}}))
    await made(http, WIDGETS, widget())
    path = f"{WIDGETS}/w/scale"
    assert (await http.get(path)).json()["spec"] == {}
    wish = {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "w"},
        "spec": {"replicas": 7},
    }
    assert (await http.put(path, json=wish)).json()["spec"] == {"replicas": 7}
    assert (await http.get(f"{WIDGETS}/w")).json()["spec"] == {"size": 7}


async def test_another_version_is_read_by_its_own_schema(http: httpx2.AsyncClient) -> None:
    both = definition(properties={"size": {"type": "integer"}, "old": {"type": "string"}})
    (first,) = both["spec"]["versions"]
    properties = {"size": {"type": "integer"}, "new": {"type": "string", "default": "yes"}}
    schema = {"type": "object", "properties": {"spec": {"type": "object"}}}
    schema["properties"]["spec"]["properties"] = properties  # type: ignore[index]
    second = {**first, "name": "v2", "storage": False, "schema": {"openAPIV3Schema": schema}}
    both["spec"]["versions"].append(second)
    await made(http, DEFINITIONS, both)
    await made(http, WIDGETS, widget(size=1, old="x"))
    newer = WIDGETS.replace("/v1/", "/v2/")
    found = (await http.get(f"{newer}/w")).json()
    assert (found["apiVersion"], found["spec"]) == ("example.org/v2", {"size": 1, "new": "yes"})
    listed = (await http.get(newer)).json()
    assert [item["spec"] for item in listed["items"]] == [{"size": 1, "new": "yes"}]
    assert (await http.get(f"{WIDGETS}/w")).json()["spec"] == {"size": 1, "old": "x"}
    patched = await http.patch(f"{newer}/w", json={"spec": {"size": 2}}, headers=MERGE)
    assert patched.json()["spec"] == {"size": 2, "new": "yes"}

"""What the registry does beyond the specification, over real HTTP: deletion, links, lineage."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import anyio
import httpx2
import pytest

from towpath import web
from towpath.registry.api import app
from towpath.registry.database import open_database
from towpath.settings import Registry

pytestmark = pytest.mark.anyio

ALPHA = "/api/model_registry/v1alpha3"
ARCHIVED = {"state": "ARCHIVED"}


@pytest.fixture
async def http(registry_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A registry that deletes, on each database."""
    async for client in _served(registry_url, allow_delete=True):
        yield client


@pytest.fixture
async def careful(sqlite: str) -> AsyncIterator[httpx2.AsyncClient]:
    """A registry that does not delete."""
    async for client in _served(sqlite):
        yield client


async def _served(url: str, **knobs: Any) -> AsyncIterator[httpx2.AsyncClient]:
    database = open_database(url)
    sock = web.listen("127.0.0.1", 0)
    async with anyio.create_task_group() as tasks:
        await tasks.start(partial(web.serve, app(database, Registry(**knobs)), sock, drain=1))
        base = f"http://127.0.0.1:{sock.getsockname()[1]}{ALPHA}"
        async with httpx2.AsyncClient(base_url=base, timeout=30, trust_env=False) as client:
            yield client
        tasks.cancel_scope.cancel()
    database.close()


async def made(http: httpx2.AsyncClient, path: str, **body: Any) -> str:
    answer = await http.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    ident: str = answer.json()["id"]
    return ident


async def gone(http: httpx2.AsyncClient, path: str, **headers: str) -> None:
    answer = await http.delete(path, headers=headers)
    assert (answer.status_code, answer.content) == (204, b""), answer.text
    assert (await http.get(path)).status_code in (404, 405)


async def refused(answer: httpx2.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.json()["message"]


async def patched(http: httpx2.AsyncClient, path: str, **body: Any) -> None:
    answer = await http.patch(path, json=body)
    assert answer.status_code == 200, answer.text


async def events(http: httpx2.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await http.get("/events", params=query)).json()["items"]
    return items


async def test_deleting_a_model_takes_what_is_only_its_own(http: httpx2.AsyncClient) -> None:
    model = await made(http, "/registered_models", name="m", externalId="x")
    other = await made(http, "/registered_models", name="other")
    custom = {"k": {"metadataType": "MetadataStringValue", "string_value": "v"}}
    version = await made(
        http, "/model_versions", name="1", registeredModelId=model, customProperties=custom
    )
    kept = await made(http, "/model_versions", name="1", registeredModelId=other)
    own = await made(
        http,
        f"/model_versions/{version}/artifacts",
        artifactType="model-artifact",
        name="own",
        uri="u",
    )
    shared = await made(
        http, f"/model_versions/{version}/artifacts", artifactType="doc-artifact", name="shared"
    )
    await made(http, f"/model_versions/{kept}/artifacts", artifactType="doc-artifact", id=shared)
    for subject, target in (
        (f"ModelVersion/{version}", "cluster:edge"),
        (f"ModelVersion/{kept}", f"ModelArtifact/{own}"),
        (f"ModelVersion/{kept}", "cluster:edge"),
    ):
        await made(http, "/links", subject=subject, relation="r", object=target)

    await refused(await http.delete(f"/registered_models/{model}"), 409, "is LIVE", "ARCHIVED")
    await patched(http, f"/registered_models/{model}", **ARCHIVED)
    before = (await events(http))[-1]["seq"]
    await gone(http, f"/registered_models/{model}")

    assert (await http.get(f"/model_versions/{version}")).status_code == 404
    assert (await http.get(f"/model_artifacts/{own}")).status_code == 404
    assert (await http.get(f"/artifacts/{shared}")).status_code == 200
    links = (await http.get("/links")).json()["items"]
    assert [(x["subject"], x["object"]) for x in links] == [
        (f"ModelVersion/{kept}", "cluster:edge")
    ]
    told = await events(http, since=before)
    assert {event["action"] for event in told} == {"delete"}
    assert sorted((e["kind"], e["entityId"]) for e in told if e["kind"] != "Link") == [
        ("ModelArtifact", own),
        ("ModelVersion", version),
        ("RegisteredModel", model),
    ]
    assert len([e for e in told if e["kind"] == "Link"]) == 2
    gone_model = next(e for e in told if e["kind"] == "RegisteredModel")
    assert (gone_model["before"]["name"], gone_model["after"]) == ("m", None)

    again = await made(http, "/registered_models", name="m", externalId="x")
    assert int(again) > int(kept), "an id was given twice"


async def test_what_is_in_use_is_not_deleted(http: httpx2.AsyncClient) -> None:
    model = await made(http, "/registered_models", name="m")
    version = await made(http, "/model_versions", name="1", registeredModelId=model)
    place = await made(http, "/serving_environments", name="edge")
    service = await made(
        http,
        "/inference_services",
        name="fraud",
        registeredModelId=model,
        servingEnvironmentId=place,
        modelVersionId=version,
    )
    serve = await made(
        http, f"/inference_services/{service}/serves", name="now", modelVersionId=version
    )
    await patched(http, f"/registered_models/{model}", **ARCHIVED)
    await patched(http, f"/model_versions/{version}", **ARCHIVED)

    at = f"/inference_services/{service}"
    named = "inference service 'fraud'"
    await refused(await http.delete(f"/registered_models/{model}"), 409, named)
    await refused(await http.delete(f"/model_versions/{version}"), 409, named)
    await refused(await http.delete(f"/serving_environments/{place}"), 409, named)
    await refused(await http.delete(at), 409, "is DEPLOYED", "UNDEPLOYED")

    await refused(await http.delete(f"/inference_services/999/serves/{serve}"), 404, "serve model")
    other = await made(
        http, f"/inference_services/{service}/serves", name="then", modelVersionId=version
    )
    assert (await http.delete(f"{at}/serves/{serve}")).status_code == 204
    assert [x["id"] for x in (await http.get(f"{at}/serves")).json()["items"]] == [other]

    await patched(http, at, desiredState="UNDEPLOYED")
    await gone(http, at)  # and the serve model that was left
    told = await events(http, action="delete")
    assert [e["kind"] for e in told] == ["ServeModel", "ServeModel", "InferenceService"]
    await gone(http, f"/model_versions/{version}")
    await gone(http, f"/registered_models/{model}")
    await gone(http, f"/serving_environments/{place}")


async def test_deleting_an_experiment(http: httpx2.AsyncClient) -> None:
    experiment = await made(http, "/experiments", name="e")
    runs = [await made(http, "/experiment_runs", experimentId=experiment) for _ in range(2)]
    for run in runs:
        for step in range(3):
            await made(
                http,
                f"/experiment_runs/{run}/artifacts",
                artifactType="metric",
                name="loss",
                value=0.5,
                step=step,
                timestamp=str(step),
            )
    await refused(await http.delete(f"/experiments/{experiment}"), 409, "is LIVE")
    await patched(http, f"/experiments/{experiment}", **ARCHIVED)
    await gone(http, f"/experiments/{experiment}")
    for run in runs:
        assert (await http.get(f"/experiment_runs/{run}")).status_code == 404
    assert (await http.get("/artifacts")).json()["items"] == []
    assert (await http.get("/experiment_runs/metric_history")).json()["items"] == []
    told = await events(http, action="delete", pageSize=1000)
    kinds = [e["kind"] for e in told]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "Metric": 2,
        "MetricPoint": 6,
        "ExperimentRun": 2,
        "Experiment": 1,
    }


async def test_deleting_an_artifact(http: httpx2.AsyncClient) -> None:
    model = await made(http, "/registered_models", name="m")
    version = await made(http, "/model_versions", name="1", registeredModelId=model)
    artifact = await made(
        http,
        f"/model_versions/{version}/artifacts",
        artifactType="model-artifact",
        uri="u",
        state="LIVE",
    )
    at = f"/model_artifacts/{artifact}"
    await refused(await http.delete(at), 409, "is LIVE", "DELETED")
    await patched(http, at, state="ABANDONED")
    await refused(await http.delete(f"/registered_models/{artifact}0"), 404)
    await refused(await http.delete("/model_artifacts/x"), 400)
    seen = (await http.get(at)).headers["etag"]
    await patched(http, at, description="changed meanwhile")
    await refused(await http.delete(at, headers={"If-Match": seen}), 412)
    await gone(http, at, **{"If-Match": (await http.get(at)).headers["etag"]})
    assert (await http.get(f"/model_versions/{version}/artifacts")).json()["items"] == []


async def test_deletion_and_use_at_the_same_time(http: httpx2.AsyncClient) -> None:
    """Whoever comes first wins; nothing is left that refers to nothing."""
    model = await made(http, "/registered_models", name="m")
    place = await made(http, "/serving_environments", name="edge")
    for n in range(8):
        version = await made(http, "/model_versions", name=f"{n}", registeredModelId=model)
        await patched(http, f"/model_versions/{version}", **ARCHIVED)
        answers: dict[str, int] = {}

        async def use(version: str = version, answers: dict[str, int] = answers) -> None:
            ids = {"registeredModelId": model, "servingEnvironmentId": place}
            body = {**ids, "modelVersionId": version}
            answers["use"] = (await http.post("/inference_services", json=body)).status_code

        async def attach(version: str = version, answers: dict[str, int] = answers) -> None:
            body = {"artifactType": "doc-artifact"}
            path = f"/model_versions/{version}/artifacts"
            answers["attach"] = (await http.post(path, json=body)).status_code

        async def erase(version: str = version, answers: dict[str, int] = answers) -> None:
            answers["erase"] = (await http.delete(f"/model_versions/{version}")).status_code

        async with anyio.create_task_group() as tasks:
            for work in (use, attach, erase):
                tasks.start_soon(work)
        there = (await http.get(f"/model_versions/{version}")).status_code == 200
        assert (answers["use"], answers["erase"]) == ((201, 409) if there else (404, 204))
        assert answers["attach"] == 201 or not there
    artifacts = (await http.get("/artifacts")).json()["items"]
    belong = []
    for version in (await http.get("/model_versions")).json()["items"]:
        found = await http.get(f"/model_versions/{version['id']}/artifacts")
        belong += found.json()["items"]
    assert sorted(a["id"] for a in artifacts) == sorted(a["id"] for a in belong)


async def test_a_registry_that_does_not_delete(careful: httpx2.AsyncClient) -> None:
    model = await made(careful, "/registered_models", name="m", state="ARCHIVED")
    for path in (f"/registered_models/{model}", "/experiments/9", "/inference_services/1/serves/1"):
        answer = await careful.delete(path)
        await refused(answer, 405, "deletes nothing", "allow_delete")
    assert (await careful.get(f"/registered_models/{model}")).status_code == 200


async def test_links(http: httpx2.AsyncClient) -> None:
    model = await made(http, "/registered_models", name="m")
    subject = f"RegisteredModel/{model}"
    body = {"subject": subject, "relation": "derivedFrom", "object": "hf://org/base"}
    first = await http.post("/links", json=body)
    again = await http.post("/links", json=body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert {key: first.json()[key] for key in body} == body
    long = "https://x/" + "ü" * 590
    await made(http, "/links", subject=subject, relation="seeAlso", object=long)

    async def found(**query: str) -> list[str]:
        items = (await http.get("/links", params=query)).json()["items"]
        return [item["object"] for item in items]

    assert await found() == ["hf://org/base", long]
    assert await found(object=long, relation="seeAlso") == [long]
    assert await found(subject=subject, relation="derivedFrom") == ["hf://org/base"]
    assert await found(subject="RegisteredModel/9") == []
    page = (await http.get("/links", params={"pageSize": 1})).json()
    assert (page["size"], page["pageSize"]) == (1, 1)
    rest = {"pageSize": 1, "nextPageToken": page["nextPageToken"]}
    after = (await http.get("/links", params=rest)).json()
    assert (after["items"][0]["object"], after["nextPageToken"]) == (long, "")

    assert (await http.delete(f"/links/{first.json()['id']}")).status_code == 204
    await refused(await http.delete(f"/links/{first.json()['id']}"), 404, "link")
    told = await events(http, kind="Link")
    assert [(e["action"], e["entityId"]) for e in told] == [
        ("create", first.json()["id"]),
        ("create", (await http.get("/links")).json()["items"][0]["id"]),
        ("delete", first.json()["id"]),
    ]


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"subject": "RegisteredModel/99"}, 404, "registered model"),
        ({"object": "ModelVersion/99"}, 404, "model version"),
        ({"subject": "http://x"}, 400, "subject"),
        ({"subject": "Nonsense/1"}, 400, "subject"),
        ({"subject": "MetricPoint/1"}, 400, "subject"),
        ({"subject": "RegisteredModel/0"}, 400, "subject"),
        ({"subject": "RegisteredModel/99999999999"}, 400, "subject"),
        ({"object": "no uri"}, 400, "object"),
        ({"object": "a:b c"}, 400, "object"),
        ({"object": "x:" + "y" * 600}, 400, "object"),
        ({"object": ""}, 422, "object"),
        ({"object": 7}, 400, "object"),
        ({"relation": None}, 422, "relation"),
        ({"relation": "two words"}, 400, "relation"),
        ({"relation": "r" * 61}, 400, "relation"),
        ({"id": "7"}, 400, "id"),
    ],
)
async def test_links_that_are_none(
    careful: httpx2.AsyncClient, change: dict[str, Any], status: int, word: str
) -> None:
    model = await made(careful, "/registered_models", name="m")
    body = {"subject": f"RegisteredModel/{model}", "relation": "r", "object": "a:b", **change}
    await refused(await careful.post("/links", json=body), status, word)
    assert (await careful.get("/links")).json()["items"] == []


async def test_one_link_of_many_writers(http: httpx2.AsyncClient) -> None:
    model = await made(http, "/registered_models", name="m")
    body = {"subject": f"RegisteredModel/{model}", "relation": "r", "object": "a:b"}
    answers: list[tuple[int, str]] = []

    async def write() -> None:
        answer = await http.post("/links", json=body)
        answers.append((answer.status_code, answer.json().get("id", answer.text)))

    async with anyio.create_task_group() as tasks:
        for _ in range(12):
            tasks.start_soon(write)
    ident = (await http.get("/links")).json()["items"][0]["id"]
    assert sorted(answers) == [(200, ident)] * 11 + [(201, ident)]


def text(value: str) -> dict[str, str]:
    return {"metadataType": "MetadataStringValue", "string_value": value}


async def test_lineage(http: httpx2.AsyncClient) -> None:
    base = await made(http, "/registered_models", name="base")
    older = await made(http, "/model_versions", name="0", registeredModelId=base)
    model = await made(http, "/registered_models", name="fraud")
    image, revision = "registry/fraud@sha256:1", "c0ffee"
    version = await made(
        http,
        "/model_versions",
        name="1",
        registeredModelId=model,
        customProperties={"towpath.dev/image": text(image), "towpath.dev/revision": text(revision)},
    )
    unrelated = await made(http, "/model_versions", name="2", registeredModelId=model)
    experiment = await made(http, "/experiments", name="e")
    run = await made(http, "/experiment_runs", name="r", experimentId=experiment)
    artifact = await made(
        http,
        f"/experiment_runs/{run}/artifacts",
        artifactType="model-artifact",
        name="fraud",
        uri="file:///model.onnx",
        customProperties={
            "towpath.dev/source": text("s3://bucket/model.onnx"),
            "towpath.dev/digest": text("sha256:2"),
        },
    )
    await made(
        http, f"/model_versions/{version}/artifacts", artifactType="model-artifact", id=artifact
    )
    place = await made(http, "/serving_environments", name="edge")
    ids = {"registeredModelId": model, "servingEnvironmentId": place}
    service = await made(http, "/inference_services", name="s", modelVersionId=version, **ids)
    latest = await made(http, "/inference_services", name="latest", **ids)
    serve = await made(
        http, f"/inference_services/{service}/serves", name="now", modelVersionId=version
    )
    me = f"ModelVersion/{version}"
    for relation, target in (
        ("deployedTo", "cluster:edge-1"),
        ("servedAt", "http://127.0.0.1:1/v2/models/fraud"),
        ("derivedFrom", f"ModelVersion/{older}"),
        ("approvedBy", "mailto:ada@example.org"),
    ):
        await made(http, "/links", subject=me, relation=relation, object=target)

    graph = (await http.get(f"/model_versions/{version}/lineage")).json()
    edges = {(e["from"], e["relation"], e["to"]) for e in graph["edges"]}
    mine, parent = f"ModelArtifact/{artifact}", f"RegisteredModel/{model}"
    assert edges == {
        (me, "partOf", parent),
        (me, "hasArtifact", mine),
        (mine, "derivedFrom", "s3://bucket/model.onnx"),
        (me, "packagedAs", f"oci://{image}"),
        (f"oci://{image}", "builtFrom", mine),
        (me, "committedAs", f"commit:{revision}"),
        (me, "deployedTo", "cluster:edge-1"),
        (me, "servedAt", "http://127.0.0.1:1/v2/models/fraud"),
        (me, "approvedBy", "mailto:ada@example.org"),
        (me, "derivedFrom", f"ModelVersion/{older}"),
        (f"ModelVersion/{older}", "partOf", f"RegisteredModel/{base}"),
        (f"ExperimentRun/{run}", "produced", mine),
        (f"ExperimentRun/{run}", "partOf", f"Experiment/{experiment}"),
        (f"InferenceService/{service}", "serves", me),
        (f"InferenceService/{service}", "deployedTo", f"ServingEnvironment/{place}"),
        (f"InferenceService/{latest}", "serves", parent),
        (f"InferenceService/{latest}", "deployedTo", f"ServingEnvironment/{place}"),
        (f"ServeModel/{serve}", "serves", me),
        (f"ServeModel/{serve}", "partOf", f"InferenceService/{service}"),
    }
    nodes = {node["id"]: node for node in graph["nodes"]}
    assert {end for source, _, target in edges for end in (source, target)} == set(nodes)
    assert f"ModelVersion/{unrelated}" not in nodes
    assert nodes[mine] == {
        "id": mine,
        "kind": "ModelArtifact",
        "name": "fraud",
        "state": "UNKNOWN",
        "uri": "file:///model.onnx",
        "digest": "sha256:2",
    }
    outside = {
        "Source": "s3://bucket/model.onnx",
        "Image": image,
        "Commit": revision,
        "Cluster": "edge-1",
        "Endpoint": "http://127.0.0.1:1/v2/models/fraud",
        "Thing": "mailto:ada@example.org",
    }
    for kind, name in outside.items():
        assert name in {node["name"] for node in nodes.values() if node["kind"] == kind}
    assert graph["truncated"] is False

    for path in (f"artifacts/{artifact}", f"inference_services/{service}"):
        other = (await http.get(f"/{path}/lineage")).json()
        assert (me, "hasArtifact", mine) in {
            (e["from"], e["relation"], e["to"]) for e in other["edges"]
        }
    whole = (await http.get(f"/registered_models/{model}/lineage")).json()
    assert {f"ModelVersion/{unrelated}", me, mine} <= {node["id"] for node in whole["nodes"]}
    await refused(await http.get("/model_versions/999/lineage"), 404, "model version")


async def test_lineage_is_bounded(
    careful: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("towpath.registry.lineage.NODES", 10)
    model = await made(careful, "/registered_models", name="m")
    for n in range(20):
        await made(careful, "/model_versions", name=f"{n}", registeredModelId=model)
    graph = (await careful.get(f"/registered_models/{model}/lineage")).json()
    assert graph["truncated"] is True
    assert len(graph["nodes"]) == 10
    ids = {node["id"] for node in graph["nodes"]}
    assert all(edge["from"] in ids and edge["to"] in ids for edge in graph["edges"])

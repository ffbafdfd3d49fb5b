"""Each rule of filterQuery by name, over HTTP, on every database; and that every list heeds it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest

Serving = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]
pytestmark = pytest.mark.anyio


def text(value: str) -> dict[str, str]:
    return {"metadataType": "MetadataStringValue", "string_value": value}


def number(value: float) -> dict[str, Any]:
    return {"metadataType": "MetadataDoubleValue", "double_value": value}


def integer(value: int) -> dict[str, str]:
    return {"metadataType": "MetadataIntValue", "int_value": str(value)}


def truth(value: bool) -> dict[str, Any]:
    return {"metadataType": "MetadataBoolValue", "bool_value": value}


STRUCT = {"metadataType": "MetadataStructValue", "struct_value": "e30="}

MODELS: list[dict[str, Any]] = [
    {
        "name": "fraud",
        "owner": "Ada",
        "externalId": "x-1",
        "description": "finds fraud",
        "customProperties": {"team": text("risk"), "accuracy": number(0.9), "n": integer(1)},
    },
    {
        "name": "Fraud",
        "owner": "ada",
        "state": "ARCHIVED",
        "libraryName": "onnx",
        "customProperties": {"team": text("Risk"), "accuracy": number(1.0), "n": number(1.0)},
    },
    {
        "name": "a_b%c'd",
        "customProperties": {"team": text(""), "accuracy": text("0.9"), "ok": truth(True)},
    },
    {
        "name": 'ÉTÉ "ж" ',
        "customProperties": {"state": text("LIVE?"), "team": STRUCT, "n": integer(10)},
    },
    {
        "name": "axb",
        "description": "L" * 100 + "x",
        "customProperties": {
            "my-property": text("a"),
            "a.b": text("dotted"),
            "library_name": text("onnx"),
            "description": text("finds fraud"),
            "ok": truth(False),
        },
    },
]
F1, F2, ODD, CYRILLIC, LAST = (model["name"] for model in MODELS)
EVERY = {F1, F2, ODD, CYRILLIC, LAST}

RULES: list[tuple[str, str, set[str]]] = [
    ("blank is no filter", "  -- nothing", EVERY),
    ("case of keywords", "name = 'fraud' or name = 'axb' AnD state = 'LIVE'", {F1, LAST}),
    ("AND binds closer", "name='fraud' OR name='axb' AND state='ARCHIVED'", {F1}),
    ("parentheses", "(name='fraud' OR name='axb') AND state='ARCHIVED'", set()),
    ("<> is not equal", "name <> 'fraud'", EVERY - {F1}),
    ("!= needs the property", "team != 'risk'", {F2, ODD}),
    ("!= needs the field", "owner != 'Ada'", {F2}),
    ("!= needs the external id", "externalId != 'y'", {F1}),
    ("names are exact", "name = 'FRAUD'", set()),
    ("no padding", "name = 'fraud '", set()),
    ("spaces count", "name = 'ÉTÉ \"ж\" '", {CYRILLIC}),
    ("quotes inside", "name = 'a_b%c\\'d'", {ODD}),
    ("double quotes", 'name = "a_b%c\'d"', {ODD}),
    ("quotes at the ends are kept", "name = \"'fraud'\"", set()),
    ("wildcards are for LIKE", "name = 'a_b%'", set()),
    ("LIKE", "name LIKE 'a_b%'", {ODD, LAST}),
    ("LIKE, escaped", r"name LIKE 'a\_b\%%'", {ODD}),
    ("LIKE is of one case", "name LIKE 'F%'", {F2}),
    ("LIKE of the whole", "name LIKE 'frau'", set()),
    ("LIKE in the middle", "name LIKE '%rau%'", {F1, F2}),
    ("LIKE of everything", "name LIKE '%'", EVERY),
    ("ILIKE is of any", "name ILIKE 'FRAUD'", {F1, F2}),
    ("ILIKE in all alphabets", "name ILIKE 'été \"Ж\"_'", {CYRILLIC}),
    ("order of characters", "name < 'G'", {F2}),
    ("custom text", "team = 'risk'", {F1}),
    ("custom empty text", "team = ''", {ODD}),
    ("float is double", "accuracy = 1.0", {F2}),
    ("float is not int", "n = 1.0", {F2}),
    ("int is int or double", "n = 1", {F1, F2}),
    ("int orders both", "n >= 1", {F1, F2, CYRILLIC}),
    ("exponent", "accuracy > 9.5e-1", {F2}),
    ("a text is no number", "accuracy = '0.9'", {ODD}),
    ("bool", "ok = TRUE", {ODD}),
    ("bool, any case", "ok = False", {LAST}),
    ("not bool", "ok != true", {LAST}),
    ("a bool is no number", "ok = 1", set()),
    ("forced double", "n.double_value >= 1", {F2}),
    ("forced int", "n.int_value >= 1", {F1, CYRILLIC}),
    ("forced int, quoted", "n.int_value = '10'", {CYRILLIC}),
    ("forced text", "accuracy.string_value = '0.9'", {ODD}),
    ("forced bool", "ok.bool_value = true", {ODD}),
    ("IN", "name IN ('fraud', 'axb', 'none')", {F1, LAST}),
    ("IN nothing", "name IN ()", set()),
    ("IN numbers of a custom property", "n IN (10, 1.0)", {F2, CYRILLIC}),
    ("IN of mixed types", "accuracy IN ('0.9', 0.9, true)", {F1, ODD}),
    ("backquotes", "`my-property` = 'a'", {LAST}),
    ("dotted", "a.b = 'dotted'", {LAST}),
    ("dotted in backquotes", "`a.b` = 'dotted'", {LAST}),
    ("a field's name means the field", "state = 'LIVE'", EVERY - {F2}),
    ("a custom property of that name is no other", "state = 'LIVE?'", set()),
    ("a shared name is found once", "description = 'finds fraud'", {F1, LAST}),
    ("a shared name in snake case", "library_name = 'onnx'", {F2, LAST}),
    ("a long text", f"description = '{'L' * 100}x'", {LAST}),
    ("the beginning of a long text", f"description = '{'L' * 100}'", set()),
    ("LIKE of a long text", f"description LIKE '{'L' * 99}_x'", {LAST}),
    ("a struct compares with nothing", "team LIKE '%'", {F1, F2, ODD}),
    ("ids are numbers", "id >= 1 AND id < '3'", {F1, F2}),
    ("quoted ids in a list", "id IN ('1', 2)", {F1, F2}),
    ("ids out of range", "id < 9223372036854775807 AND id > -9223372036854775808", EVERY),
    ("times", "createTimeSinceEpoch > 1e12 AND lastUpdateTimeSinceEpoch > '1'", EVERY),
    ("an unknown property", "nothing = 'x' OR nothing != 'x'", set()),
]
MISMATCHES = [
    *("name = 5", "name > true", "id = 'x'", "id = 1.5", "id LIKE '1'", "name IN ('a', 1)"),
    *("state.int_value = 1", "team.int_value = 'x'", "team.bool_value = 1", "ok > true"),
    *("team.string_value = 1", "team.double_value = '1'", "team.int_value LIKE 'x'"),
    "createTimeSinceEpoch = '99999999999999999999'",
]


async def made(http: httpx2.AsyncClient, path: str, **body: Any) -> str:
    answer = await http.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    ident: str = answer.json()["id"]
    return ident


async def listed(http: httpx2.AsyncClient, path: str, query: str, **more: str) -> list[Any]:
    answer = await http.get(path, params={"filterQuery": query, **more})
    assert answer.status_code == 200, f"{query}: {answer.text}"
    items: list[Any] = answer.json()["items"]
    return items


async def test_every_rule(registry_url: str, registry_at: Serving) -> None:
    async with registry_at(registry_url) as http:
        for model in MODELS:
            await made(http, "/registered_models", **model)
        for rule, query, names in RULES:
            found = [item["name"] for item in await listed(http, "/registered_models", query)]
            assert sorted(found) == sorted(names), f"{rule}: {query}"
        for query in MISMATCHES:
            answer = await http.get("/registered_models", params={"filterQuery": query})
            assert answer.status_code == 400, query
            assert answer.json()["code"] == "Bad Request"
            assert "cannot be compared" in answer.json()["message"]
        answer = await http.get("/registered_models", params={"filterQuery": "name = fraud"})
        assert (answer.status_code, answer.json()) == (
            400,
            {
                "code": "Bad Request",
                "message": "invalid filterQuery: at character 8: expected a value, found fraud: "
                "bad request. String values must be quoted, as in name = 'fraud'.",
            },
        )


async def test_artifacts_of_all_kinds(registry_url: str, registry_at: Serving) -> None:
    async with registry_at(registry_url) as http:
        model = await made(http, "/registered_models", name="m")
        version = await made(http, "/model_versions", name="1", registeredModelId=model)
        experiment = await made(http, "/experiments", name="e")
        run = await made(http, "/experiment_runs", name="r", experimentId=experiment)
        for parent, artifact in (
            (f"/model_versions/{version}", {"artifactType": "model-artifact", "uri": "s3://m"}),
            (f"/model_versions/{version}", {"artifactType": "doc-artifact", "uri": "s3://d"}),
            (f"/experiment_runs/{run}", {"artifactType": "dataset-artifact", "digest": "d"}),
            (
                f"/experiment_runs/{run}",
                {
                    "artifactType": "metric",
                    "value": 0.5,
                    "timestamp": "1700000000000",
                    "step": 9007199254740993,
                    "state": "LIVE",
                },
            ),
            (f"/experiment_runs/{run}", {"artifactType": "parameter", "value": "0.5"}),
        ):
            kind = artifact["artifactType"]
            more = {"value": text("0.5")} if kind == "doc-artifact" else {}
            body = {**artifact, "name": kind, "customProperties": more}
            await made(http, f"{parent}/artifacts", **body)
        every = {"model-artifact", "doc-artifact", "dataset-artifact", "metric", "parameter"}
        for query, names in (
            ("name LIKE '%-artifact'", every - {"metric", "parameter"}),
            ("uri LIKE 's3:%'", {"model-artifact", "doc-artifact"}),
            ("state = 'LIVE'", {"metric"}),
            ("state = 'UNKNOWN'", every - {"metric"}),
            ("state = 'NOWHERE'", set()),
            ("state != 'NOWHERE'", set()),
            ("state IN ('NOWHERE', 'LIVE')", {"metric"}),
            ("value = 0.5", {"metric"}),
            ("value > 0", {"metric"}),
            ("value = '0.5'", {"parameter", "doc-artifact"}),
            ("digest = 'd'", {"dataset-artifact"}),
            ("step = 9007199254740993", {"metric"}),
            ("step = 9007199254740992", set()),
            ("step > '9007199254740992'", {"metric"}),
            ("timestamp >= 1700000000000 AND timestamp < '1700000000001'", {"metric"}),
            (f"experimentRunId IN ('{run}', '77')", {"dataset-artifact", "metric", "parameter"}),
            (f"experimentId = {experiment}", {"dataset-artifact", "metric", "parameter"}),
        ):
            found = {item["name"] for item in await listed(http, "/artifacts", query)}
            assert found == names, query
        only = await listed(http, "/artifacts", "value = 0.5", artifactType="metric")
        assert [item["name"] for item in only] == ["metric"]
        for query, more in (("name = 5", {}), ("value = '1'", {"artifactType": "metric"})):
            answer = await http.get("/artifacts", params={"filterQuery": query, **more})
            assert answer.status_code == 400, query


async def test_every_list_heeds_the_filter(registry_at: Serving) -> None:
    async with registry_at("sqlite://") as http:
        wanted = {"customProperties": {"wanted": text("yes")}}
        model = await made(http, "/registered_models", name="m")
        version = await made(http, "/model_versions", name="1", registeredModelId=model)
        environment = await made(http, "/serving_environments", name="s")
        ids = {"registeredModelId": model, "servingEnvironmentId": environment}
        service = await made(http, "/inference_services", name="i", **ids)
        experiment = await made(http, "/experiments", name="e")
        run = await made(http, "/experiment_runs", name="r", experimentId=experiment)
        uri = {"artifactType": "model-artifact", "uri": "s3://x"}
        metric = {"artifactType": "metric", "value": 1, "timestamp": "1"}
        lists: dict[str, dict[str, Any]] = {
            "/registered_models": {},
            "/model_versions": {"registeredModelId": model},
            f"/registered_models/{model}/versions": {"registeredModelId": model},
            "/model_artifacts": uri,
            "/artifacts": uri,
            f"/model_versions/{version}/artifacts": uri,
            "/serving_environments": {},
            "/inference_services": ids,
            f"/serving_environments/{environment}/inference_services": ids,
            f"/inference_services/{service}/serves": {"modelVersionId": version},
            "/experiments": {},
            "/experiment_runs": {"experimentId": experiment},
            f"/experiments/{experiment}/experiment_runs": {"experimentId": experiment},
            f"/experiment_runs/{run}/artifacts": metric,
        }
        for number_, (path, body) in enumerate(lists.items()):
            ours = await made(http, path, **body, **wanted, name=f"ours-{number_}")
            await made(http, path, **body, name=f"theirs-{number_}")
            both = f"wanted = 'yes' AND name = 'ours-{number_}'"
            found = await listed(http, path, both)
            assert [item["id"] for item in found] == [ours], path
            assert await listed(http, path, "wanted != 'yes'") == [], path
            broken = await http.get(path, params={"filterQuery": "wanted ="})
            assert broken.status_code == 400, path
        for path in (f"/experiment_runs/{run}/metric_history", "/experiment_runs/metric_history"):
            found = await listed(http, path, "wanted = 'yes'")
            assert [item["name"] for item in found] == [f"ours-{len(lists) - 1}"], path
            assert (await http.get(path, params={"filterQuery": "("})).status_code == 400


async def test_serve_models_are_found_by_their_service(registry_at: Serving) -> None:
    async with registry_at("sqlite://") as http:
        model = await made(http, "/registered_models", name="m")
        version = await made(http, "/model_versions", name="1", registeredModelId=model)
        environment = await made(http, "/serving_environments", name="s")
        ids = {"registeredModelId": model, "servingEnvironmentId": environment}
        service = await made(http, "/inference_services", name="i", **ids)
        path = f"/inference_services/{service}/serves"
        serve = await made(http, path, modelVersionId=version, lastKnownState="RUNNING")
        for query in (
            f"inferenceServiceId = {service}",
            f"modelVersionId = '{version}'",
            f"registeredModelId = {model}",
            f"servingEnvironmentId = {environment}",
            "lastKnownState = 'RUNNING'",
        ):
            assert [item["id"] for item in await listed(http, path, query)] == [serve], query

"""What nobody should write into the model registry: the exact answer, and nothing half-written."""

import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from tests.integration.model_registry_world import (
    COLLECTIONS,
    CREATES,
    ENTITIES,
    JSON,
    NESTED,
    furnish,
    refused,
    world,
)

Serving = Callable[..., Any]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def http(sqlite: str, registry_at: Serving) -> AsyncIterator[httpx2.AsyncClient]:
    async with registry_at(sqlite) as client:
        await furnish(client)
        yield client


NAMES = [
    "n" * 255,
    "🚀" * 255,
    "%",
    "_",
    "a_b",
    "axb",
    "100%",
    "1000",
    "'",
    '"',
    "`",
    "\\",
    "\\'",
    "'; drop table context; --",
    "a",
    "A",
    "á",
    "a\u0301",
    "\uff41",
    "a ",
    " a",
    "a\u00a0",
    "a\u200b",
    "a\t",
    "a\n",
    "a\r\n",
    "a\x01",
    "a\x7f",
    "ss",
    "ß",
    "ẞ",
    "i",
    "\u0131",
    "İ",
    "א",
    "\u202ea",
    "\ufffe",
    "\ufffd",
    "\U0010ffff",
    "a:b",
    "2:a",
    ":",
    "..",
    "a/b?c#d&e=f;g",
    "null",
    "0",
    "%s %(a)s {} ${x} :name ?",
]


async def test_any_text_is_a_name_and_no_other(
    each_registry_url: str, registry_at: Serving
) -> None:
    async with registry_at(each_registry_url) as http:
        ids = []
        for name in NAMES:
            answer = await http.post("/registered_models", json={"name": name, "externalId": name})
            assert answer.status_code == 201, (name, answer.text)
            assert answer.json()["name"] == name
            ids.append(answer.json()["id"])
            again = await http.post("/registered_models", json={"name": name})
            assert again.status_code == 409, name
            assert again.json()["code"] == "Conflict"
        everything = (await http.get("/registered_models")).json()["items"]
        assert [one["name"] for one in everything] == NAMES
        within = {"registeredModelId": ids[0]}
        for name, ident in zip(NAMES, ids, strict=True):
            for query in ({"name": name}, {"externalId": name}):
                found = await http.get("/registered_model", params=query)
                assert (found.status_code, found.json().get("id")) == (200, ident), name
            short = name[:250]
            body = {"name": short, "externalId": f"v{name}"[:255], **within}
            version = await http.post("/model_versions", json=body)
            assert version.status_code == 201, version.text
            query = {"name": short, "parentResourceId": ids[0]}
            found = await http.get("/model_version", params=query)
            assert found.json() == version.json(), name
            listed = await http.get(f"/registered_models/{ids[0]}/versions", params={"name": short})
            assert listed.json()["items"] == [version.json()], name


async def test_any_text_is_a_value(registry_url: str, registry_at: Serving) -> None:
    async with registry_at(registry_url) as http:
        texts = ["", " ", *NAMES, "x" * 300, "é" * 70_000, "🚀" * 20_000]
        properties = {
            name: {"metadataType": "MetadataStringValue", "string_value": text}
            for name, text in zip(NAMES, reversed(NAMES), strict=True)
        }
        lists = {"language": NAMES, "tasks": NAMES[::-1]}
        body = {"name": "m", "customProperties": properties, **lists}
        made = await http.post("/registered_models", json=body)
        assert made.status_code == 201, made.text
        assert made.json()["customProperties"] == properties
        assert {field: made.json()[field] for field in lists} == lists
        at = f"/registered_models/{made.json()['id']}"
        for text in texts:
            changed = await http.patch(at, json={"description": text, "owner": text})
            assert (changed.json()["description"], changed.json()["owner"]) == (text, text)
            assert (await http.get(at)).json() == changed.json()


NO_NAMES: list[tuple[object, str]] = [
    ("n" * 256, "longer than 2[0-9]+ characters"),
    ("🚀" * 256, "longer than 2[0-9]+ characters"),
    ("x" * 100_000, "longer than 2[0-9]+ characters"),
    ("a\0b", "NUL"),
    ("\\u0000", "NUL"),
    (7, "name"),
    (True, "name"),
    (["a"], "name"),
    ({"a": 1}, "name"),
]


async def test_names_that_are_none(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    for name, message in NO_NAMES:
        for path, body in CREATES.items():
            refused(await http.post(f"/{path}", json={**body, "name": name}), 400, message)
    for missing in ({}, {"name": ""}, {"name": None}):
        for path in ("registered_models", "model_versions", "serving_environments", "experiments"):
            answer = await http.post(f"/{path}", json={**COLLECTIONS[path], **missing})
            refused(answer, 422, "^required field 'name' is zero value.$")
    assert await world(http) == before


OUT_OF_RANGE = ["2147483648", "-2147483649", "9" * 400]
NO_NUMBERS = [
    "x",
    "1.5",
    "1e3",
    "0x1",
    "1 ",
    " 1",
    "+1",
    "\u0661",
    "\uff11",
    "1;2",
    "null",
    "%00",
    "%FF",
]
ABSENT = ["0", "-1", "999999999", "2147483647"]


async def test_ids_in_paths(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    below = {
        "registered_models": ["versions"],
        "model_versions": ["artifacts", "lineage"],
        "serving_environments": ["inference_services"],
        "experiments": ["experiment_runs"],
        "experiment_runs": ["artifacts", "metric_history"],
        "inference_services": ["serves", "model", "version"],
    }
    posts = {path.split("/")[0]: (path.split("/")[2], body) for path, body in NESTED.items()}
    empty = {"registered_models/versions", "model_versions/artifacts", "experiment_runs/artifacts"}
    for path in ENTITIES:
        for ident in [*OUT_OF_RANGE, *NO_NUMBERS, *ABSENT]:
            status = 404 if ident in ABSENT else 400
            at = f"/{path}/{ident}"
            refused(await http.get(at), status)
            body = {"description": "d"}
            if path == "artifacts":
                body["artifactType"] = "model-artifact"
            refused(await http.patch(at, json=body), status)
            for nested in below.get(path, ()):
                answer = await http.get(f"{at}/{nested}")
                if status == 404 and f"{path}/{nested}" in empty:
                    assert (answer.status_code, answer.json()["items"]) == (200, [])
                elif status == 404 and nested in ("inference_services", "serves"):
                    assert answer.status_code in (200, 404)
                else:
                    refused(answer, status)
            if path in posts:
                nested, extra = posts[path]
                refused(await http.post(f"{at}/{nested}", json={"name": "n", **extra}), status)
    assert await world(http) == before


async def test_ids_in_bodies_and_queries(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    parents = {
        "model_versions": ["registeredModelId"],
        "inference_services": ["registeredModelId", "servingEnvironmentId", "modelVersionId"],
        "experiment_runs": ["experimentId"],
        "inference_services/6/serves": ["modelVersionId"],
    }
    for path, fields in parents.items():
        for field in fields:
            for ident in ["2147483648", "9" * 400, "x", "1.5", " 1", "\uff11", 1, 1.5, True, ["1"]]:
                body = {**CREATES[path], "name": "n", field: ident}
                refused(await http.post(f"/{path}", json=body), 400)
            for ident in ["0", "999999999"]:
                body = {**CREATES[path], "name": "n", field: ident}
                refused(await http.post(f"/{path}", json=body), 404, "^no .* found for id")
    for one in ("model_version", "inference_service", "artifact", "experiment_run"):
        for ident in ["2147483648", "x", "1.5"]:
            query = {"name": "n", "parentResourceId": ident}
            refused(await http.get(f"/{one}", params=query), 400)
        refused(await http.get(f"/{one}"), 400, "^invalid parameters call, supply either")
        refused(await http.get(f"/{one}", params={"name": "n"}), 400, "invalid parameters call")
    wrong = {"artifactType": "doc-artifact", "name": "n"}
    for ident in ["x", "2147483648", 1]:
        refused(await http.post("/model_versions/2/artifacts", json={**wrong, "id": ident}), 400)
    absent = {**wrong, "id": "999999999"}
    refused(await http.post("/model_versions/2/artifacts", json=absent), 404)
    assert await world(http) == before


BODIES: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "not JSON"),
    "null": (b"null", "not a JSON object"),
    "a number": (b"7", "not a JSON object"),
    "a text": (b'"x"', "not a JSON object"),
    "a list": (b"[]", "not a JSON object"),
    "half of one": (b'{"name":', "not JSON"),
    "more than one": (b'{"name":"x"}{}', "not JSON"),
    "single quotes": (b"{'name':'x'}", "not JSON"),
    "a comma too many": (b'{"name":"x",}', "not JSON"),
    "a byte order mark": (b'\xef\xbb\xbf{"name":"x"}', "not JSON"),
    "another encoding": ('{"name":"x"}'.encode("utf-16"), "not JSON|NUL"),
    "half a character": (b'{"name":"\xc3"}', "not JSON"),
    "an overlong character": (b'{"name":"\xc0\xaf"}', "not JSON"),
    "a lone surrogate": (rb'{"name":"\ud800"}', "not JSON"),
    "a raw surrogate": (b'{"name":"\xed\xa0\x80"}', "not JSON"),
    "a zero": (b'{"name":"a\x00"}', "NUL"),
    "an escaped zero": (rb'{"name":"a\u0000"}', "NUL"),
    "a zero in a field's name": (rb'{"name":"a","b\u0000":1}', "NUL"),
    "NaN": (b'{"name":NaN}', "not JSON"),
    "infinity": (b'{"name":Infinity}', "not JSON"),
    "a huge number": (b'{"name":1e400}', "not JSON"),
    "many digits": (b'{"name":' + b"9" * 5000 + b"}", "not JSON"),
    "deep lists": (b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "not JSON"),
    "deep objects": (b'{"name":' * 100_000 + b"1" + b"}" * 100_000, "not JSON"),
    "somewhat deep": (b'{"name":' + b"[" * 900 + b"]" * 900 + b"}", "name"),
}


async def test_bodies_that_are_no_object(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    for content, message in BODIES.values():
        for path in CREATES:
            kind = "name|artifactType" if message == "name" else message
            refused(await http.post(f"/{path}", content=content, headers=JSON), 400, kind)
        for path, ident in ENTITIES.items():
            kind = "name|artifact type" if message == "name" else message
            answer = await http.patch(f"/{path}/{ident}", content=content, headers=JSON)
            refused(answer, 400, kind)
    assert await world(http) == before


async def test_bodies_that_do_not_say_they_are_json(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    for told in (None, "", "text/plain", "application/xml", "multipart/form-data; boundary=x"):
        headers = {} if told is None else {"Content-Type": told}
        for path, body in CREATES.items():
            content = json.dumps({"name": "n", **body}).encode()
            answer = await http.post(f"/{path}", content=content, headers=headers)
            refused(answer, 415, "Content-Type: application/json")
        for path, ident in ENTITIES.items():
            answer = await http.patch(f"/{path}/{ident}", content=b"{}", headers=headers)
            refused(answer, 415, "Content-Type: application/json")
    assert await world(http) == before


async def test_unknown_fields_are_named(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    for path, body in CREATES.items():
        if "rtifact" in path:
            continue  # a body that says its own kind is read leniently
        answer = await http.post(f"/{path}", json={"name": "n", **body, "nonsense": 1})
        assert answer.json()["message"] == 'json: unknown field "nonsense"'
        refused(answer, 400)
    for path, ident in ENTITIES.items():
        if path != "artifacts":
            answer = await http.patch(f"/{path}/{ident}", json={"state ": "LIVE"})
            refused(answer, 400, '^json: unknown field "state "$')
    long = {"x" * 10_000: 1, "name": "n"}
    refused(await http.post("/registered_models", json=long), 400, "unknown field")
    assert await world(http) == before


async def test_fields_of_another_kind(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    for field in ("description", "owner", "externalId", "readme", "state"):
        for value in (7, 1.5, True, [], {}):
            body = {"name": "n", field: value}
            refused(await http.post("/registered_models", json=body), 400, field)
            answer = await http.patch("/registered_models/1", json={field: value})
            refused(answer, 400, field)
    for path, field in (
        ("registered_models", "state"),
        ("model_versions", "state"),
        ("inference_services", "desiredState"),
        ("experiment_runs", "status"),
        ("model_artifacts", "state"),
    ):
        for value in ("", "live", "LIVE ", "NONSENSE", "x" * 5000):
            answer = await http.patch(f"/{path}/{ENTITIES[path]}", json={field: value})
            refused(answer, 400, field)
    for value in ("en", {"0": "en"}, [1], [None], [["en"]]):
        answer = await http.patch("/registered_models/1", json={"language": value})
        refused(answer, 400, "language")
    refused(await http.patch("/registered_models/1", json={"externalId": "x" * 256}), 400, "255")
    assert await world(http) == before


async def test_numbers_and_times(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    metric = {"artifactType": "metric", "name": "m"}
    at = "/experiment_runs/5/artifacts"
    for value in ("1", "NaN", True, [], {}):
        refused(await http.post(at, json={**metric, "value": value}), 400, "value")
    refused(await http.post(at, json=metric), 400, "value")
    for step in (1.5, "x", "1.5", True, 2**63, -(2**63) - 1, "9" * 400, [], "1" * 5000):
        refused(await http.post(at, json={**metric, "value": 1, "step": step}), 400, "step")
    for stamp in ("x", "1.5", "9" * 400, 1.5, [], ""):
        answer = await http.post(at, json={**metric, "value": 1, "timestamp": stamp})
        refused(answer, 400, "timestamp")
    for kind in ("STRING", "int", "", 7):
        parameter = {"artifactType": "parameter", "name": "p", "parameterType": kind}
        refused(await http.post(at, json=parameter), 400, "parameterType")
    for moment in ("x", "1.5", "9" * 400, 5, ""):
        for field in ("startTimeSinceEpoch", "endTimeSinceEpoch"):
            body = {"name": "n", "experimentId": "4", field: moment}
            refused(await http.post("/experiment_runs", json=body), 400, field)
    backwards = {"startTimeSinceEpoch": "5", "endTimeSinceEpoch": "4", "experimentId": "4"}
    refused(await http.post("/experiment_runs", json=backwards), 400, "endTimeSinceEpoch")
    assert await world(http) == before


def _struct(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


PROPERTIES: list[tuple[Any, str]] = [
    (7, "customProperties"),
    ([], "customProperties"),
    ("x", "customProperties"),
    ({"p": 7}, "customProperties"),
    ({"p": None}, "customProperties"),
    ({"p": {}}, "metadataType"),
    ({"p": {"string_value": "x"}}, "metadataType"),
    ({"p": {"metadataType": "Nonsense", "string_value": "x"}}, "metadataType|Nonsense"),
    ({"p": {"metadataType": "MetadataStringValue"}}, "string_value"),
    ({"p": {"metadataType": "MetadataStringValue", "string_value": 7}}, "string_value"),
    ({"p": {"metadataType": "MetadataIntValue", "int_value": 7}}, "int_value"),
    ({"p": {"metadataType": "MetadataIntValue", "int_value": ""}}, "integer"),
    ({"p": {"metadataType": "MetadataIntValue", "int_value": "1.5"}}, "integer"),
    ({"p": {"metadataType": "MetadataIntValue", "int_value": "\uff11"}}, "integer"),
    ({"p": {"metadataType": "MetadataIntValue", "int_value": "1234567890"}}, "9 digits"),
    ({"p": {"metadataType": "MetadataIntValue", "int_value": "9" * 5000}}, "9 digits"),
    ({"p": {"metadataType": "MetadataDoubleValue", "double_value": "1"}}, "double_value"),
    ({"p": {"metadataType": "MetadataDoubleValue", "double_value": "NaN"}}, "double_value"),
    ({"p": {"metadataType": "MetadataDoubleValue", "double_value": True}}, "double_value"),
    ({"p": {"metadataType": "MetadataBoolValue", "bool_value": "true"}}, "bool_value"),
    ({"p": {"metadataType": "MetadataBoolValue", "bool_value": 1}}, "bool_value"),
    ({"p": {"metadataType": "MetadataStructValue", "struct_value": {}}}, "struct_value"),
    ({"p": {"metadataType": "MetadataStructValue", "struct_value": "!"}}, "base64"),
    ({"p": {"metadataType": "MetadataStructValue", "struct_value": _struct("[]")}}, "object"),
    ({"p": {"metadataType": "MetadataStructValue", "struct_value": _struct("{")}}, "not JSON"),
    (
        {"p": {"metadataType": "MetadataStructValue", "struct_value": _struct('{"a":NaN}')}},
        "not JSON",
    ),
    (
        {"p": {"metadataType": "MetadataProtoValue", "type": "t", "proto_value": "eA=="}},
        "MetadataProtoValue",
    ),
    ({"p" * 256: {"metadataType": "MetadataStringValue", "string_value": "x"}}, "255 characters"),
]


async def test_custom_properties(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    for value, message in PROPERTIES:
        for path, body in CREATES.items():
            sent = {"name": "n", **body, "customProperties": value}
            refused(await http.post(f"/{path}", json=sent), 400, message)
        for path, ident in ENTITIES.items():
            kind = {"artifactType": "model-artifact"} if path == "artifacts" else {}
            answer = await http.patch(f"/{path}/{ident}", json={**kind, "customProperties": value})
            refused(answer, 400, message)
    assert await world(http) == before


async def test_kinds_of_artifacts(http: httpx2.AsyncClient) -> None:
    before = await world(http)
    for kind in (None, "", "model_artifact", "Model-Artifact", "metric-history", 7, ["metric"]):
        body = {"name": "n", "uri": "u", "artifactType": kind}
        for path in ("artifacts", "model_versions/2/artifacts", "experiment_runs/5/artifacts"):
            refused(await http.post(f"/{path}", json=body), 400, "artifactType")
        answer = await http.patch("/artifacts/1", json=body)
        refused(answer, 400, "cannot change artifact type from 'model-artifact' to '.*': artifact")
        if isinstance(kind, str) and kind:
            answer = await http.get("/artifacts", params={"artifactType": kind})
            refused(answer, 400, "artifactType")
    answer = await http.patch("/artifacts/1", json={"artifactType": "doc-artifact"})
    assert answer.json()["message"].startswith(
        "cannot change artifact type from 'model-artifact' to 'doc-artifact': "
        "artifact type is immutable"
    )
    assert await world(http) == before

"""A model registry with something in it, to which bad things are said: what tests of that share."""

import re
from typing import Any

import httpx2

PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Request Entity Too Large",
    415: "Unsupported Media Type",
    422: "Bad Request",
}

COLLECTIONS = {
    "registered_models": {},
    "model_versions": {"registeredModelId": "1"},
    "model_artifacts": {"uri": "u"},
    "artifacts": {"artifactType": "doc-artifact"},
    "serving_environments": {},
    "inference_services": {"registeredModelId": "1", "servingEnvironmentId": "3"},
    "experiments": {},
    "experiment_runs": {"experimentId": "4"},
}
"""What a create in each needs besides a name, in the world of :func:`furnish`."""

NESTED = {
    "registered_models/1/versions": COLLECTIONS["model_versions"],
    "model_versions/2/artifacts": COLLECTIONS["artifacts"],
    "serving_environments/3/inference_services": COLLECTIONS["inference_services"],
    "experiments/4/experiment_runs": COLLECTIONS["experiment_runs"],
    "experiment_runs/5/artifacts": {"artifactType": "dataset-artifact", "uri": "u"},
    "inference_services/6/serves": {"modelVersionId": "2"},
}
CREATES = {**COLLECTIONS, **NESTED}

ENTITIES = {
    "registered_models": "1",
    "model_versions": "2",
    "serving_environments": "3",
    "experiments": "4",
    "experiment_runs": "5",
    "inference_services": "6",
    "model_artifacts": "1",
    "artifacts": "1",
}

LISTS = [
    *COLLECTIONS,
    *NESTED,
    "experiment_runs/5/metric_history",
    "experiment_runs/metric_history",
]

JSON = {"Content-Type": "application/json"}


async def furnish(http: httpx2.AsyncClient) -> None:
    """Make one entity of each kind of context, and one artifact."""
    for path, ident in ENTITIES.items():
        if path != "artifacts":
            body = {"name": "first", **COLLECTIONS[path]}
            answer = await http.post(f"/{path}", json=body)
            assert (answer.status_code, answer.json()["id"]) == (201, ident)


async def world(http: httpx2.AsyncClient) -> dict[str, Any]:
    """Everything the registry tells, and what was ever done to it."""
    lists = {path: (await http.get(f"/{path}")).json()["items"] for path in LISTS}
    return {**lists, "events": (await http.get("/events")).json()}


def refused(answer: httpx2.Response, status: int, message: str = "") -> None:
    told = f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    assert answer.status_code == status, told[:600]
    assert answer.headers["content-type"].startswith("application/json"), told
    assert answer.json().keys() == {"code", "message"}, told
    assert answer.json()["code"] == PHRASES[status], told
    assert re.search(message, answer.json()["message"]), told
    assert len(answer.content) < 2000, told

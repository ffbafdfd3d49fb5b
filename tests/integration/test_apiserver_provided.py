"""The definitions that ship with the package: there from the start, giving way to upstream."""

from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from towpath.apiserver import Store

pytestmark = pytest.mark.anyio

NAME = "inferenceservices.serving.kserve.io"
URL = f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{NAME}"
APPLY = {"Content-Type": "application/apply-patch+yaml"}


def foreign() -> Any:
    """A definition of the same kind by somebody else."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1beta1", "served": True, "storage": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME},
        "spec": {
            "group": "serving.kserve.io",
            "scope": "Namespaced",
            "names": {"plural": "inferenceservices", "kind": "InferenceService"},
            "versions": [{**version, "schema": {"openAPIV3Schema": schema}}],
        },
    }


async def apply(http: httpx2.AsyncClient, manager: str) -> httpx2.Response:
    return await http.patch(
        URL,
        params={"fieldManager": manager},
        content=yaml.safe_dump(foreign()),
        headers=APPLY,
    )


async def test_ours_gives_way_without_a_conflict_and_stays_away(
    serving: Any, tmp_path: Path
) -> None:
    async with Store(tmp_path / "kube.sqlite") as store, serving(store) as http:
        ours = (await http.get(URL)).json()
        assert "properties" in ours["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        same = {key: ours[key] for key in ("apiVersion", "kind", "spec")}
        same["metadata"] = {"name": NAME}
        shared = await http.patch(
            URL, params={"fieldManager": "kubectl"}, content=yaml.safe_dump(same), headers=APPLY
        )
        assert shared.status_code == 200
        assert (await apply(http, "kubectl")).status_code == 200
    async with Store(tmp_path / "kube.sqlite") as store, serving(store) as http:
        found = (await http.get(URL)).json()
        schema = found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        assert schema == {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


async def test_somebody_elses_does_not_give_way(http: httpx2.AsyncClient) -> None:
    assert (await apply(http, "kubectl")).status_code == 200
    changed = {"spec": {"names": {"shortNames": ["is"]}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    assert (await http.patch(URL, json=changed, headers=headers)).status_code == 200
    other = foreign()
    other["spec"]["names"]["shortNames"] = ["service"]
    answer = await http.patch(
        URL, params={"fieldManager": "other"}, content=yaml.safe_dump(other), headers=APPLY
    )
    assert answer.status_code == 409

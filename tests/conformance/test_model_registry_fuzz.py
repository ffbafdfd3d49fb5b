"""Odd input from the specification's own document, by the hundred: no failure, no other answer."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from tests.conformance.kubernetes.test_fuzz import SCHEMATHESIS

from towpath.testing import running_registry

PREFIX = "/api/model_registry/v1alpha3"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
ERRORS = ("400", "404", "409", "413", "415", "422")
"""The document leaves some of them out at some operations; the answer is its Error everywhere."""

WORLD = {
    "registered_models": {},
    "model_versions": {"registeredModelId": "1"},
    "serving_environments": {},
    "experiments": {},
    "experiment_runs": {"experimentId": "4"},
    "inference_services": {"registeredModelId": "1", "servingEnvironmentId": "3"},
    "model_artifacts": {"uri": "u"},
}
"""What is there from the start, in the order of the ids below."""

SETTINGS = """
[parameters]
"path.registeredmodelId" = "1"
"path.modelversionId" = "2"
"path.servingenvironmentId" = "3"
"path.experimentId" = "4"
"path.experimentrunId" = "5"
"path.inferenceserviceId" = "6"
"path.modelartifactId" = "1"
"path.id" = "1"
"""


@pytest.fixture
def document(shared: Path, tmp_path: Path) -> Path:
    """The document, where it says which ``artifactType`` stands for which kind."""
    text = (shared / "schemas/model-registry.openapi.yaml").read_text()
    content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    schemas = content["components"]["schemas"]
    for schema in list(schemas.values()):
        for value, ref in schema.get("discriminator", {}).get("mapping", {}).items():
            for properties in _properties(schemas, ref.rpartition("/")[2]):
                if "artifactType" in properties:
                    properties["artifactType"]["enum"] = [value]
    plain = schemas["ServingEnvironmentUpdate"].pop("allOf")  # the only one of a single part, and
    schemas["ServingEnvironmentUpdate"] |= schemas[plain[0]["$ref"].rpartition("/")[2]]  # too odd
    for name in ("licenseLink", "logo"):  # an empty text empties a field, this one too
        schemas["BaseModel"]["properties"][name].pop("format", None)
    error = {"description": "", "content": {"application/json": {"schema": {}}}}
    error["content"]["application/json"]["schema"] = {"$ref": "#/components/schemas/Error"}
    for entry in content["paths"].values():
        for method, operation in entry.items():
            if method in ("get", "post", "patch"):
                for status in ERRORS:
                    operation["responses"].setdefault(status, error)
    created = content["paths"][f"{PREFIX}/inference_services"]["post"]["responses"]
    created["201"] = created.pop("200")  # as both generations of the server have it
    written = tmp_path / "document.json"
    written.write_text(json.dumps(content))
    return written


def _properties(schemas: dict[str, Any], name: str) -> list[dict[str, Any]]:
    parts = [schemas[name], *schemas[name].get("allOf", [])]
    return [part["properties"] for part in parts if "properties" in part]


@pytest.mark.timeout(1080)  # the first time, the client is installed
@pytest.mark.parametrize(
    "phases",
    [
        pytest.param(["fuzzing", "--max-examples", "4"], id="short"),
        pytest.param(["coverage"], id="coverage", marks=pytest.mark.long),
        pytest.param(["stateful", "--max-examples", "50"], id="steps", marks=pytest.mark.long),
        pytest.param(["fuzzing", "--max-examples", "100"], id="fuzzing", marks=pytest.mark.long),
    ],
)
def test_every_operation(
    phases: list[str],
    registry_url: str,
    document: Path,
    client_venv: Callable[..., Path],
    tmp_path: Path,
) -> None:
    python = client_venv("schemathesis-4", SCHEMATHESIS)
    (tmp_path / "tokens").write_text('secret,me,1,"registry-writers"\n')
    settings = tmp_path / "schemathesis.toml"
    settings.write_text(SETTINGS)
    headers = {"Authorization": "Bearer secret"}
    options = ("--db", registry_url, "--tokens", str(tmp_path / "tokens"))
    with running_registry(tmp_path, *options) as running:
        address = running.url
        for path, body in WORLD.items():
            made = httpx2.post(
                f"{address}{PREFIX}/{path}", json={"name": "first", **body}, headers=headers
            )
            assert made.status_code == 201, made.text
        ran = subprocess.run(
            [
                str(python), "-m", "schemathesis.cli", "--config-file", str(settings),
                "run", str(document), "--url", address, "--no-color",
                "--header", "Authorization: Bearer secret",
                "--checks", ",".join(CHECKS), "--generation-deterministic", "--no-shrink",
                "--continue-on-failure", "--phases", *phases,
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-1000:]
        assert re.search(r"\b[1-9]\d* generated", ran.stdout), ran.stdout
        assert httpx2.get(f"{address}/readyz/health").status_code == 200

"""The official Python client, both generations, against our model registry."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SERVER = Path(__file__).parents[1] / "integration" / "model_registry_server.py"

NEWEST = "model-registry>=0.3.18"
OLDER = "model-registry==0.3.14"
"""The newest client that speaks v1alpha3; the others speak v1."""

DRIVE = """
import json, sys, warnings
warnings.simplefilter("ignore")
from model_registry import ModelRegistry
from model_registry.exceptions import StoreError

registry = ModelRegistry("http://127.0.0.1", int(sys.argv[1]), author="me", is_secure=False)
said = {}

def register(name, version="1", **more):
    return registry.register_model(
        name, "s3://bucket/key", version=version, model_format_name="onnx",
        model_format_version="1", **more)

properties = {"i": -7, "s": "x", "d": 0.5, "b": False}
model = register("fraud", metadata=properties, description="d", version_description="vd")
said["unknown"] = [registry.get_registered_model("none"), registry.get_model_version("fraud", "9")]
said["model"] = registry.get_registered_model("fraud").id == model.id
version = registry.get_model_version("fraud", "1")
said["version"] = [version.author, version.description, version.custom_properties == properties]
artifact = registry.get_model_artifact("fraud", "1")
said["artifact"] = [artifact.uri, artifact.model_format_name, artifact.state.value]
try:
    register("fraud")
except StoreError as error:
    said["again"] = "already exists" in str(error)

artifact.uri = "oci://host/repo@sha256:1"
artifact.state = type(artifact.state).LIVE
registry.update(artifact)
said["updated"] = [registry.get_model_artifact("fraud", "1").uri,
                   registry.get_model_artifact("fraud", "1").state.value]
version.description = "new"
version.custom_properties = {"only": "this"}
registry.update(version)
kept = registry.get_model_version("fraud", "1")
said["replaced"] = [kept.description, kept.custom_properties, kept.author]
model.state = type(model.state).ARCHIVED
registry.update(model)
said["archived"] = registry.get_registered_model("fraud").state.value

register("fraud", version="model:latest")
for n in range(6):
    register(f"m{n}")
pages = registry.get_registered_models().page_size(3)
said["pages"] = [entity.name for entity in pages]
newest = registry.get_registered_models().page_size(2).order_by_creation_time().descending()
said["newest"] = [entity.name for entity in newest]
said["versions"] = [entity.name for entity in registry.get_model_versions("fraud").page_size(1)]
print(json.dumps(said))
"""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[str]:
    """Port of a registry in a process of its own."""
    command = [sys.executable, str(SERVER), f"sqlite:///{tmp_path}/registry.db", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            yield child.stdout.readline().strip()
        finally:
            child.kill()


@pytest.mark.timeout(1080)
@pytest.mark.parametrize("requirement", [NEWEST, pytest.param(OLDER, marks=pytest.mark.long)])
def test_the_official_client_registers_finds_updates_and_pages(
    port: str, requirement: str, client_venv: Callable[..., Path], tmp_path: Path
) -> None:
    name = requirement.replace("=", "").replace(">", "-from-")
    python = client_venv(name, requirement)
    ran = subprocess.run(
        [str(python), "-c", DRIVE, port],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(tmp_path)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr

    names = ["fraud", *(f"m{n}" for n in range(6))]
    assert json.loads(ran.stdout.splitlines()[-1]) == {
        "unknown": [None, None],
        "model": True,
        "version": ["me", "vd", True],
        "artifact": ["s3://bucket/key", "onnx", "UNKNOWN"],
        "again": True,
        "updated": ["oci://host/repo@sha256:1", "LIVE"],
        "replaced": ["new", {"only": "this"}, "me"],
        "archived": "ARCHIVED",
        "pages": names,
        "newest": names[::-1],
        "versions": ["1", "model:latest"],
    }

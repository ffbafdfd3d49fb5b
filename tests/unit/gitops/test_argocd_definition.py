"""What we write for Argo CD fits the definition that Argo CD installs."""

from pathlib import Path
from typing import Any

import yaml

from towpath import gitops
from towpath.gitops.health import Health
from towpath.gitops.status import Outcome, Resource, status
from towpath.spec.names import ImageRef

FRAUD = gitops.Deployment(
    "fraud", "models", "onnx", ImageRef("127.0.0.1:5000/fraud@sha256:" + "0" * 64), "1"
)
GOOD = Resource("serving.kserve.io", "v1beta1", "InferenceService", "models", "fraud")
BAD = Resource("", "v1", "Pod", "a", "b", False, Health("Degraded", "x"), surplus=True)


def test_application_and_status(shared: Path) -> None:
    crd = yaml.load(
        (shared / "schemas/crds/argocd-applications.yaml").read_bytes(), yaml.CSafeLoader
    )
    fields = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    for cluster in ("hub", "edge-1"):
        app = gitops.application(cluster, FRAUD, "http://127.0.0.1/gitops.git", "main")
        assert_fits(app["spec"], fields["spec"], "spec")
        found = Outcome(
            "Synced", "1" * 40, (GOOD, BAD), operated=True, conditions={"SyncError": "x"}
        )
        written = status({"spec": app["spec"]}, found, "2024-01-01T00:00:00Z")
        assert {"history", "operationState", "conditions"} <= written.keys()
        assert_fits(written, fields["status"], "status")


def assert_fits(value: Any, schema: Any, where: str) -> None:
    """That a value has the required fields of a structural schema, and no unknown ones."""
    if schema["type"] == "object" and "properties" in schema:
        assert set(schema.get("required", ())) <= value.keys() <= schema["properties"].keys(), where
        for key, item in value.items():
            assert_fits(item, schema["properties"][key], f"{where}.{key}")
    elif schema["type"] == "array":
        for item in value:
            assert_fits(item, schema["items"], f"{where}[]")
    else:
        kinds = {"string": str, "boolean": bool, "integer": int, "object": dict}
        assert isinstance(value, kinds[schema["type"]]), where

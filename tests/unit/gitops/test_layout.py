"""What `ship` writes into a repository: read back, deterministic, as the CRDs want it."""

from dataclasses import replace

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from towpath import gitops
from towpath.errors import InvalidError
from towpath.spec import argocd
from towpath.spec.names import ImageRef

names = st.from_regex(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?", fullmatch=True)
versions = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,40}", fullmatch=True)
digests = st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:".__add__)
images = st.builds("{}:{}/{}@{}".format, names, st.integers(1, 65535), names, digests).map(ImageRef)
texts = st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3)
deployments = st.builds(
    gitops.Deployment, names, names, st.text(min_size=1), images, versions, texts, texts
)

FRAUD = gitops.Deployment(
    name="fraud",
    namespace="models",
    model_format="onnx",
    image=ImageRef("127.0.0.1:5000/fraud@sha256:" + "0" * 64),
    version="1",
    labels={"modelregistry.opendatahub.io/registered-model-id": "7"},
)


def test_a_file_reads_as_people_write_it() -> None:
    (path, content), *others = gitops.files(FRAUD, "edge-1").items()
    assert not others
    assert path == "clusters/edge-1/fraud/inferenceservice.yaml"
    assert content.decode() == (
        "apiVersion: serving.kserve.io/v1beta1\n"
        "kind: InferenceService\n"
        "metadata:\n"
        "  name: fraud\n"
        "  namespace: models\n"
        "  labels:\n"
        "    modelregistry.opendatahub.io/registered-model-id: '7'\n"
        "  annotations:\n"
        "    serving.kserve.io/deploymentMode: RawDeployment\n"
        "    towpath.dev/model-version: '1'\n"
        "spec:\n"
        "  predictor:\n"
        "    model:\n"
        "      modelFormat:\n"
        "        name: onnx\n"
        "      protocolVersion: v2\n"
        f"      storageUri: oci://127.0.0.1:5000/fraud@sha256:{'0' * 64}\n"
    )


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.tuples(names, names), st.tuples(deployments, images), max_size=4))
def test_what_is_written_is_read_back(
    wanted: dict[tuple[str, str], tuple[gitops.Deployment, ImageRef]],
) -> None:
    repository: dict[str, bytes] = {"README.md": b"not: [yaml"}
    for (cluster, app), (like, image) in wanted.items():
        deployment = gitops.Deployment(
            app, like.namespace, like.model_format, image, like.version, like.labels
        )
        repository |= gitops.files(deployment, cluster)
    assert gitops.images(repository) == {key: image for key, (_, image) in wanted.items()}


@settings(max_examples=40, deadline=None)
@given(deployments, names)
@example(replace(FRAUD, annotations={"\x85": "\u2028", "ä": "é"}), "edge-1")
def test_equal_deployments_make_equal_bytes(deployment: gitops.Deployment, cluster: str) -> None:
    again = gitops.Deployment(
        **{
            **vars(deployment),
            "labels": dict(reversed(deployment.labels.items())),
            "annotations": dict(reversed(deployment.annotations.items())),
        }
    )
    written = gitops.files(deployment, cluster)
    assert gitops.files(again, cluster) == written
    (content,) = written.values()
    metadata = yaml.safe_load(content)["metadata"]
    assert metadata["name"] == deployment.name
    assert metadata.get("labels", {}) == deployment.labels
    assert deployment.annotations.items() <= metadata["annotations"].items()


@pytest.mark.parametrize("cluster", ["", "..", "Edge", "a/b", "x" * 51])
def test_a_cluster_cannot_leave_its_folder(cluster: str) -> None:
    with pytest.raises(InvalidError):
        gitops.files(FRAUD, cluster)
    with pytest.raises(InvalidError):
        gitops.application(cluster, FRAUD, "http://127.0.0.1:8009/gitops.git", "main")


def test_an_image_by_tag_is_refused() -> None:
    tagged = gitops.Deployment("fraud", "models", "onnx", ImageRef("127.0.0.1/fraud:1"), "1")
    with pytest.raises(InvalidError, match="digest"):
        gitops.files(tagged, "edge-1")


def test_other_services_are_left_out() -> None:
    path = "clusters/edge-1/other/inferenceservice.yaml"
    assert gitops.images({path: b"spec: {predictor: {model: {storageUri: s3://bucket/x}}}"}) == {}
    assert gitops.images({path: b"- 1"}) == {}
    with pytest.raises(InvalidError, match="clusters/edge-1/other"):
        gitops.images({path: b"a: [1"})


def test_the_application_of_an_edge_is_dormant_on_the_hub() -> None:
    app = gitops.application("edge-1", FRAUD, "http://127.0.0.1:8009/gitops.git", "main")
    assert app["metadata"]["name"] == "edge-1-fraud"
    assert app["metadata"]["namespace"] == "edge-1"
    assert app["metadata"]["annotations"] == {
        argocd.SKIP_RECONCILE: "true",
        argocd.MANAGED_CLUSTER: "edge-1",
    }
    assert app["metadata"]["labels"] == {argocd.PULL_TO_MANAGED_CLUSTER: "true"}
    assert app["spec"]["source"]["path"] == "clusters/edge-1/fraud"


def test_the_application_of_the_hub_is_synced_in_place() -> None:
    metadata = gitops.application("hub", FRAUD, "http://127.0.0.1/gitops.git", "main")["metadata"]
    assert metadata["name"] == "hub-fraud"
    assert "annotations" not in metadata
    assert metadata["finalizers"] == [argocd.RESOURCES_FINALIZER]

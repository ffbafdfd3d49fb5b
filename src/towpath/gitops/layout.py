"""What lies where in a GitOps repository: the one place that knows its paths and its objects.

    clusters/<cluster>/<app>/inferenceservice.yaml

One folder is what one Application of one cluster syncs, so a rollout to one edge touches one file,
and two edges never share a file that a commit could break for both.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from towpath.errors import InvalidError
from towpath.spec import argocd, kserve
from towpath.spec.kube import Object
from towpath.spec.names import DIGEST, ImageRef, cluster_name, model_name, version_name
from towpath.spec.towpath import MODEL_VERSION

__all__ = ["HUB", "README", "Deployment", "application", "files", "folder", "images"]

HUB: Final = "hub"
"""The hub's own cluster: its Applications are synced where they are written."""

_FILE: Final = "inferenceservice.yaml"
_PATH: Final = re.compile(rf"clusters/([^/]+)/([^/]+)/{re.escape(_FILE)}")

README: Final = b"""\
# What runs where

    clusters/<cluster>/<app>/inferenceservice.yaml

One folder is one application of one cluster. The cluster's Argo CD Application
`<cluster>-<app>` syncs that folder, whatever plain Kubernetes YAML is in it.

A model is named by the digest of its image (`storageUri: oci://...@sha256:...`),
so a commit says exactly which bytes run. To roll back, revert the commit.
"""


@dataclass(frozen=True)
class Deployment:
    """A model as it is to run: what a rollout says, wherever it runs.

    Args:
        name: Of the model and of its InferenceService.
        namespace: On the cluster.
        model_format: As KServe names it, such as ``onnx``.
        image: The modelcar, by digest.
        version: The model's version, as registered.
        labels: Further labels, such as the ids in the model registry.
        annotations: Further annotations.
    """

    name: str
    namespace: str
    model_format: str
    image: ImageRef
    version: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def folder(cluster: str, app: str) -> str:
    """The folder that one application of one cluster syncs.

    Raises:
        InvalidError: one of the names is not legal.
    """
    return f"clusters/{cluster_name(cluster)}/{model_name(app)}"


def files(deployment: Deployment, cluster: str) -> dict[str, bytes]:
    """The files of a deployment on a cluster, by path.

    Raises:
        InvalidError: a name is not legal, or the image is not named by digest.
    """
    path = f"{folder(cluster, deployment.name)}/{_FILE}"
    return {path: _yaml(_inference_service(deployment))}


def images(repository: Mapping[str, bytes]) -> dict[tuple[str, str], ImageRef]:
    """Which image each (cluster, app) of a repository runs; only those named by digest.

    Args:
        repository: Files by path; others than those of this layout are not read.

    Raises:
        InvalidError: a file of this layout is not YAML.
    """
    found: dict[tuple[str, str], ImageRef] = {}
    for path in repository:
        place = _PATH.fullmatch(path)
        if place is None:
            continue
        try:
            service = yaml.safe_load(repository[path])
        except (yaml.YAMLError, ValueError) as exc:
            raise InvalidError(f"{path} is not YAML") from exc
        image = _image(service)
        if image is not None:
            found[place[1], place[2]] = image
    return found


def application(cluster: str, deployment: Deployment, repository: str, branch: str) -> Object:
    """The Argo CD Application that keeps a deployment's folder true on a cluster.

    It lies on the hub, in the namespace of the cluster's name. That of an edge is dormant there
    and carries the marks of Open Cluster Management's pull model (the cluster's agent mirrors it);
    that of the hub's own cluster is synced in place.

    Args:
        cluster: Name of the cluster.
        deployment: What runs there.
        repository: URL of the git repository, as the cluster reaches it.
        branch: That is followed.

    Raises:
        InvalidError: a name is not legal.
    """
    metadata: dict[str, Any] = {
        "name": f"{cluster_name(cluster)}-{model_name(deployment.name)}",
        "namespace": cluster,
    }
    if cluster == HUB:
        metadata["finalizers"] = [argocd.RESOURCES_FINALIZER]
    else:
        metadata["labels"] = {argocd.PULL_TO_MANAGED_CLUSTER: "true"}
        metadata["annotations"] = {
            argocd.SKIP_RECONCILE: "true",
            argocd.MANAGED_CLUSTER: cluster,
        }
    return {
        "apiVersion": argocd.APPLICATION.api_version,
        "kind": argocd.APPLICATION.kind,
        "metadata": metadata,  # type: ignore[typeddict-item]  # its keys are those of ObjectMeta
        "spec": {
            "project": "default",
            "source": {
                "repoURL": repository,
                "path": folder(cluster, deployment.name),
                "targetRevision": branch,
            },
            "destination": {"server": argocd.IN_CLUSTER, "namespace": deployment.namespace},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["CreateNamespace=true"],
            },
        },
    }


def _inference_service(deployment: Deployment) -> dict[str, Any]:
    repository, _, digest = deployment.image.rpartition("@")
    if not repository or not DIGEST.fullmatch(digest):
        raise InvalidError(
            f"image {deployment.image[:200]!r} is not named by its digest",
            hint="Use HOST/REPOSITORY@sha256:….",
        )
    metadata: dict[str, Any] = {
        "name": model_name(deployment.name),
        "namespace": deployment.namespace,
    }
    if deployment.labels:
        metadata["labels"] = dict(sorted(deployment.labels.items()))
    annotations = {
        kserve.DEPLOYMENT_MODE: "RawDeployment",
        MODEL_VERSION: version_name(deployment.version),
        **deployment.annotations,
    }
    metadata["annotations"] = dict(sorted(annotations.items()))
    return {
        "apiVersion": kserve.INFERENCE_SERVICE.api_version,
        "kind": kserve.INFERENCE_SERVICE.kind,
        "metadata": metadata,
        "spec": {
            "predictor": {
                "model": {
                    "modelFormat": {"name": deployment.model_format},
                    "protocolVersion": "v2",
                    "storageUri": f"oci://{deployment.image}",
                }
            }
        },
    }


def _image(service: Any) -> ImageRef | None:
    try:
        uri = service["spec"]["predictor"]["model"]["storageUri"]
    except (KeyError, TypeError):
        return None
    if not isinstance(uri, str) or not uri.startswith("oci://"):
        return None
    ref = uri.removeprefix("oci://")
    repository, _, digest = ref.rpartition("@")
    return ImageRef(ref) if repository and DIGEST.fullmatch(digest) else None


def _yaml(obj: Mapping[str, Any]) -> bytes:
    text = _dump(obj, readable=True)
    if yaml.safe_load(text) != obj:  # some line separators are read back as spaces
        text = _dump(obj, readable=False)
    return text.encode()


def _dump(obj: Mapping[str, Any], *, readable: bool) -> str:
    text: str = yaml.safe_dump(
        dict(obj), sort_keys=False, default_flow_style=False, allow_unicode=readable, width=4096
    )
    return text

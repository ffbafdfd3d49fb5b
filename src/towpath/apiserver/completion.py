"""Defaults of built-in kinds that depend on other fields, and so stand in no schema.

Pure. Run after the schema's own defaults.

Source: Kubernetes API reference, the fields' own defaults.
"""

from collections.abc import Callable, Mapping
from typing import Final

import orjson

from towpath.apiserver.kinds import Resource
from towpath.spec._wire import JsonObject

__all__ = ["completed"]

_RBAC: Final = "rbac.authorization.k8s.io"
_SESSION_SECONDS: Final = 10800


def completed(resource: Resource, obj: JsonObject) -> JsonObject:
    """An object of a built-in kind with what the server fills in.

    Args:
        resource: Its kind.
        obj: With the schema's defaults; it is not changed.
    """
    rule = _RULES.get(resource.key)
    if rule is None:
        return obj
    new: JsonObject = orjson.loads(orjson.dumps(obj))
    rule(new)
    return new


def _pod(pod: JsonObject) -> None:
    spec = pod.get("spec")
    if spec is None:
        return
    spec.setdefault("enableServiceLinks", True)
    _pod_spec(spec)
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        resources = container.get("resources") or {}
        if limits := resources.get("limits"):
            container["resources"] = {
                **resources,
                "requests": {**limits, **resources.get("requests", {})},
            }


def _pod_spec(spec: JsonObject) -> None:
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for volume in spec.get("volumes", ()):
        if len(volume) == 1:
            volume["emptyDir"] = {}
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(kind, ()):
            if container.get("image"):
                policy = "Always" if _moving(container["image"]) else "IfNotPresent"
                container.setdefault("imagePullPolicy", policy)
            for port in container.get("ports", ()) if spec.get("hostNetwork") else ():
                port.setdefault("hostPort", port.get("containerPort", 0))


def _moving(image: str) -> bool:
    """Whether an image's name says nothing of its version."""
    if "@" in image:
        return False
    _, _, tag = image.rpartition("/")[2].partition(":")
    return tag in ("", "latest")


def _template(obj: JsonObject) -> JsonObject:
    spec: JsonObject = obj.get("spec") or {}
    _pod_spec((spec.get("template") or {}).get("spec") or {})
    return spec


def _deployment(deployment: JsonObject) -> None:
    strategy = _template(deployment).get("strategy") or {}
    if strategy.get("type") == "RollingUpdate":
        rolling = {"maxUnavailable": "25%", "maxSurge": "25%"}
        strategy["rollingUpdate"] = {**rolling, **strategy.get("rollingUpdate", {})}


def _job(job: JsonObject) -> None:
    spec = _template(job)
    if not spec:
        return
    if "parallelism" not in spec:
        spec.setdefault("completions", 1)
        spec["parallelism"] = 1
    failed = "podFailurePolicy" in spec
    spec.setdefault("podReplacementPolicy", "Failed" if failed else "TerminatingOrFailed")
    labels = (spec["template"].get("metadata") or {}).get("labels") if "template" in spec else None
    if labels and not job["metadata"].get("labels"):
        job["metadata"]["labels"] = labels


def _service(service: JsonObject) -> None:
    spec = service.setdefault("spec", {})
    spec.setdefault("type", "ClusterIP")
    for port in spec.get("ports", ()):
        if port.get("targetPort") in (None, "", 0):
            port["targetPort"] = port.get("port", 0)
    if spec.get("sessionAffinity") == "ClientIP":
        affinity = {"clientIP": {"timeoutSeconds": _SESSION_SECONDS}}
        spec.setdefault("sessionAffinityConfig", affinity)
    if spec["type"] != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in ("LoadBalancer", "NodePort"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _binding(binding: JsonObject) -> None:
    for reference in (binding.get("roleRef"), *(binding.get("subjects") or ())):
        if reference and reference.get("kind") != "ServiceAccount":
            reference["apiGroup"] = reference.get("apiGroup") or _RBAC


_RULES: Final[Mapping[str, Callable[[JsonObject], None]]] = {
    "deployments.apps": _deployment,
    "jobs.batch": _job,
    "pods": _pod,
    "services": _service,
    f"clusterrolebindings.{_RBAC}": _binding,
    f"rolebindings.{_RBAC}": _binding,
}

"""What an Application asks for, read from its spec: checked once, before anything is touched."""

from dataclasses import dataclass
from typing import Any, Final

from towpath.errors import InvalidError
from towpath.kube.controller import Request
from towpath.spec import argocd
from towpath.spec.kube import Kind, Object
from towpath.spec.towpath import MIRROR

__all__ = ["Source", "dormant", "owner", "tracking_id"]

_OTHER_TOOLS: Final = ("chart", "helm", "kustomize", "plugin")


@dataclass(frozen=True)
class Source:
    """Where an Application's objects come from, where they go, and what a sync may do."""

    url: str
    path: str
    target: str
    recurse: bool
    namespace: str
    create_namespace: bool
    automated: bool
    prune: bool
    self_heal: bool
    allow_empty: bool

    @classmethod
    def of(cls, app: Object) -> "Source":
        """Read an Application's spec.

        Raises:
            InvalidError: a field is missing, or asks for what is not supported.
        """
        spec: dict[str, Any] = app.get("spec") or {}
        source: dict[str, Any] = spec.get("source") or {}
        destination: dict[str, Any] = spec.get("destination") or {}
        policy: dict[str, Any] = spec.get("syncPolicy") or {}
        if spec.get("sources"):
            raise InvalidError("spec.sources is not supported", hint="Use one spec.source.")
        if not source.get("repoURL"):
            raise InvalidError("spec.source.repoURL is missing")
        for tool in _OTHER_TOOLS:
            if source.get(tool):
                raise InvalidError(
                    f"spec.source.{tool} is not supported", hint="Commit plain manifests."
                )
        if destination.get("server", argocd.IN_CLUSTER) != argocd.IN_CLUSTER or destination.get(
            "name", "in-cluster"
        ) not in ("", "in-cluster"):
            raise InvalidError(
                "spec.destination is another cluster", hint=f"Use server {argocd.IN_CLUSTER}."
            )
        automated = policy.get("automated")
        rules: dict[str, Any] = automated or {}
        return cls(
            url=source["repoURL"],
            path=source.get("path") or ".",
            target=source.get("targetRevision") or "HEAD",
            recurse=bool((source.get("directory") or {}).get("recurse")),
            namespace=destination.get("namespace") or "",
            create_namespace="CreateNamespace=true" in (policy.get("syncOptions") or ()),
            automated=automated is not None and rules.get("enabled") is not False,
            prune=bool(rules.get("prune")),
            self_heal=bool(rules.get("selfHeal")),
            allow_empty=bool(rules.get("allowEmpty")),
        )


def dormant(app: Object) -> bool:
    """Whether an Application is not ours to sync: another cluster's, or told to be left alone."""
    annotations = app["metadata"].get("annotations") or {}
    return annotations.get(argocd.SKIP_RECONCILE) == "true" or MIRROR in annotations


def tracking_id(app: Request, kind: Kind, namespace: str, name: str) -> str:
    """Argo CD's mark of an object that an Application deployed.

    The Application is named with its namespace, as Argo CD does for Applications in any namespace.
    """
    return f"{app.namespace}_{app.name}:{kind.group}/{kind.kind}:{namespace}/{name}"


def owner(obj: Object) -> list[Request]:
    """The Application that deployed an object: whom a change of that object concerns."""
    annotations = obj["metadata"].get("annotations") or {}
    instance = annotations.get(argocd.TRACKING_ID, "").partition(":")[0]
    namespace, separator, name = instance.partition("_")
    return [Request(namespace, name)] if separator and name else []

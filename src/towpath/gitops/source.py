"""What an Application asks for, read from its spec: checked once, before anything is touched."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from towpath import kube
from towpath.errors import InvalidError
from towpath.kube.controller import Request
from towpath.spec import argocd
from towpath.spec.kube import Kind, Object
from towpath.spec.towpath import MIRROR

__all__ = ["Source", "dormant", "owner", "tracking_id"]

T = TypeVar("T")

_OTHER_TOOLS: Final = ("chart", "helm", "kustomize", "plugin")
_REMOTE: Final = ("http://", "https://", "ssh://", "git://")


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
    def of(cls, app: Object, *, local_paths: bool = False) -> "Source":
        """Read an Application's spec.

        Args:
            app: The Application.
            local_paths: Whether a repository of this machine may be read, by path or ``file://``.

        Raises:
            InvalidError: a field is missing or malformed, or asks for what is not supported.
        """
        spec = _Fields(app).under("spec")
        if spec.values.get("sources"):
            raise InvalidError("spec.sources is not supported", hint="Use one spec.source.")
        source, destination = spec.under("source"), spec.under("destination")
        _check_destination(destination)
        policy = spec.under("syncPolicy")
        rules = policy.under("automated")
        return cls(
            url=_url(source, local_paths=local_paths),
            path=source.text("path") or ".",
            target=source.text("targetRevision") or "HEAD",
            recurse=source.under("directory").flag("recurse"),
            namespace=destination.text("namespace"),
            create_namespace="CreateNamespace=true" in policy.items("syncOptions"),
            automated=policy.values.get("automated") is not None
            and rules.flag("enabled", default=True),
            prune=rules.flag("prune"),
            self_heal=rules.flag("selfHeal"),
            allow_empty=rules.flag("allowEmpty"),
        )


@dataclass(frozen=True)
class _Fields:
    """A mapping of a manifest and where it is; null and absent are the same."""

    values: Mapping[str, Any]
    at: str = ""

    def under(self, name: str) -> "_Fields":
        return _Fields(self._get(name, dict, "an object") or {}, f"{self.at}{name}.")

    def text(self, name: str) -> str:
        return self._get(name, str, "a string") or ""

    def flag(self, name: str, *, default: bool = False) -> bool:
        found = self._get(name, bool, "true or false")
        return default if found is None else found

    def items(self, name: str) -> Sequence[Any]:
        return self._get(name, list, "a list") or ()

    def _get(self, name: str, kind: type[T], called: str) -> T | None:
        found = self.values.get(name)
        if found is not None and not isinstance(found, kind):
            raise InvalidError(f"{self.at}{name} is not {called}")
        return found


def _url(source: _Fields, *, local_paths: bool) -> str:
    url = source.text("repoURL")
    if not url:
        raise InvalidError("spec.source.repoURL is missing")
    for tool in _OTHER_TOOLS:
        if source.values.get(tool):
            raise InvalidError(
                f"spec.source.{tool} is not supported", hint="Commit plain manifests."
            )
    if not local_paths and not url.lower().startswith(_REMOTE):
        raise InvalidError(
            "spec.source.repoURL is not a URL of a git server", hint="Use http(s)://…"
        )
    return url


def _check_destination(destination: _Fields) -> None:
    server, name = destination.text("server"), destination.text("name")
    if server not in ("", argocd.IN_CLUSTER) or name not in ("", "in-cluster"):
        raise InvalidError(
            "spec.destination is another cluster", hint=f"Use server {argocd.IN_CLUSTER}."
        )


def dormant(app: Object) -> bool:
    """Whether an Application is told to be left alone, or only reflects another cluster's."""
    annotations = kube.annotations(app)
    return annotations.get(argocd.SKIP_RECONCILE) == "true" or MIRROR in annotations


def tracking_id(app: Request, kind: Kind, namespace: str, name: str) -> str:
    """Argo CD's mark of an object that an Application deployed.

    The Application is named with its namespace, as Argo CD does for Applications in any namespace.
    """
    return f"{app.namespace}_{app.name}:{kind.group}/{kind.kind}:{namespace}/{name}"


def owner(obj: Object) -> list[Request]:
    """The Application that deployed an object: whom a change of that object concerns."""
    instance = str(kube.annotations(obj).get(argocd.TRACKING_ID, "")).partition(":")[0]
    namespace, separator, name = instance.partition("_")
    return [Request(namespace, name)] if separator and name else []

"""Discovery: what is served, told to clients that know nothing yet.

Source: Kubernetes API concepts, "Discovery API" (unaggregated).
"""

import platform
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from towpath.apiserver.kinds import Catalogue, Resource, Subresource, unknown
from towpath.spec._wire import JsonObject
from towpath.spec.kube import SPEC_VERSION, Kind

__all__ = ["api_versions", "group", "groups", "paths", "resources", "version"]

_BUILT: Final = "1970-01-01T00:00:00Z"
_CHANGES: Final = ("get", "patch", "update")
_SCALE: Final = Kind("autoscaling", "v1", "Scale", "scales")


def version(own: str) -> JsonObject:
    """``/version``: the Kubernetes version spoken, with our own after the plus."""
    major, minor = SPEC_VERSION.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{SPEC_VERSION}.0+towpath.{own}",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": _BUILT,
        "goVersion": "",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def api_versions() -> JsonObject:
    """``/api``."""
    addresses: list[JsonObject] = []
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}


def _versions(catalogue: Catalogue) -> dict[str, list[str]]:
    """Versions by group, the preferred (stable, newest) first."""
    found: dict[str, set[str]] = {}
    for resource in catalogue:
        if resource.kind.group:
            found.setdefault(resource.kind.group, set()).add(resource.kind.version)
    return {
        name: sorted(versions, key=_priority, reverse=True)
        for name, versions in sorted(found.items())
    }


def _priority(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: v2 before v1 before v1beta2 before v1alpha1 before others."""
    head, _, rest = version.removeprefix("v").partition("beta")
    stage, number = 2, rest
    if not rest:
        head, _, rest = version.removeprefix("v").partition("alpha")
        stage, number = (1, rest) if rest else (3, "0")
    if not (head.isdigit() and number.isdigit()):
        return (0, 0, 0, version)
    return (stage, int(head), int(number), version)


def _group(name: str, versions: list[str]) -> JsonObject:
    entries = [{"groupVersion": f"{name}/{v}", "version": v} for v in versions]
    return {"name": name, "versions": entries, "preferredVersion": entries[0]}


def groups(catalogue: Catalogue) -> JsonObject:
    """``/apis``."""
    found = [_group(name, versions) for name, versions in _versions(catalogue).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(catalogue: Catalogue, name: str) -> JsonObject:
    """``/apis/{group}``. Raises NotFoundError."""
    versions = _versions(catalogue).get(name)
    if not versions:
        raise unknown()
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def resources(catalogue: Catalogue, group: str, version: str) -> JsonObject:
    """``/api/v1`` and ``/apis/{group}/{version}``. Raises NotFoundError."""
    found = [r for r in catalogue if (r.kind.group, r.kind.version) == (group, version)]
    if not found:
        raise unknown()
    entries = [entry for resource in found for entry in _entries(resource)]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].kind.api_version,
        "resources": sorted(entries, key=lambda entry: str(entry["name"])),
    }


def _entries(resource: Resource) -> Iterator[JsonObject]:
    """A kind and its subresources."""
    kind = resource.kind
    entry: JsonObject = {
        "name": kind.plural,
        "singularName": resource.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if "list" in resource.verbs:
        text = f"{resource.key}/{resource.stored or kind.version}/{kind.kind}"
        entry["storageVersionHash"] = b64encode(sha256(text.encode()).digest()[:8]).decode()
    yield entry
    below = list(resource.subresources)
    if resource.status:
        below.append(Subresource("status", kind, _CHANGES))
    if resource.scale is not None:
        below.append(Subresource("scale", _SCALE, _CHANGES))
    for subresource in below:
        of = subresource.kind
        told: JsonObject = {
            "name": f"{kind.plural}/{subresource.name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": of.kind,
            "verbs": list(subresource.verbs),
        }
        if of.api_version != kind.api_version:
            told |= {"group": of.group, "version": of.version}
        yield told


def paths(catalogue: Catalogue) -> JsonObject:
    """``/``."""
    found = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v2", "/openapi/v3"]
    found += ["/readyz", "/version"]
    for name, versions in _versions(catalogue).items():
        found += [f"/apis/{name}", *(f"/apis/{name}/{version}" for version in versions)]
    return {"paths": sorted(found)}

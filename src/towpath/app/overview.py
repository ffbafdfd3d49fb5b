"""How a platform stands: what ``towpath status`` shows, read through its own surfaces."""

import ssl
from typing import Any

import httpx2

from towpath import kube, registry
from towpath.app.home import HUB, Home
from towpath.app.ports import HOST
from towpath.app.rollout import Endpoint, Lookout, storage_uri
from towpath.errors import TowpathError
from towpath.registry import plain
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import Object
from towpath.spec.towpath import (
    CLUSTER_LABEL,
    DIGEST_PROPERTY,
    IMAGE_PROPERTY,
    MIRROR,
    REVISION_PROPERTY,
)

__all__ = ["overview"]

PLANNED = ("location", "storage", "dashboard", "prometheus")
"""Surfaces that have a port of their own and are not part of this version."""


async def overview(home: Home) -> dict[str, Any]:
    """One object: surfaces, clusters, models and endpoints. What does not answer is not ready."""
    surfaces: dict[str, str | None] = {
        name: home.url(name) for name in ("kubernetes", "registry", "distribution", "gateway")
    }
    surfaces["git"] = home.url("git")
    surfaces |= dict.fromkeys(PLANNED)
    async with httpx2.AsyncClient(trust_env=False, timeout=3, verify=_unverified()) as http:
        clusters = [await _cluster(http, home, name) for name in (HUB, *home.edge_names)]
        probes = {
            "registry": home.url("registry") + "/readyz/isDirty",
            "distribution": home.url("distribution") + "/v2/",
            "git": home.repository() + "/info/refs?service=git-upload-pack",
        }
        down = [name for name, url in probes.items() if not await _answers(http, url)]
        endpoints = await _endpoints(home, http, clusters) if clusters[0]["ready"] else []
    return {
        "ready": not down and all(cluster["ready"] for cluster in clusters),
        "down": down,
        "surfaces": surfaces,
        "clusters": clusters,
        "models": [] if "registry" in down else await _models(home),
        "endpoints": endpoints,
    }


async def _cluster(http: httpx2.AsyncClient, home: Home, name: str) -> dict[str, Any]:
    if name == HUB:
        kubernetes, gateway = home.url("kubernetes"), home.url("gateway")
    else:
        number = home.edge_names.index(name) + 1
        kubernetes = f"https://{HOST}:{home.ports.edge(number, 'kubernetes')}"
        gateway = f"http://{HOST}:{home.ports.edge(number, 'gateway')}"
    ready = await _answers(http, kubernetes + "/readyz") and await _answers(
        http, gateway + "/v2/health/live"
    )
    return {"name": name, "kubernetes": kubernetes, "gateway": gateway, "ready": ready}


async def _answers(http: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await http.get(url)).status_code == 200
    except httpx2.HTTPError:
        return False


def _unverified() -> ssl.SSLContext:
    """For a health route on loopback that carries no secret either way."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _models(home: Home) -> list[dict[str, Any]]:
    found = []
    async with registry.Client(home.url("registry")) as account_book:
        async for model in account_book.models():
            async for version in account_book.versions(model.id or ""):
                links = plain(version.customProperties)
                artifacts = [a async for a in account_book.artifacts(version.id or "")]
                facts = plain(artifacts[0].customProperties) if artifacts else {}
                found.append(
                    {
                        "name": model.name,
                        "version": version.name,
                        "digest": facts.get(DIGEST_PROPERTY),
                        "uri": artifacts[0].uri if artifacts else None,
                        "image": links.get(IMAGE_PROPERTY),
                        "revision": links.get(REVISION_PROPERTY),
                    }
                )
    return found


async def _endpoints(
    home: Home, http: httpx2.AsyncClient, clusters: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    gateways = {cluster["name"]: cluster for cluster in clusters}
    endpoints = []
    try:
        async with kube.Client(home.kubeconfig()) as hub:
            lookout = Lookout(hub, http)
            for service in await hub.list(INFERENCE_SERVICE):
                cluster = gateways.get(kube.labels(service).get(CLUSTER_LABEL, HUB))
                if cluster is None:
                    continue
                namespace, name = _original(service)
                version = await lookout.version(cluster["gateway"], name, namespace)
                ready = version is not None
                endpoint = Endpoint(cluster["name"], name, cluster["gateway"], ready)
                image = storage_uri(service).removeprefix("oci://")
                endpoints.append({**endpoint.to_json(), "version": version, "image": image})
    except TowpathError:
        return []
    return sorted(endpoints, key=lambda e: (e["cluster"], e["name"]))


def _original(service: Object) -> tuple[str, str]:
    """Namespace and name of a service in its own cluster."""
    origin = kube.annotations(service).get(MIRROR, "").split("/")
    metadata = service["metadata"]
    if len(origin) == 3:
        return origin[1], origin[2]
    return metadata.get("namespace", ""), metadata["name"]

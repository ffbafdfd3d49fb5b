"""Clients of a running platform, found by its home."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import httpx2

from towpath import kube, registry
from towpath.app.home import HUB, Home
from towpath.app.ports import HOST
from towpath.app.road import Road
from towpath.app.rollout import Target
from towpath.app.shelf import Shelf
from towpath.blob import oci
from towpath.errors import NotFoundError
from towpath.settings import Settings
from towpath.spec.names import cluster_name

__all__ = ["road", "targets"]


def targets(home: Home, clusters: Sequence[str]) -> tuple[Target, ...]:
    """The clusters that were named; all edges when none was, or the hub when it has no edge.

    Raises:
        NotFoundError: the platform has no such cluster.
    """
    known = {name: number for number, name in enumerate(home.edge_names, start=1)}
    chosen = list(dict.fromkeys(clusters)) or list(known) or [HUB]
    found = []
    for name in chosen:
        if name == HUB:
            found.append(Target(HUB, home.url("gateway"), "default"))
        elif name in known:
            port = home.ports.edge(known[name], "gateway")
            found.append(Target(name, f"http://{HOST}:{port}", name))
        else:
            raise NotFoundError(
                f"there is no cluster {cluster_name(name)!r} on this platform",
                hint=f"Its clusters: {', '.join((HUB, *known))}.",
            )
    return tuple(found)


@asynccontextmanager
async def road(home: Home, clusters: Sequence[str], settings: Settings) -> AsyncIterator[Road]:
    """The stages of a running platform, connected.

    Raises:
        NotFoundError: there is no such cluster.
        UnavailableError: the platform does not run.
    """
    async with (
        registry.Client(home.url("registry")) as account_book,
        oci.Client(f"{HOST}:{home.ports.hub('distribution')}", settings.blob) as images,
        kube.Client(home.kubeconfig()) as hub,
        httpx2.AsyncClient(trust_env=False, timeout=5) as http,
    ):
        yield Road(
            registry=account_book,
            images=images,
            repository=home.repository(),
            token=home.token("admin"),
            branch=settings.gitops.branch,
            hub=hub,
            http=http,
            shelf=Shelf(home.models),
            targets=targets(home, clusters),
        )

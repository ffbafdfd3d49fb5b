"""One cluster: its Kubernetes API, the sync from git, and the services behind its gateway.

Hub and edge are the same thing here; an edge has the pull agent on top. An edge is a process of
its own (:func:`run`), the hub's cluster runs inside the platform's process (:func:`running`).
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import httpx2

from towpath import edge, gitops, kube
from towpath.app.api import DATABASE, KubernetesApi, Listening, serving
from towpath.app.guests import welcome
from towpath.fleet import APPLICATIONS, PullAgent
from towpath.process import Child, Children, locked_within
from towpath.settings import Settings
from towpath.spec.argocd import APPLICATION
from towpath.spec.kserve import INFERENCE_SERVICE

__all__ = ["Cluster", "run", "running"]

STOP_SECONDS: Final = 6.0
"""Seconds that a gateway or runtime gets to end its open requests when all of it stops."""
LOCK_SECONDS: Final = 20.0
"""Seconds that an agent waits for its predecessor, which stops, to let the folder go."""


@dataclass(frozen=True)
class Cluster:
    """A cluster to run.

    Args:
        name: ``hub``, ``edge-1``, …
        folder: Everything of it that lasts.
        kubernetes: Port of its API.
        gateway: Port of its gateway.
        token: The administrator's.
        hub: Kubeconfig of the hub's API, for an edge.
        leash: The outermost owner's lifeline.
        guests: Tokens of other clusters' agents, by cluster; each may use its own namespace here.
    """

    name: str
    folder: Path
    kubernetes: int
    gateway: int
    token: str = field(repr=False)
    hub: Path | None = None
    leash: edge.Leash = edge.Leash()
    guests: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def kubeconfig(self) -> Path:
        """Where the administrator's kubeconfig is written."""
        return self.folder / "kubeconfig"

    def api(self) -> KubernetesApi:
        """Its Kubernetes API."""
        return KubernetesApi(
            name=self.name,
            folder=self.folder,
            database=self.folder / DATABASE,
            token=self.token,
            kubeconfig=self.kubeconfig,
            listening=Listening(port=self.kubernetes, flag="--port-base"),
            guests=self.guests,
        )

    def children(self) -> Children:
        """Its processes."""
        return Children(self.folder / "run", self.folder / "logs")

    def to_config(self) -> dict[str, Any]:
        """For standard input of the cluster's process."""
        return {
            "name": self.name,
            "folder": str(self.folder),
            "kubernetes": self.kubernetes,
            "gateway": self.gateway,
            "token": self.token,
            "hub": str(self.hub) if self.hub else None,
            "leash": self.leash.name,
            "lifeline": self.leash.reader,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Cluster":
        """The reverse of :meth:`to_config`."""
        return cls(
            name=config["name"],
            folder=Path(config["folder"]),
            kubernetes=config["kubernetes"],
            gateway=config["gateway"],
            token=config["token"],
            hub=Path(config["hub"]) if config["hub"] else None,
            leash=edge.Leash(config["leash"], config["lifeline"]),
        )


async def run(config: Mapping[str, Any], stop: anyio.Event) -> None:
    """The process of one edge: runs until told to stop, then stops its gateway and runtimes.

    A process that ends in any other way leaves them to its successor.
    """
    cluster = Cluster.from_config(config)
    async with locked_within(cluster.folder / "lock", LOCK_SECONDS):
        settings = Settings().merged(config.get("settings", {}), "configuration")
        async with running(cluster, settings, cluster.children()):
            await stop.wait()


@asynccontextmanager
async def running(
    cluster: Cluster, settings: Settings, children: Children
) -> AsyncIterator[kube.Client]:
    """A cluster that works for as long as the context lasts; yields a client of its API.

    A context that ends by itself stops the gateway and the runtimes; one that ends by an error
    leaves them to a successor.
    """
    async with (
        serving(cluster.api(), settings.api),
        kube.Client(cluster.kubeconfig) as client,
        httpx2.AsyncClient(trust_env=False) as http,
    ):
        await welcome(client, cluster.guests)
        async with anyio.create_task_group() as loops:
            await _start_loops(cluster, settings, children, client, http, loops)
            yield client
            loops.cancel_scope.cancel()
        await children.stop_all(grace=STOP_SECONDS)


async def _start_loops(
    cluster: Cluster,
    settings: Settings,
    children: Children,
    client: kube.Client,
    http: httpx2.AsyncClient,
    loops: anyio.abc.TaskGroup,
) -> None:
    adopted = await _adopt(children, cluster.leash.name)
    ingress = edge.Ingress(children, cluster.leash, cluster.gateway, http, cluster.token)
    await ingress.start()
    services = edge.Services(
        client,
        edge.Models(cluster.folder / "served", settings.blob),
        edge.Runtimes(children, cluster.leash, http, settings.to_config()),
        ingress,
        settings.edge,
        foreign=cluster.guests,
    )
    sync = gitops.Sync(
        client,
        cluster.folder / "sync",
        settings.gitops,
        namespaces={cluster.name, APPLICATIONS},
    )
    applications = kube.Controller(
        "applications",
        client,
        (kube.Watch(APPLICATION), kube.Watch(INFERENCE_SERVICE, requests=gitops.owner)),
        sync.reconcile,
    )
    loops.start_soon(ingress.keep)
    loops.start_soon(services.run, adopted)
    loops.start_soon(applications.run)
    if cluster.hub is not None:
        loops.start_soon(_pull, cluster.name, cluster.hub, client)


async def _adopt(children: Children, leash: str) -> list[Child]:
    """Take over what an earlier agent left; stop what hung on a lifeline that is cut by now."""
    async with anyio.create_task_group() as tasks:
        for child in children.adopt():
            if (
                child.facts.get("role") in ("gateway", "runtime")
                and child.facts.get("leash") != leash
            ):
                tasks.start_soon(children.stop, child)
    return list(children)


async def _pull(name: str, hub: Path, client: kube.Client) -> None:
    async with kube.Client(hub) as upstream:
        await PullAgent(name, upstream, client).run()

"""The platform: the hub in this process, its edges as child processes.

The hub adds the account book, the images and the git repository to its own cluster. An edge is
started anew whenever it ends; what it served goes on meanwhile. All processes hang on this one's
lifeline, so nothing is left when it goes, however it goes.
"""

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import httpx2
import yaml
from starlette.types import ASGIApp

from towpath import distribution, gitops, kube, web
from towpath.app import registry
from towpath.app.cluster import Cluster, running
from towpath.app.home import HUB, REPOSITORY, Home
from towpath.app.ports import HOST
from towpath.auth import Guard, Identity, Tokens
from towpath.edge import Leash
from towpath.errors import NotFoundError, TowpathError, UnavailableError
from towpath.files import write_atomic
from towpath.kube import Writer
from towpath.process import Children, Lifeline, Program
from towpath.registry.database import Database, open_database
from towpath.registry.doors import Doors, Role
from towpath.settings import Settings
from towpath.spec.argocd import APPLICATION
from towpath.spec.kube import NAMESPACE, Object
from towpath.spec.names import Revision
from towpath.spec.towpath import PUSHED_REVISION
from towpath.telemetry import fields

__all__ = ["Platform"]

log = logging.getLogger(__name__)

SURFACES: Final = ("kubernetes", "registry", "distribution", "git", "gateway")
"""Those of the hub that this version serves."""
STOP_SECONDS: Final = 9.0
"""Seconds that an edge gets to stop: its own gateway and runtimes get 6 of them."""
RESTART_SECONDS: Final = 0.25
STABLE_SECONDS: Final = 30.0
LONGEST_PAUSE: Final = 30.0
"""An edge that ends is started anew: at once, and ever later when it does not live long."""
EDGE_SECONDS: Final = 30.0
"""Seconds that an edge gets to answer for the first time; on a busy laptop it takes five."""


class Platform:
    """A platform on a home.

    Args:
        home: Opened, and locked by the caller.
        settings: Of every stage.
        stop: When it is set during the start, the start does not wait any longer.
    """

    def __init__(self, home: Home, settings: Settings, stop: anyio.Event | None = None) -> None:
        self._home = home
        self._settings = settings
        self._lifeline = Lifeline()
        self._leash = Leash(self._lifeline.name, self._lifeline.reader)
        self._children = Children(home.path / "run", home.path / "logs")
        self._client: Writer | None = None
        self._stop = stop or anyio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything works for as long as the context lasts; entered once it does.

        Raises:
            ConflictError: a port is taken; nothing was started.
        """
        home = self._home
        await self._end_leftovers()
        self._check_ports()
        home.save()
        url = f"sqlite:///{home.path / 'registry.sqlite'}"
        database = await anyio.to_thread.run_sync(open_database, url)
        async with contextlib.AsyncExitStack() as at_the_end, anyio.create_task_group() as servers:
            at_the_end.callback(database.close)
            await self._start_surfaces(database, servers)
            async with running(self._hub(), self._settings, self._children) as client:
                for name in home.edge_names:
                    await _ensure_namespace(client, name)
                await _ensure_namespace(client, HUB)
                self._client = client
                async with anyio.create_task_group() as edges:
                    for number, name in enumerate(home.edge_names, start=1):
                        edges.start_soon(self._keep_edge, number, name)
                    await self._await_edges()
                    yield
                    edges.cancel_scope.cancel()
                await self._stop_edges()
            servers.cancel_scope.cancel()

    async def _stop_edges(self) -> None:
        """Before the hub's own loops end: edges report to it until the last moment."""
        async with anyio.create_task_group() as tasks:
            for child in self._children:
                if child.name in self._home.edge_names:
                    tasks.start_soon(partial(self._children.stop, child, grace=STOP_SECONDS))

    async def _end_leftovers(self) -> None:
        """Stop what an earlier platform of this home left; its lifeline is cut, it is going."""
        homes = [self._home.cluster(name) for name in (HUB, *self._home.edge_names)]
        async with anyio.create_task_group() as tasks:
            for folder in homes:
                leftovers = Children(folder / "run", folder / "logs")
                if leftovers.adopt():
                    tasks.start_soon(partial(leftovers.stop_all, grace=STOP_SECONDS))

    def _check_ports(self) -> None:
        ports = self._home.ports
        numbers = [ports.hub(surface) for surface in SURFACES]
        for number in range(1, self._home.edges + 1):
            numbers += [ports.edge(number, surface) for surface in ("kubernetes", "gateway")]
        for number in numbers:
            with contextlib.closing(
                web.listen(HOST, number, flag="--port-base (and a new --home)")
            ):
                pass

    async def _start_surfaces(self, database: Database, servers: anyio.abc.TaskGroup) -> None:
        home, settings = self._home, self._settings
        await gitops.create(home.path / "git", REPOSITORY)
        images = distribution.app(home.path / "images", settings.distribution)
        repositories = gitops.app(home.path / "git", self._may_push, self._pushed)
        doors = Doors.of(settings.registry, anonymous=Role.admin, loopback=True)
        account_book = registry.surface(database, settings.registry, doors, [self._tokens()])
        surfaces: dict[str, tuple[ASGIApp, Callable[[], None] | None]] = {
            "registry": (account_book.app, account_book.stop),
            "distribution": (self._open(images, web.oci_errors), None),
            "git": (repositories, None),
        }
        for surface, (application, stop) in surfaces.items():
            sock = web.listen(HOST, home.ports.hub(surface), flag="--port-base")
            await servers.start(partial(web.serve, application, sock, drain=2, stopping=stop))

    def _open(self, application: ASGIApp, shape: web.Shape) -> ASGIApp:
        """Open on loopback, yet a wrong token is refused."""
        return Guard(application, self._tokens(), lambda _identity, _scope: True, shape)

    def _tokens(self) -> Tokens:
        return Tokens([(self._home.token("admin"), Identity("admin"))])

    def _may_push(self, authorization: str | None) -> bool:
        return not self._tokens().identify(authorization).anonymous

    async def _pushed(self, repository: str, branch: str, revision: Revision) -> None:
        """Tell every Application that follows this branch, as a webhook would tell Argo CD."""
        if self._client is None:
            return
        url = self._home.repository(repository)
        told: Object = {"metadata": {"annotations": {PUSHED_REVISION: revision}}}
        for found in await self._client.list(APPLICATION):
            source = kube.mapping(found, "spec", "source")
            followed = source.get("targetRevision") or "HEAD"
            if source.get("repoURL") != url or followed not in (branch, "HEAD"):
                continue
            name, namespace = found["metadata"]["name"], found["metadata"].get("namespace", "")
            try:
                await self._client.merge(APPLICATION, name, namespace, told)
            except TowpathError as exc:  # it hears of the push with its next poll
                log.warning("failed to announce push", extra=fields(application=name, error=exc))

    def _hub(self) -> Cluster:
        home = self._home
        return Cluster(
            name=HUB,
            folder=home.path,
            kubernetes=home.ports.hub("kubernetes"),
            gateway=home.ports.hub("gateway"),
            token=home.token("admin"),
            leash=self._leash,
            guests={name: home.token(name) for name in home.edge_names},
        )

    async def _keep_edge(self, number: int, name: str) -> None:
        home = self._home
        cluster = Cluster(
            name=name,
            folder=home.cluster(name),
            kubernetes=home.ports.edge(number, "kubernetes"),
            gateway=home.ports.edge(number, "gateway"),
            token=home.token(f"{name}-admin"),
            hub=self._hub_kubeconfig(name),
            leash=self._leash,
        )
        config = {**cluster.to_config(), "settings": self._settings.to_config()}
        program = Program.towpath("cluster", name, config, fds=self._leash.fds)
        pause = RESTART_SECONDS
        while True:
            begin = anyio.current_time()
            try:
                await (await self._children.start(program)).wait()
            except TowpathError as exc:
                log.warning("failed to start edge", extra=fields(cluster=name, error=exc))
            lived = anyio.current_time() - begin
            pause = RESTART_SECONDS if lived > STABLE_SECONDS else min(2 * pause, LONGEST_PAUSE)
            log.warning(
                "failed edge, starts anew",
                extra=fields(cluster=name, pause=pause, log=self._children.tail(name, 1)),
            )
            await anyio.sleep(pause)

    def _hub_kubeconfig(self, name: str) -> Path:
        """An edge's kubeconfig of the hub: rights in its own namespace there, nothing else."""
        path = self._home.cluster(name) / "hub.kubeconfig"
        config = yaml.safe_load(self._home.kubeconfig().read_text())
        config["users"][0]["user"] = {"token": self._home.token(name)}
        write_atomic(path, yaml.safe_dump(config, sort_keys=False).encode(), mode=0o600)
        return path

    async def _await_edges(self) -> None:
        """Wait until every edge's API and gateway answer, or tell why they do not."""
        deadline = anyio.current_time() + EDGE_SECONDS
        for name in self._home.edge_names:
            while not self._stop.is_set() and not await self._answers(name):
                if anyio.current_time() > deadline:
                    raise UnavailableError(
                        f"cluster {name} did not start within {EDGE_SECONDS:g} s",
                        hint=f"The end of its log: {self._children.tail(name, 3)}",
                    )
                await anyio.sleep(0.05)

    async def _answers(self, name: str) -> bool:
        kubeconfig = self._home.kubeconfig(name)
        if self._children.get(name) is None or not kubeconfig.exists():
            return False
        port = self._home.ports.edge(self._home.edge_names.index(name) + 1, "gateway")
        try:
            async with kube.Client(kubeconfig, timeout=2) as client:
                await client.get(NAMESPACE, "default")
            async with httpx2.AsyncClient(trust_env=False, timeout=2, verify=False) as http:
                await http.get(f"http://{HOST}:{port}/v2/health/live")
        except (TowpathError, httpx2.HTTPError):
            return False
        return True


async def _ensure_namespace(client: Writer, name: str) -> None:
    try:
        await client.get(NAMESPACE, name)
    except NotFoundError:
        await client.create(NAMESPACE, {"metadata": {"name": name}})

"""The cluster's gateway process: kept alive, adopted, and told where each service runs.

The gateway holds the route table in memory; this side sends it whole, so a gateway that was
started anew gets everything with the next call. A gateway that outlived its agent still knows its
table, and the next agent begins from there: no service is unrouted by a change of agents.
"""

import contextlib
import logging
from dataclasses import dataclass, field
from typing import Final

import anyio
import httpx2

from towpath.auth import new_token
from towpath.edge.plan import Instance
from towpath.edge.routes import Route, Table
from towpath.edge.runtime import Leash
from towpath.errors import TowpathError, UnavailableError
from towpath.process import Child, Children, Program
from towpath.telemetry import fields
from towpath.web import listen

__all__ = ["Ingress"]

log = logging.getLogger(__name__)

PROCESS: Final = "gateway"
FIRST_PAUSE: Final = 0.05
LONGEST_PAUSE: Final = 15.0
"""Seconds before a gateway that ended is started anew; ever more if it keeps ending."""


@dataclass
class Ingress:
    """The gateway of one cluster.

    Args:
        children: The cluster's processes.
        leash: What the gateway's life hangs on besides its agent's word.
        port: Where people and clients talk to it, on 127.0.0.1.
        http: For its administration.
        token: The cluster's; clients need none, and a wrong one is refused.
    """

    children: Children
    leash: Leash
    port: int
    http: httpx2.AsyncClient
    token: str = field(default="", repr=False)

    def __post_init__(self) -> None:
        self._routes: dict[tuple[str, str], Route] = {}
        self._lock = anyio.Lock()

    @property
    def url(self) -> str:
        """Base URL of every endpoint of this cluster."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Adopt the gateway, or start one. Afterwards it accepts requests."""
        gateway = self.children.get(PROCESS)
        if gateway is not None:
            try:
                table = Table.parse((await self._admin(gateway, "GET")).content)
            except TowpathError:  # it lives and does not answer: nobody is served by it
                log.warning("failed gateway, takes its place", extra=fields(pid=gateway.pid))
                await self.children.stop(gateway, grace=1)
            else:
                self._routes = {(route.namespace, route.name): route for route in table.routes}
                return
        await self._launch()

    async def keep(self) -> None:
        """Start the gateway anew whenever it ends, ever later when it does not last."""
        pause = FIRST_PAUSE
        while True:
            begin = anyio.current_time()
            if (gateway := self.children.get(PROCESS)) is not None:
                await gateway.wait()
            lasted = anyio.current_time() - begin
            pause = FIRST_PAUSE if lasted > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            log.warning("failed gateway, starts anew", extra=fields(port=self.port, pause=pause))
            await anyio.sleep(pause)
            async with self._lock:
                try:
                    await self._launch()
                except TowpathError as exc:
                    log.warning("failed to start the gateway", extra=fields(error=exc))

    def services(self) -> set[tuple[str, str]]:
        """Namespace and name of every routed service."""
        return set(self._routes)

    def upstream(self, namespace: str, name: str) -> str | None:
        """Address that requests for a service go to."""
        route = self._routes.get((namespace, name))
        return route.upstream if route else None

    async def route(self, namespace: str, name: str, instance: Instance | None) -> None:
        """Send new requests for a service to an instance; None: to nobody.

        When this returns, every later request goes there.
        """
        async with self._lock:
            routes = dict(self._routes)
            if instance is None:
                routes.pop((namespace, name), None)
            else:
                routes[namespace, name] = Route(namespace, name, name, instance.address)
            await self._send(routes)
            self._routes = routes

    async def hold(self, namespace: str, name: str) -> None:
        """Have a service that nobody answers for now refused with "not yet", not "unknown"."""
        held = Route(namespace, name, name, None)
        async with self._lock:
            if self._routes.get((namespace, name)) != held:
                routes = {**self._routes, (namespace, name): held}
                await self._send(routes)
                self._routes = routes

    async def idle(self, upstream: str, *, within: float) -> None:
        """Wait until no request is open at an instance, or the time is over."""
        with anyio.move_on_after(within):
            while await self._in_flight(upstream):  # noqa: ASYNC110
                await anyio.sleep(0.05)  # the count is in the gateway, which tells nobody

    async def _in_flight(self, upstream: str) -> int:
        if (gateway := self.children.get(PROCESS)) is None:
            return 0
        answer = await self._admin(gateway, "GET")
        return int(answer.json()["inFlight"].get(upstream, 0))

    async def _send(self, routes: dict[tuple[str, str], Route]) -> None:
        gateway = self.children.get(PROCESS)
        if gateway is None:
            raise UnavailableError("the gateway is being started", retry_after=0.2)
        table = Table(tuple(routes.values()))
        await self._admin(gateway, "PUT", table.dump())

    async def _admin(self, gateway: Child, method: str, body: bytes = b"") -> httpx2.Response:
        try:
            answer = await self.http.request(
                method,
                f"http://{gateway.facts['admin']}/routes",
                content=body,
                headers={"Authorization": f"Bearer {gateway.facts['token']}"},
                timeout=5.0,
            )
            answer.raise_for_status()
        except httpx2.HTTPError as exc:
            raise UnavailableError("the gateway does not take its route table") from exc
        return answer

    async def _launch(self) -> None:
        token = new_token()
        with (
            contextlib.closing(listen("127.0.0.1", self.port, flag="--port-base")) as public,
            contextlib.closing(listen("127.0.0.1", 0)) as admin,
        ):
            program = Program.towpath(
                "gateway",
                PROCESS,
                config={
                    "fd": public.fileno(),
                    "admin": admin.fileno(),
                    "token": token,
                    "client": self.token,
                    "lifeline": self.leash.reader,
                },
                facts={
                    "role": "gateway",
                    "admin": f"127.0.0.1:{admin.getsockname()[1]}",
                    "token": token,
                    "leash": self.leash.name,
                },
                fds=(public.fileno(), admin.fileno(), *self.leash.fds),
            )
            child = await self.children.start(program)
        try:
            await self._until_answering(child)
            await self._send(self._routes)
        except TowpathError:
            await self.children.stop(child, grace=1)
            raise

    async def _until_answering(self, child: Child) -> None:
        with anyio.move_on_after(15):
            while child.alive:
                with contextlib.suppress(UnavailableError):
                    await self._admin(child, "GET")
                    return
                await anyio.sleep(0.02)
        raise UnavailableError(
            "the gateway did not start", hint=f"Its log ends: {self.children.tail(PROCESS, 1)}"
        )

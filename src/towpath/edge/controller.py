"""InferenceService → processes behind the gateway: carries out the plan, writes the status.

One run looks at the service, its processes and its route afresh, does the next steps of the plan
and says when to look again. Running processes are never touched before their successor answers.
What changes for a service is told as an Event as well, for ``kubectl describe``.
"""

import logging
from collections.abc import Container
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.abc

from towpath.edge import plan as planning
from towpath.edge.ingress import Ingress
from towpath.edge.lives import Lives
from towpath.edge.plan import Desired, Instance, SpecError
from towpath.edge.runtime import RUNTIME, Runtimes
from towpath.edge.status import Failure, Standing, status_of
from towpath.errors import NotFoundError, TowpathError, UnavailableError
from towpath.kube import (
    NORMAL,
    WARNING,
    After,
    Controller,
    Recorder,
    Request,
    Watch,
    Writer,
    annotations,
    mapping,
    write_status,
)
from towpath.process import Child
from towpath.settings import Edge
from towpath.spec.kserve import INFERENCE_SERVICE
from towpath.spec.kube import Object
from towpath.spec.names import Digest, ImageRef
from towpath.spec.towpath import MIRROR
from towpath.telemetry import fields

__all__ = ["ModelStore", "Services"]

log = logging.getLogger(__name__)

SOON: Final = After(0.05)
"""Between two looks at a runtime that is loading: a small model takes a third of a second."""


class ModelStore(Protocol):
    """Model files on this machine, by the digest of their image."""

    def folder(self, digest: Digest) -> Path | None:
        """Where the files lie; None when they are not here."""
        ...

    async def fetch(self, image: ImageRef) -> None:
        """Bring an image's files here, verified, or raise one of the five errors."""
        ...


@dataclass
class Services:
    """Keeps every InferenceService of a cluster running and routed.

    Args:
        client: The cluster's API.
        store: Where model files come from.
        runtimes: The runtime processes.
        ingress: The gateway.
        settings: Times.
        foreign: Namespaces of other clusters: what lies there is theirs, and never run here.
    """

    client: Writer
    store: ModelStore
    runtimes: Runtimes
    ingress: Ingress
    settings: Edge
    foreign: Container[str] = ()
    _lives: dict[Request, Lives] = field(default_factory=dict)
    _tasks: anyio.abc.TaskGroup | None = None

    def __post_init__(self) -> None:
        self.controller = Controller(
            "inferenceservices",
            self.client,
            (Watch(INFERENCE_SERVICE),),
            self.reconcile,
            resync=self.settings.resync_seconds,
        )
        self._events = Recorder(self.client, "towpath-edge")

    async def run(self, adopted: list[Child]) -> None:
        """Work until cancelled; what runs already goes on answering meanwhile."""
        await self._expect()
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for child in adopted:
                self._listen(child)
            for namespace, name in self.runtimes.services() | self.ingress.services():
                self.controller.ask(Request(namespace, name))
            await self.controller.run()

    async def _expect(self) -> None:
        """Have the gateway know every service before the first of them runs."""
        try:
            for service in await self.client.list(INFERENCE_SERVICE):
                request = Request(service["metadata"]["namespace"], service["metadata"]["name"])
                ours = request.namespace not in self.foreign and MIRROR not in annotations(service)
                if ours and request not in self.ingress.services():
                    await self.ingress.hold(*request)
        except TowpathError as exc:  # the first look at each of them does the same
            log.warning("failed to announce services", extra=fields(error=exc))

    async def reconcile(self, request: Request) -> After | None:
        """One look at one service."""
        if request.namespace in self.foreign:
            return None
        service = await self._service(request)
        instances = await self.runtimes.instances(*request)
        if service is None:
            self._lives.pop(request, None)
            routed = request in self.ingress.services()
            steps = planning.plan(None, instances, local=False, routed="" if routed else None)
            await self._carry_out(request, None, steps)
            return None
        if MIRROR in annotations(service):
            return None
        try:
            wanted = planning.desired(service)
        except SpecError as exc:
            failure = Failure(exc.failure, _sentence(exc))
            told = await self._report(service, self._standing(request, instances, None, failure))
            if told["metadata"]["resourceVersion"] != service["metadata"]["resourceVersion"]:
                await self._events.record(service, WARNING, failure.reason, failure.message)
            return None
        if self.ingress.upstream(*request) not in [i.address for i in instances]:
            await self.ingress.hold(*request)  # known, and for now nobody answers
        return await self._bring_about(request, service, wanted, instances)

    async def _bring_about(
        self, request: Request, service: Object, wanted: Desired, instances: list[Instance]
    ) -> After | None:
        lives = self._lives.setdefault(request, Lives())
        lives.forget_others(wanted.revision)
        troubles = lives.troubles(wanted.revision)
        self._look_at(lives, wanted, instances)
        steps = planning.plan(
            wanted,
            instances,
            local=self.store.folder(wanted.digest) is not None,
            routed=self.ingress.upstream(*request),
        )
        again: After | None = None
        passing: UnavailableError | None = None
        pause = lives.pause(wanted.revision, anyio.current_time())
        if pause and any(isinstance(step, planning.Fetch | planning.Start) for step in steps):
            again = After(pause)
        else:
            if not mapping(service, "status"):
                service = await self._report(service, self._standing(request, instances, wanted))
            try:
                again = await self._carry_out(request, service, steps)
            except UnavailableError as exc:
                passing = exc
                await self._events.record(service, WARNING, "Waiting", _sentence(exc))
            except TowpathError as exc:
                again = self._fail(lives, wanted, Failure("ModelLoadFailed", _sentence(exc)))
            instances = await self.runtimes.instances(*request)
        trouble = lives.trouble(wanted.revision)
        standing = self._standing(
            request, instances, wanted, trouble.failure if trouble is not None else None
        )
        if trouble is not None and lives.troubles(wanted.revision) > troubles:
            await self._tell_failure(service, trouble.failure, standing)
        if standing.settled:
            standing = replace(standing, failure=None)
        if passing is not None:
            standing = replace(standing, progress=_sentence(passing))
        await self._report(service, standing)
        if passing is not None:
            raise passing
        return again

    async def _carry_out(
        self, request: Request, service: Object | None, steps: list[planning.Step]
    ) -> After | None:
        """Do the steps; the answer says whether to look again soon."""
        again: After | None = None
        for step in steps:
            match step:
                case planning.Fetch(image):
                    await self.store.fetch(image)
                    await self._tell(service, "Pulled", f"the model of {image} is here")
                case planning.Start(wanted):
                    await self._start(request, wanted)
                    await self._tell(service, "Started", f"revision {wanted.revision} is loading")
                    again = SOON
                case planning.Await(instance):
                    again = await self._await(request, instance)
                case planning.Route(instance):
                    await self.ingress.route(*request, instance)
                    target = instance.process if instance else "nobody"
                    log.info("moved traffic", extra=fields(service="/".join(request), to=target))
                    if instance is not None:
                        told = f"revision {instance.revision} answers requests"
                        await self._tell(service, "Ready", told)
                case planning.Retire(instance):
                    await self.ingress.idle(instance.address, within=self.settings.drain_seconds)
                    await self.runtimes.stop(instance.process, grace=self.settings.drain_seconds)
                    told = f"revision {instance.revision} has answered its last request"
                    await self._tell(service, "Stopped", told)
        return again

    async def _tell(self, service: Object | None, reason: str, message: str) -> None:
        if service is not None:  # of one that is gone nobody reads
            await self._events.record(service, NORMAL, reason, message)

    async def _tell_failure(self, service: Object, failure: Failure, standing: Standing) -> None:
        message = failure.message
        if standing.routed is not None and not standing.settled:
            message = f"revision {standing.routed.revision} goes on answering: {message}"
        await self._events.record(service, WARNING, failure.reason, message)

    async def _start(self, request: Request, wanted: Desired) -> None:
        folder = self.store.folder(wanted.digest)
        if folder is None:
            raise UnavailableError(f"the files of {wanted.image} went away")
        child = await self.runtimes.start(wanted, folder)
        now = anyio.current_time()
        self._lives[request].begin(wanted.revision, now, self.settings.start_seconds)
        self._listen(child)

    async def _await(self, request: Request, instance: Instance) -> After:
        now = anyio.current_time()
        if self._lives[request].overdue(instance.revision, now):
            await self.runtimes.stop(instance.process, grace=1)
            told = f"not ready within {self.settings.start_seconds:g} s"
            self._lives[request].ended(instance.revision, told, now)
        return SOON

    def _look_at(self, lives: Lives, wanted: Desired, instances: list[Instance]) -> None:
        now = anyio.current_time()
        current = next((i for i in instances if i.revision == wanted.revision), None)
        if current is None:
            lives.ended(wanted.revision, self.runtimes.last_words(wanted.process), now)
        else:
            patience = self.settings.start_seconds
            lives.seen(wanted.revision, ready=current.ready, now=now, patience=patience)

    def _fail(self, lives: Lives, wanted: Desired, failure: Failure) -> After:
        now = anyio.current_time()
        lives.failed(wanted.revision, failure, now)
        log.warning(
            "failed to run service",
            extra=fields(process=wanted.process, reason=failure.reason, error=failure.message),
        )
        return After(lives.pause(wanted.revision, now))

    def _standing(
        self,
        request: Request,
        instances: list[Instance],
        wanted: Desired | None,
        failure: Failure | None = None,
    ) -> Standing:
        upstream = self.ingress.upstream(*request)
        routed = next((i for i in instances if i.address == upstream and i.ready), None)
        return Standing(wanted, routed, self.ingress.url, RUNTIME, failure)

    async def _report(self, service: Object, standing: Standing) -> Object:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        status = status_of(service, standing, now)
        return await write_status(self.client, INFERENCE_SERVICE, service, status)

    async def _service(self, request: Request) -> Object | None:
        try:
            return await self.client.get(INFERENCE_SERVICE, request.name, request.namespace)
        except NotFoundError:
            return None

    def _listen(self, child: Child) -> None:
        """Have the service looked at again when one of its processes ends."""
        if child.facts.get("role") != "runtime" or self._tasks is None:
            return
        request = Request(child.facts["namespace"], child.facts["service"])

        async def listen() -> None:
            await child.wait()
            self.controller.ask(request)

        self._tasks.start_soon(listen)


def _sentence(error: TowpathError) -> str:
    return f"{error.message}. {error.hint}" if error.hint else error.message

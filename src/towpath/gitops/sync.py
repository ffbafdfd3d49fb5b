"""Git to API: keeps the objects of an Application as its repository says.

One reconcile reads everything afresh: the Application, the commit its target stands for, the
objects. It writes an object only through server-side apply, which changes nothing where nothing
differs, and the status once, only when it differs. What it is about to deploy is noted in the
status first, so that a killed sync forgets no object that it would have to prune later.

It acts with its client's rights on an Application's word: whose word counts, the namespace decides.
"""

import logging
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import anyio.to_thread

from towpath import kube, settings
from towpath.errors import ConflictError, NotFoundError, TowpathError, UnavailableError
from towpath.gitops.checkout import Checkout, Checkouts
from towpath.gitops.health import Health, health
from towpath.gitops.manifests import objects, select
from towpath.gitops.source import Source, dormant, owner, tracking_id
from towpath.gitops.status import Outcome, Resource, compared_to, status
from towpath.gitops.wanted import Wanted, order, repeated
from towpath.kube.controller import After, Request
from towpath.spec.argocd import APPLICATION, FIELD_MANAGER, RESOURCES_FINALIZER, TRACKING_ID
from towpath.spec.kinds import KINDS
from towpath.spec.kube import NAMESPACE, Kind, Object
from towpath.spec.towpath import PUSHED_REVISION
from towpath.telemetry import fields

__all__ = ["Sync"]

log = logging.getLogger(__name__)

PROGRESSING_SECONDS: Final = 5.0
"""Time between two looks at what is still becoming healthy, where no watch tells of it."""
RETRY_SECONDS: Final = 15.0
"""Time until objects that the API refused are applied again: a kind may have come meanwhile."""

FINALIZE_SECONDS: Final = 1.0
"""Time between two looks at whether a pruned object has gone."""


@dataclass(frozen=True)
class _Found:
    """How one wanted object stands, after what was done about it."""

    resource: Resource
    failure: str = ""
    shared: str = ""


class Sync:
    """The reconcile function of Applications.

    Args:
        client: The API in which both the Applications and their objects lie.
        folder: Its own, for fetched commits.
        knobs: Of this stage.
        namespaces: Applications in others are left alone, whatever they say; None for none left.
        local_paths: Whether an Application may name a repository of this machine by its path.
        now: The clock of the status.
    """

    def __init__(
        self,
        client: kube.Writer,
        folder: Path,
        knobs: settings.Gitops,
        *,
        namespaces: Container[str] | None = None,
        local_paths: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._namespaces = namespaces
        self._local_paths = local_paths
        self._checkouts = Checkouts(folder, knobs.poll_seconds)
        self._poll_seconds = knobs.poll_seconds
        self._now = now

    async def reconcile(self, request: Request) -> After | None:
        """Make the objects of one Application what git says; write how it stands into its status.

        Raises:
            UnavailableError: the API or the repository does not answer; what could be done is done.
            ConflictError: the Application was changed meanwhile.
        """
        if self._namespaces is not None and request.namespace not in self._namespaces:
            return None
        try:
            app = await self._client.get(APPLICATION, request.name, request.namespace)
        except NotFoundError:
            return None
        app["status"] = dict(kube.mapping(app, "status"))
        if dormant(app):
            return None
        if "deletionTimestamp" in app["metadata"]:
            return await self._finalize(app, request)
        try:
            source = Source.of(app, local_paths=self._local_paths)
        except TowpathError as exc:
            await self._report(app, _unknown("InvalidSpecError", exc))
            return None
        try:
            checkout, wanted = await self._compare(app, source, request)
        except TowpathError as exc:
            await self._report(app, _unknown("ComparisonError", exc))
            if isinstance(exc, UnavailableError):
                raise
            return After(self._poll_seconds)
        outcome = await self._sync(app, source, checkout, wanted)
        await self._report(app, outcome)
        if isinstance(checkout.problem, UnavailableError):
            raise checkout.problem
        return self._again(source, outcome)

    def _again(self, source: Source, outcome: Outcome) -> After:
        wait = self._checkouts.next_look(source.url, source.target)
        if outcome.failures:
            wait = min(wait, RETRY_SECONDS)
        if any(r.health and r.health.status == "Progressing" for r in outcome.resources or ()):
            wait = min(wait, PROGRESSING_SECONDS)
        return After(wait)

    async def _compare(
        self, app: Object, source: Source, request: Request
    ) -> tuple[Checkout, list[Wanted]]:
        """What git has."""
        hint = kube.annotations(app).get(PUSHED_REVISION, "")
        chosen = partial(select, folder=source.path, recurse=source.recurse)
        checkout = await self._checkouts.get(source.url, source.target, hint, chosen)
        parsed = await anyio.to_thread.run_sync(objects, checkout.files)
        return checkout, [Wanted.of(obj, source.namespace, request) for obj in parsed]

    async def _sync(
        self, app: Object, source: Source, checkout: Checkout, parsed: list[Wanted]
    ) -> Outcome:
        """Apply and prune as far as the policy allows, and say how things stand."""
        request = _request(app)
        known = _known(app)
        wanted = sorted({w.resource.address: w for w in parsed}.values(), key=order)
        gone = _minus(known, (w.resource for w in wanted))
        conditions: dict[str, str] = {}
        if checkout.problem is not None:
            conditions["ComparisonError"] = str(checkout.problem.message)
        if more := repeated(parsed):
            conditions["RepeatedResourceWarning"] = more
        prune = source.prune
        if gone and not wanted and not source.allow_empty:
            conditions["SyncError"] = "the folder has no objects any more; nothing was pruned"
            prune = False
        operate = source.automated and (source.self_heal or not _is_done(app, checkout.revision))
        if operate:
            await self._note(app, _minus((w.resource for w in wanted), known))
            if source.create_namespace and source.namespace:
                await self._create_namespace(source.namespace)
        found = [await self._settle(one, request, operate=operate) for one in wanted]
        resources = [f.resource for f in found]
        failures = [
            text for f in found for text in (f.failure, f.shared if operate else "") if text
        ]
        for resource in gone:
            may = operate and prune and not failures
            if not (may and await self._prune(resource, request)):
                resources.append(replace(resource, synced=False, surplus=True))
        if refused := [f.failure for f in found if f.failure]:
            conditions["SyncError"] = "; ".join(refused)
        if shared := [f.shared for f in found if f.shared]:
            conditions["SharedResourceWarning"] = "; ".join(shared)
        synced = all(r.synced for r in resources)
        return Outcome(
            sync="Unknown" if checkout.problem else "Synced" if synced else "OutOfSync",
            revision=checkout.revision,
            resources=tuple(resources),
            operated=operate,
            failures=tuple(failures),
            conditions=conditions,
        )

    async def _settle(self, wanted: Wanted, request: Request, *, operate: bool) -> _Found:
        """Apply one object, or only look; another Application's is only looked at."""
        where = wanted.resource
        about = f"{where.kind} {where.name}"
        if wanted.kind is None:
            api = wanted.obj["apiVersion"]
            return _Found(_missing(where), f"{about}: kind {where.kind} of {api} is not known here")
        try:
            live = await self._live(wanted.kind, where.name, where.namespace)
            if live is not None and (other := await self._other(live, request)):
                shared = f"{about} belongs to Application {other.namespace}/{other.name}"
                return _Found(replace(where, synced=False, health=health(live)), shared=shared)
            if operate:
                live = await self._client.apply(wanted.kind, wanted.obj, FIELD_MANAGER)
                return _Found(replace(where, health=health(live)))
        except UnavailableError:
            raise
        except TowpathError as exc:
            return _Found(_missing(where), f"{about}: {exc.message}")
        if live is None:
            return _Found(_missing(where))
        return _Found(replace(where, synced=wanted.holds(live), health=health(live)))

    async def _live(self, kind: Kind, name: str, namespace: str) -> Object | None:
        try:
            return await self._client.get(kind, name, namespace)
        except NotFoundError:
            return None

    async def _other(self, live: Object, request: Request) -> Request | None:
        """The other Application that deployed an object, where there still is one."""
        for other in owner(live):
            if other != request and await self._live(APPLICATION, other.name, other.namespace):
                return other
        return None

    async def _create_namespace(self, name: str) -> None:
        try:
            await self._client.get(NAMESPACE, name)
        except NotFoundError:
            try:
                await self._client.create(NAMESPACE, {"metadata": {"name": name}})
            except ConflictError:
                log.debug("namespace was made by somebody else", extra=fields(namespace=name))

    async def _prune(self, resource: Resource, request: Request) -> bool:
        """Delete an object that this Application deployed; another's is left alone.

        Returns:
            Whether it is gone; one with finalizers of its own stays for a while.
        """
        version = f"{resource.group}/{resource.version}" if resource.group else resource.version
        kind = KINDS.get((version, resource.kind))
        if kind is None or kind.namespaced is not bool(resource.namespace):
            return True  # no sync wrote this entry
        ours = tracking_id(request, kind, resource.namespace, resource.name)
        try:
            live = await self._client.get(kind, resource.name, resource.namespace)
            if kube.annotations(live).get(TRACKING_ID) != ours:
                return True
            await self._client.delete(kind, resource.name, resource.namespace)
            log.info(
                "pruned object",
                extra=fields(application=request.name, kind=resource.kind, name=resource.name),
            )
            await self._client.get(kind, resource.name, resource.namespace)
        except NotFoundError:
            return True
        return False

    async def _finalize(self, app: Object, request: Request) -> After | None:
        """Prune everything, and let the Application go when nothing is left."""
        if RESOURCES_FINALIZER not in (app["metadata"].get("finalizers") or ()):
            return None
        gone = [await self._prune(resource, request) for resource in reversed(_known(app))]
        if not all(gone):
            return After(FINALIZE_SECONDS)
        await kube.let_go(self._client, APPLICATION, app, RESOURCES_FINALIZER)
        return None

    async def _note(self, app: Object, planned: list[Resource]) -> None:
        """Write into the status what is about to exist, before it does."""
        if planned:
            noted = [replace(r, synced=False) for r in planned]
            entries = [r.entry() for r in (*_known(app), *noted)]
            await self._write(app, {**kube.mapping(app, "status"), "resources": entries})

    async def _report(self, app: Object, outcome: Outcome) -> None:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        await self._write(app, status(cast(dict[str, Any], app), outcome, now))

    async def _write(self, app: Object, new: dict[str, Any]) -> None:
        await kube.write_status(self._client, APPLICATION, app, new)
        app["status"] = new


def _request(app: Object) -> Request:
    return Request(app["metadata"].get("namespace", ""), app["metadata"]["name"])


def _known(app: Object) -> list[Resource]:
    entries = kube.mapping(app, "status").get("resources")
    found = map(Resource.of, entries if isinstance(entries, list) else ())
    return [resource for resource in found if resource is not None]


def _minus(these: Iterable[Resource], those: Iterable[Resource]) -> list[Resource]:
    addresses = {r.address for r in those}
    return [r for r in these if r.address not in addresses]


def _is_done(app: Object, revision: str) -> bool:
    state = kube.mapping(app, "status", "operationState")
    done = {"revision": revision, "source": compared_to(app)["source"]}
    return state.get("phase") == "Succeeded" and state.get("syncResult") == done


def _missing(resource: Resource) -> Resource:
    return replace(resource, synced=False, health=Health("Missing"))


def _unknown(condition: str, exc: TowpathError) -> Outcome:
    text = f"{exc.message}. {exc.hint}" if exc.hint else exc.message
    return Outcome(sync="Unknown", conditions={condition: text})

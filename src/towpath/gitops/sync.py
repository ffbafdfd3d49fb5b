"""Git to API: keeps the objects of an Application as its repository says.

One reconcile reads everything afresh: the Application, the commit its target stands for, the
objects. It writes an object only through server-side apply, which changes nothing where nothing
differs, and the status once, only when it differs. What it is about to deploy is noted in the
status first, so that a killed sync forgets no object that it would have to prune later.
"""

import logging
from collections.abc import Callable, Iterable
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
from towpath.gitops.kinds import Kinds, KnownKinds
from towpath.gitops.manifests import objects, select
from towpath.gitops.source import Source, dormant, owner, tracking_id
from towpath.gitops.status import Outcome, Resource, status
from towpath.kube.controller import After, Request
from towpath.spec.argocd import APPLICATION, FIELD_MANAGER, RESOURCES_FINALIZER, TRACKING_ID
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

_FIRST: Final = ("Namespace", "CustomResourceDefinition", "ServiceAccount", "Secret", "ConfigMap")


@dataclass(frozen=True)
class _Wanted:
    """One object as git has it, complete; or why it cannot be addressed."""

    resource: Resource
    kind: Kind | None
    obj: Object
    problem: str = ""


class Sync:
    """The reconcile function of Applications.

    Args:
        client: The API in which both the Applications and their objects lie.
        folder: Its own, for fetched commits.
        knobs: Of this stage.
        kinds: Who knows the kinds of that API.
        now: The clock of the status.
    """

    def __init__(
        self,
        client: kube.Writer,
        folder: Path,
        knobs: settings.Gitops,
        kinds: Kinds | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._kinds = kinds or KnownKinds()
        self._checkouts = Checkouts(folder, knobs.poll_seconds)
        self._poll_seconds = knobs.poll_seconds
        self._now = now

    async def reconcile(self, request: Request) -> After | None:
        """Make the objects of one Application what git says; write how it stands into its status.

        Raises:
            UnavailableError: the API or the repository does not answer; what could be done is done.
            ConflictError: the Application was changed meanwhile.
        """
        try:
            app = await self._client.get(APPLICATION, request.name, request.namespace)
        except NotFoundError:
            return None
        if dormant(app):
            return None
        if "deletionTimestamp" in app["metadata"]:
            return await self._finalize(app, request)
        try:
            source = Source.of(app)
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
    ) -> tuple[Checkout, list[_Wanted]]:
        """What git has."""
        hint = (app["metadata"].get("annotations") or {}).get(PUSHED_REVISION, "")
        chosen = partial(select, folder=source.path, recurse=source.recurse)
        checkout = await self._checkouts.get(source.url, source.target, hint, chosen)
        parsed = await anyio.to_thread.run_sync(objects, checkout.files)
        found = [await self._wanted(obj, source, request) for obj in parsed]
        unique = {w.resource.address: w for w in found}
        return checkout, sorted(unique.values(), key=_order)

    async def _wanted(self, obj: Object, source: Source, request: Request) -> _Wanted:
        metadata = obj["metadata"]
        group, _, version = obj["apiVersion"].rpartition("/")
        namespace = metadata.get("namespace") or source.namespace or "default"
        resource = Resource(group, version, obj["kind"], namespace, metadata["name"])
        try:
            kind = await self._kinds.kind_of(obj["apiVersion"], obj["kind"])
        except NotFoundError as exc:
            return _Wanted(resource, None, obj, exc.message)
        annotations = {
            **(metadata.get("annotations") or {}),
            TRACKING_ID: tracking_id(request, kind, namespace, metadata["name"]),
        }
        complete: dict[str, Any] = {**metadata, "annotations": annotations, "namespace": namespace}
        if not kind.namespaced:
            del complete["namespace"]
            resource = replace(resource, namespace="")
        body = {key: value for key, value in obj.items() if key != "status"}
        return _Wanted(resource, kind, cast(Object, {**body, "metadata": complete}))

    async def _sync(
        self, app: Object, source: Source, checkout: Checkout, wanted: list[_Wanted]
    ) -> Outcome:
        """Apply and prune as far as the policy allows, and say how things stand."""
        known = _known(app)
        gone = _minus(known, (w.resource for w in wanted))
        conditions: dict[str, str] = {}
        if checkout.problem is not None:
            conditions["ComparisonError"] = str(checkout.problem.message)
        prune = source.prune
        if gone and not wanted and not source.allow_empty:
            conditions["SyncError"] = "the folder has no objects any more; nothing was pruned"
            prune = False
        operate = source.automated and (source.self_heal or not _is_done(app, checkout.revision))
        failures: list[str] = []
        found: list[Resource] = []
        if operate:
            await self._note(app, _minus((w.resource for w in wanted), known))
            if source.create_namespace and source.namespace:
                await self._create_namespace(source.namespace)
        for one in wanted:
            resource, problem = await (self._apply(one) if operate else self._look(one))
            found.append(resource)
            failures += [problem] if problem else []
        for resource in gone:
            may = operate and prune and not failures
            if not (may and await self._prune(resource, _request(app))):
                found.append(replace(resource, synced=False, surplus=True))
        if failures:
            conditions["SyncError"] = "; ".join(failures)
        synced = all(r.synced for r in found)
        return Outcome(
            sync="Unknown" if checkout.problem else "Synced" if synced else "OutOfSync",
            revision=checkout.revision,
            resources=tuple(found),
            operated=operate,
            failures=tuple(failures),
            conditions=conditions,
        )

    async def _apply(self, wanted: _Wanted) -> tuple[Resource, str]:
        if wanted.kind is None:
            return _missing(wanted.resource), wanted.problem
        try:
            live = await self._client.apply(wanted.kind, wanted.obj, FIELD_MANAGER)
        except UnavailableError:
            raise
        except TowpathError as exc:
            about = f"{wanted.resource.kind} {wanted.resource.name}: {exc.message}"
            return _missing(wanted.resource), about
        return replace(wanted.resource, health=health(live)), ""

    async def _look(self, wanted: _Wanted) -> tuple[Resource, str]:
        """As :meth:`_apply`, but only looking: a missing object is what there is to sync."""
        if wanted.kind is None:
            return _missing(wanted.resource), wanted.problem
        where = wanted.resource
        try:
            live = await self._client.get(wanted.kind, where.name, where.namespace)
        except NotFoundError:
            return _missing(where), ""
        mark = (live["metadata"].get("annotations") or {}).get(TRACKING_ID)
        ours = mark == wanted.obj["metadata"]["annotations"][TRACKING_ID]
        return replace(where, synced=ours, health=health(live)), ""

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
        try:
            kind = await self._kinds.kind_of(version, resource.kind)
            live = await self._client.get(kind, resource.name, resource.namespace)
            if owner(live) != [request]:
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
        finalizers = app["metadata"].get("finalizers") or []
        if RESOURCES_FINALIZER not in finalizers:
            return None
        gone = [await self._prune(resource, request) for resource in reversed(_known(app))]
        if not all(gone):
            return After(FINALIZE_SECONDS)
        rest = [f for f in finalizers if f != RESOURCES_FINALIZER]
        version = app["metadata"]["resourceVersion"]
        patch: Object = {"metadata": {"finalizers": rest, "resourceVersion": version}}
        await self._client.merge(APPLICATION, request.name, request.namespace, patch)
        return None

    async def _note(self, app: Object, planned: list[Resource]) -> None:
        """Write into the status what is about to exist, before it does."""
        if planned:
            old = app.get("status") or {}
            new = [replace(r, synced=False).entry() for r in planned]
            await self._write(app, {**old, "resources": [*(old.get("resources") or ()), *new]})

    async def _report(self, app: Object, outcome: Outcome) -> None:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        await self._write(app, status(cast(dict[str, Any], app), outcome, now))

    async def _write(self, app: Object, new: dict[str, Any]) -> None:
        await kube.write_status(self._client, APPLICATION, app, new)
        app["status"] = new


def _request(app: Object) -> Request:
    return Request(app["metadata"].get("namespace", ""), app["metadata"]["name"])


def _known(app: Object) -> list[Resource]:
    return [Resource.of(entry) for entry in (app.get("status") or {}).get("resources") or ()]


def _minus(these: Iterable[Resource], those: Iterable[Resource]) -> list[Resource]:
    addresses = {r.address for r in those}
    return [r for r in these if r.address not in addresses]


def _is_done(app: Object, revision: str) -> bool:
    state = (app.get("status") or {}).get("operationState") or {}
    synced = (state.get("syncResult") or {}).get("revision")
    return synced == revision and state.get("phase") == "Succeeded"


def _order(wanted: _Wanted) -> tuple[int, tuple[str, ...]]:
    kind = wanted.resource.kind
    return (_FIRST.index(kind) if kind in _FIRST else len(_FIRST), wanted.resource.address)


def _missing(resource: Resource) -> Resource:
    return replace(resource, synced=False, health=Health("Missing"))


def _unknown(condition: str, exc: TowpathError) -> Outcome:
    text = f"{exc.message}. {exc.hint}" if exc.hint else exc.message
    return Outcome(sync="Unknown", conditions={condition: text})

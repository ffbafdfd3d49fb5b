"""The whole road: what ``ship`` does, stage by stage, against a running platform.

Every stage finds what an earlier run left and does only what is missing, so the same command
finishes an interrupted job, and a job that is done changes nothing. The model registry is the
account book: it says which bytes a version stands for.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import anyio
import anyio.to_process
import httpx2

from towpath import blob, serve, transfer
from towpath.app.rollout import Lookout, Target, await_endpoints
from towpath.app.shelf import Shelf
from towpath.app.shipment import Order, Progress, Shipment
from towpath.blob import oci
from towpath.blob.modelcar import push_model
from towpath.edge.plan import Desired
from towpath.errors import ConflictError, InvalidError, NotFoundError
from towpath.gitops import Deployment, application, commit, files
from towpath.kube import Writer
from towpath.registry import Client as Registry
from towpath.registry import Plain, plain, wire
from towpath.spec.argocd import APPLICATION
from towpath.spec.kube import Object
from towpath.spec.names import Digest, Revision, model_name, version_name
from towpath.spec.registry import ModelArtifact, ModelVersion, RegisteredModel, Resource
from towpath.spec.towpath import (
    DEPLOYED_TO,
    DIGEST_PROPERTY,
    IMAGE_PROPERTY,
    REVISION_PROPERTY,
    SERVED_AT,
    SIZE_PROPERTY,
    SOURCE_PROPERTY,
)
from towpath.telemetry import redact

__all__ = ["Road"]

MANAGER: Final = "towpath-ship"
AUTHOR: Final = "Towpath <towpath@localhost>"
NAMESPACE: Final = "default"
"""Of the InferenceServices: the one namespace that every cluster has."""


class _Recorded(NamedTuple):
    """What the registry says a version stands for."""

    digest: str
    model_format: str


@dataclass(frozen=True)
class Road:
    """The stages of one platform.

    Args:
        registry: The account book.
        images: Where images are pushed to.
        repository: URL of the git repository.
        token: That may push there.
        branch: That Applications follow.
        hub: The hub's API.
        http: To ask gateways whether they answer.
        shelf: Where model files lie.
        targets: The clusters to run on.
    """

    registry: Registry
    images: oci.Client
    repository: str
    token: str = field(repr=False)
    branch: str
    hub: Writer
    http: httpx2.AsyncClient
    shelf: Shelf
    targets: tuple[Target, ...]

    async def ship(self, order: Order, progress: Progress) -> Shipment:
        """Do the whole job.

        Raises:
            InvalidError: a name is not legal, or the source is no model.
            ConflictError: the version stands for other bytes, and ``replace`` was not asked for.
            NotFoundError: there is no such source.
            UnavailableError: a surface does not answer, or an endpoint did not become ready; the
                same order goes on from there.
        """
        shipment = Shipment(model_name(order.name), version_name(order.version))
        async with self.shelf.reserved(shipment.name, shipment.version):
            await self._ship(order, shipment, progress)
        return shipment

    async def _ship(self, order: Order, shipment: Shipment, progress: Progress) -> None:
        run = partial(self._stage, shipment, progress)
        with run("transfer") as say:
            say(await self._transfer(order, shipment, progress))
        with run("registry") as say:
            say(await self._register(order, shipment))
        with run("package") as say:
            say(await self._package(shipment, progress))
        with run("gitops") as say:
            say(await self._commit(shipment))
        with run("fleet") as say:
            say(await self._assign(shipment))
        with run("edge") as say:
            say(await self._serve(order, shipment))
            await self._link(shipment)

    @contextmanager
    def _stage(
        self, shipment: Shipment, progress: Progress, name: str
    ) -> Iterator[Callable[[str], None]]:
        said: list[str] = []
        progress.begin(name)
        begin = time.perf_counter()
        try:
            yield said.append
        except BaseException:
            progress.fail(name)
            raise
        seconds = time.perf_counter() - begin
        shipment.stages.append((name, seconds))
        progress.end(name, said[0], seconds)

    async def _transfer(self, order: Order, shipment: Shipment, progress: Progress) -> str:
        source = blob.reader(order.source)
        place = self.shelf.place(shipment.name, shipment.version)
        recorded = await self._recorded(shipment)
        if recorded is not None:
            found = await transfer.examine(source, progress=progress.bytes)
            if recorded.digest != found.digest and not order.replace:
                raise ConflictError(
                    f"{shipment.name} version {shipment.version} is already registered with other "
                    f"bytes ({recorded.digest}, not {found.digest})",
                    hint="Ship it under a new --version, or overwrite this one with --replace.",
                )
            if await self._holds(place, found.digest):
                self._check_format(order, recorded.model_format)
                self._note_artifact(shipment, place, found, recorded.model_format)
                return f"{place} is up to date"
        async with self.shelf.staging(shipment.name, shipment.version) as staged:
            target = blob.writer(str(staged))
            copied = await transfer.copy(source, target, progress=progress.bytes)
            described = await _checked(staged)
            self._check_format(order, described["format"])
            await self.shelf.put_in_place(staged, shipment.name, shipment.version)
        shipment.changed = True
        self._note_artifact(shipment, place, copied, described["format"])
        return f"{redact(order.source)} → {place}"

    async def _recorded(self, shipment: Shipment) -> _Recorded | None:
        """What the registry says this version stands for; None when it says nothing."""
        model = await self.registry.find_model(shipment.name)
        version = await self.registry.find_version(_id(model), shipment.version) if model else None
        if version is None:
            return None
        shipment.revision = Revision(_text(version, REVISION_PROPERTY))
        artifact = await self.registry.find_artifact(_id(version), shipment.name)
        digest = _text(artifact, DIGEST_PROPERTY) if artifact else ""
        if artifact is None or not digest:
            return None
        return _Recorded(digest, artifact.modelFormatName or "")

    async def _holds(self, place: Path, digest: Digest) -> bool:
        """Whether a folder has these very bytes."""
        try:
            found = await transfer.examine(blob.reader(str(place)))
        except (NotFoundError, InvalidError):
            return False
        return found.digest == digest

    def _check_format(self, order: Order, found: str) -> None:
        if order.model_format not in (None, found):
            raise InvalidError(
                f"{redact(order.source)} is of format {found!r}, not {order.model_format!r}",
                hint=f"Leave --format out, or say --format {found}.",
            )

    def _note_artifact(
        self, shipment: Shipment, place: Path, files: transfer.Copied, model_format: str
    ) -> None:
        only = files.files[0].path if len(files.files) == 1 else ""
        shipment.artifact_uri = (place / only).as_uri()
        shipment.artifact_digest, shipment.size = files.digest, files.size
        shipment.model_format = model_format

    async def _register(self, order: Order, shipment: Shipment) -> str:
        facts: dict[str, Plain] = {
            DIGEST_PROPERTY: shipment.artifact_digest,
            SIZE_PROPERTY: shipment.size,
            SOURCE_PROPERTY: redact(order.source),
        }
        model = await self.registry.upsert_model(RegisteredModel(name=shipment.name))
        version = await self.registry.upsert_version(
            ModelVersion(name=shipment.version, registeredModelId=_id(model))
        )
        artifact = await self.registry.upsert_artifact(
            _id(version),
            ModelArtifact(
                name=shipment.name,
                uri=shipment.artifact_uri,
                state="LIVE",
                modelFormatName=shipment.model_format,
                customProperties=wire(facts),
            ),
        )
        same = _text(artifact, DIGEST_PROPERTY) == shipment.artifact_digest
        if not same or artifact.uri != shipment.artifact_uri:
            shipment.changed = True
            artifact = await self.registry.update_artifact(
                _id(artifact), state="LIVE", uri=shipment.artifact_uri, properties=facts
            )
        shipment.ids = (_id(model), _id(version), _id(artifact))
        ids = (_id(model), _id(version), _id(artifact))
        return "model id {}, version id {}, artifact id {}".format(*ids)

    async def _package(self, shipment: Shipment, progress: Progress) -> str:
        name, version = shipment.name, shipment.version
        before = await self._tagged(name, version)
        files_of = blob.reader(str(self.shelf.place(name, version)))
        shipment.image, manifest = await push_model(
            files_of, self.images, name, version, progress=progress.bytes
        )
        shipment.changed |= before != manifest["digest"]
        await self._note(shipment, IMAGE_PROPERTY, shipment.image)
        return shipment.image

    async def _tagged(self, repository: str, tag: str) -> Digest | None:
        try:
            return (await self.images.resolve(repository, tag))["digest"]
        except NotFoundError:
            return None

    async def _commit(self, shipment: Shipment) -> str:
        wanted: dict[str, bytes] = {}
        for target in self.targets:
            wanted |= files(self._deployment(shipment), target.cluster)
        clusters = ", ".join(target.cluster for target in self.targets)
        made = await commit(
            self.repository,
            self.token,
            self.branch,
            lambda _: wanted,
            f"Run {shipment.name} {shipment.version} on {clusters}\n\n{shipment.image}\n",
            AUTHOR,
        )
        shipment.changed |= made.changed
        if made.changed or not shipment.revision:  # else the commit that brought it stays its own
            shipment.revision = made.revision
            await self._note(shipment, REVISION_PROPERTY, made.revision)
        told = f"{shipment.revision[:12]} on {self.branch}"
        return told if made.changed else f"{told} (no change)"

    async def _assign(self, shipment: Shipment) -> str:
        deployment = self._deployment(shipment)
        for target in self.targets:
            wanted = application(target.cluster, deployment, self.repository, self.branch)
            before = await self._application(wanted)
            after = await self.hub.apply(APPLICATION, wanted, MANAGER)
            shipment.changed |= before != after["metadata"].get("uid")
        return ", ".join(f"{target.cluster}-{shipment.name}" for target in self.targets)

    async def _application(self, wanted: Object) -> str | None:
        metadata = wanted["metadata"]
        try:
            found = await self.hub.get(APPLICATION, metadata["name"], metadata["namespace"])
        except NotFoundError:
            return None
        return found["metadata"].get("uid")

    async def _serve(self, order: Order, shipment: Shipment) -> str:
        shipment.endpoints = await await_endpoints(
            Lookout(self.hub, self.http), self.targets, self._wanted(shipment), order.patience
        )
        return ", ".join(endpoint.url for endpoint in shipment.endpoints)

    async def _link(self, shipment: Shipment) -> None:
        """Write the end of the chain into the account book: what runs where, and answers where."""
        version = f"ModelVersion/{shipment.ids[1]}"
        async with anyio.create_task_group() as calls:
            for endpoint in shipment.endpoints:
                cluster = f"cluster:{endpoint.cluster}"
                answers = f"{endpoint.url}/v2/models/{endpoint.name}"
                calls.start_soon(self.registry.link, version, DEPLOYED_TO, cluster)
                calls.start_soon(self.registry.link_only, version, SERVED_AT, answers)

    def _wanted(self, shipment: Shipment) -> Desired:
        return Desired(
            namespace=NAMESPACE,
            name=shipment.name,
            model_format=shipment.model_format,
            image=shipment.image,
            digest=Digest(shipment.image.rpartition("@")[2]),
            version=shipment.version,
        )

    async def _note(self, shipment: Shipment, key: str, value: str) -> None:
        """Write a link of the chain into the account book, once."""
        await self.registry.update_version(shipment.ids[1], properties={key: value})

    def _deployment(self, shipment: Shipment) -> Deployment:
        model, version, _ = shipment.ids
        return Deployment(
            name=shipment.name,
            namespace=NAMESPACE,
            model_format=shipment.model_format,
            image=shipment.image,
            version=shipment.version,
            labels={
                "modelregistry.opendatahub.io/registered-model-id": model,
                "modelregistry.opendatahub.io/model-version-id": version,
            },
        )


async def _checked(folder: Path) -> serve.Description:
    """What the files are, found out by loading them in a process that may die of it."""
    try:
        return await anyio.to_process.run_sync(serve.check, folder)
    except anyio.BrokenWorkerProcess as exc:
        raise InvalidError(
            "the model's files bring the runtime down when it loads them",
            hint="They are damaged, or made for another runtime.",
        ) from exc


def _id(entity: Resource) -> str:
    return entity.id or ""


def _text(entity: Resource, key: str) -> str:
    """A custom property that is a text; empty when there is none."""
    return str(plain(entity.customProperties).get(key) or "")

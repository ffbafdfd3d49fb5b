"""An export of a Kubeflow registry that knows none: its entities, listed and told as ours.

The lists are read one after the other, so the file is a true picture only of a registry that
nobody writes to meanwhile. It has no events: whoever takes it in tells of every entity anew.
"""

import shutil
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

import httpx2
import orjson

from towpath.errors import DeniedError, NotFoundError, Reason, UnavailableError
from towpath.registry.exchange import attribution_line, entity_line, header
from towpath.registry.kinds import (
    ARTIFACTS,
    EXPERIMENT,
    EXPERIMENT_RUN,
    INFERENCE_SERVICE,
    METRIC_POINT,
    MODEL_VERSION,
    REGISTERED_MODEL,
    SERVE_MODEL,
    SERVING_ENVIRONMENT,
    Kind,
)
from towpath.spec._wire import JsonObject

__all__ = ["listed"]

PAGE: Final = 100

_CONTEXTS: Final[Mapping[str, Kind]] = {
    "registered_models": REGISTERED_MODEL,
    "serving_environments": SERVING_ENVIRONMENT,
    "experiments": EXPERIMENT,
    "model_versions": MODEL_VERSION,
    "experiment_runs": EXPERIMENT_RUN,
    "inference_services": INFERENCE_SERVICE,
}
"""Parents before what belongs to them."""
_FIRST: Final = "/registered_models"
"""The list that every server has."""

_BY_TYPE: Final = {kind.artifact_type: kind for kind in ARTIFACTS}


async def listed(http: httpx2.AsyncClient, base: str, file: IO[bytes]) -> int:
    """Write an export of another server.

    Args:
        http: A client that may read there.
        base: Its address with the path of the API.
        file: Where to.

    Returns:
        How many lines were written.

    Raises:
        DeniedError: the server does not let this client read.
        NotFoundError: there is no registry.
        UnavailableError: it does not answer as its specification says.
    """
    with tempfile.TemporaryFile() as entities, tempfile.TemporaryFile() as belongings:
        listing = _Listing(http, base, entities, belongings)
        try:
            await listing.run()
        except (KeyError, TypeError, ValueError) as exc:
            raise UnavailableError("the registry gave an answer that is no list") from exc
        file.write(header(time.time_ns() // 1_000_000, dict(listing.counts)))
        for part in (entities, belongings):
            part.seek(0)
            shutil.copyfileobj(part, file)
    return 1 + sum(listing.counts.values())


@dataclass
class _Listing:
    http: httpx2.AsyncClient
    base: str
    entities: IO[bytes]
    belongings: IO[bytes]
    counts: Counter[str] = field(default_factory=Counter)
    scopes: dict[int, int] = field(default_factory=dict)
    """Artifacts, and the first context that was seen to hold each."""
    names: set[tuple[str, str, str]] = field(default_factory=set)

    async def run(self) -> None:
        found: dict[str, list[JsonObject]] = {}
        for path, kind in _CONTEXTS.items():
            found[path] = []
            async for item in self._items(f"/{path}"):
                self._write(kind, item, parent=_parent(kind, item))
                found[path].append({name: item[name] for name in _KEPT if name in item})
        await self._belong(found)
        async for item in self._items("/artifacts"):
            self._artifact(_kind(item), item)
        for run in found["experiment_runs"]:
            async for item in self._items(f"/experiment_runs/{run['id']}/metric_history"):
                self._belongs(int(run["id"]), int(item["id"]))
                self._write(METRIC_POINT, item, scope=str(uuid.uuid4()))
        for service in found["inference_services"]:
            inherited = {name: service[name] for name in SERVE_MODEL.inherited}
            async for item in self._items(f"/inference_services/{service['id']}/serves"):
                self._write(SERVE_MODEL, {**item, **inherited}, parent=int(service["id"]))

    async def _belong(self, found: Mapping[str, list[JsonObject]]) -> None:
        """Which artifacts belong to which versions and runs."""
        for path in ("model_versions", "experiment_runs"):
            for context in found[path]:
                async for item in self._items(f"/{path}/{context['id']}/artifacts"):
                    self._belongs(int(context["id"]), int(item["id"]))

    def _belongs(self, context: int, artifact: int) -> None:
        self.scopes.setdefault(artifact, context)
        self.belongings.write(attribution_line(context, artifact))
        self.counts["Attribution"] += 1

    def _artifact(self, kind: Kind, item: JsonObject) -> None:
        scope = str(self.scopes.get(int(item["id"])) or uuid.uuid4())
        if (kind.type, scope, item["name"]) in self.names:  # it was attached there, not made
            scope = str(uuid.uuid4())
        self.names.add((kind.type, scope, item["name"]))
        self._write(kind, item, scope=scope)

    def _write(
        self, kind: Kind, item: JsonObject, *, parent: int | None = None, scope: str | None = None
    ) -> None:
        body = {
            name: value
            for name, value in item.items()
            if name in (*kind.fields, *kind.inherited)
            and name not in _ELSEWHERE
            and not (kind.parent and name == kind.parent[0])
            and value not in (None, {})
        }
        self.counts[kind.type] += 1
        self.entities.write(
            entity_line(
                kind.type,
                {
                    "id": int(item["id"]),
                    "name": item["name"],
                    "externalId": item.get("externalId") or None,
                    "parent": parent,
                    "scope": scope,
                    "created": int(item.get("createTimeSinceEpoch", 0)),
                    "updated": int(item.get("lastUpdateTimeSinceEpoch", 0)),
                    "body": body,
                },
            )
        )

    async def _items(self, path: str) -> AsyncIterator[JsonObject]:
        """Every entity of a list; none when this server has no such list."""
        query = {"pageSize": str(PAGE)}
        while True:
            answer = await self._page(path, query)
            for item in answer.get("items") or ():
                yield item
            after = answer.get("nextPageToken") or ""
            if not after or after == query.get("nextPageToken"):
                return
            query["nextPageToken"] = after

    async def _page(self, path: str, query: Mapping[str, str]) -> JsonObject:
        answer = await self.http.get(self.base + path, params=query)
        if answer.status_code == 404 and path != _FIRST:
            return {}
        if answer.status_code == 404:  # an empty export would pass for a backup
            raise NotFoundError(
                "there is no model registry at this address",
                hint="Name it without the path of the API, as http://127.0.0.1:8080.",
            )
        if answer.status_code in (401, 403):
            raise DeniedError(
                f"the registry does not let this token read {path}",
                reason=Reason.FORBIDDEN if answer.status_code == 403 else Reason.UNAUTHENTICATED,
            )
        try:
            body: Any = orjson.loads(answer.content) if answer.status_code == 200 else None
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict):
            raise UnavailableError(f"the registry answered {answer.status_code} to {path}")
        return body


_ELSEWHERE: Final = frozenset(
    {
        *("id", "name", "externalId", "artifactType"),
        *("createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"),
    }
)
_KEPT: Final = ("id", *SERVE_MODEL.inherited)


def _kind(item: JsonObject) -> Kind:
    kind = _BY_TYPE.get(item.get("artifactType"))
    if kind is None:
        raise UnavailableError(f"the registry holds an artifact of type {item.get('artifactType')}")
    return kind


def _parent(kind: Kind, item: JsonObject) -> int | None:
    return int(item[kind.parent[0]]) if kind.parent else None

"""The load of ``bench/registry.py``: how each registry is asked, and how long it takes to answer.

Requests go over kept-alive connections that parse as little as they can, never through an official
client: Kubeflow's alone takes 80 ms a call, whatever the server does.
"""

import asyncio
import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlencode

from load import Connection, quantiles

__all__ = ["Mlflow", "Registry", "Request", "Towpath", "interleaved", "percentile", "together"]

CONNECTIONS: Final = 32
PER_MODEL: Final = 100
PER_AUTHOR: Final = 50
_TOKEN: Final = re.compile(rb'"nextPageToken": ?"([^"]*)"')


@dataclass(frozen=True)
class Request:
    """One request, and what its answer must be.

    Args:
        method: Its method.
        path: With the query.
        body: Sent as JSON.
        status: Of a right answer.
        items: How many of the dialect's marks a right answer holds at least.
    """

    method: str
    path: str
    body: Any = None
    status: int = 200
    items: int = 0


class Dialect(Protocol):
    """How a registry is asked. A model's key is what its versions are made with."""

    mark: bytes

    def model(self, name: str) -> Request: ...
    def key(self, name: str, answer: bytes) -> str: ...
    def version(self, key: str, name: str, author: str) -> Request: ...
    def by_name(self, name: str) -> Request: ...
    def models(self) -> Request: ...
    def versions(self, key: str) -> Request: ...


class Towpath:
    """The Kubeflow Model Registry API."""

    prefix = "/api/model_registry/v1alpha3"
    mark = b'"createTimeSinceEpoch"'

    def model(self, name: str) -> Request:
        body = {"name": name, "description": "a model of the bench", "owner": "bench"}
        return Request("POST", f"{self.prefix}/registered_models", body, 201)

    def key(self, name: str, answer: bytes) -> str:
        return str(json.loads(answer)["id"])

    def version(self, key: str, name: str, author: str) -> Request:
        tags = {"stage": "candidate", "run": "41c0ffee"}
        body = {
            "name": name,
            "registeredModelId": key,
            "description": "a version of the bench",
            "author": author,
            "customProperties": {
                name: {"metadataType": "MetadataStringValue", "string_value": value}
                for name, value in tags.items()
            },
        }
        return Request("POST", f"{self.prefix}/registered_models/{key}/versions", body, 201)

    def by_name(self, name: str) -> Request:
        return Request("GET", f"{self.prefix}/registered_model?{urlencode({'name': name})}")

    def models(self) -> Request:
        return Request("GET", f"{self.prefix}/registered_models?pageSize=100", items=100)

    def versions(self, key: str) -> Request:
        path = f"{self.prefix}/registered_models/{key}/versions?pageSize=100"
        return Request("GET", path, items=100)

    def artifact(self, version: int) -> Request:
        body = {
            "artifactType": "model-artifact",
            "uri": f"s3://bench/{version}",
            "modelFormatName": "onnx",
            "modelFormatVersion": "1",
        }
        return Request("POST", f"{self.prefix}/model_versions/{version}/artifacts", body, 201)

    def version_by_id(self, ident: int) -> Request:
        return Request("GET", f"{self.prefix}/model_versions/{ident}", items=1)

    def version_by_name(self, key: str, name: str) -> Request:
        query = urlencode({"name": name, "parentResourceId": key})
        return Request("GET", f"{self.prefix}/model_version?{query}", items=1)

    def page(self, items: int, **query: str) -> Request:
        path = f"{self.prefix}/model_versions?{urlencode({'pageSize': items, **query})}"
        return Request("GET", path, items=items)


class Mlflow:
    """MLflow's REST API."""

    prefix = "/api/2.0/mlflow"
    mark = b'"creation_timestamp"'

    def model(self, name: str) -> Request:
        tags = [{"key": "owner", "value": "bench"}]
        body = {"name": name, "description": "a model of the bench", "tags": tags}
        return Request("POST", f"{self.prefix}/registered-models/create", body)

    def key(self, name: str, answer: bytes) -> str:
        return name

    def version(self, key: str, name: str, author: str) -> Request:
        tags = {"stage": "candidate", "run": "41c0ffee", "author": author}
        body = {
            "name": key,
            "source": f"s3://bench/{key}/{name}",
            "description": "a version of the bench",
            "tags": [{"key": name, "value": value} for name, value in tags.items()],
        }
        return Request("POST", f"{self.prefix}/model-versions/create", body)

    def by_name(self, name: str) -> Request:
        return Request("GET", f"{self.prefix}/registered-models/get?{urlencode({'name': name})}")

    def models(self) -> Request:
        path = f"{self.prefix}/registered-models/search?max_results=100"
        return Request("GET", path, items=100)

    def versions(self, key: str) -> Request:
        query = urlencode({"filter": f"name='{key}'", "max_results": 100})
        return Request("GET", f"{self.prefix}/model-versions/search?{query}", items=100)


@dataclass
class Registry:
    """One registry under load.

    Args:
        dialect: How it is asked.
        port: Where it answers.
    """

    dialect: Dialect
    port: int
    keys: list[str] = field(default_factory=list)
    size: int = 0
    _count: int = 0
    _line: Connection | None = None

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, "127.0.0.1", self.port))[1]

    def rest(self) -> None:
        """Let go of the connection: a server closes one that nobody has used for a while."""
        if self._line is not None:
            self._line.close()
            self._line = None

    async def ask(self, request: Request, line: Connection | None = None) -> bytes:
        """The body of the right answer; anything else ends the run."""
        if line is None:
            if self._line is None:
                self._line = await self.connect()
            line = self._line
        status, content = await line.send(*self._wire(request))
        if status != request.status or content.count(self.dialect.mark) < request.items:
            shown = f"{request.method} {request.path} gave {status}: {content[:300]!r}"
            sys.exit(f"dirty result: {shown}")
        return content

    def _wire(self, request: Request) -> tuple[bytes, bytes]:
        body = json.dumps(request.body).encode() if request.body is not None else b""
        head = (
            f"{request.method} {request.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            "Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: bench/1\r\n"
        )
        return head.encode(), body

    def new_model(self) -> Request:
        self._count += 1
        return self.dialect.model(f"extra-{self._count}")

    def new_version(self) -> Request:
        self._count += 1
        key = self.keys[-1 - self._count % 50]
        return self.dialect.version(key, f"extra-{self._count}", f"author-x{self._count}")

    def any_model(self) -> Request:
        return self.dialect.by_name(f"model-{random.randrange(len(self.keys)):06}")

    async def fill(self, versions: int) -> float:
        """Make models with so many versions; how many versions it made in a second.

        A model has 100 versions, an author 50. At least as many models again have none, so that
        there is a page of models, and new versions do not land among the old.
        """
        full = -(-versions // PER_MODEL)
        names = [f"model-{index:06}" for index in range(full + 100)]
        self.keys = [""] * len(names)

        async def model(line: Connection, index: int) -> None:
            answer = await self.ask(self.dialect.model(names[index]), line)
            self.keys[index] = self.dialect.key(names[index], answer)

        await together(self, model, len(names))
        authors = max(1, versions // PER_AUTHOR)

        async def version(line: Connection, index: int) -> None:
            author = f"author-{index % authors}"
            key = self.keys[index // PER_MODEL]
            await self.ask(self.dialect.version(key, f"version-{index}", author), line)

        self.size = versions
        self.rest()
        return (await together(self, version, versions))["a second"]


async def together(
    registry: Registry,
    one: Callable[[Connection, int], Any],
    count: int,
    connections: int = CONNECTIONS,
) -> dict[str, float]:
    """Do something so many times, on many connections at once."""
    rest: Iterator[int] = iter(range(count))
    took: list[float] = []

    async def worker(line: Connection) -> None:
        for index in rest:
            begin = time.perf_counter()
            await one(line, index)
            took.append(time.perf_counter() - begin)

    lines = [await registry.connect() for _ in range(connections)]
    begin = time.perf_counter()
    await asyncio.gather(*map(worker, lines))
    seconds = time.perf_counter() - begin
    for line in lines:
        line.close()
    return {"a second": round(count / seconds), **quantiles(took)}


async def interleaved(
    registries: dict[str, Registry],
    asked: Callable[[Registry], dict[str, Callable[[], Request]]],
    count: int,
    rounds: int,
) -> dict[str, dict[str, list[float]]]:
    """Ask each registry each thing so many times, in turns, one request at a time.

    Returns:
        The seconds of every request, by what was asked and by registry.
    """
    for registry in registries.values():
        registry.rest()
    took: dict[str, dict[str, list[float]]] = {}
    things = {name: asked(registry) for name, registry in registries.items()}
    for registry, makers in zip(registries.values(), things.values(), strict=True):
        for make in makers.values():
            await registry.ask(make())  # what happens once does not count
    for _ in range(rounds):
        for name, registry in registries.items():
            for what, make in things[name].items():
                times = took.setdefault(what, {}).setdefault(name, [])
                for _ in range(-(-count // rounds)):
                    request = make()
                    begin = time.perf_counter()
                    await registry.ask(request)
                    times.append(time.perf_counter() - begin)
    return took


async def token_at(registry: Registry, part: float, **query: str) -> str:
    """The token of the page at some part of the list of versions."""
    dialect = registry.dialect
    assert isinstance(dialect, Towpath)
    wanted, token, size = int(registry.size * part), "", 0
    while size < wanted:
        step = min(1000, wanted - size)
        more = {"nextPageToken": token} if token else {}
        content = await registry.ask(dialect.page(step, **query, **more))
        found = _TOKEN.search(content)
        token = found[1].decode() if found else ""
        if not token:
            sys.exit("dirty result: a list of versions ends too early")
        size += step
    return token


def percentile(seconds: list[float], percent: int) -> float:
    """In milliseconds."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1e3

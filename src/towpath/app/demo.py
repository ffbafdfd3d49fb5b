"""The demonstration: a platform from nothing, the example model all the way, a prediction."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2

from towpath import golden
from towpath.app.connect import road
from towpath.app.example import find_example
from towpath.app.home import Home
from towpath.app.platform import Platform
from towpath.app.ports import free_base
from towpath.app.shipment import Order, Progress, Shipment
from towpath.errors import InvalidError, UnavailableError
from towpath.settings import Settings

__all__ = ["Demonstration", "demonstrate", "temporary_platform"]


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration showed.

    Args:
        shipment: What became of the model.
        request: The golden request.
        answers: Each endpoint's answer, by cluster.
    """

    shipment: Shipment
    request: dict[str, Any]
    answers: dict[str, dict[str, Any]]


@asynccontextmanager
async def temporary_platform(edges: int, progress: Progress) -> AsyncIterator[Home]:
    """A platform on free ports in a temporary folder; all of it is gone when the context ends."""
    with tempfile.TemporaryDirectory(prefix="towpath-demo-") as folder:
        home = Home.make(Path(folder) / "home", port_base=free_base(edges), edges=edges)
        progress.begin("up")
        begin = anyio.current_time()
        with home.locked():
            async with Platform(home, Settings()).running():
                seconds = anyio.current_time() - begin
                progress.end("up", f"a hub and {edges} edges in {home.path}", seconds)
                yield home


async def demonstrate(home: Home, progress: Progress) -> Demonstration:
    """Ship the example model and ask every endpoint.

    Raises:
        InvalidError: a prediction is wrong.
        UnavailableError: an endpoint does not answer.
    """
    example = find_example()
    order = Order(str(example.model), name="fraud", version="1")
    async with road(home, [], Settings()) as way:
        shipment = await way.ship(order, progress)
    case = golden.parse(example.golden.read_bytes())[0]
    progress.begin("predict")
    begin = anyio.current_time()
    answers: dict[str, dict[str, Any]] = {}
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
        for endpoint in shipment.endpoints:
            url = f"{endpoint.url}/v2/models/{endpoint.name}/infer"
            try:
                response = await http.post(url, json=case.request)
                answer = response.raise_for_status().json()
            except (httpx2.HTTPError, ValueError) as exc:
                raise UnavailableError(f"{endpoint.cluster} does not answer at {url}") from exc
            if differences := golden.compare(case, answer):
                raise InvalidError(f"{endpoint.cluster} predicts wrongly: {'; '.join(differences)}")
            answers[endpoint.cluster] = answer
    progress.end("predict", "as the golden answer says", anyio.current_time() - begin)
    return Demonstration(shipment, dict(case.request), answers)

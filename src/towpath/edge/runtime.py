"""The runtime processes of a cluster: one for each revision of an InferenceService.

A runtime gets a listening socket of its own (loopback, a free port), so its address is known
before it starts, and stays the same when another agent adopts it.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from towpath.edge.plan import Desired, Instance
from towpath.process import Child, Children, Program
from towpath.web import listen

__all__ = ["Leash", "Runtimes"]

RUNTIME = "towpath-onnx"
"""``status.servingRuntimeName`` of a service that the built-in runtime serves."""


@dataclass(frozen=True)
class Leash:
    """The outermost owner's lifeline, as children inherit it.

    ``name`` tells one owner's life from the next; both are empty for a cluster on its own.
    """

    name: str = ""
    reader: int | None = None

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that a child inherits for it."""
        return () if self.reader is None else (self.reader,)


class Runtimes:
    """Starts, finds and stops runtime processes.

    Args:
        children: The cluster's processes.
        leash: What a runtime's life hangs on besides its agent's word.
        http: For readiness probes.
        settings: Handed to every runtime, which knows what they mean.
    """

    def __init__(
        self,
        children: Children,
        leash: Leash,
        http: httpx2.AsyncClient,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        self._children = children
        self._leash = leash
        self._http = http
        self._settings = settings or {}

    def services(self) -> set[tuple[str, str]]:
        """Namespace and name of every service that has a process."""
        return {(namespace, name) for _, namespace, name in self._all()}

    async def instances(self, namespace: str, name: str) -> list[Instance]:
        """The running processes of one service, probed for readiness."""
        mine = [c for c, ns, n in self._all() if (ns, n) == (namespace, name)]
        return [await self._probed(child, name) for child in mine]

    async def start(self, wanted: Desired, folder: Path) -> Child:
        """Start the runtime of one revision over a folder of model files."""
        with contextlib.closing(listen("127.0.0.1", 0)) as sock:
            address = f"127.0.0.1:{sock.getsockname()[1]}"
            program = Program.towpath(
                "runtime",
                wanted.process,
                config={
                    "model": wanted.name,
                    "version": wanted.version,
                    "folder": str(folder),
                    "settings": self._settings,
                    "fd": sock.fileno(),
                    "lifeline": self._leash.reader,
                },
                facts={
                    "role": "runtime",
                    "namespace": wanted.namespace,
                    "service": wanted.name,
                    "revision": wanted.revision,
                    "address": address,
                    "leash": self._leash.name,
                },
                fds=(sock.fileno(), *self._leash.fds),
            )
            return await self._children.start(program)

    async def stop(self, process: str, *, grace: float) -> None:
        """Stop one process; its open requests get ``grace`` seconds."""
        if (child := self._children.get(process)) is not None:
            await self._children.stop(child, grace=grace)

    def last_words(self, process: str) -> str:
        """The end of a process's log."""
        return self._children.tail(process, lines=1)

    def _all(self) -> Iterator[tuple[Child, str, str]]:
        for child in self._children:
            if child.facts.get("role") == "runtime":
                yield child, child.facts["namespace"], child.facts["service"]

    async def _probed(self, child: Child, model: str) -> Instance:
        address = child.facts["address"]
        try:
            answer = await self._http.get(f"http://{address}/v2/models/{model}/ready", timeout=2.0)
            ready = answer.status_code == 200
        except httpx2.TransportError:
            ready = False
        return Instance(child.name, child.facts["revision"], address, ready)

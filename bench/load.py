"""The load of ``bench/api.py``, in a process of its own: reads an order on standard input.

Connections are kept alive and parsed with as little work as possible, so that the server and not
this process is what is measured. After each phase it prints the figures as a line of JSON, and
waits for a line before it goes on.
"""

import asyncio
import base64
import json
import random
import re
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, cast

import uvloop

WRITERS: Final = 32
READERS: Final = 16
SINGLES: Final = 500
PAGE: Final = 500
LISTS: Final = 10
NAMESPACE: Final = "bench"
MAPS: Final = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
PAYLOAD: Final = "x" * 1024
TICK: Final = b'"tick":"='
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CONTINUE: Final = re.compile(rb'"continue":"([^"]+)"')
_PAYLOAD: Final = b'"payload":"'
_CHUNK: Final = re.compile(rb"([0-9a-fA-F]+)[^\r\n]*\r\n")


class Connection(asyncio.Protocol):
    """One kept-alive connection: a request at a time, or a watch."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.hear: Callable[[bytes], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass

    def send(self, head: bytes, body: bytes = b"") -> asyncio.Future[tuple[int, bytes]]:
        """Send a request; the answer's status and body."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return self._answer

    def watch(self, head: bytes, hear: Callable[[bytes], None]) -> None:
        """Send a request whose answer does not end."""
        self.hear = hear
        self._transport.write(head + b"\r\n")

    def data_received(self, data: bytes) -> None:
        if self.hear is not None:
            self.hear(data)
            return
        self._buffer += data
        found = answer(self._buffer)
        if found is not None and self._answer is not None:
            self._buffer.clear()
            self._answer.set_result(found)
            self._answer = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None:
            self._answer.set_exception(exc or ConnectionResetError())

    def close(self) -> None:
        self._transport.abort()


def answer(buffer: bytearray) -> tuple[int, bytes] | None:
    """Status and body, once they are whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    status, start = int(buffer[9:12]), end + 4
    length = _LENGTH.search(buffer, 0, start)
    if length is not None:
        size = int(length[1])
        return (status, bytes(buffer[start:])) if len(buffer) - start >= size else None
    if not buffer.endswith(b"0\r\n\r\n"):
        return None
    body = bytearray()
    while chunk := _CHUNK.match(buffer, start):
        size = int(chunk[1], 16)
        body += buffer[chunk.end() : chunk.end() + size]
        start = chunk.end() + size + 2
    return status, bytes(body)


class Load:
    """The phases.

    Args:
        order: Port, token, authority, and how much of everything.
    """

    def __init__(self, order: dict[str, Any]) -> None:
        self._order = order
        authority = base64.b64decode(order["authority"]).decode()
        self._tls = ssl.create_default_context(cadata=authority or None)
        if not authority:
            self._tls.check_hostname, self._tls.verify_mode = False, ssl.CERT_NONE
        self._common = (
            f"Host: 127.0.0.1:{order['port']}\r\nAuthorization: Bearer {order['token']}\r\n"
            "User-Agent: bench/1\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
        ).encode()

    def head(self, method: str, path: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\n".encode() + self._common

    async def connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        where = ("127.0.0.1", self._order["port"])
        _, connection = await loop.create_connection(Connection, *where, ssl=self._tls)
        return connection

    async def run(self) -> None:
        connection = await self.connect()
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await self.call(connection, "POST", "/api/v1/namespaces", namespace, 201)
        count = self._order["objects"]
        names = [f"map-{index:06}" for index in range(count)]
        singles = [f"single-{index:06}" for index in range(min(SINGLES, count))]
        await self.phase("create, 1 writer", self.create, singles, 1)
        await self.phase("create", self.create, names, WRITERS)
        await self.phase("get, 1 reader", self.get, random.choices(names, k=2 * len(singles)), 1)
        await self.phase("get", self.get, random.choices(names, k=2 * count), READERS)
        await self.phase("list", self.lists, len(names) + len(singles))
        await self.phase("watch", self.fan_out)

    async def phase(self, name: str, run: Callable[..., Awaitable[Any]], *values: Any) -> None:
        """Run one phase, tell its figures, and wait to be told to go on."""
        figures = await run(*values)
        sys.stdout.write(json.dumps({"name": name, "figures": label(name, figures)}) + "\n")
        sys.stdout.flush()
        sys.stdin.readline()

    async def call(
        self, connection: Connection, method: str, path: str, obj: Any, expected: int
    ) -> bytes:
        body = json.dumps(obj).encode() if obj is not None else b""
        status, content = await connection.send(self.head(method, path), body)
        if status != expected:
            sys.exit(f"dirty result: {method} {path} gave {status}: {content[:300]!r}")
        return content

    async def create(self, names: list[str], writers: int) -> dict[str, float]:
        async def one(connection: Connection, name: str) -> None:
            body = config_map(name, payload=PAYLOAD)
            await self.call(connection, "POST", MAPS, body, 201)

        return await self.spread(one, names, writers)

    async def get(self, names: list[str], readers: int) -> dict[str, float]:
        async def one(connection: Connection, name: str) -> None:
            content = await self.call(connection, "GET", f"{MAPS}/{name}", None, 200)
            if PAYLOAD.encode() not in content:
                sys.exit(f"dirty result: {name} is not what was written")

        return await self.spread(one, names, readers)

    async def spread(
        self, one: Callable[[Connection, str], Awaitable[None]], names: list[str], ways: int
    ) -> dict[str, float]:
        """Do one thing for each name, on so many connections."""
        rest: Iterator[str] = iter(names)
        took: list[float] = []

        async def worker(connection: Connection) -> None:
            for name in rest:
                begin = time.perf_counter()
                await one(connection, name)
                took.append(time.perf_counter() - begin)

        connections = [await self.connect() for _ in range(ways)]
        begin = time.perf_counter()
        await asyncio.gather(*map(worker, connections))
        seconds = time.perf_counter() - begin
        for connection in connections:
            connection.close()
        return {"a second": round(len(names) / seconds), **quantiles(took)}

    async def lists(self, count: int) -> dict[str, float]:
        connection = await self.connect()
        whole, paged = [], []
        for _ in range(LISTS):
            begin = time.perf_counter()
            content = await self.call(connection, "GET", MAPS, None, 200)
            whole.append(time.perf_counter() - begin)
            if content.count(_PAYLOAD) != count:
                sys.exit("dirty result: a list is not complete")
        for _ in range(LISTS):
            begin, found, token = time.perf_counter(), 0, b""
            while found == 0 or token:
                path = f"{MAPS}?limit={PAGE}&continue={token.decode()}"
                page = await self.call(connection, "GET", path, None, 200)
                found += page.count(_PAYLOAD)
                carried = _CONTINUE.search(page)
                token = carried[1] if carried else b""
            paged.append(time.perf_counter() - begin)
            if found != count:
                sys.exit("dirty result: the pages of a list are not complete")
        connection.close()
        return {
            **{f"whole, {name}": value for name, value in quantiles(whole).items()},
            **{f"pages of {PAGE}, {name}": value for name, value in quantiles(paged).items()},
        }

    async def fan_out(self) -> dict[str, float]:
        """From sending a write until the last of all watchers has its event."""
        heard: list[int] = []
        missing, done = 0, asyncio.Event()
        listened = asyncio.Event()

        def listener() -> Callable[[bytes], None]:
            tail, index = b"", len(heard)
            heard.append(0)

            def hear(data: bytes) -> None:
                nonlocal tail, missing
                text = tail + data
                found = text.count(TICK)
                tail = text[1 - len(TICK) :] if len(text) >= len(TICK) else text
                heard[index] += found
                missing -= found
                if missing == 0:
                    done.set()
                if b"\r\n\r\n" in data:
                    listened.set()

            return hear

        writer = await self.connect()
        content = await self.call(writer, "GET", f"{MAPS}?limit=1", None, 200)
        since = json.loads(content)["metadata"]["resourceVersion"]
        connections = []
        for _ in range(self._order["watchers"]):
            connections.append(await self.connect())
            listened.clear()
            path = f"{MAPS}?watch=1&resourceVersion={since}&timeoutSeconds=600"
            connections[-1].watch(self.head("GET", path), listener())
            await listened.wait()
        took = []
        for index in range(self._order["events"]):
            done.clear()
            missing = len(connections)
            body = config_map(f"tick-{index}", tick=f"={index}", payload=PAYLOAD)
            begin = time.perf_counter()
            await self.call(writer, "POST", MAPS, body, 201)
            await asyncio.wait_for(done.wait(), 30)
            took.append(time.perf_counter() - begin)
        if set(heard) != {self._order["events"]}:
            sys.exit("dirty result: a watcher heard too much or too little")
        for connection in connections:
            connection.close()
        return quantiles(took)


def config_map(name: str, **data: str) -> dict[str, Any]:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return {
        f"ms p{percent}": round(
            ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1e3, 2
        )
        for percent in (50, 99)
    }


def label(name: str, figures: dict[str, float]) -> dict[str, float]:
    """Figures under names that say which phase they are of."""
    return {f"{name}: {what}": value for what, value in figures.items()}


if __name__ == "__main__":
    uvloop.run(Load(json.loads(sys.stdin.readline())).run())

"""The process of ``towpath registry serve``, once its arguments are read, and of its workers."""

import contextlib
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio

from towpath import web
from towpath.cli.output import emit
from towpath.cli.stderr import talk
from towpath.errors import first_known
from towpath.process import Lifeline, Program
from towpath.settings import Settings

if TYPE_CHECKING:
    from towpath.app.registry import ModelRegistry

__all__ = ["run"]

SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Tells the metrics' library, before it is loaded, that several processes count together."""
GRACE_SECONDS: Final = 8.0
"""Time that a worker has to end: its open requests get five seconds of it."""
ACCESS_LOG: Final = "towpath.access"


async def run(config: Mapping[str, Any], stop: anyio.Event) -> None:
    """Serve until told to stop; say where, as a line of JSON or as what to do next."""
    os.umask(0o077)  # a database file is its owner's alone
    _log(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_cancel_at, stop, tasks.cancel_scope)
        if "shared" in config:
            await _work(config)
        elif config["workers"] > 1:
            await _supervise(config)
        else:
            await _serve(config)
        tasks.cancel_scope.cancel()


async def _cancel_at(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()


async def _serve(config: Mapping[str, Any]) -> None:
    """All of it in this process."""
    for name in (SHARED, SHARED.lower()):  # the metrics of another program are not ours to write
        os.environ.pop(name, None)
    from towpath.app.registry import serving

    sock = web.listen(config["host"], config["port"])
    with sock:
        async with serving(_registry(config), lambda: sock):
            _announce(config, sock.getsockname()[1])
            await anyio.sleep_forever()


async def _work(config: Mapping[str, Any]) -> None:
    """One worker of several, which listen on one address; each when it can answer."""
    from towpath.app.registry import serving
    from towpath.app.workers import told_error, told_ready

    listen = partial(web.listen, config["host"], config["port"], shared=True)
    try:
        async with serving(_registry(config), listen):
            _say(told_ready())
            await anyio.sleep_forever()
    except Exception as error:
        known = first_known(error)
        if known is None:
            raise
        _say(told_error(known))  # whoever started it tells it


async def _supervise(config: Mapping[str, Any]) -> None:
    """Keep the workers; this process itself serves nothing, and stays small."""
    from towpath.app.workers import Workers

    lifeline = Lifeline()
    with web.listen(config["host"], config["port"]) as sock:  # nobody else has the port
        port = sock.getsockname()[1]
    with (
        _kept(config["host"], port),
        tempfile.TemporaryDirectory(prefix="towpath-metrics-") as shared,
    ):
        os.environ[SHARED] = shared
        told = {**config, "port": port, "lifeline": lifeline.reader, "shared": shared}
        program = Program.towpath("registry-worker", "registry", told, fds=(lifeline.reader,))

        def ended(pid: int) -> None:
            for path in Path(shared).glob(f"gauge_live*_{pid}.db"):
                path.unlink(missing_ok=True)

        workers = Workers(program, config["workers"], grace=GRACE_SECONDS, ended=ended)
        async with anyio.create_task_group() as tasks:
            await tasks.start(workers.run)
            _announce(config, port)


@contextlib.contextmanager
def _kept(host: str, port: int) -> Iterator[None]:
    """Keep a port for our own workers, whichever of them listen at the moment."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        yield


def _registry(config: Mapping[str, Any]) -> "ModelRegistry":
    from towpath.app.registry import ModelRegistry
    from towpath.registry.doors import is_loopback

    certificate = config["certificate"]
    return ModelRegistry(
        database=config["database"],
        settings=Settings().merged(config["settings"], "configuration").registry,
        loopback=is_loopback(config["host"]),
        open=config["open"],
        tokens=Path(config["tokens"]) if config["tokens"] else None,
        reviewer=_reviewer(config["reviewer"]),
        certificate=(Path(certificate[0]), Path(certificate[1])) if certificate else None,
        shared=Path(config["shared"]) if "shared" in config else None,
    )


def _reviewer(told: Any) -> Any:
    if told is None:
        return None
    from towpath import kube

    return kube.from_kubeconfig(Path(told)) if isinstance(told, str) else kube.in_cluster(*told)


def _announce(config: Mapping[str, Any], port: int) -> None:
    host = config["host"]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with
    scheme = "https" if config["certificate"] else "http"
    host = f"[{host}]" if ":" in host else host
    url = f"{scheme}://{host}:{port}"
    if config["json"]:
        emit({"url": url, "pid": os.getpid()}, indent=None)
        return
    talk(f"The model registry answers at {url}; Ctrl-C stops it.")
    talk(f"\n  curl {url}/api/model_registry/v1/registered_models\n")


def _log(config: Mapping[str, Any]) -> None:
    if not config["debug"]:
        logging.getLogger().setLevel(logging.WARNING)
    told = config["settings"]["registry"]["access_log"]
    logging.getLogger(ACCESS_LOG).setLevel(logging.INFO if told else logging.WARNING)


def _say(line: str) -> None:
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(line)
        sys.stdout.flush()

"""A Kubernetes API that runs: the one way, for a cluster of the platform and for one alone.

Store, guard, certificate, socket and kubeconfig come together here. What it keeps lies in one
folder, the same for both, so either can run what the other made.
"""

import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from towpath import apiserver, web
from towpath.app.ports import HOST
from towpath.auth import Identity, Tokens, new_token
from towpath.files import kept_secret
from towpath.process import locked
from towpath.settings import Api

__all__ = ["DATABASE", "KubernetesApi", "Listening", "held", "serving"]

DATABASE: Final = "kube.sqlite"
"""Name of a cluster's database in its folder."""
ADMINISTRATOR: Final = Identity("admin", frozenset({apiserver.ADMINISTRATORS}))
ANY_HOST: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True)
class Listening:
    """Where an API listens, and as whom.

    Args:
        host: Address of this machine.
        port: 0 takes a free one.
        names: By which clients know it, besides the host; the first stands in the kubeconfig.
        certificate: Chain and key (PEM) to serve with, in place of one of our own.
        flag: What changes the port, for the message when it is taken.
    """

    host: str = HOST
    port: int = 0
    names: tuple[str, ...] = ()
    certificate: tuple[Path, Path] | None = None
    flag: str = "--port"

    @property
    def address(self) -> str:
        """The name in the URL that clients are told."""
        return self.names[0] if self.names else HOST if self.host in ANY_HOST else self.host


@dataclass(frozen=True)
class KubernetesApi:
    """An API to run.

    Args:
        name: Of the cluster, in the kubeconfig.
        folder: Of its certificate and keys.
        database: None keeps the objects in memory.
        token: The administrator's.
        kubeconfig: Where the administrator's is written, once the API accepts.
        listening: Where it listens.
        guests: Tokens of other clusters' agents, by cluster; each may use its own namespace.
    """

    name: str
    folder: Path
    database: Path | None
    token: str = field(repr=False)
    kubeconfig: Path
    listening: Listening = field(default_factory=Listening)
    guests: Mapping[str, str] = field(default_factory=dict, repr=False)


@asynccontextmanager
async def serving(api: KubernetesApi, settings: Api) -> AsyncIterator[str]:
    """An API that answers for as long as the context lasts; yields its URL.

    Raises:
        ConflictError: another process has the database open, or the port.
        InvalidError: the certificate or the host cannot be used.
        UnavailableError: something cannot be kept on the disk.
    """
    certificate = await anyio.to_thread.run_sync(_certificate, api)
    async with apiserver.Store(api.database, history=settings.history) as store:
        guests = (
            (token, Identity(apiserver.cluster_user(name))) for name, token in api.guests.items()
        )
        tokens = Tokens([(api.token, ADMINISTRATOR), *guests])
        server = apiserver.ApiServer(
            store,
            settings,
            known=[tokens],
            signing_key=api.folder / "secrets/service-accounts.key" if api.database else None,
        )
        listening = api.listening
        sock = web.listen(listening.host, listening.port, flag=listening.flag)
        url = _url(listening.address, sock.getsockname()[1])
        async with anyio.create_task_group() as tasks:
            serve = partial(
                web.serve,
                server.guarded,
                sock,
                certificate=(str(certificate.chain), str(certificate.key)),
                drain=1,
                stopping=server.stop,
            )
            await tasks.start(serve)
            config = apiserver.kubeconfig(url, certificate.authority, api.token, api.name)
            await anyio.to_thread.run_sync(apiserver.write_kubeconfig, api.kubeconfig, config)
            yield url
            tasks.cancel_scope.cancel()


@contextmanager
def held(database: Path | None) -> Iterator[tuple[Path, str]]:
    """Hold the folder of an API that runs alone; yields it, and the administrator's token.

    Args:
        database: None for a folder that goes at the end.

    Raises:
        ConflictError: another process holds it.
    """
    if database is None:
        with tempfile.TemporaryDirectory(prefix="towpath-") as temporary:
            yield Path(temporary), new_token()
        return
    folder = database.resolve().parent
    hint = "Stop that process, or keep this one's --db in another folder."
    with locked(folder / "lock", hint):
        yield folder, kept_secret(folder / "secrets/admin.token", new_token)


def _certificate(api: KubernetesApi) -> apiserver.Certificate:
    listening = api.listening
    if listening.certificate is not None:
        return apiserver.given(*listening.certificate, listening.address)
    hosts = dict.fromkeys((*apiserver.LOOPBACK, listening.address, *listening.names))
    return apiserver.ensure(api.folder / "tls", tuple(hosts))


def _url(host: str, port: int) -> str:
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

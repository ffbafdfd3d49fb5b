"""Reads requests of Kubernetes clients. Writes the facts of one cluster: objects in a SQLite file.

The embedded Kubernetes API: real ``kubectl`` and client libraries work against it, so a controller
does not know whether it runs on a laptop or on a cluster.

    async with Store(home / "api.db", history=settings.history) as store:
        server = ApiServer(store, settings, known=[tokens], signing_key=home / "tokens.key")
        await web.serve(server.guarded, sock, certificate=(chain, key), stopping=server.stop)
"""

from towpath.apiserver.access import ADMINISTRATORS, cluster_user
from towpath.apiserver.certificate import LOOPBACK, Certificate, ensure, given
from towpath.apiserver.kubeconfig import kubeconfig, write_kubeconfig
from towpath.apiserver.server import ApiServer
from towpath.apiserver.store import Store

__all__ = [
    "ADMINISTRATORS",
    "LOOPBACK",
    "ApiServer",
    "Certificate",
    "Store",
    "cluster_user",
    "ensure",
    "given",
    "kubeconfig",
    "write_kubeconfig",
]

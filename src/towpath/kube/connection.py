"""How to reach a Kubernetes API: what a kubeconfig, or a pod's service account, says.

lightkube reads kubeconfigs; what it leaves out of what ``kubectl`` understands is added here
(``proxy-url``, credential plugins of version ``v1``, a ``tokenFile`` beside the kubeconfig) or
refused by name, so that nothing that was asked for is silently not done.

Source: Kubernetes documentation, "kubeconfig (v1)", "Client authentication (v1)".
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from lightkube import KubeConfig
from lightkube.config.kubeconfig import SingleConfig
from lightkube.config.models import Cluster, User
from lightkube.core.exceptions import ConfigError

from towpath.errors import InvalidError, NotFoundError

__all__ = ["Connection", "from_kubeconfig", "in_cluster"]

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod finds its own."""
PLUGIN: Final = "client.authentication.k8s.io/"

_NOT_A_KUBECONFIG = (AttributeError, ConfigError, KeyError, OSError, TypeError, ValueError)


class Connection(NamedTuple):
    """Where an API is and who we are there.

    ``name`` says where it comes from; ``proxy`` is an HTTP or SOCKS proxy in between.
    """

    name: str
    config: SingleConfig
    proxy: str | None = None


def from_kubeconfig(path: Path, context: str | None = None) -> Connection:
    """What a context of a kubeconfig says (blocking).

    Args:
        path: The file; relative paths in it are relative to its folder.
        context: Its name; None for the current one.

    Raises:
        NotFoundError: there is no such file.
        InvalidError: it is no kubeconfig, has no such context, or asks for what is not supported.
    """
    if not path.is_file():
        raise NotFoundError(
            f"there is no kubeconfig at {path}", hint="Is the platform of that home running?"
        )
    try:
        document = yaml.safe_load(path.read_text())
        clusters = {entry["name"]: entry["cluster"] for entry in document["clusters"]}
        for entry in document.get("users") or ():
            entry["user"] = _user(entry["user"] or {}, path)
        config = KubeConfig.from_dict(document, fname=path).get(context)
    except yaml.YAMLError as exc:
        problem = getattr(exc, "problem", None) or exc  # without the text around it
        raise InvalidError(f"{path} is not a kubeconfig: {problem}") from exc
    except _NOT_A_KUBECONFIG as exc:
        raise InvalidError(f"{path} is not a kubeconfig: {_words(exc)}") from exc
    if config is None or config.user is None:
        raise InvalidError(f"{path} is not a kubeconfig: its context names no user")
    cluster = clusters[config.context.cluster]
    if not cluster.get("server"):
        raise InvalidError(f"{path} is not a kubeconfig: its cluster has no server")
    if cluster.get("tls-server-name"):
        raise InvalidError(f"tls-server-name in {path} is not supported")
    return Connection(str(path), config, cluster.get("proxy-url"))


def in_cluster(host: str, port: int, folder: Path = SERVICE_ACCOUNT) -> Connection:
    """What a pod knows about its own cluster; its token is read anew when it is refused.

    Args:
        host: ``KUBERNETES_SERVICE_HOST``.
        port: ``KUBERNETES_SERVICE_PORT``.
        folder: Of the service account.

    Raises:
        NotFoundError: there is no service account.
    """
    token = folder / "token"
    if not token.is_file():
        raise NotFoundError(f"there is no service account in {folder}", hint="Is this a pod?")
    namespace = folder / "namespace"
    config = KubeConfig.from_one(
        cluster=Cluster(
            server=f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}",
            certificate_auth=str(folder / "ca.crt"),
        ),
        user=User(token_file=str(token)),
        namespace=namespace.read_text().strip() if namespace.is_file() else None,
    ).get()
    assert config is not None  # noqa: S101 - from_one has made a current context
    return Connection(str(folder), config)


def _user(user: dict[str, Any], path: Path) -> dict[str, Any]:
    """A user of a kubeconfig, as lightkube reads it."""
    found = dict(user)
    if found.get("tokenFile"):
        found["tokenFile"] = str(path.parent / found["tokenFile"])
    if found.get("exec"):
        found["exec"] = _plugin(found["exec"])
    return found


def _plugin(plugin: Mapping[str, Any]) -> dict[str, Any]:
    """A credential plugin of version v1: the same to lightkube, and told by the environment."""
    version = str(plugin["apiVersion"])
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    told = {"name": "KUBERNETES_EXEC_INFO", "value": json.dumps(asked)}
    known = f"{PLUGIN}v1beta1" if version == f"{PLUGIN}v1" else version
    return {**plugin, "apiVersion": known, "env": [told, *(plugin.get("env") or ())]}


def _words(exc: Exception) -> str:
    return f"{exc} is missing" if isinstance(exc, KeyError) else str(exc)

"""The kubeconfig of an embedded API: what kubectl and every other client is pointed at.

Source: Kubernetes documentation, "kubeconfig (v1)".
"""

import base64
from pathlib import Path

import yaml

from towpath.errors import UnavailableError
from towpath.files import write_atomic
from towpath.spec._wire import JsonObject

__all__ = ["kubeconfig", "write_kubeconfig"]


def kubeconfig(server: str, ca_pem: str, token: str, name: str) -> JsonObject:
    """A kubeconfig with one context.

    Args:
        server: URL of the API.
        ca_pem: The authority that signed its certificate; empty for one that is known anyway.
        token: Bearer token.
        name: Of the cluster, the user and the context.
    """
    cluster = {"server": server}
    if ca_pem:
        cluster["certificate-authority-data"] = base64.b64encode(ca_pem.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [
            {"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}
        ],
        "current-context": name,
        "preferences": {},
    }


def write_kubeconfig(path: Path, config: JsonObject) -> bool:
    """Write a kubeconfig, mode 600, unless it stands there already.

    Returns:
        Whether it was written.

    Raises:
        UnavailableError: the file cannot be written.
    """
    data = yaml.safe_dump(config, sort_keys=False).encode()
    try:
        if path.is_file() and path.read_bytes() == data and path.stat().st_mode & 0o077 == 0:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data, mode=0o600)
    except OSError as exc:
        raise UnavailableError(
            f"cannot write the kubeconfig {path}: {exc.strerror or exc}"
        ) from exc
    return True

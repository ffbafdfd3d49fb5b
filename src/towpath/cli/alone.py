"""The process of ``towpath apiserver run``, once its arguments are read."""

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio

from towpath.app.api import KubernetesApi, Listening, held, serving
from towpath.cli.configuration import configured
from towpath.cli.output import emit
from towpath.cli.stderr import talk

__all__ = ["run"]


async def run(config: Mapping[str, Any], stop: anyio.Event) -> None:
    """Serve until told to stop; say where, as a line of JSON or as what to do next."""
    os.umask(0o077)  # whatever comes to lie beside the database is its owner's alone
    database = Path(config["database"]) if config["database"] else None
    with held(database) as (folder, token):
        kubeconfig = Path(config["kubeconfig"] or folder / "kubeconfig")
        api = KubernetesApi(
            name=config["name"],
            folder=folder,
            database=database,
            token=token,
            kubeconfig=kubeconfig,
            listening=_listening(config),
        )
        async with serving(api, configured(folder).api) as url:
            if config["json"]:
                emit({"url": url, "kubeconfig": str(kubeconfig), "pid": os.getpid()}, indent=None)
            else:
                talk(f"The Kubernetes API answers at {url}; Ctrl-C stops it. In another terminal:")
                talk(f"\n  export KUBECONFIG={shlex.quote(str(kubeconfig))}")
                talk("  kubectl get namespaces\n")
            await stop.wait()


def _listening(config: Mapping[str, Any]) -> Listening:
    certificate = config["certificate"]
    return Listening(
        host=config["host"],
        port=config["port"],
        names=tuple(config["names"]),
        certificate=(Path(certificate[0]), Path(certificate[1])) if certificate else None,
    )

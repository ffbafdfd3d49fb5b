"""An operator such as people write with kopf; what it sees and does stands in the objects."""

import asyncio
import logging
import os
import sys
import threading
from typing import Any

import kopf
from kubernetes import client, config

GROUP, NAMESPACE = os.environ["GROUP"], os.environ["NAMESPACE"]
KIND = (GROUP, "v1", "things")


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.level = logging.INFO
    settings.watching.server_timeout = 20


@kopf.on.create(*KIND)
def create(spec: Any, name: str, namespace: str, body: Any, **_: Any) -> dict[str, Any]:
    """Makes a ConfigMap that belongs to the thing."""
    config_map = {"metadata": {"name": name}, "data": {"size": str(spec["size"])}}
    kopf.adopt(config_map, owner=body)
    client.CoreV1Api().create_namespaced_config_map(namespace, config_map)
    kopf.info(body, reason="Planted", message=f"planted {name}")
    return {"made": name}


@kopf.on.update(*KIND, field="spec.size")
def resize(name: str, namespace: str, old: int, new: int, **_: Any) -> dict[str, Any]:
    patch = {"data": {"size": str(new)}}
    client.CoreV1Api().patch_namespaced_config_map(name, namespace, patch)
    return {"was": old, "is": new}


@kopf.timer(*KIND, interval=0.3, initial_delay=0.1)
def tick(patch: kopf.Patch, status: Any, **_: Any) -> None:
    if status.get("ticks", 0) < 3:
        patch.status["ticks"] = status.get("ticks", 0) + 1


@kopf.on.delete(*KIND)
def delete(name: str, namespace: str, **_: Any) -> None:
    body = {"metadata": {"name": f"{name}-epitaph"}}
    client.CoreV1Api().create_namespaced_config_map(namespace, body)


def main() -> None:
    config.load_kube_config()
    ready, stop = threading.Event(), threading.Event()

    def until_told() -> None:
        ready.wait()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
        stop.set()

    threading.Thread(target=until_told, daemon=True).start()
    asyncio.run(
        kopf.operator(namespaces=[NAMESPACE], ready_flag=ready, stop_flag=stop, standalone=True)
    )


if __name__ == "__main__":
    main()

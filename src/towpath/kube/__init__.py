"""The plane of facts: clients of a Kubernetes API, and the loop that keeps facts true.

Nothing here knows whether the API is the embedded one or a cluster's.
"""

from towpath.kube.client import Client, Reader, WatchEvent, Writer
from towpath.kube.connection import Connection, from_kubeconfig, in_cluster
from towpath.kube.controller import After, Controller, Request, Watch
from towpath.kube.events import NORMAL, WARNING, Recorder
from towpath.kube.fields import annotations, labels, mapping
from towpath.kube.finalizer import hold, let_go
from towpath.kube.status import write_status
from towpath.kube.steps import Step, Steps, Turn

__all__ = [
    "NORMAL",
    "WARNING",
    "After",
    "Client",
    "Connection",
    "Controller",
    "Reader",
    "Recorder",
    "Request",
    "Step",
    "Steps",
    "Turn",
    "Watch",
    "WatchEvent",
    "Writer",
    "annotations",
    "from_kubeconfig",
    "hold",
    "in_cluster",
    "labels",
    "let_go",
    "mapping",
    "write_status",
]

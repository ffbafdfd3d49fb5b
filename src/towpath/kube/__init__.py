"""The plane of facts: clients of a Kubernetes API, and the loop that keeps facts true.

Nothing here knows whether the API is the embedded one or a cluster's.
"""

from towpath.kube.client import Client, Reader, WatchEvent, Writer
from towpath.kube.controller import After, Controller, Request, Watch
from towpath.kube.fields import annotations, labels, mapping
from towpath.kube.status import write_status

__all__ = [
    "After",
    "Client",
    "Controller",
    "Reader",
    "Request",
    "Watch",
    "WatchEvent",
    "Writer",
    "annotations",
    "labels",
    "mapping",
    "write_status",
]

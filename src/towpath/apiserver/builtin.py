"""The kinds that every cluster has, as records: nobody here acts on them."""

from datetime import datetime
from typing import Final

from towpath.apiserver.fields import Topology
from towpath.apiserver.kinds import AGE, Column, Resource
from towpath.apiserver.table import age
from towpath.spec._wire import Json, JsonObject
from towpath.spec.kube import (
    CONFIG_MAP,
    CRD,
    EVENT,
    LEASE,
    NAMESPACE,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)

__all__ = ["BUILTIN", "DEFINITION", "NAMESPACES", "PROTECTED"]

_POD: Final = Kind("", "v1", "Pod", "pods")
_CLAIM: Final = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")

PROTECTED: Final = ("default", "kube-system", "kube-public")
"""Namespaces that are always there."""


def _pod_topology() -> Topology:
    lists: dict[tuple[str, ...], tuple[str, ...]] = {
        ("spec", "volumes"): ("name",),
        ("spec", "imagePullSecrets"): ("name",),
        ("status", "conditions"): ("type",),
    }
    for containers in ("containers", "initContainers", "ephemeralContainers"):
        at = ("spec", containers)
        lists[at] = ("name",)
        lists[*at, "env"] = ("name",)
        lists[*at, "ports"] = ("containerPort", "protocol")
        lists[*at, "volumeMounts"] = ("mountPath",)
        lists[*at, "volumeDevices"] = ("devicePath",)
    return Topology(lists, frozenset({("spec", "nodeSelector")}))


def _conditions() -> Topology:
    return Topology({("status", "conditions"): ("type",)})


def _count(*names: str) -> Column:
    def entries(obj: JsonObject, _: datetime) -> Json:
        return str(sum(len(obj.get(name) or ()) for name in names))

    return Column("Data" if "data" in names else "Secrets", entries)


def _ports(obj: JsonObject, _: datetime) -> Json:
    ports = (obj.get("spec") or {}).get("ports") or ()
    return ",".join(f"{p.get('port')}/{p.get('protocol', 'TCP')}" for p in ports) or "<none>"


def _external(obj: JsonObject, _: datetime) -> Json:
    spec = obj.get("spec") or {}
    return spec.get("externalName") or ",".join(spec.get("externalIPs") or ()) or "<none>"


def _cluster_ip(obj: JsonObject, _: datetime) -> Json:
    return (obj.get("spec") or {}).get("clusterIP") or "<none>"


def _last_seen(obj: JsonObject, now: datetime) -> Json:
    metadata = obj.get("metadata") or {}
    seen = obj.get("lastTimestamp") or obj.get("eventTime") or metadata.get("creationTimestamp")
    return age(str(seen), now)


def _involved(obj: JsonObject, _: datetime) -> Json:
    involved = obj.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _ready(obj: JsonObject, _: datetime) -> Json:
    wanted = (obj.get("spec") or {}).get("containers") or ()
    states = (obj.get("status") or {}).get("containerStatuses") or ()
    return f"{sum(bool(s.get('ready')) for s in states)}/{len(wanted)}"


def _restarts(obj: JsonObject, _: datetime) -> Json:
    states = (obj.get("status") or {}).get("containerStatuses") or ()
    return str(sum(s.get("restartCount", 0) for s in states))


def _terminating(path: str) -> Column:
    def phase(obj: JsonObject, _: datetime) -> Json:
        if "deletionTimestamp" in obj["metadata"]:
            return "Terminating"
        return (obj.get("status") or {}).get("phase") or "Unknown"

    return Column(path, phase)


NAMESPACES: Final = Resource(
    NAMESPACE,
    "namespace",
    ("ns",),
    columns=(_terminating("Status"), AGE),
    status=True,
    selectable=("status.phase",),
    topology=_conditions(),
)
DEFINITION: Final = Resource(
    CRD,
    "customresourcedefinition",
    ("crd", "crds"),
    ("api-extensions",),
    columns=(Column("Created At", ".metadata.creationTimestamp"),),
    status=True,
    generation=True,
    topology=Topology({("spec", "versions"): ("name",), ("status", "conditions"): ("type",)}),
)

BUILTIN: Final = (
    NAMESPACES,
    DEFINITION,
    Resource(CONFIG_MAP, "configmap", ("cm",), columns=(_count("data", "binaryData"), AGE)),
    Resource(
        SECRET,
        "secret",
        columns=(Column("Type", ".type"), _count("data"), AGE),
        selectable=("type",),
    ),
    Resource(
        SERVICE,
        "service",
        ("svc",),
        ("all",),
        status=True,
        columns=(
            Column("Type", ".spec.type"),
            Column("Cluster-IP", _cluster_ip),
            Column("External-IP", _external),
            Column("Port(s)", _ports),
            AGE,
        ),
        topology=Topology(
            {
                ("spec", "ports"): ("port", "protocol"),
                ("status", "conditions"): ("type",),
            }
        ),
    ),
    Resource(
        SERVICE_ACCOUNT,
        "serviceaccount",
        ("sa",),
        columns=(_count("secrets"), AGE),
        topology=Topology({("secrets",): ("name",)}),
    ),
    Resource(
        EVENT,
        "event",
        ("ev",),
        columns=(
            Column("Last Seen", _last_seen),
            Column("Type", ".type"),
            Column("Reason", ".reason"),
            Column("Object", _involved),
            Column("Message", ".message"),
            Column("Count", ".count", "integer", 1),
        ),
        selectable=(
            *(
                f"involvedObject.{f}"
                for f in (
                    "apiVersion",
                    "fieldPath",
                    "kind",
                    "name",
                    "namespace",
                    "resourceVersion",
                    "uid",
                )
            ),
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
    ),
    Resource(LEASE, "lease", columns=(Column("Holder", ".spec.holderIdentity"), AGE)),
    Resource(
        _POD,
        "pod",
        ("po",),
        ("all",),
        status=True,
        topology=_pod_topology(),
        columns=(
            Column("Ready", _ready),
            _terminating("Status"),
            Column("Restarts", _restarts),
            AGE,
            Column("IP", ".status.podIP", priority=1),
            Column("Node", ".spec.nodeName", priority=1),
        ),
        selectable=(
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.serviceAccountName",
            "status.phase",
        ),
    ),
    Resource(
        _CLAIM,
        "persistentvolumeclaim",
        ("pvc",),
        status=True,
        topology=_conditions(),
        columns=(
            _terminating("Status"),
            Column("Volume", ".spec.volumeName"),
            Column("Capacity", ".status.capacity.storage"),
            Column("Access Modes", ".spec.accessModes[*]"),
            Column("StorageClass", ".spec.storageClassName"),
            AGE,
        ),
    ),
)
"""Every built-in kind that is served."""

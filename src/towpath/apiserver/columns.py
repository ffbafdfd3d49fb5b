"""What ``kubectl get`` prints of the built-in kinds: the cells that are more than one field.

Pure: an object and the time in, a cell out. An object that is not what a cell expects leaves the
cell empty; :mod:`towpath.apiserver.table` sees to that.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from towpath.apiserver.kinds import AGE, Column
from towpath.apiserver.table import age, duration
from towpath.spec._wire import Json, JsonObject

__all__ = [
    "BINDING",
    "CLAIM",
    "CONFIG_MAP",
    "CREATED",
    "DEPLOYMENT",
    "EVENT",
    "JOB",
    "LEASE",
    "NAMESPACE",
    "POD",
    "SECRET",
    "SERVICE",
    "SERVICE_ACCOUNT",
]

Cell = Callable[[JsonObject, datetime], Json]

_NONE: Final = "<none>"
_MODES: Final[Mapping[str, str]] = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _map(obj: JsonObject, *names: str) -> JsonObject:
    for name in names:
        obj = obj.get(name) or {}
    return obj


def _of(function: Callable[[JsonObject], Json]) -> Cell:
    return lambda obj, _: function(obj)


def _wide(name: str, function: Callable[[JsonObject], Json], kind: str = "string") -> Column:
    return Column(name, _of(function), kind, 1)


def _count(*names: str) -> Cell:
    return _of(lambda obj: sum(len(obj.get(name) or ()) for name in names))


def _phase(obj: JsonObject) -> Json:
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    return _map(obj, "status").get("phase") or "Unknown"


def _labels(labels: JsonObject) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or _NONE


def _selector(selector: JsonObject) -> str:
    """A label selector as text, as in a query."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for rule in selector.get("matchExpressions") or ():
        values = ",".join(sorted(rule.get("values") or ()))
        parts.append(
            {
                "Exists": rule["key"],
                "DoesNotExist": f"!{rule['key']}",
                "In": f"{rule['key']} in ({values})",
                "NotIn": f"{rule['key']} notin ({values})",
            }[rule["operator"]]
        )
    return ",".join(parts) or _NONE


def _containers(field: str) -> Callable[[JsonObject], Json]:
    def cell(obj: JsonObject) -> Json:
        found = _map(obj, "spec", "template", "spec").get("containers") or ()
        return ",".join(str(container.get(field, "")) for container in found)

    return cell


def _statuses(obj: JsonObject) -> list[JsonObject]:
    return _map(obj, "status").get("containerStatuses") or []


def _pod_ready(obj: JsonObject) -> Json:
    wanted = _map(obj, "spec").get("containers") or ()
    return f"{sum(bool(s.get('ready')) for s in _statuses(obj))}/{len(wanted)}"


def _pod_status(obj: JsonObject) -> Json:
    """The phase, or what holds a container up."""
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    status = _map(obj, "status")
    told = status.get("reason") or status.get("phase") or "Unknown"
    initial = status.get("initContainerStatuses") or []
    for index, container in enumerate(initial):
        state = container.get("state") or {}
        ended = state.get("terminated")
        if container.get("started") or (ended and not ended.get("exitCode")):
            continue
        why = (ended or state.get("waiting") or {}).get("reason")
        return f"Init:{why}" if why and why != "PodInitializing" else f"Init:{index}/{len(initial)}"
    for container in reversed(_statuses(obj)):
        state = container.get("state") or {}
        if reason := (state.get("waiting") or state.get("terminated") or {}).get("reason"):
            told = reason
        elif ended := state.get("terminated"):
            told = f"ExitCode:{ended.get('exitCode', 0)}"
    return told


def _restarts(obj: JsonObject, now: datetime) -> Json:
    count = sum(s.get("restartCount", 0) for s in _statuses(obj))
    ends = [
        ended["finishedAt"]
        for s in _statuses(obj)
        if (ended := _map(s, "lastState", "terminated")).get("finishedAt")
    ]
    return f"{count} ({age(max(ends), now)} ago)" if count and ends else str(count)


def _gates(obj: JsonObject) -> Json:
    gates = _map(obj, "spec").get("readinessGates") or ()
    conditions = _map(obj, "status").get("conditions") or ()
    true = {c.get("type") for c in conditions if c.get("status") == "True"}
    met = sum(gate.get("conditionType") in true for gate in gates)
    return f"{met}/{len(gates)}" if gates else _NONE


def _ports(obj: JsonObject) -> Json:
    cells = []
    for port in _map(obj, "spec").get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        cells.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(cells) or _NONE


def _external(obj: JsonObject) -> Json:
    spec = _map(obj, "spec")
    if spec.get("type") == "ExternalName":
        return spec.get("externalName") or _NONE
    found = list(spec.get("externalIPs") or ())
    if spec.get("type") == "LoadBalancer":
        ingress = _map(obj, "status", "loadBalancer").get("ingress") or ()
        found = [e.get("ip") or e.get("hostname") or "" for e in ingress] + found
        return ",".join(found) or "<pending>"
    return ",".join(found) or _NONE


def _modes(obj: JsonObject) -> Json:
    modes = _map(obj, "status").get("accessModes") or _map(obj, "spec").get("accessModes") or ()
    return ",".join(_MODES.get(mode, mode) for mode in modes)


def _last_seen(obj: JsonObject, now: datetime) -> Json:
    seen = obj.get("lastTimestamp") or obj.get("eventTime") or _created(obj)
    series = obj.get("series") or {}
    return age(str(series.get("lastObservedTime") or seen), now)


def _first_seen(obj: JsonObject, now: datetime) -> Json:
    return age(str(obj.get("firstTimestamp") or obj.get("eventTime") or _created(obj)), now)


def _involved(obj: JsonObject) -> Json:
    involved = obj.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _source(obj: JsonObject) -> Json:
    source = obj.get("source") or {}
    component = source.get("component") or obj.get("reportingComponent") or ""
    host = source.get("host") or obj.get("reportingInstance") or ""
    return f"{component}, {host}" if host else component


def _created(obj: JsonObject) -> Json:
    return _map(obj, "metadata").get("creationTimestamp")


def _deployment_ready(obj: JsonObject) -> Json:
    wanted = _map(obj, "spec").get("replicas", 0)
    return f"{_map(obj, 'status').get('readyReplicas', 0)}/{wanted}"


def _job_status(obj: JsonObject) -> Json:
    conditions = _map(obj, "status").get("conditions") or ()
    true = {c.get("type") for c in conditions if c.get("status") == "True"}
    for ended in ("Complete", "Failed"):
        if ended in true:
            return ended
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    for passing in ("Suspended", "FailureTarget"):
        if passing in true:
            return passing
    return "SuccessCriteriaMet" if "SuccessCriteriaMet" in true else "Running"


def _job_completions(obj: JsonObject) -> Json:
    spec, done = _map(obj, "spec"), _map(obj, "status").get("succeeded", 0)
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallel = spec.get("parallelism") or 0
    return f"{done}/1 of {parallel}" if parallel > 1 else f"{done}/1"


def _job_duration(obj: JsonObject, now: datetime) -> Json:
    status = _map(obj, "status")
    if not (start := status.get("startTime")):
        return ""
    end = datetime.fromisoformat(status["completionTime"]) if "completionTime" in status else now
    if end.tzinfo is None:
        end = end.replace(tzinfo=UTC)
    taken: timedelta = end - datetime.fromisoformat(start)
    return duration(int(taken.total_seconds()))


def _role(obj: JsonObject) -> Json:
    role = obj["roleRef"]
    return f"{role['kind']}/{role['name']}"


def _subjects(kind: str) -> Callable[[JsonObject], Json]:
    def cell(obj: JsonObject) -> Json:
        found = [s for s in obj.get("subjects") or () if s.get("kind") == kind]
        return ", ".join(
            f"{s.get('namespace', '')}/{s['name']}" if kind == "ServiceAccount" else s["name"]
            for s in found
        )

    return cell


CREATED: Final = (Column("Created At", _of(_created), "date"),)
NAMESPACE: Final = (Column("Status", _of(_phase)), AGE)
CONFIG_MAP: Final = (Column("Data", _count("data", "binaryData")), AGE)
SECRET: Final = (Column("Type", ".type"), Column("Data", _count("data")), AGE)
SERVICE_ACCOUNT: Final = (Column("Secrets", _count("secrets")), AGE)
LEASE: Final = (Column("Holder", ".spec.holderIdentity"), AGE)
SERVICE: Final = (
    Column("Type", ".spec.type"),
    Column("Cluster-IP", _of(lambda obj: _map(obj, "spec").get("clusterIP") or _NONE)),
    Column("External-IP", _of(_external)),
    Column("Port(s)", _of(_ports)),
    AGE,
    _wide("Selector", lambda obj: _labels(_map(obj, "spec", "selector"))),
)
EVENT: Final = (
    Column("Last Seen", _last_seen),
    Column("Type", ".type"),
    Column("Reason", ".reason"),
    Column("Object", _of(_involved)),
    Column("Subobject", ".involvedObject.fieldPath", priority=1),
    _wide("Source", _source),
    Column("Message", ".message"),
    Column("First Seen", _first_seen, priority=1),
    Column("Count", ".count", "integer", 1),
    Column("Name", ".metadata.name", priority=1),
)
POD: Final = (
    Column("Ready", _of(_pod_ready)),
    Column("Status", _of(_pod_status)),
    Column("Restarts", _restarts),
    AGE,
    _wide("IP", lambda obj: _map(obj, "status").get("podIP") or _NONE),
    _wide("Node", lambda obj: _map(obj, "spec").get("nodeName") or _NONE),
    _wide("Nominated Node", lambda obj: _map(obj, "status").get("nominatedNodeName") or _NONE),
    _wide("Readiness Gates", _gates),
)
CLAIM: Final = (
    Column("Status", _of(_phase)),
    Column("Volume", ".spec.volumeName"),
    Column("Capacity", ".status.capacity.storage"),
    Column("Access Modes", _of(_modes)),
    Column("StorageClass", ".spec.storageClassName"),
    Column(
        "VolumeAttributesClass",
        _of(lambda obj: _map(obj, "spec").get("volumeAttributesClassName") or "<unset>"),
    ),
    AGE,
    _wide("VolumeMode", lambda obj: _map(obj, "spec").get("volumeMode") or "<unset>"),
)
DEPLOYMENT: Final = (
    Column("Ready", _of(_deployment_ready)),
    Column("Up-to-date", _of(lambda obj: _map(obj, "status").get("updatedReplicas", 0))),
    Column("Available", _of(lambda obj: _map(obj, "status").get("availableReplicas", 0))),
    AGE,
    _wide("Containers", _containers("name")),
    _wide("Images", _containers("image")),
    _wide("Selector", lambda obj: _selector(_map(obj, "spec", "selector"))),
)
JOB: Final = (
    Column("Status", _of(_job_status)),
    Column("Completions", _of(_job_completions)),
    Column("Duration", _job_duration),
    AGE,
    _wide("Containers", _containers("name")),
    _wide("Images", _containers("image")),
    _wide("Selector", lambda obj: _selector(_map(obj, "spec", "selector"))),
)
BINDING: Final = (
    Column("Role", _of(_role)),
    AGE,
    _wide("Users", _subjects("User")),
    _wide("Groups", _subjects("Group")),
    _wide("ServiceAccounts", _subjects("ServiceAccount")),
)

"""The status of an Application, as Argo CD writes it: from what a sync found and did."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from towpath import kube
from towpath.gitops.health import Health, worst
from towpath.spec._wire import JsonObject

__all__ = ["Outcome", "Resource", "compared_to", "status"]

HISTORY: Final = 10
"""Entries kept in ``status.history``; Argo CD's default."""

SyncStatus = Literal["Synced", "OutOfSync", "Unknown"]


@dataclass(frozen=True)
class Resource:
    """One object of an Application: where it is, and how it stands."""

    group: str
    version: str
    kind: str
    namespace: str
    name: str
    synced: bool = True
    health: Health | None = None
    surplus: bool = False
    """No longer in git, and not allowed to be pruned."""

    @property
    def address(self) -> tuple[str, str, str, str]:
        """What makes it the same object, whatever the version of its kind."""
        return (self.group, self.kind, self.namespace, self.name)

    @classmethod
    def of(cls, entry: object) -> "Resource | None":
        """An entry of ``status.resources``; None for what no sync has written there."""
        if not isinstance(entry, Mapping):
            return None
        names = ("group", "version", "kind", "namespace", "name")
        group, version, kind, namespace, name = (entry.get(field) or "" for field in names)
        texts = all(isinstance(text, str) for text in (group, version, kind, namespace, name))
        return cls(group, version, kind, namespace, name) if texts and kind and name else None

    def entry(self) -> JsonObject:
        """As an entry of ``status.resources``."""
        wire: JsonObject = {"group": self.group} if self.group else {}
        wire |= {"version": self.version, "kind": self.kind}
        wire |= {"namespace": self.namespace} if self.namespace else {}
        wire |= {"name": self.name, "status": "Synced" if self.synced else "OutOfSync"}
        if self.health is not None:
            wire["health"] = _health(self.health)
        if self.surplus:
            wire["requiresPruning"] = True
        return wire


@dataclass(frozen=True)
class Outcome:
    """What a sync found and did."""

    sync: SyncStatus
    revision: str = ""
    resources: tuple[Resource, ...] | None = None
    """None: they could not be looked at; what was known stays."""
    operated: bool = False
    """Whether objects were applied or pruned, as against only looked at."""
    failures: tuple[str, ...] = ()
    conditions: Mapping[str, str] = field(default_factory=dict)
    """Argo CD's condition types, such as ``ComparisonError``, and their messages."""


def status(app: Mapping[str, Any], outcome: Outcome, now: str) -> JsonObject:
    """The whole new status of an Application; equal to the old one when nothing changed.

    Args:
        app: The Application as read.
        outcome: Of the sync.
        now: RFC 3339 time.
    """
    old = kube.mapping(app, "status")
    new = dict(old)
    before = kube.mapping(old, "sync")
    revision = outcome.revision or before.get("revision", "")
    new["sync"] = {
        "status": outcome.sync,
        **({"revision": revision} if revision else {}),
        "comparedTo": compared_to(app),
    }
    if outcome.resources is not None:
        new["resources"] = [r.entry() for r in sorted(outcome.resources, key=lambda r: r.address)]
        total = worst(r.health for r in outcome.resources)
        was = kube.mapping(old, "health")
        same = was.get("status") == total.status
        since = was.get("lastTransitionTime", now) if same else now
        new["health"] = {**_health(total), "lastTransitionTime": since}
    new["conditions"] = _conditions(_entries(old, "conditions"), outcome.conditions, now)
    if outcome.operated:
        new |= _operation(old, outcome, compared_to(app)["source"], now)
    new = {key: value for key, value in new.items() if value not in ([], {}, None)}
    if new != old:
        new["reconciledAt"] = now
    return new


def compared_to(app: Mapping[str, Any]) -> JsonObject:
    """What of an Application's spec says where its objects are, and where they go.

    Nulls are left out: a status is written by merge patch, where they mean removal.
    """
    return {
        field: _without_nulls(kube.mapping(app, "spec", field))
        for field in ("source", "destination")
    }


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {key: _without_nulls(item) for key, item in value.items() if item is not None}


def _entries(status: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects of a list, which anybody may have written."""
    found = status.get(name)
    return [e for e in found if isinstance(e, Mapping)] if isinstance(found, list) else []


def _health(health: Health) -> JsonObject:
    return {"status": health.status, **({"message": health.message} if health.message else {})}


def _conditions(
    old: Iterable[Mapping[str, Any]], now_true: Mapping[str, str], now: str
) -> list[JsonObject]:
    since = {
        (str(c.get("type")), str(c.get("message"))): c.get("lastTransitionTime", now) for c in old
    }
    return [
        {"type": kind, "message": text, "lastTransitionTime": since.get((kind, text), now)}
        for kind, text in sorted(now_true.items())
    ]


def _operation(
    old: Mapping[str, Any], outcome: Outcome, source: JsonObject, now: str
) -> JsonObject:
    """``operationState``, and ``history`` when another revision went live."""
    phase = "Failed" if outcome.failures else "Succeeded"
    message = "; ".join(outcome.failures) or "successfully synced (all tasks run)"
    was = kube.mapping(old, "operationState")
    result = {"revision": outcome.revision, "source": source}
    facts = {"phase": phase, "message": message, "syncResult": result}
    if all(was.get(key) == value for key, value in facts.items()):
        return {}
    state = {
        "operation": {
            "initiatedBy": {"automated": True},
            "sync": {"revision": outcome.revision, "prune": True},
        },
        **facts,
        "startedAt": now,
        "finishedAt": now,
    }
    history = [e for e in _entries(old, "history") if isinstance(e.get("id"), int)]
    last = history[-1] if history else {"id": -1}
    if not outcome.failures and (last.get("revision"), last.get("source")) != (
        outcome.revision,
        source,
    ):
        entry = {
            "id": last["id"] + 1,
            "revision": outcome.revision,
            "deployStartedAt": now,
            "deployedAt": now,
            "source": source,
        }
        history = [*history, entry][-HISTORY:]
    return {"operationState": state, "history": history}

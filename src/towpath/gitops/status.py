"""The status of an Application, as Argo CD writes it: from what a sync found and did."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from towpath.gitops.health import Health, worst
from towpath.spec._wire import JsonObject

__all__ = ["Outcome", "Resource", "status"]

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
    def of(cls, entry: Mapping[str, Any]) -> "Resource":
        """An entry of ``status.resources``."""
        return cls(
            group=entry.get("group") or "",
            version=entry.get("version") or "",
            kind=entry["kind"],
            namespace=entry.get("namespace") or "",
            name=entry["name"],
        )

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
    old: JsonObject = app.get("status") or {}
    spec: JsonObject = app.get("spec") or {}
    new = dict(old)
    before = old.get("sync") or {}
    compared = {"source": spec.get("source", {}), "destination": spec.get("destination", {})}
    revision = outcome.revision or before.get("revision", "")
    new["sync"] = {
        "status": outcome.sync,
        **({"revision": revision} if revision else {}),
        "comparedTo": compared,
    }
    if outcome.resources is not None:
        new["resources"] = [r.entry() for r in sorted(outcome.resources, key=lambda r: r.address)]
        total = worst(r.health for r in outcome.resources)
        was = old.get("health") or {}
        same = was.get("status") == total.status
        since = was.get("lastTransitionTime", now) if same else now
        new["health"] = {**_health(total), "lastTransitionTime": since}
    new["conditions"] = _conditions(old.get("conditions") or (), outcome.conditions, now)
    if outcome.operated:
        new |= _operation(old, outcome, compared["source"], now)
    new = {key: value for key, value in new.items() if value not in ([], {}, None)}
    if new != old:
        new["reconciledAt"] = now
    return new


def _health(health: Health) -> JsonObject:
    return {"status": health.status, **({"message": health.message} if health.message else {})}


def _conditions(
    old: Iterable[Mapping[str, Any]], now_true: Mapping[str, str], now: str
) -> list[JsonObject]:
    since = {(c.get("type"), c.get("message")): c.get("lastTransitionTime", now) for c in old}
    return [
        {"type": kind, "message": text, "lastTransitionTime": since.get((kind, text), now)}
        for kind, text in sorted(now_true.items())
    ]


def _operation(old: JsonObject, outcome: Outcome, source: JsonObject, now: str) -> JsonObject:
    """``operationState``, and ``history`` when another revision went live."""
    phase = "Failed" if outcome.failures else "Succeeded"
    message = "; ".join(outcome.failures) or "successfully synced (all tasks run)"
    was = old.get("operationState") or {}
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
    history = list(old.get("history") or ())
    last = history[-1] if history else {"id": -1}
    if not outcome.failures and last.get("revision") != outcome.revision:
        entry = {
            "id": last["id"] + 1,
            "revision": outcome.revision,
            "deployStartedAt": now,
            "deployedAt": now,
            "source": source,
        }
        history = [*history, entry][-HISTORY:]
    return {"operationState": state, "history": history}

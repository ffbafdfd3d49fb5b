"""One rule of a role: what it allows, and whether it covers another.

Source: Kubernetes documentation, "Using RBAC Authorization"; API reference, ``PolicyRule``.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from towpath.apiserver.access.attributes import Attributes, quoted
from towpath.spec._wire import Json, JsonObject

__all__ = ["EVERYTHING", "Rule", "compact", "lacking", "listed", "read"]


class Rule(NamedTuple):
    """Verbs on resources of groups, or on paths."""

    verbs: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def allows(self, asked: Attributes) -> bool:
        """Whether it allows what is asked."""
        if asked.verb not in self.verbs and "*" not in self.verbs:
            return False
        if asked.path is not None:
            return any(_path_covers(path, asked.path) for path in self.paths)
        return (
            (asked.group in self.groups or "*" in self.groups)
            and (not self.names or asked.name in self.names)
            and self._on(asked)
        )

    def _on(self, asked: Attributes) -> bool:
        if "*" in self.resources or asked.combined in self.resources:
            return True
        return bool(asked.subresource) and f"*/{asked.subresource}" in self.resources

    def covers(self, part: "Rule") -> bool:
        """Whether whoever has this rule has all of that one."""
        return (
            _all(part.verbs, self.verbs)
            and _all(part.groups, self.groups)
            and ("*" in self.resources or all(map(self._resource_covers, part.resources)))
            and (not self.names or (bool(part.names) and set(part.names) <= set(self.names)))
            and all(any(_path_covers(own, path) for own in self.paths) for path in part.paths)
        )

    def _resource_covers(self, resource: str) -> bool:
        _, slash, subresource = resource.partition("/")
        return resource in self.resources or bool(slash and f"*/{subresource}" in self.resources)

    @property
    def size(self) -> int:
        """How many parts it has."""
        things = len(self.groups) * len(self.resources) * max(1, len(self.names))
        return len(self.verbs) * (things + len(self.paths))

    def parts(self) -> Iterator["Rule"]:
        """The rule as rules of one verb on one thing each."""
        for group in self.groups:
            for resource in self.resources:
                for verb in self.verbs:
                    thing = Rule((verb,), (group,), (resource,))
                    if self.names:
                        yield from (thing._replace(names=(name,)) for name in self.names)
                    else:
                        yield thing
        for path in self.paths:
            for verb in self.verbs:
                yield Rule((verb,), paths=(path,))

    def to_object(self) -> JsonObject:
        """As in an object."""
        fields = {
            "verbs": self.verbs,
            "apiGroups": self.groups,
            "resources": self.resources,
            "resourceNames": self.names,
            "nonResourceURLs": self.paths,
        }
        return {name: list(values) for name, values in fields.items() if values or name == "verbs"}

    def __str__(self) -> str:
        fields = (
            ("APIGroups", self.groups),
            ("Resources", self.resources),
            ("NonResourceURLs", self.paths),
            ("ResourceNames", self.names),
            ("Verbs", self.verbs),
        )
        told = (f"{name}:{listed(values)}" for name, values in fields if values)
        return "{" + ", ".join(told) + "}"


EVERYTHING = (Rule(("*",), ("*",), ("*",)), Rule(("*",), paths=("*",)))
"""What ``cluster-admin`` has."""


def listed(values: Iterable[str]) -> str:
    """A list in a message."""
    return f"[{' '.join(map(quoted, values))}]"


def read(value: Json) -> tuple[Rule, ...]:
    """The ``rules`` of a role; what is not a rule is none."""
    return tuple(
        Rule(
            _texts(rule.get("verbs")),
            _texts(rule.get("apiGroups")),
            _texts(rule.get("resources")),
            _texts(rule.get("resourceNames")),
            _texts(rule.get("nonResourceURLs")),
        )
        for rule in (value if isinstance(value, list) else ())
        if isinstance(rule, dict)
    )


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(v for v in value if isinstance(v, str)) if isinstance(value, list) else ()


def lacking(held: Sequence[Rule], wanted: Iterable[Rule]) -> list[Rule]:
    """The parts of the rules wanted that none of those held covers."""
    return [
        part
        for rule in wanted
        if not any(own.covers(rule) for own in held)
        for part in rule.parts()
        if not any(own.covers(part) for own in held)
    ]


def compact(parts: Iterable[Rule]) -> list[Rule]:
    """Parts on the same thing as one rule."""
    verbs: dict[Rule, dict[str, None]] = {}
    for part in parts:
        verbs.setdefault(part._replace(verbs=()), {}).update(dict.fromkeys(part.verbs))
    return [thing._replace(verbs=tuple(found)) for thing, found in verbs.items()]


def _all(wanted: Iterable[str], held: Sequence[str]) -> bool:
    return "*" in held or all(one in held for one in wanted)


def _path_covers(rule: str, path: str) -> bool:
    if rule == path:
        return True
    return rule.endswith("*") and path.startswith(rule.rstrip("*"))

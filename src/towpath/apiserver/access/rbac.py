"""Roles and bindings in memory, and the question they answer: may this caller do that?

Pure: objects are put in and taken out one at a time, so a change of one costs no look at the rest.

Source: Kubernetes documentation, "Using RBAC Authorization".
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from towpath.apiserver.access.attributes import Attributes, quoted
from towpath.apiserver.access.rules import Rule, read
from towpath.auth import Identity
from towpath.spec._wire import Json, JsonObject

__all__ = [
    "BINDINGS",
    "CLUSTER_BINDINGS",
    "CLUSTER_ROLES",
    "GROUP",
    "KEYS",
    "ROLES",
    "Decision",
    "Policy",
    "account_user",
]

GROUP: Final = "rbac.authorization.k8s.io"
CLUSTER_ROLES: Final = f"clusterroles.{GROUP}"
CLUSTER_BINDINGS: Final = f"clusterrolebindings.{GROUP}"
ROLES: Final = f"roles.{GROUP}"
BINDINGS: Final = f"rolebindings.{GROUP}"
KEYS: Final = (CLUSTER_ROLES, CLUSTER_BINDINGS, ROLES, BINDINGS)
"""The four kinds, as the store names them."""

_LONG: Final = 1024
"""Characters of a question whose answer is not worth remembering."""
_REMEMBERED: Final = 8192
"""Decisions kept until the next change."""


class Decision(NamedTuple):
    """Whether, and why: what grants it, or which roles that bindings name are not there."""

    allowed: bool
    reason: str = ""


class _Subject(NamedTuple):
    kind: str
    name: str
    namespace: str

    def __str__(self) -> str:
        name = f"{self.name}/{self.namespace}" if self.kind == "ServiceAccount" else self.name
        return f"{self.kind} {quoted(name)}"


class _Binding(NamedTuple):
    namespace: str
    name: str
    kind: str
    role: str
    subjects: tuple[_Subject, ...]

    @property
    def at(self) -> tuple[str, str]:
        return self.namespace, self.name

    def granted(self, subject: _Subject) -> str:
        kind, name = "ClusterRoleBinding", self.name
        if self.namespace:
            kind, name = "RoleBinding", f"{self.name}/{self.namespace}"
        role = f"{self.kind} {quoted(self.role)}"
        return f"RBAC: allowed by {kind} {quoted(name)} of {role} to {subject}"


def account_user(namespace: str, name: str) -> str:
    """The user name of a ServiceAccount."""
    return f"system:serviceaccount:{namespace}:{name}"


class Policy:
    """Every role and binding of a cluster."""

    def __init__(self) -> None:
        self._roles: dict[tuple[str, str], tuple[Rule, ...]] = {}
        self._bindings: dict[tuple[str, str], _Binding] = {}
        self._bound: dict[
            tuple[str, str, str], dict[tuple[str, str], tuple[_Binding, _Subject]]
        ] = {}
        self._decided: dict[tuple[Identity, Attributes], Decision] = {}

    def put(self, key: str, obj: JsonObject) -> None:
        """Know an object of one of the four kinds as it is now."""
        metadata = obj["metadata"]
        at = metadata.get("namespace", ""), metadata["name"]
        self.drop(key, *at)
        if key in (CLUSTER_ROLES, ROLES):
            self._roles[at] = read(obj.get("rules"))
            return
        binding = _binding(*at, obj)
        self._bindings[at] = binding
        for subject in binding.subjects:
            self._bound.setdefault(_slot(at[0], subject), {})[at] = binding, subject

    def drop(self, key: str, namespace: str, name: str) -> None:
        """Know it no longer."""
        self._decided.clear()
        at = namespace, name
        if key in (CLUSTER_ROLES, ROLES):
            self._roles.pop(at, None)
            return
        binding = self._bindings.pop(at, None)
        for subject in binding.subjects if binding else ():
            slot = _slot(namespace, subject)
            bound = self._bound.get(slot, {})
            bound.pop(at, None)
            if not bound:
                self._bound.pop(slot, None)

    def role(self, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a role (no namespace: of a ClusterRole); None when it is not there."""
        return self._roles.get((namespace, name))

    def decide(self, identity: Identity, asked: Attributes) -> Decision:
        """Whether any rule that a caller is bound to allows what is asked."""
        if _length(identity, asked) > _LONG:
            return self._decide(identity, asked)
        question = identity, asked
        decision = self._decided.get(question)
        if decision is None:
            if len(self._decided) >= _REMEMBERED:
                self._decided.clear()
            decision = self._decided[question] = self._decide(identity, asked)
        return decision

    def _decide(self, identity: Identity, asked: Attributes) -> Decision:
        missing: dict[str, None] = {}
        for binding, subject in self._of(identity, asked.namespace):
            rules = self._rules(binding)
            if rules is None:
                missing[_missing(binding)] = None
            elif any(rule.allows(asked) for rule in rules):
                return Decision(True, binding.granted(subject))
        return Decision(False, f"RBAC: {_told(missing)}" if missing else "")

    def rules(self, identity: Identity, namespace: str) -> tuple[list[Rule], str]:
        """Every rule that holds for a caller in a namespace, and what could not be found."""
        found: list[Rule] = []
        missing: dict[str, None] = {}
        for binding, _ in self._of(identity, namespace):
            rules = self._rules(binding)
            if rules is None:
                missing[_missing(binding)] = None
            else:
                found += rules
        return found, _told(missing)

    def _of(self, identity: Identity, namespace: str) -> Iterator[tuple[_Binding, _Subject]]:
        """The bindings of a caller: each once, those of the whole cluster first."""
        for where in dict.fromkeys(("", namespace)):
            seen = set()
            slots = [(where, "User", identity.user)]
            slots += ((where, "Group", group) for group in sorted(identity.groups))
            for slot in slots:
                for at, found in self._bound.get(slot, {}).items():
                    if at not in seen:
                        seen.add(at)
                        yield found

    def _rules(self, binding: _Binding) -> tuple[Rule, ...] | None:
        if binding.kind == "ClusterRole":
            return self._roles.get(("", binding.role))
        if binding.kind == "Role" and binding.namespace:
            return self._roles.get((binding.namespace, binding.role))
        return None


def _slot(namespace: str, subject: _Subject) -> tuple[str, str, str]:
    if subject.kind == "ServiceAccount":
        return namespace, "User", account_user(subject.namespace, subject.name)
    return namespace, subject.kind, subject.name


def _binding(namespace: str, name: str, obj: JsonObject) -> _Binding:
    ref = obj.get("roleRef") or {}
    return _Binding(
        namespace,
        name,
        str(ref.get("kind", "")),
        str(ref.get("name", "")),
        tuple(_subjects(obj.get("subjects"), namespace)),
    )


def _subjects(value: Json, namespace: str) -> Iterator[_Subject]:
    for subject in value if isinstance(value, list) else ():
        kind, name = str(subject.get("kind", "")), str(subject.get("name", ""))
        if kind == "ServiceAccount":
            within = str(subject.get("namespace") or namespace)
            if within:
                yield _Subject(kind, name, within)
        elif kind in ("User", "Group"):
            yield _Subject(kind, name, "")


def _missing(binding: _Binding) -> str:
    return f"{binding.kind.lower()}.{GROUP} {quoted(binding.role)} not found"


def _told(missing: dict[str, None]) -> str:
    return f"[{', '.join(missing)}]" if len(missing) > 1 else "".join(missing)


def _length(identity: Identity, asked: Attributes) -> int:
    """Characters of a question: callers choose them, in reviews and in paths."""
    extra = (text for key, values in identity.extra for text in (key, *values))
    texts = (*asked, identity.user, identity.uid, *identity.groups, *extra)
    return sum(len(text) for text in texts if isinstance(text, str))

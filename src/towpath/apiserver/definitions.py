"""CustomResourceDefinitions: what one says becomes what is served, at once.

Source: Kubernetes API reference, CustomResourceDefinition (apiextensions.k8s.io/v1).
"""

import re
from collections.abc import Iterable, Iterator
from importlib import resources
from typing import Final, NamedTuple

import yaml

from towpath.apiserver import failures, specification
from towpath.apiserver.kinds import AGE, Column, Resource, Scale
from towpath.apiserver.schema import Schema
from towpath.spec._wire import Json, JsonObject
from towpath.spec.kube import Kind

__all__ = ["PROVIDER", "established", "own", "provided", "served"]

PROVIDER: Final = "towpath"
"""Who manages the fields of the definitions that ship with the package."""

_FOLDER: Final = "definitions"
_Loader: Final[type[yaml.SafeLoader]] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STABLE: Final = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")


def own() -> list[JsonObject]:
    """The definitions that ship with the package."""
    folder = resources.files("towpath.apiserver") / _FOLDER
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return [
        yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 - a SafeLoader
        for file in files
        if file.name.endswith(".yaml")
    ]


def provided(definition: JsonObject) -> bool:
    """Whether nobody but this server has ever written a definition: it gives way to any other."""
    managers = {e.get("manager") for e in definition["metadata"].get("managedFields") or ()}
    return managers <= {PROVIDER}


def established(
    resource: Resource,
    crd: JsonObject,
    now: str,
    old: JsonObject | None = None,
    others: Iterable[Resource] = (),
) -> JsonObject:
    """A definition with its names completed and its status saying whether it is served.

    It is not, where another kind of its group has one of its names.

    Args:
        resource: The kind of definitions.
        crd: What is wanted.
        now: RFC 3339 time.
        old: What it replaces, where it is an update.
        others: What is served now.

    Raises:
        InvalidError: the definition is not legal; says everything that is wrong with it.
    """
    spec = dict(_map(crd.get("spec")))
    names = dict(_map(spec.get("names")))
    kind = names.get("kind")
    if isinstance(kind, str) and kind:
        names["singular"] = names.get("singular") or kind.lower()
        names["listKind"] = names.get("listKind") or f"{kind}List"
    spec["names"] = names
    spec["conversion"] = spec.get("conversion") or {"strategy": "None"}
    status = dict(_map(crd.get("status")))
    known = [name for name in status.get("storedVersions") or () if isinstance(name, str)]
    status["storedVersions"] = known
    wanted = {**crd, "spec": spec, "status": status}
    if wrong := specification.problems(wanted, old):
        raise failures.illegal(resource, str(crd["metadata"].get("name", "")), wrong)
    stored = next(version["name"] for version in spec["versions"] if version.get("storage"))
    conflicts = _conflicts(spec, others)
    accepted = _map(status.get("acceptedNames"))
    conditions = list(_conditions(wanted, conflicts, was=_is_established(status)))
    since = {
        (c.get("type"), c.get("status")): c.get("lastTransitionTime")
        for c in status.get("conditions") or ()
    }
    status["storedVersions"] = [*known, *([stored] if stored not in known else [])]
    status["acceptedNames"] = {
        field: value
        if field not in conflicts.fields
        else accepted.get(field, [] if isinstance(value, list) else "")
        for field, value in names.items()
    }
    ours = {each.type for each in conditions}
    foreign = [c for c in status.get("conditions") or () if c.get("type") not in ours]
    status["conditions"] = [
        {
            "type": each.type,
            "status": each.status,
            "reason": each.reason,
            "message": each.message,
            "lastTransitionTime": since.get((each.type, each.status)) or now,
        }
        for each in conditions
    ] + foreign
    return wanted


def _is_established(status: JsonObject) -> bool:
    conditions = status.get("conditions") or ()
    return any(c.get("type") == "Established" and c.get("status") == "True" for c in conditions)


class _Condition(NamedTuple):
    type: str
    status: str
    reason: str
    message: str


class _Conflicts(NamedTuple):
    """Names that another kind has: which fields, and the first, as a condition tells it."""

    fields: frozenset[str]
    reason: str = "NoConflicts"
    message: str = "no conflicts found"


def _conflicts(spec: JsonObject, others: Iterable[Resource]) -> _Conflicts:
    names = spec["names"]
    rivals = [
        other
        for other in others
        if other.kind.group == spec["group"] and other.kind.plural != names["plural"]
    ]
    taken = {
        text for other in rivals for text in (other.kind.plural, other.singular, *other.short_names)
    }
    kinds = {text for other in rivals for text in (other.kind.kind, other.list_kind)}
    found: list[tuple[str, str]] = []
    for field, texts, used in (
        ("plural", [names["plural"]], taken),
        ("singular", [names["singular"]], taken),
        ("shortNames", names.get("shortNames") or [], taken),
        ("kind", [names["kind"]], kinds),
        ("listKind", [names["listKind"]], kinds),
    ):
        clash = ", ".join(f'"{text}"' for text in texts if text in used)
        if clash:
            found.append((field, f"{clash} is already in use"))
    if not found:
        return _Conflicts(frozenset())
    field, message = found[-1]
    reason = f"{field[0].upper()}{field[1:]}Conflict"
    return _Conflicts(frozenset(field for field, _ in found), reason, message)


def _conditions(crd: JsonObject, conflicts: _Conflicts, *, was: bool) -> Iterator[_Condition]:
    free = not conflicts.fields
    yield _Condition("NamesAccepted", str(free), conflicts.reason, conflicts.message)
    if free or was:
        message = "the initial names have been accepted"
        yield _Condition("Established", "True", "InitialNamesAccepted", message)
    else:
        message = "not all names are accepted"
        yield _Condition("Established", "False", "NotAccepted", message)
    if specification.protected(crd["spec"]["group"]):
        state, message = specification.approval(crd)
        approved = str(state == "Approved")
        reason = {"Approved": "ApprovedAnnotation", "Bypassed": "UnapprovedAnnotation"}.get(
            state, f"{state}Annotation"
        )
        type_ = "KubernetesAPIApprovalPolicyConformant"
        yield _Condition(type_, approved, reason, message)


def served(crd: JsonObject) -> list[Resource]:
    """What a definition serves: one record per served version, none before it is established."""
    spec, names = crd["spec"], crd["status"]["acceptedNames"]
    if not _is_established(crd["status"]):
        return []
    return [_resource(crd, names, version) for version in spec["versions"] if version.get("served")]


def _resource(crd: JsonObject, names: JsonObject, version: JsonObject) -> Resource:
    spec, versions = crd["spec"], crd["spec"]["versions"]
    subresources = _map(version.get("subresources"))
    return Resource(
        Kind(
            spec["group"],
            version["name"],
            spec["names"]["kind"],
            spec["names"]["plural"],
            spec["scope"] == "Namespaced",
        ),
        singular=names.get("singular") or spec["names"]["kind"].lower(),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        columns=_columns(version.get("additionalPrinterColumns")),
        status="status" in subresources,
        custom=True,
        generation=True,
        selectable=tuple(
            field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()
        ),
        schema=_schema(version),
        mixed=len(versions) > 1
        or len(crd["status"]["storedVersions"]) > 1
        or crd["metadata"].get("generation", 1) > 1,
        stored=next(v["name"] for v in versions if v.get("storage")),
        scale=_scale(subresources.get("scale")),
        deprecated=_deprecated(spec, version),
    )


def _map(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _schema(version: JsonObject) -> Schema | None:
    document = _map(version.get("schema")).get("openAPIV3Schema")
    return None if document is None else Schema(document)


def _scale(scale: Json) -> Scale | None:
    if not isinstance(scale, dict):
        return None
    selector = scale.get("labelSelectorPath") or ""
    return Scale(scale["specReplicasPath"], scale["statusReplicasPath"], selector)


def _deprecated(spec: JsonObject, version: JsonObject) -> str:
    """What using a version is warned of; empty for one that is not deprecated."""
    if not version.get("deprecated"):
        return ""
    if version.get("deprecationWarning"):
        return str(version["deprecationWarning"])
    group, kind = spec["group"], spec["names"]["kind"]
    told = f"{group}/{version['name']} {kind} is deprecated"
    newer = [
        other["name"]
        for other in spec["versions"]
        if other.get("served")
        and not other.get("deprecated")
        and _priority(other["name"]) > _priority(version["name"])
    ]
    if not newer:
        return told
    return f"{told}; use {group}/{max(newer, key=_priority)} {kind}"


def _priority(name: str) -> tuple[int, int, int]:
    """Which of two versions is the newer: ``v1`` after ``v1beta2`` after ``v1alpha1``."""
    found = _STABLE.fullmatch(name)
    if found is None:
        return (0, 0, 0)
    stage = {"alpha": 1, "beta": 2}.get(found[2] or "", 3)
    return (stage, int(found[1]), int(found[3] or 0))


def _columns(columns: Json) -> tuple[Column, ...]:
    if not columns:
        return (AGE,)
    return tuple(
        Column(
            column["name"],
            column["jsonPath"],
            column.get("type", "string"),
            column.get("priority", 0),
            column.get("description", ""),
        )
        for column in columns
    )

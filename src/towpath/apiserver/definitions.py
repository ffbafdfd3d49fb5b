"""CustomResourceDefinitions: what one says becomes what is served, at once.

Source: Kubernetes API reference, CustomResourceDefinition (apiextensions.k8s.io/v1). The schema is
kept for ``explain`` and for the merging of lists; it does not validate objects yet.
"""

from importlib import resources
from typing import Final

import yaml

from towpath.apiserver import failures
from towpath.apiserver.fields import topology_of
from towpath.apiserver.kinds import AGE, Column, Resource
from towpath.apiserver.schema import Schema
from towpath.spec._wire import Json, JsonObject
from towpath.spec.kube import Kind

__all__ = ["established", "own", "served"]

_FOLDER: Final = "definitions"


def own() -> list[JsonObject]:
    """The definitions that ship with the package."""
    folder = resources.files("towpath.apiserver") / _FOLDER
    files = sorted(folder.iterdir(), key=lambda file: file.name)
    return [
        yaml.safe_load(file.read_text(encoding="utf-8"))
        for file in files
        if file.name.endswith(".yaml")
    ]


def established(resource: Resource, crd: JsonObject, now: str) -> JsonObject:
    """A definition with its names completed and its status saying that it is served.

    Raises:
        InvalidError: the definition contradicts itself.
    """
    spec = dict(_map(crd.get("spec")))
    names = dict(_map(spec.get("names")))
    kind, plural, group = names.get("kind"), names.get("plural"), spec.get("group")
    name = crd["metadata"].get("name", "")

    def refuse(field: str, problem: str) -> None:
        raise failures.invalid(resource, str(name), field, problem)

    if not all(isinstance(text, str) and text for text in (kind, plural, group)):
        refuse("spec.names", "Required value: group, kind and plural are required")
    if name != f"{plural}.{group}":
        refuse(
            "metadata.name", f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'
        )
    if spec.get("scope") not in ("Namespaced", "Cluster"):
        refuse("spec.scope", 'Unsupported value: supported values: "Cluster", "Namespaced"')
    versions = spec.get("versions")
    if not isinstance(versions, list) or not all(
        isinstance(v, dict) and isinstance(v.get("name"), str) for v in versions
    ):
        refuse("spec.versions", "Invalid value: must be a list of named versions")
    stored = [v["name"] for v in versions or () if v.get("storage") is True]
    if len(stored) != 1:
        refuse("spec.versions", "Invalid value: must have exactly one version marked as storage")
    names.setdefault("singular", str(kind).lower())
    names.setdefault("listKind", f"{kind}List")
    spec["names"] = names
    spec.setdefault("conversion", {"strategy": "None"})
    status = dict(_map(crd.get("status")))
    known = status.get("storedVersions") or []
    since = {c.get("type"): c.get("lastTransitionTime") for c in status.get("conditions") or ()}
    status["acceptedNames"] = names
    status["storedVersions"] = [*known, *(v for v in stored if v not in known)]
    status["conditions"] = [
        {
            "type": type_,
            "status": "True",
            "reason": reason,
            "message": message,
            "lastTransitionTime": since.get(type_) or now,
        }
        for type_, reason, message in (
            ("NamesAccepted", "NoConflicts", "no conflicts found"),
            ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        )
    ]
    complete = {**crd, "spec": spec, "status": status}
    try:
        served(complete)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        problem = f"Invalid value: a version is malformed ({type(exc).__name__}: {exc})"
        raise failures.invalid(resource, str(name), "spec.versions", problem) from exc
    return complete


def served(crd: JsonObject) -> list[Resource]:
    """What an established definition serves: one record per served version."""
    spec, names = crd["spec"], crd["spec"]["names"]
    versions = spec["versions"]
    return [
        Resource(
            Kind(
                spec["group"],
                version["name"],
                names["kind"],
                names["plural"],
                spec["scope"] == "Namespaced",
            ),
            singular=names["singular"],
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            columns=_columns(version.get("additionalPrinterColumns")),
            status="status" in _map(version.get("subresources")),
            custom=True,
            generation=True,
            selectable=tuple(
                field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ()
            ),
            topology=topology_of(_schema(version)),
            schema=_compiled(version),
            mixed=len(versions) > 1 or len(crd["status"]["storedVersions"]) > 1,
            stored=next(v["name"] for v in versions if v.get("storage")),
        )
        for version in versions
        if version.get("served")
    ]


def _map(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _schema(version: JsonObject) -> JsonObject | None:
    return _map(version.get("schema")).get("openAPIV3Schema")


def _compiled(version: JsonObject) -> Schema | None:
    document = _schema(version)
    return None if document is None else Schema(document)


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

"""What a CustomResourceDefinition must be: its names, its versions and what each of them has.

Pure: a definition in, problems out; a caller refuses with all of them at once.

Source: Kubernetes API reference, CustomResourceDefinition (apiextensions.k8s.io/v1); what is told
and how, as ``apiextensions-apiserver`` does it. Conversion by webhook is left out here.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from towpath.apiserver.metadata import label_1035, subdomain
from towpath.apiserver.schema import Problem, flaws, problem
from towpath.apiserver.schema.expressions import reached
from towpath.spec._wire import Json, JsonObject

__all__ = ["APPROVED", "approval", "problems", "protected"]

APPROVED: Final = "api-approved.kubernetes.io"
"""Annotation that a definition in a group of the Kubernetes community must have."""

_COLUMNS: Final = ("boolean", "date", "integer", "number", "string")
_FORMATS: Final = (
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
)
_SELECTABLE: Final = ("boolean", "integer", "string")
_SELECTABLE_MOST: Final = 8
_ROOT_FIELDS: Final = frozenset(
    {
        "$schema",
        "description",
        "example",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "externalDocs",
        "format",
        "items",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "multipleOf",
        "pattern",
        "properties",
        "required",
        "title",
        "type",
        "uniqueItems",
        "x-kubernetes-preserve-unknown-fields",
        "x-kubernetes-validations",
    }
)
"""What a schema may say at its root where status is a subresource."""
_PULL: Final = "see https://github.com/kubernetes/enhancements/pull/1111"


def problems(crd: JsonObject, old: JsonObject | None) -> list[Problem]:
    """Everything that is wrong with a definition.

    Args:
        crd: With its names completed.
        old: What it replaces, where it is an update.
    """
    spec = _map(crd.get("spec"))
    names = _map(spec.get("names"))
    found = [
        *_name(crd, spec, names),
        *_group(spec),
        *_names(names),
        *_versions(spec, None if old is None else _map(old.get("spec"))),
        *_conversion(_map(spec.get("conversion"))),
        *_stored(crd, spec),
    ]
    if old is None or not _approval_stands(crd, old):
        found += _approved(crd, spec)
    if spec.get("preserveUnknownFields") is True:
        why = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true "
            "in spec.versions[*].schema instead"
        )
        found.append(problem.invalid("spec.preserveUnknownFields", True, why))
    if old is not None:
        found += _immutable(crd, old)
    return list(dict.fromkeys(found))


def _map(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _maps(value: Json) -> list[JsonObject]:
    return [_map(item) for item in value] if isinstance(value, list) else []


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _refused(path: str, value: str, whys: list[str], before: str = "") -> Iterator[Problem]:
    if whys:
        yield problem.invalid(path, value, before + ",".join(whys))


def _one_of(path: str, value: str, allowed: Iterable[str]) -> Iterator[Problem]:
    if not value:
        yield problem.required(path)
    elif value not in allowed:
        yield problem.unsupported(path, value, allowed)


def _name(crd: JsonObject, spec: JsonObject, names: JsonObject) -> Iterator[Problem]:
    name = _text(_map(crd.get("metadata")).get("name"))
    if name != f"{_text(names.get('plural'))}.{_text(spec.get('group'))}":
        yield problem.invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')


def _group(spec: JsonObject) -> Iterator[Problem]:
    group = _text(spec.get("group"))
    if not group:
        yield problem.required("spec.group")
    elif whys := subdomain(group):
        yield from _refused("spec.group", group, whys)
    elif "." not in group:
        yield problem.invalid("spec.group", group, "should be a domain with at least one dot")
    yield from _one_of("spec.scope", _text(spec.get("scope")), ("Cluster", "Namespaced"))


def _names(names: JsonObject) -> Iterator[Problem]:
    path = "spec.names"
    for field in ("plural", "singular", "kind", "listKind"):
        text = _text(names.get(field))
        if not text:
            yield problem.required(f"{path}.{field}")
            continue
        cased = field in ("kind", "listKind")
        before = "may have mixed case, but should otherwise match: " if cased else ""
        whys = label_1035(text.lower() if cased else text)
        yield from _refused(f"{path}.{field}", text, whys, before)
    kind, list_kind = names.get("kind"), names.get("listKind")
    if kind and kind == list_kind:
        why = "kind and listKind may not be the same"
        yield problem.invalid(f"{path}.listKind", list_kind, why)
    for field in ("shortNames", "categories"):
        for index, text in enumerate(names.get(field) or ()):
            yield from _refused(f"{path}.{field}[{index}]", str(text), label_1035(str(text)))


class _Places(NamedTuple):
    """Where the parts of a version stand, as it is told.

    What is the same in all versions stands once, in the definition itself, as it did when there
    were no versions.
    """

    version: str
    same: frozenset[str]

    def _of(self, field: str) -> str:
        return f"{'spec' if field in self.same else self.version}.{field}"

    @property
    def columns(self) -> str:
        return self._of("additionalPrinterColumns")

    @property
    def schema(self) -> str:
        return "spec.validation" if "schema" in self.same else f"{self.version}.schema"

    @property
    def selectable(self) -> str:
        return self._of("selectableFields")

    @property
    def subresources(self) -> str:
        return self._of("subresources")


def _versions(spec: JsonObject, old: JsonObject | None) -> Iterator[Problem]:
    path = "spec.versions"
    versions = _maps(spec.get("versions"))
    names = [_text(version.get("name")) for version in versions]
    before = {v.get("name"): v for v in _maps(old.get("versions"))} if old is not None else {}
    same = frozenset(
        field
        for field in ("additionalPrinterColumns", "schema", "selectableFields", "subresources")
        if versions and all(version.get(field) == versions[0].get(field) for version in versions)
    )
    for index, version in enumerate(versions):
        at = _Places(f"{path}[{index}]", same)
        yield from _refused(f"{at.version}.name", names[index], label_1035(names[index]))
        yield from _version(version, _map(before.get(names[index])), at)
    if not versions:
        yield problem.required(path, "at least one version must be specified")
        return
    if len(set(names)) < len(names):
        yield problem.invalid(path, tuple(names), "must contain unique version names")
    if sum(version.get("storage") is True for version in versions) != 1:
        why = "must have exactly one version marked as storage version"
        yield problem.invalid(path, tuple(names), why)


def _version(version: JsonObject, old: JsonObject, at: _Places) -> Iterator[Problem]:
    if version.get("deprecationWarning") is not None:
        yield from _deprecation(version, at.version)
    for index, column in enumerate(_maps(version.get("additionalPrinterColumns"))):
        yield from _column(column, f"{at.columns}[{index}]")
    subresources = _map(version.get("subresources"))
    if isinstance(scale := subresources.get("scale"), dict):
        yield from _scale(scale, f"{at.subresources}.scale")
    schema = _map(version.get("schema")).get("openAPIV3Schema")
    if not isinstance(schema, dict):
        yield problem.required(f"{at.version}.schema.openAPIV3Schema", "schemas are required")
        return
    where = f"{at.schema}.openAPIV3Schema"
    if isinstance(subresources.get("status"), dict):
        yield from _root(schema, where)
    if schema != _map(old.get("schema")).get("openAPIV3Schema"):
        yield from flaws(schema, where)
    yield from _selectable(_maps(version.get("selectableFields")), schema, at.selectable)


def _deprecation(version: JsonObject, path: str) -> Iterator[Problem]:
    warning = version["deprecationWarning"]
    where = f"{path}.deprecationWarning"
    if not version.get("deprecated"):
        why = "can only be set for deprecated versions"
        yield problem.invalid(where, warning, why)
    if not isinstance(warning, str) or len(warning) > 256:
        yield problem.too_long(where, 256)
    elif not warning.isprintable():
        why = "must only contain printable UTF-8 characters; non-printable characters found"
        yield problem.invalid(where, warning, why)
    elif not warning:
        yield problem.invalid(where, warning, "must not be empty")


def _root(schema: JsonObject, path: str) -> Iterator[Problem]:
    said = {name for name, value in schema.items() if value not in (None, "", [], {}, False)}
    if schema.get("type") not in (None, "", "object"):
        why = (
            'only "object" is allowed as the type at the root of the schema '
            "if the status subresource is enabled"
        )
        yield problem.invalid(f"{path}.type", schema["type"], why)
    elif others := said - _ROOT_FIELDS:
        fields = " ".join(sorted(_ROOT_FIELDS))
        why = (
            f"only [{fields}] fields are allowed at the root of the schema "
            "if the status subresource is enabled"
        )
        yield problem.invalid(path, tuple(sorted(others)), why)


def _column(column: JsonObject, path: str) -> Iterator[Problem]:
    if not column.get("name"):
        yield problem.required(f"{path}.name")
    yield from _one_of(f"{path}.type", _text(column.get("type")), _COLUMNS)
    if column.get("format"):
        yield from _one_of(f"{path}.format", _text(column["format"]), _FORMATS)
    json_path = _text(column.get("jsonPath"))
    if not json_path:
        yield problem.required(f"{path}.JSONPath")
    else:
        yield from _simple(json_path, f"{path}.JSONPath")


def _simple(json_path: str, path: str) -> Iterator[Problem]:
    if not json_path.startswith("."):
        why = "must be a simple json path starting with ."
        yield problem.invalid(path, json_path, why)


def _scale(scale: JsonObject, path: str) -> Iterator[Problem]:
    for field, prefixes, where in (
        ("specReplicasPath", (".spec.",), ".spec"),
        ("statusReplicasPath", (".status.",), ".status"),
        ("labelSelectorPath", (".spec.", ".status."), "either .spec or .status"),
    ):
        json_path = _text(scale.get(field))
        if not json_path:
            if field != "labelSelectorPath":
                yield problem.required(f"{path}.{field}")
        elif not json_path.startswith("."):
            yield from _simple(json_path, f"{path}.{field}")
        elif not json_path.startswith(prefixes):
            why = f"should be a json path under {where}"
            yield problem.invalid(f"{path}.{field}", json_path, why)


def _selectable(fields: list[JsonObject], schema: JsonObject, path: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, field in enumerate(fields):
        where, json_path = f"{path}[{index}]", _text(field.get("jsonPath"))
        if not json_path:
            yield problem.required(f"{where}.jsonPath")
            continue
        found = reached(json_path, schema, brackets=False)
        if isinstance(found, str):
            why = f"is an invalid path: {found}"
            yield problem.invalid(f"{where}.jsonPath", json_path, why)
            continue
        if json_path.startswith(".metadata."):
            why = "must not point to fields in metadata"
            yield problem.invalid(where, json_path, why)
        if found.get("type") not in _SELECTABLE:
            why = (
                "must point to a field of type string, boolean or integer. "
                "Enum string fields and strings with formats are allowed."
            )
            yield problem.invalid(where, json_path, why)
        if json_path in seen:
            yield problem.duplicate(where, json_path)
        seen.add(json_path)
    if len(seen) > _SELECTABLE_MOST:
        yield problem.too_many(path, len(seen), _SELECTABLE_MOST)


def _conversion(conversion: JsonObject) -> Iterator[Problem]:
    path = "spec.conversion"
    yield from _one_of(f"{path}.strategy", _text(conversion.get("strategy")), ("None",))
    if conversion.get("webhook") is not None and conversion.get("strategy") == "None":
        why = "should not be set when strategy is not set to Webhook"
        yield problem.forbidden(f"{path}.webhook", why)


def _stored(crd: JsonObject, spec: JsonObject) -> Iterator[Problem]:
    versions = {version.get("name") for version in _maps(spec.get("versions"))}
    for index, name in enumerate(_map(crd.get("status")).get("storedVersions") or ()):
        if name not in versions:
            why = (
                f"missing from spec.versions; {name} was previously a storage version, and must "
                "remain in spec.versions until a storage migration ensures no data remains "
                f"persisted in {name} and removes {name} from status.storedVersions"
            )
            yield problem.invalid(f"status.storedVersions[{index}]", name, why)


def _immutable(crd: JsonObject, old: JsonObject) -> Iterator[Problem]:
    new_spec, old_spec = _map(crd.get("spec")), _map(old.get("spec"))
    conditions = _maps(_map(old.get("status")).get("conditions"))
    established = any(
        c.get("type") == "Established" and c.get("status") == "True" for c in conditions
    )
    fields = [("group",), ("names", "plural")]
    if established:
        fields = [("scope",), ("names", "kind"), *fields]
    for field in fields:
        new, before = new_spec, old_spec
        for name in field[:-1]:
            new, before = _map(new.get(name)), _map(before.get(name))
        if new.get(field[-1]) != before.get(field[-1]):
            why = "field is immutable"
            yield problem.invalid(f"spec.{'.'.join(field)}", new.get(field[-1]), why)


def protected(group: str) -> bool:
    """Whether a group is one of the Kubernetes community."""
    return group in ("k8s.io", "kubernetes.io") or group.endswith((".k8s.io", ".kubernetes.io"))


def approval(crd: JsonObject) -> tuple[str, str]:
    """What an approval is (``Approved``, ``Bypassed``, ``Missing``, ``Invalid``), and in words."""
    annotation = _text(_map(_map(crd.get("metadata")).get("annotations")).get(APPROVED))
    must = f'protected groups must have approval annotation "{APPROVED}"'
    if not annotation:
        return "Missing", f"{must}, {_PULL}"
    if annotation.startswith("unapproved"):
        return "Bypassed", f"not approved: {problem.shown(annotation)}"
    scheme, separator, rest = annotation.partition("://")
    if scheme and separator and rest.partition("/")[0]:
        return "Approved", f"approved in {annotation}"
    why = 'with either a URL or a reason starting with "unapproved"'
    return "Invalid", f"{must} {why}, {_PULL}"


def _approval_stands(crd: JsonObject, old: JsonObject) -> bool:
    return approval(crd) == approval(old)


def _approved(crd: JsonObject, spec: JsonObject) -> Iterator[Problem]:
    if not protected(_text(spec.get("group"))):
        return
    state, why = approval(crd)
    where = f"metadata.annotations[{APPROVED}]"
    if state == "Missing":
        yield problem.required(where, why)
    elif state == "Invalid":
        yield problem.invalid(where, crd["metadata"]["annotations"][APPROVED], why)

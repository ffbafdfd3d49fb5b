"""labelSelector and fieldSelector: text to a predicate.

Source: Kubernetes documentation, "Labels and Selectors" and "Field Selectors".
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from towpath.apiserver import failures
from towpath.apiserver.record import Address
from towpath.spec._wire import JsonObject

__all__ = ["Selector", "fields", "labels"]

_KEY: Final = r"[A-Za-z0-9](?:[-A-Za-z0-9_./]*[A-Za-z0-9])?"
_VALUE: Final = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?"
_REQUIREMENT: Final = re.compile(
    rf"\s*(?:(?P<absent>!)\s*(?P<absent_key>{_KEY})"
    rf"|(?P<key>{_KEY})\s*(?:"
    rf"(?P<op>==|=|!=)\s*(?P<value>{_VALUE})"
    rf"|(?P<order>[<>])\s*(?P<bound>-?\d{{1,18}})"
    rf"|\s(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*(?:,|$)"
)
_FIELD: Final = re.compile(r"\s*([A-Za-z0-9._\[\]/-]+)\s*(==|!=|=)\s*((?:\\.|[^,\\=])*)\s*(?:,|$)")

_ALWAYS: Final = ("metadata.name", "metadata.namespace")
"""Fields that every kind can be selected by."""

Labels = Mapping[str, str]
_Requirement = Callable[[Labels], bool]


def labels(text: str) -> Callable[[Labels], bool]:
    """A predicate on labels.

    Raises:
        InvalidError: it is not a label selector.
    """
    requirements: list[_Requirement] = []
    at = 0
    while at < len(text):
        match = _REQUIREMENT.match(text, at)
        if match is None or (match.end() == len(text) and text.rstrip().endswith(",")):
            raise failures.bad_request(
                f"unable to parse requirement: {text[:200]!r} is not a label selector"
            )
        requirements.append(_requirement(match))
        at = match.end()
    return lambda found: all(holds(found) for holds in requirements)


def _requirement(match: re.Match[str]) -> _Requirement:
    if match["absent"]:
        absent = match["absent_key"]
        return lambda found: absent not in found
    key = match["key"]
    if match["op"]:
        value, equal = match["value"], match["op"] != "!="
        return lambda found: (found.get(key) == value) is equal
    if match["order"]:
        bound, above = int(match["bound"]), match["order"] == ">"
        return lambda found: _ordered(found.get(key), bound, above)
    if match["set"]:
        values = {value.strip() for value in match["values"].split(",")}
        if not all(re.fullmatch(_VALUE, value) for value in values):
            raise failures.bad_request("unable to parse requirement: a value is not a label value")
        wanted = match["set"] == "in"
        return lambda found: (key in found and found[key] in values) is wanted
    return lambda found: key in found


def _ordered(value: str | None, bound: int, above: bool) -> bool:
    if value is None or not re.fullmatch(r"-?\d{1,18}", value):
        return False
    return int(value) > bound if above else int(value) < bound


def fields(
    text: str, selectable: Collection[str], *, custom: bool = True
) -> list[tuple[str, bool, str]]:
    """Requirements on fields, as (path, whether equal, value).

    Args:
        text: The selector.
        selectable: Paths that a kind allows, besides those that every kind does.
        custom: Whether the kind is a custom one, for the message.

    Raises:
        InvalidError: it is not a field selector, or names a field that cannot be selected by.
    """
    told = "field label not supported: {}"
    if not custom and not selectable:
        told = '"{}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    found = []
    at = 0
    while at < len(text):
        match = _FIELD.match(text, at)
        if match is None:
            part = text[at:].partition(",")[0][:200]
            raise failures.bad_request(
                f"invalid selector: '{text[:200]}'; can't understand '{part}'"
            )
        path, operator, value = match.groups()
        if path not in _ALWAYS and path not in selectable:
            raise failures.bad_request(told.format(path))
        found.append((path, operator != "!=", re.sub(r"\\(.)", r"\1", value.strip())))
        at = match.end()
    return found


@dataclass(frozen=True)
class Selector:
    """Both selectors of a request.

    Attributes:
        labels: Predicate on labels, or None.
        fields: Requirements on fields.
    """

    labels: Callable[[Labels], bool] | None = None
    fields: tuple[tuple[str, bool, str], ...] = ()

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.labels is None and not self.fields

    def matches(self, address: Address, read: Callable[[], JsonObject]) -> bool:
        """Whether an object is selected; it is decoded only when its address does not tell."""
        rest = []
        for path, equal, value in self.fields:
            if path == "metadata.name":
                found = address.name
            elif path == "metadata.namespace":
                found = address.namespace
            else:
                rest.append((path, equal, value))
                continue
            if (found == value) is not equal:
                return False
        if self.labels is None and not rest:
            return True
        obj = read()
        if any((_at(obj, path) == value) is not equal for path, equal, value in rest):
            return False
        return self.labels is None or self.labels((obj.get("metadata") or {}).get("labels") or {})


def _at(obj: JsonObject, path: str) -> str:
    value: object = obj
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)

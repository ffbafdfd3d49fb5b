"""What ``kubectl get`` prints: the server chooses the columns and writes the cells.

Source: Kubernetes API concepts, "Receiving resources as Tables" (meta.k8s.io/v1 Table).
"""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final, Literal

from towpath.apiserver import jsonpath
from towpath.apiserver.kinds import AGE, Column, Resource
from towpath.errors import InvalidError
from towpath.spec._wire import Json, JsonObject

__all__ = ["Include", "age", "duration", "table"]

Include = Literal["None", "Metadata", "Object"]

_NAME: Final = Column(
    "Name", ".metadata.name", description="Name of the object, unique within its namespace."
)


def age(since: str, now: datetime) -> str:
    """Time since an RFC 3339 moment as kubectl writes it: ``12s``, ``5m3s``, ``2d4h``."""
    try:
        then = datetime.fromisoformat(since)
    except ValueError:
        return "<unknown>"
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    return duration(int((now - then).total_seconds()))


def duration(seconds: int) -> str:
    """A span of time as kubectl writes it."""
    if seconds < 0:
        return "0s" if seconds >= -1 else "<invalid>"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    two: tuple[tuple[bool, int, str, int, str], ...] = (
        (seconds < 120, seconds, "s", 0, ""),
        (minutes < 10, minutes, "m", seconds % 60, "s"),
        (minutes < 180, minutes, "m", 0, ""),
        (hours < 8, hours, "h", minutes % 60, "m"),
        (hours < 48, hours, "h", 0, ""),
        (days < 8, days, "d", hours % 24, "h"),
        (days < 730, days, "d", 0, ""),
        (days < 2920, days // 365, "y", days % 365, "d"),
        (True, days // 365, "y", 0, ""),
    )
    _, large, large_unit, small, small_unit = next(row for row in two if row[0])
    return f"{large}{large_unit}" + (f"{small}{small_unit}" if small else "")


def _cell(column: Column, obj: JsonObject, now: datetime) -> Json:
    """One cell; None where the object is not what the column expects: it must not hide the rest."""
    try:
        return _value(column, obj, now)
    except (InvalidError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return None


def _value(column: Column, obj: JsonObject, now: datetime) -> Json:
    if not isinstance(column.value, str):
        return column.value(obj, now)
    found = jsonpath.find(column.value)(obj)
    if not found or found[0] is None:
        return "<unknown>" if column.type == "date" else None
    value = found[0]
    if column.type == "date":
        return age(str(value), now)
    if column.type == "string":
        return str(value).lower() if isinstance(value, bool) else str(value)
    return None if isinstance(value, dict | list) else value


def table(
    resource: Resource,
    objects: Iterable[JsonObject],
    now: datetime,
    include: Include = "Metadata",
    *,
    headed: bool = True,
) -> JsonObject:
    """A Table of objects.

    Args:
        resource: Their kind.
        objects: The rows.
        now: For ages.
        include: What of each object goes with its row.
        headed: Whether the columns are described; later events of a watch leave them out.
    """
    named = not resource.custom and any(c.name == _NAME.name for c in resource.columns)
    columns = resource.columns if named else (_NAME, *resource.columns)
    rows = []
    for obj in objects:
        row: JsonObject = {"cells": [_cell(column, obj, now) for column in columns]}
        if include == "Object":
            row["object"] = obj
        elif include == "Metadata":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": obj.get("metadata", {}),
            }
        rows.append(row)
    definitions = [
        {
            "name": column.name,
            "type": column.type if resource.custom or column is not AGE else "string",
            "format": "name" if column is _NAME else "",
            "description": column.description or column.name,
            "priority": column.priority,
        }
        for column in columns
    ]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": definitions if headed else None,
        "rows": rows,
    }

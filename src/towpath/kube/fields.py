"""Reading objects that anybody may have written: a missing, null or odd field is an empty one."""

from collections.abc import Mapping
from typing import Any

__all__ = ["annotations", "labels", "mapping"]


def mapping(obj: Mapping[str, Any], *path: str) -> Mapping[str, Any]:
    """The mapping at a path; an empty one where there is none."""
    found: Any = obj
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def annotations(obj: Mapping[str, Any]) -> dict[str, str]:
    """``metadata.annotations``."""
    return dict(mapping(obj, "metadata", "annotations"))


def labels(obj: Mapping[str, Any]) -> dict[str, str]:
    """``metadata.labels``."""
    return dict(mapping(obj, "metadata", "labels"))

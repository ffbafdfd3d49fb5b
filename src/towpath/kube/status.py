"""Writing status: only what differs, as a merge patch, so an unchanged world writes nothing."""

from collections.abc import Mapping
from typing import Any

from towpath.kube.client import Writer
from towpath.spec.kube import Kind, Object

__all__ = ["difference", "write_status"]


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The merge patch (RFC 7386) that turns ``old`` into ``new``; empty when they are equal.

    ``new`` holds no nulls: in a merge patch they mean removal.
    """
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if nested := difference(before, value):
                patch[key] = nested
        elif key not in old or value != before:
            patch[key] = value
    return patch


async def write_status(
    client: Writer, kind: Kind, obj: Object, status: Mapping[str, Any]
) -> Object:
    """Make an object's status equal to ``status``.

    Returns:
        The object as it is afterwards.

    Raises:
        NotFoundError: it is gone.
    """
    patch = difference(obj.get("status", {}), status)
    if not patch:
        return obj
    metadata = obj["metadata"]
    write = client.merge_status if kind.status_apart else client.merge
    return await write(kind, metadata["name"], metadata.get("namespace", ""), {"status": patch})

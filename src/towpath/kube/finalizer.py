"""Finalizers: an object stays until whoever did something for it has undone that.

Source: Kubernetes documentation, "Finalizers".
"""

import contextlib

from towpath.errors import NotFoundError
from towpath.kube.client import Writer
from towpath.spec.kube import Kind, Object

__all__ = ["hold", "let_go"]


async def hold(client: Writer, kind: Kind, obj: Object, finalizer: str) -> Object:
    """Have an object wait for us at its end; before the first thing is done for it.

    Returns:
        The object as it is afterwards.

    Raises:
        ConflictError: it was changed since it was read.
        NotFoundError: it is gone.
    """
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer in finalizers:
        return obj
    return await _write(client, kind, obj, [*finalizers, finalizer])


async def let_go(client: Writer, kind: Kind, obj: Object, finalizer: str) -> None:
    """Have an object wait for us no longer; once everything is undone.

    Raises:
        ConflictError: it was changed since it was read.
    """
    finalizers = obj["metadata"].get("finalizers") or []
    if finalizer in finalizers:
        with contextlib.suppress(NotFoundError):
            await _write(client, kind, obj, [one for one in finalizers if one != finalizer])


async def _write(client: Writer, kind: Kind, obj: Object, finalizers: list[str]) -> Object:
    metadata = obj["metadata"]
    patch: Object = {
        "metadata": {"finalizers": finalizers, "resourceVersion": metadata["resourceVersion"]}
    }
    return await client.merge(kind, metadata["name"], metadata.get("namespace", ""), patch)

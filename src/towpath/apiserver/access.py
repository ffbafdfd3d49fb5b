"""Who may do what, until roles are kept as objects: the rule for :class:`towpath.auth.Guard`.

Administrators do everything; a cluster's agent does everything in the namespace of its cluster's
name and reads what is served; nobody else does anything but ask for health and version.
"""

from typing import Final

from starlette.types import Scope

from towpath.apiserver.target import parse
from towpath.auth import Identity

__all__ = ["ADMINISTRATORS", "cluster_user", "rule"]

ADMINISTRATORS: Final = "system:masters"
"""Group that may do everything."""

_OPEN: Final = frozenset({"/healthz", "/livez", "/readyz", "/version"})
_CLUSTER: Final = "system:cluster:"
_DISCOVERY: Final = {"": 0, "api": 1, "apis": 2, "openapi": 4}
"""Where is told what is served -> how many parts such a path has after the first."""
_READING: Final = frozenset({"GET", "HEAD"})


def cluster_user(name: str) -> str:
    """The user name of a cluster's agent."""
    return f"{_CLUSTER}{name}"


def rule(identity: Identity, scope: Scope) -> bool:
    """Whether a caller may do what an HTTP request asks."""
    path, reading = scope["path"], scope["method"] in _READING
    if path.rstrip("/") in _OPEN and reading:
        return True
    if identity.anonymous:
        return False
    if ADMINISTRATORS in identity.groups:
        return True
    name = identity.user.removeprefix(_CLUSTER)
    if name == identity.user or not name:
        return False
    target = parse(path)
    if target is None:
        return reading and _discovery(path)
    if not target.group and target.plural == "namespaces":
        return reading and target.name == name
    return target.namespace == name


def _discovery(path: str) -> bool:
    first, *rest = path.strip("/").split("/")
    return len(rest) <= _DISCOVERY.get(first, -1)

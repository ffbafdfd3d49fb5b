"""What a request path names, as Kubernetes' own request info reads it: one parser for the routes
and for the rule of who may do what, so the two cannot disagree. Both give it the path of the ASGI
scope; a URL built from that would lose the characters that URLs leave out.
"""

from typing import NamedTuple

__all__ = ["Target", "parse"]

_OF_A_NAMESPACE = frozenset({"finalize", "status"})


class Target(NamedTuple):
    """A collection (no name), an object, or a subresource of one.

    ``namespace`` is empty for kinds without and for lists across all.
    """

    group: str
    version: str
    namespace: str
    plural: str
    name: str = ""
    subresource: str = ""


def parse(path: str) -> Target | None:
    """The target of ``/api/v1/…`` or ``/apis/GROUP/VERSION/…``; None where it names no resource.

    An empty part or a character that cannot be printed is in no name, so such a path names nothing.
    """
    parts = path.strip("/").split("/")
    if "" in parts or not path.isprintable():
        return None
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not _of_itself(group, rest):
        namespace, rest = rest[1], rest[2:]
    return Target(group, version, namespace, *rest) if len(rest) <= 3 else None


def _of_itself(group: str, rest: list[str]) -> bool:
    return not group and len(rest) == 3 and rest[2] in _OF_A_NAMESPACE

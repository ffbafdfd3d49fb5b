"""What the agent of another cluster may do on this one: the objects of its namespace, no more.

Written as a Role and a RoleBinding in the namespace of the cluster's name, for everybody to see.
The kinds and verbs are listed rather than ``*``, so that the agent can neither change its own
Namespace nor give out rights, and nothing comes by itself that a later version serves.
"""

import contextlib
import logging
from collections.abc import Iterable
from typing import Final, cast

from towpath import apiserver
from towpath.errors import ConflictError, DeniedError
from towpath.kube import Writer
from towpath.spec import argocd, kserve
from towpath.spec.kube import NAMESPACE, Kind, Object
from towpath.telemetry import fields

__all__ = ["welcome"]

log = logging.getLogger(__name__)

_GROUP: Final = "rbac.authorization.k8s.io"
_ROLE: Final = Kind(_GROUP, "v1", "Role", "roles")
_BINDING: Final = Kind(_GROUP, "v1", "RoleBinding", "rolebindings")
_NAME: Final = "towpath:cluster"
_MANAGER: Final = "towpath"
_VERBS: Final = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)
_RULES: Final = (
    ({""}, ("configmaps", "events", "persistentvolumeclaims", "pods", "secrets", "services")),
    ({""}, ("persistentvolumeclaims/status", "pods/status", "serviceaccounts", "services/status")),
    ({argocd.APPLICATION.group, kserve.INFERENCE_SERVICE.group}, ("*",)),
    ({"coordination.k8s.io"}, ("leases",)),
)


def _role(namespace: str) -> Object:
    rules = [
        {"apiGroups": sorted(groups), "resources": sorted(resources), "verbs": list(_VERBS)}
        for groups, resources in _RULES
    ]
    own = {
        "apiGroups": [""],
        "resources": ["namespaces"],
        "resourceNames": [namespace],
        "verbs": ["get"],
    }
    role = {"metadata": {"name": _NAME, "namespace": namespace}, "rules": [*rules, own]}
    return cast(Object, role)


def _binding(namespace: str) -> Object:
    binding = {
        "metadata": {"name": _NAME, "namespace": namespace},
        "roleRef": {"apiGroup": _GROUP, "kind": "Role", "name": _NAME},
        "subjects": [
            {"apiGroup": _GROUP, "kind": "User", "name": apiserver.cluster_user(namespace)}
        ],
    }
    return cast(Object, binding)


async def welcome(client: Writer, clusters: Iterable[str]) -> None:
    """Give the agents of these clusters their namespaces, and their rights there."""
    for name in clusters:
        try:
            with contextlib.suppress(ConflictError):  # it is there
                await client.create(NAMESPACE, {"metadata": {"name": name}})
            await client.apply(_ROLE, _role(name), _MANAGER)
            await client.apply(_BINDING, _binding(name), _MANAGER)
        except DeniedError as error:  # the namespace is being deleted; the others go on
            log.warning(
                "failed to give a cluster its rights", extra=fields(cluster=name, error=error)
            )

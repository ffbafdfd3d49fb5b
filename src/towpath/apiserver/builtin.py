"""The kinds that every cluster has, as records: nobody here acts on them.

What their objects look like lies as data beside (:mod:`towpath.apiserver.structures`); kinds that
are only asked, such as SubjectAccessReview, are answered elsewhere and never stored.
"""

from typing import Final

from towpath.apiserver import columns
from towpath.apiserver.kinds import Resource, Scale, Subresource
from towpath.apiserver.structures import schema
from towpath.spec.kube import (
    CONFIG_MAP,
    CRD,
    EVENT,
    LEASE,
    NAMESPACE,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Kind,
)

__all__ = ["BUILTIN", "DEFINITION", "NAMESPACES", "PROTECTED"]

PROTECTED: Final = ("default", "kube-system", "kube-public")
"""Namespaces that are always there."""

_RBAC: Final = "rbac.authorization.k8s.io"
_AUTHENTICATION: Final = "authentication.k8s.io"
_AUTHORIZATION: Final = "authorization.k8s.io"

_POD: Final = Kind("", "v1", "Pod", "pods")
_CLAIM: Final = Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims")
_DEPLOYMENT: Final = Kind("apps", "v1", "Deployment", "deployments")
_JOB: Final = Kind("batch", "v1", "Job", "jobs")
_ROLE: Final = Kind(_RBAC, "v1", "Role", "roles")
_ROLE_BINDING: Final = Kind(_RBAC, "v1", "RoleBinding", "rolebindings")
_CLUSTER_ROLE: Final = Kind(_RBAC, "v1", "ClusterRole", "clusterroles", namespaced=False)
_CLUSTER_ROLE_BINDING: Final = Kind(
    _RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", namespaced=False
)
_TOKEN_REQUEST: Final = Kind(_AUTHENTICATION, "v1", "TokenRequest", "serviceaccounts")


def _asked(group: str, kind: str, *, namespaced: bool = False) -> Resource:
    plural = f"{kind.lower()}s"
    return Resource(
        Kind(group, "v1", kind, plural, namespaced),
        kind.lower(),
        verbs=("create",),
        schema=schema(kind),
    )


NAMESPACES: Final = Resource(
    NAMESPACE,
    "namespace",
    ("ns",),
    columns=columns.NAMESPACE,
    status=True,
    selectable=("status.phase",),
    schema=schema("Namespace"),
    subresources=(Subresource("finalize", NAMESPACE, ("update",)),),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
)
DEFINITION: Final = Resource(
    CRD,
    "customresourcedefinition",
    ("crd", "crds"),
    ("api-extensions",),
    columns=columns.CREATED,
    status=True,
    generation=True,
    schema=schema("CustomResourceDefinition"),
)

BUILTIN: Final = (
    NAMESPACES,
    DEFINITION,
    Resource(
        CONFIG_MAP, "configmap", ("cm",), columns=columns.CONFIG_MAP, schema=schema("ConfigMap")
    ),
    Resource(
        SECRET,
        "secret",
        columns=columns.SECRET,
        selectable=("type",),
        schema=schema("Secret"),
    ),
    Resource(
        SERVICE,
        "service",
        ("svc",),
        ("all",),
        columns=columns.SERVICE,
        status=True,
        selectable=("spec.clusterIP", "spec.type"),
        schema=schema("Service"),
    ),
    Resource(
        SERVICE_ACCOUNT,
        "serviceaccount",
        ("sa",),
        columns=columns.SERVICE_ACCOUNT,
        schema=schema("ServiceAccount"),
        subresources=(Subresource("token", _TOKEN_REQUEST, ("create",)),),
    ),
    Resource(
        EVENT,
        "event",
        ("ev",),
        columns=columns.EVENT,
        selectable=(
            "involvedObject.apiVersion",
            "involvedObject.fieldPath",
            "involvedObject.kind",
            "involvedObject.name",
            "involvedObject.namespace",
            "involvedObject.resourceVersion",
            "involvedObject.uid",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
        schema=schema("Event"),
    ),
    Resource(LEASE, "lease", columns=columns.LEASE, schema=schema("Lease")),
    Resource(
        _POD,
        "pod",
        ("po",),
        ("all",),
        columns=columns.POD,
        status=True,
        selectable=(
            "spec.hostNetwork",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.nominatedNodeName",
            "status.phase",
            "status.podIP",
        ),
        schema=schema("Pod"),
    ),
    Resource(
        _CLAIM,
        "persistentvolumeclaim",
        ("pvc",),
        columns=columns.CLAIM,
        status=True,
        schema=schema("PersistentVolumeClaim"),
    ),
    Resource(
        _DEPLOYMENT,
        "deployment",
        ("deploy",),
        ("all",),
        columns=columns.DEPLOYMENT,
        status=True,
        generation=True,
        schema=schema("Deployment"),
        scale=Scale(selector=".spec.selector"),
    ),
    Resource(
        _JOB,
        "job",
        (),
        ("all",),
        columns=columns.JOB,
        status=True,
        generation=True,
        schema=schema("Job"),
    ),
    Resource(_ROLE, "role", columns=columns.CREATED, schema=schema("Role")),
    Resource(_CLUSTER_ROLE, "clusterrole", columns=columns.CREATED, schema=schema("ClusterRole")),
    Resource(_ROLE_BINDING, "rolebinding", columns=columns.BINDING, schema=schema("RoleBinding")),
    Resource(
        _CLUSTER_ROLE_BINDING,
        "clusterrolebinding",
        columns=columns.BINDING,
        schema=schema("ClusterRoleBinding"),
    ),
    _asked(_AUTHENTICATION, "TokenReview"),
    _asked(_AUTHENTICATION, "SelfSubjectReview"),
    _asked(_AUTHORIZATION, "SubjectAccessReview"),
    _asked(_AUTHORIZATION, "LocalSubjectAccessReview", namespaced=True),
    _asked(_AUTHORIZATION, "SelfSubjectAccessReview"),
    _asked(_AUTHORIZATION, "SelfSubjectRulesReview"),
)
"""Every built-in kind that is served."""

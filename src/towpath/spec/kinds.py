"""Every kind that this installation knows by itself, by apiVersion and kind.

A manifest names a kind, an address needs its plural: the API's discovery document says which, and
this table says it where the set of kinds is fixed.
"""

from collections.abc import Mapping
from typing import Final

from towpath.spec import argocd, kserve, kube
from towpath.spec.kube import Kind

_BATCH: Final = (
    Kind("batch", "v1", "CronJob", "cronjobs"),
    Kind("batch", "v1", "Job", "jobs"),
)
_APPS: Final = (
    Kind("apps", "v1", "DaemonSet", "daemonsets"),
    Kind("apps", "v1", "Deployment", "deployments"),
    Kind("apps", "v1", "StatefulSet", "statefulsets"),
)
_CORE: Final = (
    kube.CONFIG_MAP,
    kube.NAMESPACE,
    kube.SECRET,
    kube.SERVICE,
    kube.SERVICE_ACCOUNT,
    Kind("", "v1", "LimitRange", "limitranges"),
    Kind("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims"),
    Kind("", "v1", "Pod", "pods"),
    Kind("", "v1", "ResourceQuota", "resourcequotas"),
)
_POLICY: Final = (
    Kind("networking.k8s.io", "v1", "Ingress", "ingresses"),
    Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"),
    Kind("rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", False),
    Kind("rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", False),
    Kind("rbac.authorization.k8s.io", "v1", "Role", "roles"),
    Kind("rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings"),
)
_CUSTOM: Final = (
    argocd.APPLICATION,
    kserve.CLUSTER_SERVING_RUNTIME,
    kserve.INFERENCE_SERVICE,
    kserve.SERVING_RUNTIME,
    kube.CRD,
    kube.LEASE,
)

KINDS: Final[Mapping[tuple[str, str], Kind]] = {
    (kind.api_version, kind.kind): kind for kind in (*_APPS, *_BATCH, *_CORE, *_CUSTOM, *_POLICY)
}
"""``(apiVersion, kind)`` to its address."""

"""Argo CD: the Application, and the labels of Open Cluster Management's pull model."""

from typing import Final

from towpath.spec.kube import Kind

SPEC_VERSION: Final = "3.1"

APPLICATION: Final = Kind(
    "argoproj.io", "v1alpha1", "Application", "applications", status_apart=False
)

IN_CLUSTER: Final = "https://kubernetes.default.svc"
"""``spec.destination.server`` of an Application that deploys into its own cluster."""

SKIP_RECONCILE: Final = "argocd.argoproj.io/skip-reconcile"
"""Annotation of a hub copy: it is mirrored by the cluster's agent, not synced on the hub."""

TRACKING_ID: Final = "argocd.argoproj.io/tracking-id"
"""Annotation of a synced object: ``<app>:<group>/<kind>:<namespace>/<name>``."""

PULL_TO_MANAGED_CLUSTER: Final = "apps.open-cluster-management.io/pull-to-ocm-managed-cluster"
MANAGED_CLUSTER: Final = "apps.open-cluster-management.io/ocm-managed-cluster"

RESOURCES_FINALIZER: Final = "resources-finalizer.argocd.argoproj.io"
"""Finalizer of an Application whose deletion also deletes what it deployed."""

FIELD_MANAGER: Final = "argocd-controller"
"""Field manager of everything that a sync applies."""

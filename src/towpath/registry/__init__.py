"""Reads descriptors and URIs of models; writes ``RegisteredModel``, ``ModelVersion`` and
``ModelArtifact`` rows, served over the Kubeflow Model Registry REST API.
"""

from towpath.registry.api import app
from towpath.registry.client import Client
from towpath.registry.database import Database, open_database
from towpath.registry.properties import Plain, plain, wire

__all__ = ["Client", "Database", "Plain", "app", "open_database", "plain", "wire"]

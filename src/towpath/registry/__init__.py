"""Reads descriptors and URIs of models; writes ``RegisteredModel``, ``ModelVersion`` and
``ModelArtifact`` rows, served over the Kubeflow Model Registry REST API.

Here is the client's side. The server's is in :mod:`towpath.registry.api` and
:mod:`towpath.registry.database`: a command that only asks a registry loads no database library,
which would be a quarter of its start (measured: 0.81 s with it, 0.61 s without).
"""

from towpath.registry.client import Client
from towpath.registry.properties import Plain, plain, wire

__all__ = ["Client", "Plain", "plain", "wire"]

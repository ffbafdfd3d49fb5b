"""The public test kit: what the outside is replaced by in tests of ours and of others.

Reads nothing and writes nothing that lasts.
"""

from towpath.testing.apiserver import RunningApi, running_api
from towpath.testing.kube import MemoryCluster
from towpath.testing.platform import Command, RunningPlatform, running_platform, towpath
from towpath.testing.registry import RunningRegistry, running_registry

__all__ = [
    "Command",
    "MemoryCluster",
    "RunningApi",
    "RunningPlatform",
    "RunningRegistry",
    "running_api",
    "running_platform",
    "running_registry",
    "towpath",
]

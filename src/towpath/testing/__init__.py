"""The public test kit: what the outside is replaced by in tests of ours and of others.

Reads nothing and writes nothing that lasts.
"""

from towpath.testing.apiserver import RunningApi, running_api
from towpath.testing.kube import MemoryCluster
from towpath.testing.platform import Command, RunningPlatform, running_platform, towpath

__all__ = [
    "Command",
    "MemoryCluster",
    "RunningApi",
    "RunningPlatform",
    "running_api",
    "running_platform",
    "towpath",
]

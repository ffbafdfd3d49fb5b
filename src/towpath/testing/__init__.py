"""The public test kit: what the outside is replaced by in tests of ours and of others.

Reads nothing and writes nothing that lasts.
"""

from towpath.testing.kube import MemoryCluster

__all__ = ["MemoryCluster"]

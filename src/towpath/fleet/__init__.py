"""Who gets what: so far the pull agent of an edge.

Reads the Applications that the hub keeps for a cluster; writes them into that cluster's API, and
their status and the cluster's InferenceServices back to the hub.
"""

from towpath.fleet.agent import APPLICATIONS, PullAgent, mirror_name

__all__ = ["APPLICATIONS", "PullAgent", "mirror_name"]

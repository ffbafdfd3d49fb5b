"""InferenceService → processes behind a gateway.

Reads the InferenceServices of its cluster's API and the images that they name; writes their
status, runtime processes, and the routes of the cluster's gateway process.
"""

from towpath.edge.controller import ModelStore, Services
from towpath.edge.fetch import Models
from towpath.edge.gateway import Gateway
from towpath.edge.ingress import Ingress
from towpath.edge.plan import Desired, Instance, desired, plan
from towpath.edge.runtime import Leash, Runtimes

__all__ = [
    "Desired",
    "Gateway",
    "Ingress",
    "Instance",
    "Leash",
    "ModelStore",
    "Models",
    "Runtimes",
    "Services",
    "desired",
    "plan",
]

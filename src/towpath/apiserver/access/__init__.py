"""Who may do what: every request is judged by the roles and bindings that are stored.

Reads Roles, bindings and ServiceAccounts. Writes the default roles, and the rules
of roles that gather others.
"""

from towpath.apiserver.access.access import ADMINISTRATORS, Access, cluster_user
from towpath.apiserver.access.issuer import issuer_routes
from towpath.apiserver.access.reviews import Answer
from towpath.apiserver.access.status import status
from towpath.apiserver.access.upkeep import Upkeep

__all__ = [
    "ADMINISTRATORS",
    "Access",
    "Answer",
    "Upkeep",
    "cluster_user",
    "issuer_routes",
    "status",
]

"""The doors of the registry: what a request needs, and who has it.

Three roles, each with the rights of the one before: ``read``, ``write``, ``admin``. What a request
needs follows from its method and path alone, so a route that is added later is never open by
oversight. A path that is no route needs a role as well: who may not read learns nothing.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from starlette.types import Scope

from towpath.auth import Identity, listed
from towpath.errors import DeniedError
from towpath.settings import Registry

__all__ = ["CALLER", "METRICS", "Doors", "Role", "is_loopback", "needed"]

CALLER: Final = "caller"
"""Where a scope's state says who called, also when they were refused."""
METRICS: Final = "/metrics"

_AUTHENTICATED: Final = "system:authenticated"
_HEALTH: Final = frozenset({"isDirty", "health"})
_WHOLE: Final = frozenset({"export", "import"})
_LINK: Final = re.compile(r"/api/model_registry/\w+/links/[^/]*")
_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Role(IntEnum):
    """What a caller may do; a larger one may all that a smaller one may."""

    read = 1
    write = 2
    admin = 3


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own, which nobody can give to theirs."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def needed(method: str, path: str) -> Role | None:
    """The role that a request needs; None for what anybody may ask.

    Args:
        method: Of the request.
        path: Of the request, without its query.
    """
    reads = method in _READING
    last = path.rstrip("/").rpartition("/")[2]
    if reads and last in _HEALTH and path.endswith(f"/readyz/{last}"):
        return None
    if last in _WHOLE:
        return Role.admin
    if reads:
        return Role.read
    if method == "DELETE" and not _LINK.fullmatch(path):
        return Role.admin
    return Role.write


@dataclass(frozen=True)
class Doors:
    """Who may what. Its :meth:`rule` is for :class:`towpath.auth.Guard`.

    Args:
        roles: By name of a user or group.
        anonymous: What a caller without a token may; None lets nobody in without one.
        own_names: Let nobody in without a token who asks for another host than this machine: a
            web page can give its own name the address of this machine, and would be let in.
        open_metrics: Whether the metrics need no role.
    """

    roles: Mapping[str, Role]
    anonymous: Role | None = None
    own_names: bool = False
    open_metrics: bool = False

    @classmethod
    def of(
        cls, settings: Registry, *, anonymous: Role | None = None, loopback: bool = False
    ) -> "Doors":
        """The doors that settings describe.

        Args:
            settings: Who has which role.
            anonymous: As above.
            loopback: Whether only this machine can call.
        """
        roles: dict[str, Role] = {}
        for role, names in (
            (Role.read, settings.readers),
            (Role.write, settings.writers),
            (Role.admin, settings.admins),
        ):
            roles |= dict.fromkeys(listed(names), role)
        own_names = loopback and anonymous is Role.admin
        return cls(roles, anonymous, own_names, loopback)

    def role(self, identity: Identity) -> Role | None:
        """The role of a caller, if they have one."""
        names = {identity.user, *identity.groups}
        if not identity.anonymous:
            names.add(_AUTHENTICATED)
        found = [self.roles[name] for name in names if name in self.roles]
        if self.anonymous is not None:
            found.append(self.anonymous)
        return max(found, default=None)

    def rule(self, identity: Identity, scope: Scope) -> bool:
        """Whether a caller may do what a request asks.

        Raises:
            DeniedError: they are known and lack the role, or ask for a host that is not this one.
        """
        if not identity.anonymous:
            scope.setdefault("state", {})[CALLER] = identity.user
        path = scope["path"]
        wanted = needed(scope["method"], path)
        if wanted is None:
            return True
        if self.open_metrics and wanted is Role.read and path == METRICS:
            return True
        if identity.anonymous and self.own_names:
            _check_host(scope)
        role = self.role(identity)
        if role is not None and role >= wanted:
            return True
        if identity.anonymous and self.anonymous is None:
            return False
        raise DeniedError(
            f"{_told(identity)} may not {_MAY[wanted]} here",
            hint=f"The setting registry.{_SETTING[wanted]} names who may.",
        )


_MAY: Final = {Role.read: "read", Role.write: "write", Role.admin: "delete, import or export"}
_SETTING: Final = {Role.read: "readers", Role.write: "writers", Role.admin: "admins"}


def _told(identity: Identity) -> str:
    return "who brings no token" if identity.anonymous else f"user {identity.user!r}"


def _check_host(scope: Scope) -> None:
    asked = [value for name, value in scope["headers"] if name == b"host"]
    for value in asked:
        name = value.decode("latin-1").strip().lower()
        host = name[1:].partition("]")[0] if name.startswith("[") else name.partition(":")[0]
        if not is_loopback(host.rstrip(".")):
            raise DeniedError(
                f"without a token only this machine's own names are answered, not {host[:80]!r}",
                hint="Ask 127.0.0.1 or localhost, or bring a token.",
            )

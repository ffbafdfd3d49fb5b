"""Acting as somebody else, as ``kubectl --as`` asks for by headers.

Source: Kubernetes documentation, "Authenticating", "User impersonation".
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple
from urllib.parse import unquote

from towpath.apiserver import failures
from towpath.apiserver.access.attributes import Attributes
from towpath.auth import Identity

__all__ = ["Wish", "asked", "needed", "wish"]

_PREFIX: Final = b"impersonate-"
_EXTRA: Final = "extra-"
_ACCOUNT: Final = "system:serviceaccount:"
_GROUP: Final = "authentication.k8s.io"
_ANONYMOUS: Final = "system:anonymous"
_AUTHENTICATED: Final = "system:authenticated"
_UNAUTHENTICATED: Final = "system:unauthenticated"


class Wish(NamedTuple):
    """Whom a caller wants to be."""

    user: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def account(self) -> tuple[str, str] | None:
        """Namespace and name, where the user is a ServiceAccount."""
        namespace, colon, name = self.user.removeprefix(_ACCOUNT).partition(":")
        known = self.user.startswith(_ACCOUNT) and colon and namespace and name
        return (namespace, name) if known and ":" not in name else None

    @property
    def identity(self) -> Identity:
        """Who that is."""
        groups = set(self.groups)
        if self.account is not None and not groups:
            groups = {"system:serviceaccounts", f"system:serviceaccounts:{self.account[0]}"}
        if self.user == _ANONYMOUS:
            groups.add(_UNAUTHENTICATED)
        elif _UNAUTHENTICATED not in groups:
            groups.add(_AUTHENTICATED)
        return Identity(self.user, frozenset(groups), self.uid, self.extra)


def asked(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the headers of a request ask for it."""
    return any(name.startswith(_PREFIX) for name, _ in headers)


def wish(headers: Iterable[tuple[bytes, bytes]]) -> Wish:
    """Whom the headers of a request ask to be.

    Raises:
        InvalidError: they name groups or more, and no user (reason ``BadRequest``).
    """
    user = uid = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}
    for raw, data in headers:
        if not raw.startswith(_PREFIX):
            continue
        name, value = raw[len(_PREFIX) :].decode("latin-1"), _text(data)
        if name == "user":
            user = user or value
        elif name == "group":
            groups.append(value)
        elif name == "uid":
            uid = uid or value
        elif name.startswith(_EXTRA):
            extra.setdefault(unquote(name[len(_EXTRA) :]).lower(), []).append(value)
    if not user:
        raise failures.bad_request("groups, uid or extra requested without impersonating a user")
    return Wish(user, tuple(groups), uid, tuple((k, tuple(v)) for k, v in extra.items()))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def needed(wanted: Wish) -> Iterator[Attributes]:
    """What a caller must be allowed, all of it, to be that."""
    if wanted.account is not None:
        namespace, name = wanted.account
        yield Attributes("impersonate", "", "v1", "serviceaccounts", "", namespace, name)
    else:
        yield Attributes("impersonate", "", "v1", "users", name=wanted.user)
    for group in wanted.groups:
        yield Attributes("impersonate", "", "v1", "groups", name=group)
    for key, values in wanted.extra:
        for value in values:
            yield Attributes("impersonate", _GROUP, "v1", "userextras", key, name=value)
    if wanted.uid:
        yield Attributes("impersonate", _GROUP, "v1", "uids", name=wanted.uid)

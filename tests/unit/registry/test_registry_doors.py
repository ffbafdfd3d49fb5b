"""Who may what: the rule alone, without a server."""

from typing import Any

import pytest

from towpath.auth import ANONYMOUS, Identity
from towpath.errors import DeniedError
from towpath.registry.doors import CALLER, Doors, Role, needed
from towpath.settings import Registry
from towpath.spec.registry import PREFIXES

P = PREFIXES[0]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/registered_models", Role.read),
        ("HEAD", "/registered_models/1", Role.read),
        ("GET", "/events", Role.read),
        ("GET", "/model_versions/1/lineage", Role.read),
        ("POST", "/registered_models", Role.write),
        ("PATCH", "/registered_models/1", Role.write),
        ("PUT", "/registered_models/1", Role.write),
        ("POST", "/links", Role.write),
        ("DELETE", "/links/7", Role.write),
        ("DELETE", "/links/7/x", Role.admin),
        ("DELETE", "/links", Role.admin),
        ("DELETE", "/registered_models/1", Role.admin),
        ("DELETE", "/registered_models/links/1", Role.admin),
        ("GET", "/export", Role.admin),
        ("GET", "/export/", Role.admin),
        ("HEAD", "/export", Role.admin),
        ("POST", "/import", Role.admin),
        ("POST", "/import/", Role.admin),
        ("BREW", "/registered_models", Role.write),
    ],
)
def test_method_and_path_say_what_is_needed(
    prefix: str, method: str, path: str, role: Role
) -> None:
    assert needed(method, prefix + path) is role


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/readyz/isDirty", None),
        ("GET", "/readyz/health", None),
        ("HEAD", f"{P}/readyz/health", None),
        ("POST", "/readyz/health", Role.write),
        ("GET", "/readyz/health/x", Role.read),
        ("GET", f"{P}/registered_models/readyz", Role.read),
        ("GET", "/metrics", Role.read),
        ("GET", "/", Role.read),
        ("GET", "/nowhere", Role.read),
        ("OPTIONS", P, Role.read),
    ],
)
def test_what_is_no_route_is_not_open(method: str, path: str, role: Role | None) -> None:
    assert needed(method, path) is role


@pytest.mark.parametrize(
    ("user", "groups", "role"),
    [
        ("ada", (), Role.read),
        ("ada", ("registry-writers",), Role.write),
        ("ada", ("registry-admins", "registry-writers"), Role.admin),
        ("registry-admins", (), Role.admin),  # a name is a user's or a group's
        ("ada", ("system:authenticated",), Role.read),
    ],
)
def test_a_token_alone_reads_and_groups_do_more(
    user: str, groups: tuple[str, ...], role: Role
) -> None:
    assert Doors.of(Registry()).role(Identity(user, frozenset(groups))) is role


def test_who_is_named_has_the_role() -> None:
    settings = Registry(readers="rob", writers="wendy, team ,", admins="ada")
    doors = Doors.of(settings)
    assert doors.role(Identity("rob")) is Role.read
    assert doors.role(Identity("wendy")) is Role.write
    assert doors.role(Identity("x", frozenset({"team"}))) is Role.write
    assert doors.role(Identity("ada")) is Role.admin
    assert doors.role(Identity("stranger")) is None
    assert doors.role(ANONYMOUS) is None


def test_everybody_may_be_let_in_to_read() -> None:
    assert Doors.of(Registry(readers="system:unauthenticated")).role(ANONYMOUS) is Role.read


def scope(method: str, path: str, host: str | None = "127.0.0.1:8080") -> dict[str, Any]:
    headers = [] if host is None else [(b"host", host.encode())]
    return {"type": "http", "method": method, "path": path, "headers": headers}


def test_nobody_without_a_token_where_one_is_needed() -> None:
    doors = Doors.of(Registry())
    assert doors.rule(ANONYMOUS, scope("GET", P)) is False
    assert doors.rule(ANONYMOUS, scope("GET", "/readyz/health")) is True
    assert doors.rule(ANONYMOUS, scope("GET", "/metrics")) is False


def test_a_reader_who_writes_is_told_what_is_missing() -> None:
    asked = scope("POST", f"{P}/registered_models")
    with pytest.raises(DeniedError, match="user 'ada' may not write here") as caught:
        Doors.of(Registry()).rule(Identity("ada"), asked)
    assert "registry.writers" in caught.value.hint
    assert asked["state"][CALLER] == "ada"


def test_open_to_this_machine_is_open_by_its_own_names() -> None:
    doors = Doors.of(Registry(), anonymous=Role.admin, loopback=True)
    own = ("127.0.0.1", "127.0.0.1:80", "127.0.0.2", "localhost:8080", "LOCALHOST", "[::1]:1")
    for host in (*own, None):
        assert doors.rule(ANONYMOUS, scope("DELETE", f"{P}/registered_models/1", host)) is True
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]", "127.1", ""):
        with pytest.raises(DeniedError, match="own names"):
            doors.rule(ANONYMOUS, scope("GET", P, host))
    assert doors.rule(Identity("ada"), scope("GET", P, "evil.example")) is True
    assert doors.rule(ANONYMOUS, scope("GET", "/metrics", "evil.example")) is True


def test_open_to_all_writes_and_does_not_delete() -> None:
    doors = Doors.of(Registry(), anonymous=Role.write)
    assert doors.rule(ANONYMOUS, scope("POST", f"{P}/registered_models", "any.example")) is True
    with pytest.raises(DeniedError, match="who brings no token may not delete"):
        doors.rule(ANONYMOUS, scope("GET", f"{P}/export"))

"""The home folder: its ports, its version, its lock."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.app.home import HUB, Home
from towpath.app.ports import Ports
from towpath.errors import ConflictError, InvalidError, NotFoundError, TowpathError


def test_a_new_home_has_the_well_known_ports(tmp_path: Path) -> None:
    home = Home.make(tmp_path / "home", port_base=None, edges=2)

    assert home.url("kubernetes") == "https://127.0.0.1:6443"
    assert home.url("registry") == "http://127.0.0.1:8080"
    assert home.url("distribution") == "http://127.0.0.1:5000"
    assert home.url("git") == "http://127.0.0.1:8009"
    assert home.url("gateway") == "http://127.0.0.1:8008"
    assert home.ports.edge(1, "kubernetes") == 6600
    assert home.ports.edge(2, "gateway") == 6706
    assert home.edge_names == ("edge-1", "edge-2")


def test_a_port_base_moves_everything(tmp_path: Path) -> None:
    ports = Home.make(tmp_path / "home", port_base=20000, edges=1).ports

    assert [ports.hub(s) for s in ("kubernetes", "registry", "git")] == [20000, 20001, 20007]
    assert ports.edge(1, "kubernetes") == 20100
    assert ports.edge(1, "gateway") == 20106


@given(st.integers(1024, 60000), st.integers(0, 40))
def test_no_two_surfaces_share_a_port(base: int, edges: int) -> None:
    ports = Ports(base)
    try:
        ports.check(edges)
    except InvalidError:
        return

    numbers = ports.all(edges)

    assert len(set(numbers)) == len(numbers)
    assert all(1024 <= number <= 65535 for number in numbers)


def test_a_home_remembers(tmp_path: Path) -> None:
    Home.make(tmp_path, port_base=20000, edges=2).save()

    again = Home.make(tmp_path, port_base=None, edges=None)

    assert again == Home.open(tmp_path)
    assert again.ports == Ports(20000)
    assert again.edges == 2
    assert again.cluster(HUB) == again.path
    assert again.kubeconfig("edge-1") == again.path / "edges" / "edge-1" / "kubeconfig"


def test_the_ports_of_a_home_do_not_move(tmp_path: Path) -> None:
    Home.make(tmp_path, port_base=20000, edges=2).save()

    with pytest.raises(ConflictError, match="port base 20000"):
        Home.make(tmp_path, port_base=30000, edges=2)


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (json.dumps({"version": 99}), InvalidError, "layout version 99"),
        ("{", InvalidError, "cannot be read"),
    ],
)
def test_a_folder_that_cannot_be_used(
    tmp_path: Path, content: str, error: type[TowpathError], says: str
) -> None:
    (tmp_path / "home.json").write_text(content)

    for open_it in (Home.open, lambda p: Home.make(p, port_base=None, edges=None)):
        with pytest.raises(error, match=says):
            open_it(tmp_path)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")

    with pytest.raises(InvalidError, match="no Towpath home"):
        Home.make(tmp_path, port_base=None, edges=None)
    with pytest.raises(NotFoundError, match="no platform"):
        Home.open(tmp_path)


def test_a_file_is_no_home(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(InvalidError, match="is a file"):
        Home.make(tmp_path / "file", port_base=None, edges=None)


@pytest.mark.parametrize(("base", "edges"), [(80, 0), (65530, 0), (65000, 6)])
def test_ports_that_do_not_fit(tmp_path: Path, base: int, edges: int) -> None:
    with pytest.raises(InvalidError, match=r"leaves no room|do not fit"):
        Home.make(tmp_path / "home", port_base=base, edges=edges)


def test_a_token_is_made_once_and_kept_secret(tmp_path: Path) -> None:
    home = Home.make(tmp_path, port_base=None, edges=0)

    token = home.token("admin")

    assert home.token("admin") == token
    assert len(token) >= 43
    file = tmp_path / "secrets" / "admin.token"
    assert file.stat().st_mode & 0o777 == 0o600

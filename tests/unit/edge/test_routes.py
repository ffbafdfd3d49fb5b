"""The route table: host first, then the model's name, never a guess."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.edge.routes import Route, Table
from towpath.errors import ConflictError, InvalidError, NotFoundError

FRAUD = Route("shop", "fraud", "fraud", "127.0.0.1:5001")
OTHER = Route("bank", "fraud", "fraud", "127.0.0.1:5002")
IRIS = Route("shop", "iris", "flowers", None)
TABLE = Table([FRAUD, OTHER, IRIS])

names = st.from_regex(r"[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?", fullmatch=True)
routes = st.builds(
    Route,
    namespace=names,
    name=names,
    model=names,
    upstream=st.none() | st.integers(1, 65535).map(lambda port: f"127.0.0.1:{port}"),
)
tables = st.lists(routes, unique_by=lambda route: route.key, max_size=6).map(Table)


@pytest.mark.parametrize(
    "host",
    ["fraud-bank", "fraud-bank:8008", "fraud-bank.example.com", "Fraud-Bank.Example.COM:80"],
)
def test_the_host_wins(host: str) -> None:
    assert TABLE.resolve(host, "flowers") is OTHER


@pytest.mark.parametrize("host", ["", "127.0.0.1:8008", "localhost", "iris-bank", "[::1]:8008"])
def test_else_the_model_name(host: str) -> None:
    assert TABLE.resolve(host, "flowers") is IRIS


def test_two_services_of_one_model_are_both_named() -> None:
    with pytest.raises(ConflictError, match="bank/fraud or shop/fraud"):
        TABLE.resolve("127.0.0.1:8008", "fraud")


def test_a_host_that_can_be_read_two_ways_is_refused() -> None:
    table = Table([Route("b-c", "a", "m", None), Route("c", "a-b", "n", None)])

    with pytest.raises(ConflictError, match="b-c/a or c/a-b"):
        table.resolve("a-b-c.local", "m")


def test_nobody_serves_it() -> None:
    with pytest.raises(NotFoundError, match="'cat'"):
        TABLE.resolve("fraud", "cat")


def test_what_it_leads_to() -> None:
    assert TABLE.models == ["flowers", "fraud"]
    assert TABLE.upstreams == {"127.0.0.1:5001", "127.0.0.1:5002"}


def test_one_service_one_route() -> None:
    with pytest.raises(InvalidError, match="shop/fraud has two routes"):
        Table([FRAUD, FRAUD])


@given(tables)
def test_json_keeps_it(table: Table) -> None:
    assert Table.parse(table.dump()).routes == table.routes


@given(tables, names, names)
def test_never_a_guess(table: Table, host: str, model: str) -> None:
    by_host = [r for r in table.routes if f"{r.name}-{r.namespace}" == host]
    meant = by_host or [r for r in table.routes if r.model == model]

    if not meant:
        with pytest.raises(NotFoundError):
            table.resolve(host, model)
    elif len(meant) > 1:
        with pytest.raises(ConflictError) as caught:
            table.resolve(host, model)
        assert all(route.key in str(caught.value) for route in meant)
    else:
        assert table.resolve(host, model) == meant[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "not valid JSON"),
        (b"[]", "array 'routes'"),
        (b'{"routes": [1]}', "routes[0]"),
        (b'{"routes": [{"namespace": "a", "name": "b"}]}', "routes[0].model"),
        (b'{"routes": [{"namespace": "", "name": "b", "model": "m"}]}', "routes[0].namespace"),
        (
            b'{"routes": [{"namespace": "a", "name": "b", "model": "m", "upstream": "h:1"}]}',
            "routes[0].upstream",
        ),
        (
            b'{"routes": [{"namespace": "a", "name": "b", "model": "m",'
            b' "upstream": "127.0.0.1:99999"}]}',
            "routes[0].upstream",
        ),
    ],
)
def test_a_wrong_table_is_named(content: bytes, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        Table.parse(content)

    assert words in str(caught.value)

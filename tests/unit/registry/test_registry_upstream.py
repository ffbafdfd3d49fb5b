"""The upstream server's flags: which value wins, and what it comes to."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from towpath.errors import InvalidError
from towpath.registry.upstream import FLAGS, database, settled, variable

VALUE = st.text(min_size=1, max_size=8)
GIVEN = st.dictionaries(st.sampled_from([f for f in FLAGS if f != "datastore-type"]), VALUE)


@given(flags=GIVEN, environment=GIVEN, file=GIVEN)
def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    flags: dict[str, str], environment: dict[str, str], file: dict[str, str]
) -> None:
    variables = {variable(name): value for name, value in environment.items()}
    loud = {name.upper(): value for name, value in file.items()}
    assert settled(flags, variables, file) == {**file, **environment, **flags}
    assert settled(flags, variables, loud) == {**file, **environment, **flags}


def test_the_environment_s_names() -> None:
    assert variable("embedmd-database-dsn") == "MR_EMBEDMD_DATABASE_DSN"
    assert settled({}, {"MR_PORT": "", "PORT": "1"}, {"port": 9000}) == {"port": "9000"}


def test_there_is_one_kind_of_store() -> None:
    assert settled({"datastore-type": "embedmd"}, {}, {}) == {"datastore-type": "embedmd"}
    with pytest.raises(InvalidError, match="no datastore type 'mlmd'"):
        settled({}, {"MR_DATASTORE_TYPE": "mlmd"}, {})


def test_what_is_no_value_is_refused() -> None:
    with pytest.raises(InvalidError, match="hostname in the configuration file"):
        settled({}, {}, {"hostname": ["a"]})


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({}, None),
        (
            {"embedmd-database-dsn": "u:p@tcp(h:1)/r?charset=utf8mb4"},
            "mysql+pymysql://u:p@h:1/r?charset=utf8mb4",
        ),
        (
            {"embedmd-database-dsn": "postgres://u:p@h/r", "embedmd-database-type": "postgres"},
            "postgresql+psycopg://u:p@h/r",
        ),
        (
            {
                "embedmd-database-dsn": "host=h dbname=r",
                "embedmd-database-type": "postgres",
                "embedmd-database-ssl-root-cert": "/ca.pem",
                "embedmd-database-ssl-verify-server-cert": "True",
            },
            "postgresql+psycopg://h/r?sslmode=verify-full&sslrootcert=%2Fca.pem",
        ),
    ],
)
def test_flags_become_one_url(values: dict[str, str], url: str | None) -> None:
    assert database(values) == url


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"embedmd-database-dsn": "x", "embedmd-database-type": "oracle"}, "no database type"),
        (
            {"embedmd-database-dsn": "x", "embedmd-database-ssl-verify-server-cert": "maybe"},
            "neither true nor false",
        ),
    ],
)
def test_what_is_not_offered_is_named(values: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        database(values)

"""Every notation of a database becomes one URL that its driver understands."""

import string

import psycopg.conninfo
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import make_url
from sqlalchemy.dialects.mysql.pymysql import MySQLDialect_pymysql
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from towpath.errors import InvalidError
from towpath.registry.dsn import Tls, database_at, database_url, from_mysql, from_postgres

TEXT = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\x00"), min_size=1, max_size=20
)
PLAIN = Tls()
NAME = st.text(string.ascii_letters + string.digits + "_-.", min_size=1, max_size=20)


def mysql(dsn: str, tls: Tls = PLAIN) -> dict[str, object]:
    """What the driver is called with."""
    return dict(MySQLDialect_pymysql().create_connect_args(make_url(from_mysql(dsn, tls)))[1])


def postgres(dsn: str, tls: Tls = PLAIN) -> dict[str, object]:
    url = make_url(from_postgres(dsn, tls))
    return dict(PGDialect_psycopg().create_connect_args(url)[1])


@given(user=NAME, password=TEXT, host=NAME, port=st.integers(1, 65535), name=NAME)
def test_a_mysql_password_is_taken_as_it_stands(
    user: str, password: str, host: str, port: int, name: str
) -> None:
    found = mysql(f"{user}:{password}@tcp({host}:{port})/{name}?parseTime=true")
    assert (found["user"], found["password"]) == (user, password)
    assert (found["host"], found["port"], found["database"]) == (host, port, name)


@given(user=NAME, password=TEXT, path=NAME, name=NAME)
def test_a_mysql_socket(user: str, password: str, path: str, name: str) -> None:
    found = mysql(f"{user}:{password}@unix(/run/{path}/mysqld.sock)/{name}")
    assert (found["user"], found["password"]) == (user, password)
    assert (found["unix_socket"], found["database"]) == (f"/run/{path}/mysqld.sock", name)
    assert "port" not in found


@pytest.mark.parametrize(
    ("dsn", "wanted"),
    [
        ("root@tcp(db)/r", {"user": "root", "host": "db", "port": 3306}),
        ("root@tcp([::1]:3307)/r", {"host": "::1", "port": 3307}),
        ("root@tcp([::1])/r", {"host": "::1", "port": 3306}),
        ("root@tcp(:3307)/r", {"host": "127.0.0.1", "port": 3307}),
        ("/r", {"host": "127.0.0.1", "port": 3306, "database": "r"}),
        ("root:@/r", {"user": "root"}),
        (":secret@/r", {"password": "secret"}),
        ("root@/a%2Fb", {"database": "a/b"}),
        ("u:p@w/x@y@tcp(h)/r?charset=latin1&loc=Local", {"password": "p@w/x@y", "host": "h"}),
        ("u@unix/r", {"unix_socket": "/tmp/mysql.sock"}),
        ("u@/r?timeout=90s&readTimeout=500ms&writeTimeout=2m", {"connect_timeout": 90}),
        ("u@/r?readTimeout=500ms&writeTimeout=2m", {"read_timeout": 1, "write_timeout": 120}),
        ("u@/r?tls=skip-verify", {"ssl": {"check_hostname": False}}),
        ("u@/r?tls=custom&charset=utf8", {"charset": "utf8mb4"}),
    ],
)
def test_mysql_as_go_reads_it(dsn: str, wanted: dict[str, object]) -> None:
    found = mysql(dsn)
    assert {key: found.get(key) for key in wanted} == wanted


def test_mysql_tls_verifies_against_the_machine_s_authorities() -> None:
    tls = mysql("u@tcp(h)/r?tls=true")["ssl"]
    assert isinstance(tls, dict)
    assert tls["check_hostname"] is True
    assert tls["capath"]


@pytest.mark.parametrize(
    ("tls", "wanted"),
    [
        (
            Tls("c.pem", "k.pem", "ca.pem", "AES", verify=True),
            {
                "cert": "c.pem",
                "key": "k.pem",
                "ca": "ca.pem",
                "cipher": "AES",
                "check_hostname": True,
            },
        ),
        (Tls(authority="ca.pem"), {"ca": "ca.pem", "check_hostname": False}),
    ],
)
def test_mysql_tls_of_flags(tls: Tls, wanted: dict[str, object]) -> None:
    assert mysql("u@tcp(h)/r?tls=custom", tls)["ssl"] == wanted


@pytest.mark.parametrize(
    ("tls", "wanted"),
    [
        (Tls(), {}),
        (Tls(authority="ca.pem"), {"sslrootcert": "ca.pem", "sslmode": "verify-ca"}),
        (Tls(authority="ca.pem", verify=True), {"sslmode": "verify-full"}),
        (Tls(verify=True), {"sslrootcert": "system", "sslmode": "verify-full"}),
        (Tls("c", "k"), {"sslcert": "c", "sslkey": "k", "sslmode": "require"}),
    ],
)
def test_postgres_tls_of_flags(tls: Tls, wanted: dict[str, object]) -> None:
    found = postgres("postgres://u@h/r", tls)
    assert {key: found.get(key) for key in wanted} == wanted


def test_postgres_keeps_its_own_mode() -> None:
    assert postgres("host=h sslmode=disable", Tls(authority="x"))["sslmode"] == "disable"


KEYS = st.fixed_dictionaries(
    {"host": NAME, "user": TEXT, "password": TEXT, "dbname": TEXT},
    optional={
        "port": st.integers(1, 65535).map(str),
        "application_name": TEXT,
        "sslmode": st.sampled_from(["disable", "require"]),
    },
)


@given(KEYS)
def test_postgres_pairs_as_its_own_library_writes_them(pairs: dict[str, str]) -> None:
    found = postgres(psycopg.conninfo.make_conninfo("", **pairs))
    assert {key: str(value) for key, value in found.items()} == pairs


@pytest.mark.parametrize(
    ("dsn", "wanted"),
    [
        ("postgres://u:p%40ss%2F@h:5433/r?sslmode=disable", {"password": "p@ss/", "port": 5433}),
        ("postgresql+psycopg://u@h/r", {"user": "u", "host": "h", "dbname": "r"}),
        ("host=/run/postgresql user=u dbname=r port=5433", {"host": "/run/postgresql"}),
        ("host=a,b port=1,2", None),
        ("host = 'a' user= 'it\\'s'  password='x y' dbname=r", {"user": "it's"}),
        ("host=h password=a\\ b dbname=r TimeZone=UTC pool_max_conns=3", {"password": "a b"}),
    ],
)
def test_postgres_notations(dsn: str, wanted: dict[str, object] | None) -> None:
    if wanted is None:
        with pytest.raises(InvalidError):
            from_postgres(dsn)
        return
    found = postgres(dsn)
    assert {key: found.get(key) for key in wanted} == wanted
    assert not {"TimeZone", "timezone", "pool_max_conns"} & set(found)


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("postgres://u:p%40w@h/r", "postgresql+psycopg://u:p%40w@h/r"),
        ("postgresql://h/r", "postgresql+psycopg://h/r"),
        ("postgresql+psycopg2://h/r", "postgresql+psycopg2://h/r"),
        ("mysql://u@h/r", "mysql+pymysql://u@h/r"),
        ("mariadb://u@h/r", "mariadb+pymysql://u@h/r"),
        (" sqlite:////a/b.sqlite\n", "sqlite:////a/b.sqlite"),
    ],
)
def test_a_url_gets_the_driver_that_is_tested(url: str, wanted: str) -> None:
    assert database_url(url) == wanted


@given(TEXT.map(lambda text: f"hunter2{text}"))
def test_what_cannot_be_read_is_not_repeated(secret: str) -> None:
    for read in (database_url, from_mysql, from_postgres):
        with pytest.raises(InvalidError) as caught:
            read(f"(={secret}@x(")
        assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    "dsn",
    ["", "u:p@tcp(h)", "u@tcp(h:x)/r", "u@tcp(h:99999)/r", "u@pipe(x)/r", "u@tcp(h/r", "u@[x]/r"],
)
def test_a_wrong_mysql_dsn_is_refused(dsn: str) -> None:
    with pytest.raises(InvalidError, match="MySQL DSN"):
        from_mysql(dsn)


@pytest.mark.parametrize("dsn", ["", " ", "host", "host='h", "host=h port=x", "=h", "host=h user"])
def test_a_wrong_postgres_dsn_is_refused(dsn: str) -> None:
    with pytest.raises(InvalidError, match="PostgreSQL DSN"):
        from_postgres(dsn)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "postgresql:/u:hunter2@h/r",
        "postgresql://u:p@hunter2@h/r",
        "postgresql://u:p@ss/hunter2@h/r",
        "mysql+pymysql://u:p@ss/w:hunter2@h:3306/r",
        "u:hunter2@tcp(db:3306)/r?charset=utf8mb4",
        "host=db user=u password=hunter2 dbname=r",
        "dbname=r password='hunter2'",
    ],
)
def test_what_was_meant_as_no_file_makes_none(text: str) -> None:
    with pytest.raises(InvalidError, match="cannot be read") as caught:
        database_at(text)
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize("name", ["r.sqlite", "a b/r:1@x.db", "100%/r.db", "mysql.sqlite", "r@h"])
def test_a_file_may_be_called_anything_else(name: str) -> None:
    assert str(make_url(database_at(f"/home/{name}")).database) == f"/home/{name}"

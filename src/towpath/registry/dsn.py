"""Where the database is, in every notation that users of a registry know.

Ours is a SQLAlchemy URL. The upstream server takes the notation of Go's MySQL driver, or a libpq
URL or ``key=value`` text for PostgreSQL. All become one URL here; nothing is connected to. An error
says what is wrong and never quotes the text: a password stands in it.

Source: go-sql-driver/mysql documentation, "DSN (Data Source Name)"; PostgreSQL documentation,
"Connection Strings".
"""

import re
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import unquote, unquote_plus

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from towpath.errors import InvalidError

__all__ = ["Tls", "database_at", "database_url", "from_mysql", "from_postgres"]

DRIVERS: Final[Mapping[str, str]] = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
"""The drivers that Towpath is tested with, for a URL that names none."""
_MYSQL: Final = re.compile(r"(?:(?P<net>[a-z0-9]+)(?:\((?P<address>.*)\))?)?")
_ADDRESS: Final = re.compile(r"(?:\[(?P<six>[^\]]+)\]|(?P<host>[^:]*))(?::(?P<port>\d{1,5}))?")
_SECONDS: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
_SCALE: Final = {"ms": 0.001, "s": 1.0, "m": 60.0}
_GO_ONLY: Final = re.compile(r"timezone|pool_\w+|default_query_exec_mode|\w+_cache_capacity", re.I)
"""Options of Go's PostgreSQL driver that mean nothing here: times are numbers, the pool is ours."""
_MYSQL_HINT: Final = "It looks like user:password@tcp(host:3306)/name."
_NO_FILE: Final = re.compile(
    r"(postgres(ql)?|mysql|mariadb|sqlite)(\+\w+)?:|.*@\w+\(|(.*\s)?(host|user|password|dbname)\s*=",
    re.DOTALL,
)
"""What somebody meant as a URL or a DSN; as the name of a file it would show a password."""


@dataclass(frozen=True)
class Tls:
    """TLS to the database, as upstream's flags say it.

    Args:
        cert: Our certificate.
        key: Its key.
        authority: Authorities that the server's certificate may be from.
        cipher: For MySQL.
        verify: Whether the server's certificate must be for its name.
    """

    cert: str = ""
    key: str = ""
    authority: str = ""
    cipher: str = ""
    verify: bool = False


def database_url(text: str) -> str:
    """A URL with the driver that Towpath is tested with, where it names none.

    Raises:
        InvalidError: it is no database URL.
    """
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        raise _unreadable() from None
    if not url.drivername.startswith("sqlite") and "@" in f"{url.host}{url.database}":
        raise _unreadable()  # the rest of a password with an @ in it, which messages would show
    return _text(url.set(drivername=DRIVERS.get(url.drivername, url.drivername)))


def database_at(text: str) -> str:
    """The URL of a database that is named by one, or, for SQLite, by its file.

    Raises:
        InvalidError: it is no database URL.
    """
    if "://" in text:
        return database_url(text)
    if not text.strip() or _NO_FILE.match(text):
        raise _unreadable()
    return _text(URL.create("sqlite", database=str(Path(text).absolute())))


def _unreadable() -> InvalidError:
    return InvalidError(
        "the URL of the database cannot be read",
        hint="It looks like postgresql://user:password@host/name, mysql://… or "
        "sqlite:////path/registry.sqlite; write special characters of a password as %40. "
        "The upstream server's DSN goes to --embedmd-database-dsn.",
    )


def from_mysql(dsn: str, tls: Tls = Tls()) -> str:
    """The URL of ``user:password@net(address)/name?option=value``.

    The password is taken as it stands: only the last ``@`` before the last ``/`` ends it.

    Raises:
        InvalidError: it is of another form.
    """
    before, slash, after = dsn.rpartition("/")
    if not slash:
        raise InvalidError("the MySQL DSN names no database after a '/'", hint=_MYSQL_HINT)
    name, _, options = after.partition("?")
    credentials, _, where = before.rpartition("@")
    user, colon, password = credentials.partition(":")
    found = _MYSQL.fullmatch(where)
    net, address = ("", "") if found is None else (found["net"] or "tcp", found["address"])
    if net not in ("tcp", "tcp4", "tcp6", "unix"):
        postgres = dsn.lstrip().startswith("postgres")
        raise InvalidError(
            "the MySQL DSN names no address as tcp(…) or unix(…)",
            hint="For this one, say --embedmd-database-type postgres." if postgres else _MYSQL_HINT,
        )
    host, port, query = "127.0.0.1", 3306, {"charset": "utf8mb4"}
    if net == "unix":
        query["unix_socket"] = address or "/tmp/mysql.sock"  # noqa: S108 - the driver's default
    elif address:
        host, port = _host(address, port)
    query |= _mysql_options(options)
    query |= _mysql_tls(tls)
    return _text(
        URL.create(
            DRIVERS["mysql"],
            username=user,
            password=password if colon else None,
            host="localhost" if net == "unix" else host,
            port=None if net == "unix" else port,
            database=unquote(name) or None,
            query=query,
        )
    )


def from_postgres(dsn: str, tls: Tls = Tls()) -> str:
    """The URL of a libpq URL, or of ``host=… user=… password='…' dbname=…``.

    Raises:
        InvalidError: it is of neither form.
    """
    if re.match(r"\s*postgres(ql)?(\+\w+)?://", dsn):
        url = make_url(database_url(dsn))
        query = {key: value for key, value in url.query.items() if not _GO_ONLY.fullmatch(key)}
        url = url.set(query=query)
    else:
        found = dict(_pairs(dsn))
        if not found:
            raise InvalidError(
                "the PostgreSQL DSN is empty",
                hint="It looks like postgres://user:password@host/name, or host=… dbname=….",
            )
        port = found.pop("port", "")
        if port and not port.isdigit():
            raise InvalidError("the PostgreSQL DSN has a port that is no number")
        url = URL.create(
            DRIVERS["postgres"],
            username=found.pop("user", "" if found.get("password") else None),
            password=found.pop("password", None),
            port=int(port) if port else None,
            database=found.pop("dbname", None) or found.pop("database", None),
            query={key: value for key, value in found.items() if not _GO_ONLY.fullmatch(key)},
        )
        host = url.query.get("host", "")
        if isinstance(host, str) and host and not host.startswith(("/", "@")) and "," not in host:
            url = url.set(host=host).difference_update_query(["host"])
        elif port:  # a socket or several hosts stay an option, and their port beside them
            url = url.set(port=None).update_query_dict({"port": port})
    return _text(url.update_query_dict(_postgres_tls(tls, url)))


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def _host(address: str, port: int) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(address)
    if found is None or int(found["port"] or port) > 65535:
        raise InvalidError(
            "the MySQL DSN has an address that is no host and port", hint=_MYSQL_HINT
        )
    return found["six"] or found["host"] or "127.0.0.1", int(found["port"] or port)


def _mysql_options(options: str) -> dict[str, str]:
    """What the driver here has a word for; the others tune Go's driver."""
    told = dict(one.partition("=")[::2] for one in options.split("&") if one)
    found: dict[str, str] = {}
    for ours, theirs in (
        ("connect_timeout", "timeout"),
        ("read_timeout", "readTimeout"),
        ("write_timeout", "writeTimeout"),
    ):
        duration = _SECONDS.fullmatch(told.get(theirs, ""))
        if duration is not None:
            seconds = float(duration[1]) * _SCALE[duration[2]]
            found[ours] = str(max(1, round(seconds)))
    match unquote_plus(told.get("tls", "false")).lower():
        case "true" | "1":
            found |= {"ssl_capath": _authorities(), "ssl_check_hostname": "true"}
        case "skip-verify":
            found["ssl_check_hostname"] = "false"
        case _:  # preferred, which the driver here does anyway, or a name that the flags explain
            pass
    return found


def _authorities() -> str:
    paths = ssl.get_default_verify_paths()
    return paths.capath or paths.openssl_capath


def _mysql_tls(tls: Tls) -> dict[str, str]:
    if tls == Tls():
        return {}
    named = {
        "ssl_cert": tls.cert,
        "ssl_key": tls.key,
        "ssl_ca": tls.authority,
        "ssl_cipher": tls.cipher,
        "ssl_capath": _authorities() if tls.verify and not tls.authority else "",
        "ssl_check_hostname": "true" if tls.verify else "false",
    }
    return {key: value for key, value in named.items() if value}


def _postgres_tls(tls: Tls, url: URL) -> dict[str, str]:
    if tls == Tls():
        return {}
    mode = "verify-full" if tls.verify else "verify-ca" if tls.authority else "require"
    named = {
        "sslcert": tls.cert,
        "sslkey": tls.key,
        "sslrootcert": tls.authority or ("system" if tls.verify else ""),
        "sslmode": mode if tls.verify or "sslmode" not in url.query else "",
    }
    return {key: value for key, value in named.items() if value}


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    """The pairs of ``key=value key='a value'``; a backslash keeps what follows it."""
    rest = text.strip()
    while rest:
        found = re.match(
            r"(?P<key>\w+)\s*=\s*(?:'(?P<quoted>(?:\\.|[^'\\])*)'|(?P<plain>(?:\\.|[^\s'\\])*))"
            r"(?:\s+|\Z)",
            rest,
            re.DOTALL,
        )
        if found is None:
            raise InvalidError(
                f"the PostgreSQL DSN cannot be read at character {len(text) - len(rest) + 1}",
                hint="It looks like host=db user=registry password='…' dbname=name; within "
                "quotes, write a backslash before a quote or a backslash.",
            )
        value = found["plain"] if found["quoted"] is None else found["quoted"]
        yield found["key"].lower(), re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        rest = rest[found.end() :]

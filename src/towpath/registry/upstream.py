"""The flags of the upstream server's ``proxy`` command: what they say, in our words.

A manifest that starts the upstream server starts this one with the same arguments. A value comes
from its flag, else from the environment (``MR_`` and the flag's name), else from the configuration
file, else it is the default.

Source: registry specification 3.2.
"""

from collections.abc import Mapping
from typing import Any, Final

from towpath.errors import InvalidError
from towpath.registry.dsn import Tls, from_mysql, from_postgres

__all__ = ["FILE", "FLAGS", "database", "settled", "variable"]

FILE: Final = ".model-registry.yaml"
"""The configuration file's default name, in the user's home."""
_DATABASE: Final = "embedmd-database"
FLAGS: Final = (
    "hostname",
    "port",
    "datastore-type",
    *(
        f"{_DATABASE}-{name}"
        for name in (
            "type",
            "dsn",
            "ssl-cert",
            "ssl-key",
            "ssl-root-cert",
            "ssl-ca",
            "ssl-cipher",
            "ssl-verify-server-cert",
        )
    ),
)
"""All that are understood, without their dashes."""
_SWITCH: Final = {
    **dict.fromkeys(("1", "t", "true"), True),
    **dict.fromkeys(("0", "f", "false", ""), False),
}


def variable(flag: str) -> str:
    """The environment's name of a flag: ``MR_EMBEDMD_DATABASE_DSN``."""
    return "MR_" + flag.upper().replace("-", "_")


def settled(
    flags: Mapping[str, str | None], environment: Mapping[str, str], file: Mapping[str, Any]
) -> dict[str, str]:
    """The value of each flag that somebody set.

    Args:
        flags: By name; None for what was not given.
        environment: All of it.
        file: The configuration file's content; keys in any case.

    Raises:
        InvalidError: a value in the file is no text, number or switch; or they ask for a kind of
            store that is not offered.
    """
    kept = {str(key).lower(): value for key, value in file.items()}
    found: dict[str, str] = {}
    for name in FLAGS:
        given = flags.get(name)
        if given is None:
            given = environment.get(variable(name)) or None  # as upstream: empty is not set
        if given is None and kept.get(name) is not None:
            value = kept[name]
            if not isinstance(value, str | int | bool):
                raise InvalidError(f"{name} in the configuration file is no text or number")
            given = str(value)
        if given is not None:
            found[name] = given
    store = found.get("datastore-type", "embedmd")
    if store != "embedmd":
        raise InvalidError(
            f"there is no datastore type {store[:40]!r}", hint="embedmd is the only one."
        )
    return found


def database(values: Mapping[str, str]) -> str | None:
    """The URL of the database that settled flags name, if they name one.

    Raises:
        InvalidError: what they say cannot be, or is not offered.
    """
    dsn = values.get(f"{_DATABASE}-dsn", "")
    if not dsn.strip():
        return None
    tls = Tls(
        cert=values.get(f"{_DATABASE}-ssl-cert", ""),
        key=values.get(f"{_DATABASE}-ssl-key", ""),
        authority=values.get(f"{_DATABASE}-ssl-root-cert") or values.get(f"{_DATABASE}-ssl-ca", ""),
        cipher=values.get(f"{_DATABASE}-ssl-cipher", ""),
        verify=_switch(values, f"{_DATABASE}-ssl-verify-server-cert"),
    )
    match values.get(f"{_DATABASE}-type", "mysql"):
        case "mysql":
            return from_mysql(dsn, tls)
        case "postgres":
            return from_postgres(dsn, tls)
        case other:
            raise InvalidError(
                f"there is no database type {other[:40]!r}", hint="Use mysql or postgres."
            )


def _switch(values: Mapping[str, str], name: str) -> bool:
    found = _SWITCH.get(values.get(name, "").lower())
    if found is None:
        raise InvalidError(f"--{name} is neither true nor false")
    return found

"""``towpath registry …``: the model registry alone, without a platform."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import typer

from towpath.cli import exchange
from towpath.cli.child import become
from towpath.cli.main import OutputOption
from towpath.cli.output import Output
from towpath.errors import InvalidError

__all__ = ["add_to"]

EXAMPLE: Final = "Example: towpath registry serve --db ./registry.sqlite"
UPSTREAM: Final = "As the upstream server's flag."
VARIABLE: Final = "TOWPATH_REGISTRY_DB"


def add_to(cli: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="The model registry alone.", no_args_is_help=True)
    group.command("serve", epilog=EXAMPLE)(serve)
    group.command("proxy", hidden=True)(serve)  # the upstream server's name of it
    exchange.add_to(group)
    cli.add_typer(group, name="registry")


def _upstream(*names: str) -> Any:
    return typer.Option(*names, help=UPSTREAM, hidden=True)


def serve(
    context: typer.Context,
    db: Annotated[
        str | None,
        typer.Option(
            "--db",
            help="Database: a file for SQLite, or a URL as postgresql://user:password@host/name "
            "or mysql://… (default: a file in the user's data folder). The environment's "
            f"{VARIABLE} says the same, and nobody reads the password in it.",
            show_default=False,
        ),
    ] = None,
    db_file: Annotated[
        Path | None,
        typer.Option("--db-file", help="File that holds this URL.", show_default=False),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "--host",
            "--hostname",
            "-n",
            help="Address to listen on (default: 127.0.0.1).",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            "-p",
            min=0,
            max=65535,
            help="Port; 0 takes a free one (default: 8080).",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=256, help="Processes that answer.")
    ] = 1,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert", help="Certificate chain (PEM) to serve with.", show_default=False
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="Its key (PEM).", show_default=False)
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(
            "--tokens",
            help='File of tokens: lines of token,user,uid,"group,group".',
            show_default=False,
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            "--kubeconfig",
            help="Kubernetes API that is asked whose a token is.",
            show_default=False,
        ),
    ] = None,
    in_cluster: Annotated[
        bool, typer.Option("--in-cluster", help="Ask the API of the cluster this runs in.")
    ] = False,
    oidc_issuer: Annotated[
        str | None,
        typer.Option(
            "--oidc-issuer",
            help="URL of an OpenID Connect issuer; its claims are named by settings.",
            show_default=False,
        ),
    ] = None,
    oidc_audience: Annotated[
        str | None,
        typer.Option(
            "--oidc-audience", help="Whom its tokens must be for (client id).", show_default=False
        ),
    ] = None,
    oidc_groups_claim: Annotated[
        str | None,
        typer.Option(
            "--oidc-groups-claim", help="Claim that holds the groups.", show_default=False
        ),
    ] = None,
    reader: Annotated[
        list[str] | None,
        typer.Option(
            "--reader",
            help="User or group that may read; may be repeated "
            "(default: whoever has a token that is known).",
            show_default=False,
        ),
    ] = None,
    writer: Annotated[
        list[str] | None,
        typer.Option(
            "--writer",
            help="User or group that may write (default: registry-writers).",
            show_default=False,
        ),
    ] = None,
    admin: Annotated[
        list[str] | None,
        typer.Option(
            "--admin",
            help="User or group that may delete, import and export (default: registry-admins).",
            show_default=False,
        ),
    ] = None,
    everybody: Annotated[
        bool,
        typer.Option(
            "--open",
            envvar="TOWPATH_REGISTRY_OPEN",
            help="Let callers without a token read and write, on any address.",
        ),
    ] = False,
    allow_delete: Annotated[
        bool, typer.Option("--allow-delete", help="Let admins delete what is archived.")
    ] = False,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(
            "--cors-origin",
            help="Web origin whose pages may call; may be repeated.",
            show_default=False,
        ),
    ] = None,
    access_log: Annotated[
        bool,
        typer.Option("--access-log/--no-access-log", help="Log each request, without its query."),
    ] = True,
    config: Annotated[Path | None, _upstream("--config", "-c")] = None,
    datastore_type: Annotated[str | None, _upstream("--datastore-type")] = None,
    database_type: Annotated[str | None, _upstream("--embedmd-database-type")] = None,
    database_dsn: Annotated[str | None, _upstream("--embedmd-database-dsn")] = None,
    ssl_cert: Annotated[str | None, _upstream("--embedmd-database-ssl-cert")] = None,
    ssl_key: Annotated[str | None, _upstream("--embedmd-database-ssl-key")] = None,
    ssl_root_cert: Annotated[str | None, _upstream("--embedmd-database-ssl-root-cert")] = None,
    ssl_ca: Annotated[str | None, _upstream("--embedmd-database-ssl-ca")] = None,
    ssl_cipher: Annotated[str | None, _upstream("--embedmd-database-ssl-cipher")] = None,
    ssl_verify: Annotated[
        str | None, _upstream("--embedmd-database-ssl-verify-server-cert")
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Run a model registry in the foreground; Ctrl-C stops it.

    It speaks the Kubeflow Model Registry API. Whoever can reach it on this machine may use it;
    on any other address it wants to know whose tokens are good.
    """
    if db == "":  # of a variable that is not set, most likely
        raise InvalidError("--db is empty", hint="Name a file or a URL, or leave it out.")
    if (tls_cert is None) != (tls_key is None):
        raise InvalidError("--tls-cert and --tls-key go together", hint="Name both, or neither.")
    flags = {
        "datastore-type": datastore_type,
        "embedmd-database-type": database_type,
        "embedmd-database-dsn": database_dsn,
        "embedmd-database-ssl-cert": ssl_cert,
        "embedmd-database-ssl-key": ssl_key,
        "embedmd-database-ssl-root-cert": ssl_root_cert,
        "embedmd-database-ssl-ca": ssl_ca,
        "embedmd-database-ssl-cipher": ssl_cipher,
        "embedmd-database-ssl-verify-server-cert": ssl_verify,
    }
    place = _place(db, db_file, flags, config)
    knobs: dict[str, str | bool | list[str] | None] = {
        "oidc_issuer": oidc_issuer,
        "oidc_audience": oidc_audience,
        "oidc_groups_claim": oidc_groups_claim,
        "readers": reader,
        "writers": writer,
        "admins": admin,
        "cors_origins": cors_origin,
        "allow_delete": allow_delete or None,
        "access_log": None if access_log else False,
    }
    found = {
        "database": place.url,
        "host": host or place.values.get("hostname", "127.0.0.1"),
        "port": _port(place.values) if port is None else port,
        "workers": workers,
        "certificate": [str(tls_cert.absolute()), str(tls_key.absolute())]
        if tls_cert and tls_key
        else None,
        "tokens": str(tokens.absolute()) if tokens else None,
        "reviewer": _reviewer(kubeconfig, in_cluster=in_cluster),
        "settings": {"registry": _settings(place.folder, knobs)},
        "open": everybody,
        "json": output is Output.json,
        "debug": context.obj["debug"],
    }
    if workers > 1 and place.url.startswith("sqlite"):
        raise InvalidError(
            f"SQLite has one writer at a time: {workers} workers would wait for each other",
            hint="Leave out --workers, or name a PostgreSQL or MySQL database with --db.",
        )
    become("registry", "registry", found)


class _Place(NamedTuple):
    """Where the database is, what the upstream's flags say, and where our settings are."""

    url: str
    values: Mapping[str, str]
    folder: Path


def _place(
    db: str | None, db_file: Path | None, flags: Mapping[str, str | None], config: Path | None
) -> _Place:
    """The database that was named in one of many ways: by a flag of ours, by one of upstream's, by
    our variable, by upstream's, by a file of upstream's; else the default.
    """
    from platformdirs import user_data_path
    from sqlalchemy import make_url

    from towpath.registry import upstream
    from towpath.registry.dsn import database_at

    dsn = flags["embedmd-database-dsn"]
    ways = (("--db", db), ("--db-file", db_file), ("--embedmd-database-dsn", dsn))
    named = [name for name, given in ways if given]
    if len(named) > 1:
        raise InvalidError(f"{' and '.join(named)} both name a database", hint="Name one.")
    values = upstream.settled(flags, os.environ, _file(config))
    text = db or (_line(db_file) if db_file else "") or (not dsn and os.environ.get(VARIABLE)) or ""
    folder = user_data_path("towpath-registry", appauthor=False)
    url = database_at(text) if text else upstream.database(values)
    if url is None:
        url = database_at(str(folder / "registry.sqlite"))
    if url.startswith("sqlite"):
        name = make_url(url).database
        if name and name != ":memory:":
            path = Path(name)
            if path.is_dir():
                raise InvalidError(f"{path} is a folder", hint="Name a file for the database.")
            folder = path.parent
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return _Place(url, values, folder)


def _line(path: Path) -> str:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidError(f"{path} cannot be read: {getattr(exc, 'strerror', exc)}") from exc
    if not text or "\n" in text:
        raise InvalidError(f"{path} does not hold one line with the URL of a database")
    return text


def _file(path: Path | None) -> Mapping[str, Any]:
    """What a configuration file of upstream says; the one in the user's home may be missing."""
    import yaml

    from towpath.registry import upstream

    named = path or Path.home() / upstream.FILE
    try:
        found = yaml.safe_load(named.read_text())
    except FileNotFoundError:
        if path is None:
            return {}
        raise InvalidError(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        what = exc.strerror if isinstance(exc, OSError) else "it is no YAML"  # never its content
        raise InvalidError(f"{named} cannot be read: {what}") from None
    if found is not None and not isinstance(found, Mapping):
        raise InvalidError(f"{named} is no mapping of flags to values")
    return found or {}


def _port(values: Mapping[str, str]) -> int:
    text = values.get("port", "8080")
    if not text.isdecimal() or int(text) > 65535:
        raise InvalidError(f"the port {text[:20]!r} is no number from 0 to 65535")
    return int(text)


def _reviewer(kubeconfig: Path | None, *, in_cluster: bool) -> str | list[str | int] | None:
    if kubeconfig is not None and in_cluster:
        raise InvalidError("--kubeconfig and --in-cluster name two APIs", hint="Name one.")
    if kubeconfig is not None:
        return str(kubeconfig.absolute())
    if not in_cluster:
        return None
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not port.isdecimal():
        raise InvalidError(
            "--in-cluster: the environment names no Kubernetes API", hint="Is this a pod?"
        )
    return [host, int(port)]


def _settings(
    folder: Path, knobs: Mapping[str, str | bool | list[str] | None]
) -> Mapping[str, Any]:
    """The registry's settings, with the flags over them."""
    from towpath.cli.configuration import configured

    told = {
        name: ",".join(value) if isinstance(value, list) else value
        for name, value in knobs.items()
        if value is not None
    }
    return configured(folder).merged({"registry": told}, "arguments").to_config()["registry"]

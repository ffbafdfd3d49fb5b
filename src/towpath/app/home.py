"""The home folder: everything of a platform that lasts, and where in it.

``home.json`` says what the folder is, which version of the layout it has, and what must not change
while it lives: the port base. Copying the folder while the platform is stopped is a full backup.
"""

import json
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from towpath.app.ports import Ports
from towpath.auth import new_token
from towpath.errors import ConflictError, InvalidError, NotFoundError
from towpath.files import kept_secret, write_atomic
from towpath.process import locked

__all__ = ["HUB", "REPOSITORY", "Home"]

VERSION: Final = 1
OURS: Final = frozenset({"lock", "settings.toml", "run", "logs", "edges", "secrets"})
"""What a home may hold before it is one: settings, and what an attempt to start it left."""
HUB: Final = "hub"
"""Name of the hub's own cluster."""
REPOSITORY: Final = "fleet"
"""Name of the git repository that says what runs where."""


@dataclass(frozen=True)
class _Facts:
    """What ``home.json`` holds."""

    version: int = VERSION
    port_base: int | None = None
    edges: int = 0


@dataclass(frozen=True)
class Home:
    """A platform's folder, opened.

    Args:
        path: Absolute.
        ports: Where its surfaces listen.
        edges: How many edge clusters it has.
    """

    path: Path
    ports: Ports
    edges: int

    @classmethod
    def open(cls, path: Path) -> "Home":
        """Open an existing home.

        Raises:
            NotFoundError: there is none.
            InvalidError: the folder is something else, or of a newer version.
        """
        facts = _read(path)
        if facts is None:
            raise NotFoundError(
                f"there is no platform in {path}",
                hint="Start one with 'towpath up', or name its folder with --home or TOWPATH_HOME.",
            )
        return cls(path.resolve(), Ports(facts.port_base), facts.edges)

    @classmethod
    def make(cls, path: Path, *, port_base: int | None, edges: int | None) -> "Home":
        """Open a home to run it; made when missing.

        Args:
            path: The folder.
            port_base: None keeps what the home has (the well-known ports for a new one).
            edges: None keeps what the home has (none for a new one).

        Raises:
            ConflictError: the home was made with another port base.
            InvalidError: the folder is something else, of a newer version, or the ports do not fit.
        """
        facts = _read(path)
        if facts is None:
            if path.is_dir() and any(entry.name not in OURS for entry in path.iterdir()):
                raise InvalidError(
                    f"{path} is not empty and is no Towpath home",
                    hint="Name an empty or a new folder with --home.",
                )
            facts = _Facts(port_base=port_base)
        elif port_base is not None and port_base != facts.port_base:
            raise ConflictError(
                f"{path} was made with "
                + (f"port base {facts.port_base}" if facts.port_base else "the well-known ports"),
                hint="Image references and git addresses in it name those ports. Leave out "
                "--port-base, or make another home.",
            )
        facts = replace(facts, edges=facts.edges if edges is None else edges)
        home = cls(path.resolve(), Ports(facts.port_base), facts.edges)
        home.ports.check(home.edges)
        return home

    def save(self) -> None:
        """Write ``home.json``: from now on the folder is a home with these ports."""
        facts = _Facts(port_base=self.ports.base, edges=self.edges)
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)  # databases in it hold Secrets
        text = json.dumps(asdict(facts), indent=2) + "\n"
        write_atomic(self.path / "home.json", text.encode())

    @property
    def edge_names(self) -> tuple[str, ...]:
        """``edge-1``, ``edge-2``, …"""
        return tuple(f"edge-{number}" for number in range(1, self.edges + 1))

    def cluster(self, name: str) -> Path:
        """Folder of a cluster: the home itself for the hub."""
        return self.path if name == HUB else self.path / "edges" / name

    def kubeconfig(self, name: str = HUB) -> Path:
        """The administrator's kubeconfig of a cluster."""
        return self.cluster(name) / "kubeconfig"

    def url(self, surface: str) -> str:
        """Address of one of the hub's surfaces."""
        scheme = "https" if surface == "kubernetes" else "http"
        return f"{scheme}://127.0.0.1:{self.ports.hub(surface)}"

    def repository(self, name: str = REPOSITORY) -> str:
        """URL of a git repository of the hub, as clusters reach it."""
        return f"{self.url('git')}/{name}.git"

    @property
    def models(self) -> Path:
        """Model files: ``<name>/<version>/…``."""
        return self.path / "models"

    def token(self, name: str) -> str:
        """A secret of this home, made when first asked for; its file has mode 600."""
        return kept_secret(self.path / "secrets" / f"{name}.token", new_token)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the home: one platform runs on it at a time.

        Raises:
            ConflictError: another process holds it.
        """
        hint = "Stop that platform with Ctrl-C, or use another folder with --home."
        return locked(self.path / "lock", hint)


def _read(path: Path) -> _Facts | None:
    try:
        found = json.loads((path / "home.json").read_bytes())
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise InvalidError(f"{path} is a file, not a folder", hint="Name a folder.") from None
    except (OSError, ValueError) as exc:
        raise InvalidError(f"{path / 'home.json'} cannot be read: {exc}") from exc
    version = found.get("version") if isinstance(found, dict) else None
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        raise InvalidError(
            f"{path} has layout version {version}; this Towpath knows version {VERSION}",
            hint="Install the newer Towpath that made it." if newer else "It is damaged.",
        )
    base, edges = found.get("port_base"), found.get("edges", 0)
    if not isinstance(edges, int) or not (base is None or isinstance(base, int)):
        raise InvalidError(f"{path / 'home.json'} is damaged: port_base or edges is no number")
    return _Facts(VERSION, base, edges)

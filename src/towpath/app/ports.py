"""Which surface listens where: a function of the port base. All on 127.0.0.1."""

import random
import socket
from dataclasses import dataclass
from typing import Final

from towpath.errors import InvalidError, UnavailableError

__all__ = ["EDGE_STEP", "HOST", "Ports", "free_base"]

HOST: Final = "127.0.0.1"
EDGE_STEP: Final = 100
EDGE_DEFAULT_BASE: Final = 6500

# surface: (port by default, offset from --port-base)
SURFACES: Final = {
    "kubernetes": (6443, 0),
    "registry": (8080, 1),
    "distribution": (5000, 2),
    "location": (9090, 3),
    "storage": (7070, 4),
    "dashboard": (8000, 5),
    "gateway": (8008, 6),
    "git": (8009, 7),
    "prometheus": (8010, 8),
}


@dataclass(frozen=True)
class Ports:
    """The ports of a platform.

    Args:
        base: From ``--port-base``; None for the well-known ports.
    """

    base: int | None = None

    def check(self, edges: int) -> None:
        """Refuse a base that leaves no room.

        Raises:
            InvalidError: a port would lie outside 1024 to 65535.
        """
        highest = self.edge(edges, "gateway") if edges else 0
        if self.base is not None and not 1024 <= self.base <= 65535 - len(SURFACES):
            raise InvalidError(
                f"port base {self.base} leaves no room", hint="Use 1024 to 65000 for --port-base."
            )
        numbers = self.all(edges) if highest <= 65535 else []
        if highest > 65535 or len(set(numbers)) < len(numbers):
            raise InvalidError(
                f"{edges} edges do not fit: their ports would run into others",
                hint=f"Each edge takes {EDGE_STEP} ports. Use another --port-base in a new home "
                "(10000 has room for 500), or fewer --edges.",
            )

    def hub(self, surface: str) -> int:
        """The hub's port of a surface."""
        default, offset = SURFACES[surface]
        return default if self.base is None else self.base + offset

    def edge(self, number: int, surface: str) -> int:
        """The port of edge ``number`` (from 1) for ``kubernetes`` or ``gateway``."""
        base = EDGE_DEFAULT_BASE if self.base is None else self.base
        return base + EDGE_STEP * number + SURFACES[surface][1]

    def all(self, edges: int) -> list[int]:
        """Every port that a platform with so many edges may use."""
        numbers = [self.hub(surface) for surface in SURFACES]
        for number in range(1, edges + 1):
            numbers += [self.edge(number, surface) for surface in ("kubernetes", "gateway")]
        return numbers


def free_base(edges: int) -> int:
    """A port base of which no port is taken now.

    Raises:
        UnavailableError: none was found.
    """
    for _ in range(100):
        base = random.randrange(10_000, 30_000, 50)  # noqa: S311 - below the ephemeral ports
        if all(_free(port) for port in Ports(base).all(edges)):
            return base
    raise UnavailableError("no free range of ports was found on this machine")


def _free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((HOST, port))
        except OSError:
            return False
    return True

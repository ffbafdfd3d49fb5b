"""The name of an image: registry, repository, and a tag or a digest (or both: the digest counts).

The grammar is that of the OCI distribution specification 1.1. The registry is always named: there
is no default one, since guessing where a model goes is worse than asking.
"""

import re
from dataclasses import dataclass
from typing import Final

from towpath.errors import InvalidError
from towpath.spec.names import DIGEST, REPOSITORY, TAG, Digest, ImageRef

__all__ = ["Reference", "is_registry", "parse"]

_PREFIXES: Final = ("oci://", "docker://")
_REGISTRY: Final = re.compile(
    r"(?:\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?)(?::[0-9]{1,5})?"
)
_LONGEST_NAME: Final = 255


@dataclass(frozen=True)
class Reference:
    """An image's name.

    Attributes:
        registry: ``host`` or ``host:port``.
        repository: ``team/fraud``.
        tag: Empty when there is none.
        digest: None when there is none.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: Digest | None = None

    @property
    def target(self) -> str:
        """What to ask the registry for: the digest, else the tag."""
        return self.digest or self.tag

    def at(self, digest: Digest) -> ImageRef:
        """``registry/repository@digest``."""
        return ImageRef(f"{self.registry}/{self.repository}@{digest}")

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def parse(text: str) -> Reference:
    """Parse ``[oci://]registry/repository[:tag][@digest]``; without either the tag is ``latest``.

    Raises:
        InvalidError: it is not an image's name; the message says which part is wrong.
    """
    rest = text
    for prefix in _PREFIXES:
        rest = rest.removeprefix(prefix)
    rest, at, digest = rest.partition("@")
    if at and not DIGEST.fullmatch(digest):
        raise _illegal(text, "what follows '@' is not a sha256 digest")
    registry, slash, name = rest.partition("/")
    if not slash or not is_registry(registry):
        raise _illegal(text, "it names no registry", "Begin with the registry's host and port.")
    repository, colon, tag = name.partition(":")
    if not REPOSITORY.fullmatch(repository) or len(repository) > _LONGEST_NAME:
        raise _illegal(
            text, "its repository is not legal", "Use lower-case letters, digits, '.', '_', '-'."
        )
    if colon and not TAG.fullmatch(tag):
        raise _illegal(text, "its tag is not legal")
    if not tag and not digest:
        tag = "latest"
    return Reference(registry, repository, tag, Digest(digest) if digest else None)


def is_registry(text: str) -> bool:
    """Whether a text is ``host`` or ``host:port``; of bare words only ``localhost`` is one."""
    named = "." in text or ":" in text or text == "localhost"
    return named and _REGISTRY.fullmatch(text) is not None


def _illegal(text: str, why: str, hint: str = "") -> InvalidError:
    host, slash, rest = text.split("://", 1)[-1].partition("/")
    shown = host.rsplit("@", 1)[-1] + slash + rest  # without user and password
    return InvalidError(f"{shown[:200]!r} is not the name of an image: {why}", hint=hint)

"""Where the objects of a kind live: asked of somebody who knows the API, or read from a table."""

from typing import Protocol

from towpath.errors import NotFoundError
from towpath.spec.kinds import KINDS
from towpath.spec.kube import Kind

__all__ = ["Kinds", "KnownKinds"]


class Kinds(Protocol):
    """Who knows the kinds of an API."""

    async def kind_of(self, api_version: str, kind: str) -> Kind:
        """The address of a kind. Raises NotFoundError."""
        ...


class KnownKinds:
    """The kinds that this installation knows by itself."""

    async def kind_of(self, api_version: str, kind: str) -> Kind:
        """The address of a kind. Raises NotFoundError."""
        try:
            return KINDS[api_version, kind]
        except KeyError:
            raise NotFoundError(f"kind {kind} of {api_version} is not known here") from None

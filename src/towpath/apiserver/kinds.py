"""What is served: one record per kind and version, the same for built-in and for custom kinds."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

from towpath.apiserver.fields import Topology, topology_of
from towpath.apiserver.schema import Schema
from towpath.errors import NotFoundError
from towpath.spec._wire import Json, JsonObject
from towpath.spec.kube import Kind

__all__ = ["VERBS", "Catalogue", "Column", "Resource", "Scale", "Subresource", "unknown"]

VERBS: Final = (
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
)
"""What can be done with a kind that is stored."""


@dataclass(frozen=True)
class Column:
    """A column of ``kubectl get``.

    Attributes:
        name: Its heading.
        value: JSONPath of the cell, or a function of the object and the time.
        type: OpenAPI type; ``date`` prints an age.
        priority: Above 0: only with ``-o wide``.
    """

    name: str
    value: str | Callable[[JsonObject, datetime], Json]
    type: str = "string"
    priority: int = 0
    description: str = ""


AGE = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True)
class Scale:
    """Where the ``scale`` subresource finds its numbers, as paths such as ``.spec.replicas``."""

    spec: str = ".spec.replicas"
    status: str = ".status.replicas"
    selector: str = ""


@dataclass(frozen=True)
class Subresource:
    """A subresource that the server answers itself, such as ``serviceaccounts/token``.

    Attributes:
        name: The last part of its path.
        kind: Of what is sent and answered.
        verbs: What can be done with it.
    """

    name: str
    kind: Kind
    verbs: tuple[str, ...]


@dataclass(frozen=True)
class Resource:
    """A kind as served in one version.

    Attributes:
        kind: Where it lives.
        singular: Name of one, lower case.
        short_names: What else kubectl may call it.
        categories: Groups of kinds that kubectl can list together.
        columns: What ``kubectl get`` shows after the name.
        status: Whether status is a subresource, written apart from the rest.
        custom: Whether a CustomResourceDefinition made it.
        generation: Whether metadata.generation counts changes of what is wanted.
        selectable: Fields a fieldSelector may name besides name and namespace.
        schema: What its objects look like, where that is known.
        mixed: Whether stored objects may be of another version, or of an older schema.
        stored: The version that is stored.
        scale: How ``scale`` reads and writes it, where it can be scaled.
        subresources: What else lies under an object of it, besides ``status`` and ``scale``.
        verbs: What can be done with it, as discovery lists it.
        deprecated: What a request to this version is warned of; empty for none.
    """

    kind: Kind
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    columns: tuple[Column, ...] = (AGE,)
    status: bool = False
    custom: bool = False
    generation: bool = False
    selectable: tuple[str, ...] = ()
    schema: Schema | None = None
    mixed: bool = False
    stored: str = ""
    scale: Scale | None = None
    subresources: tuple[Subresource, ...] = ()
    verbs: tuple[str, ...] = VERBS
    deprecated: str = ""

    @cached_property
    def topology(self) -> Topology:
        """How its lists and maps merge, as its schema says."""
        if self.schema is None:
            return Topology()
        return topology_of(self.schema.document, self.schema.types)

    @cached_property
    def key(self) -> str:
        """``plural.group`` (``plural`` in the core group): its name in messages and the store."""
        return f"{self.kind.plural}.{self.kind.group}" if self.kind.group else self.kind.plural

    @property
    def list_kind(self) -> str:
        """Kind of a list of these."""
        return f"{self.kind.kind}List"

    @property
    def qualified_kind(self) -> str:
        """``Kind.group``, as in messages about an invalid object."""
        return f"{self.kind.kind}.{self.kind.group}" if self.kind.group else self.kind.kind


def unknown() -> NotFoundError:
    """The error of a path that names nothing served."""
    return NotFoundError("the server could not find the requested resource")


class Catalogue:
    """Every kind served now.

    Args:
        builtin: Kinds that are always there.
    """

    def __init__(self, builtin: Iterable[Resource]) -> None:
        self._served: dict[tuple[str, str, str], Resource] = {}
        self._by_kind: dict[tuple[str, str], Resource] = {}
        self._by_key: dict[str, Resource] = {}
        self.add(builtin)

    def add(self, resources: Iterable[Resource]) -> None:
        """Serve these from now on."""
        for resource in resources:
            kind = resource.kind
            self._served[kind.group, kind.version, kind.plural] = resource
            self._by_kind[kind.api_version, kind.kind] = resource
            self._by_key[resource.key] = resource

    def remove(self, group: str, plural: str) -> None:
        """Serve no version of this kind any longer."""
        for found in [k for k in self._served if (k[0], k[2]) == (group, plural)]:
            resource = self._served.pop(found)
            at = (resource.kind.api_version, resource.kind.kind)
            if self._by_kind.get(at) is resource:
                del self._by_kind[at]
            self._by_key.pop(resource.key, None)

    def find(self, group: str, version: str, plural: str) -> Resource:
        """The kind at a path.

        Raises:
            NotFoundError: nothing is served there.
        """
        found = self._served.get((group, version, plural))
        if found is None:
            raise unknown()
        return found

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The kind an object or a reference names."""
        return self._by_kind.get((api_version, kind))

    def of_key(self, key: str) -> Resource | None:
        """One version of the kind with this ``plural.group``."""
        return self._by_key.get(key)

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._served.values()))

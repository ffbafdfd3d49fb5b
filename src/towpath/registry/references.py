"""How links and lineage name things: an entity by kind and id, anything outside by its URI."""

import re
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, select

from towpath.errors import NotFoundError
from towpath.registry.kinds import KINDS, METRIC_POINT, Kind
from towpath.registry.records import bad_request
from towpath.registry.tables import TABLES

__all__ = ["Reference", "check_there", "parse", "reference"]

URI_LENGTH: Final = 600

_ENTITY = re.compile(r"([A-Z][A-Za-z]{1,39})/([1-9][0-9]{0,9})", re.ASCII)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s\x00-\x1f\x7f]+")


@dataclass(frozen=True)
class Reference:
    """One end of a link: an entity, or, without a kind, what a URI names."""

    text: str
    kind: Kind | None = None
    id: int = 0


def reference(kind: Kind, ident: int) -> str:
    """The name of an entity, such as ``ModelVersion/12``."""
    return f"{kind.type}/{ident}"


def parse(text: str, field: str, *, entity: bool = False) -> Reference:
    """What a field refers to.

    Args:
        text: ``<Kind>/<id>`` or a URI.
        field: Its name, for messages.
        entity: Only an entity will do.

    Raises:
        InvalidError: it is neither, or too long.
    """
    found = _ENTITY.fullmatch(text)
    kind = KINDS.get(found[1]) if found else None
    if found and kind is not None and kind is not METRIC_POINT and int(found[2]) < 2**31:
        return Reference(text, kind, int(found[2]))
    if not entity and not found and len(text) <= URI_LENGTH and _URI.fullmatch(text):
        return Reference(text)
    known = ", ".join(name for name in KINDS if name != METRIC_POINT.type)
    raise bad_request(
        f"{field} is {text[:60]!r}",
        hint="It names an entity as ModelVersion/12"
        + ("" if entity else f", or is a URI of at most {URI_LENGTH} characters")
        + f". Kinds: {known}.",
    )


def check_there(tx: Connection, named: Reference) -> None:
    """Check that an entity is there, and keep it there until the transaction ends.

    Raises:
        NotFoundError: it is not.
    """
    if named.kind is None:
        return
    table = TABLES[named.kind.place]
    wanted = select(table.c.id).where(table.c.id == named.id, table.c.type == named.kind.type)
    if tx.execute(wanted.with_for_update(read=True, key_share=True)).first() is None:
        raise NotFoundError(f"no {named.kind.title} found for id {named.id}: not found")

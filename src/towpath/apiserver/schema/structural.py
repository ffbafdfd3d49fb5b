"""A structural schema as it is worked with: one node for each place, equal nodes being one.

A document of a megabyte says the same thing many times (a pod in each of thirty templates), so that
its nodes are a small part of it. Named types are read when a value of theirs is met.

Source: CustomResourceDefinition documentation, "Specifying a structural schema".
"""

from collections.abc import Mapping
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import orjson

from towpath.apiserver.schema.formats import FORMATS, Format, normal
from towpath.spec._wire import Json, JsonObject

__all__ = ["ABSENT", "META", "REFERENCE", "Node", "Types", "compiled", "types_of"]

REFERENCE: Final = "#/types/"
"""What a reference to a named type begins with."""
META: Final = frozenset({"apiVersion", "kind", "metadata"})
"""What every resource has, whatever its schema says."""
ABSENT: Final = object()
"""No value, where null is one."""

_TYPES: Final[Mapping[str, frozenset[type]]] = {
    "array": frozenset({list}),
    "boolean": frozenset({bool}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "object": frozenset({dict}),
    "string": frozenset({str}),
}
_NONE: Final[frozenset[type]] = frozenset()
_FACTS: Final = (
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "pattern",
    "uniqueItems",
)
_KEPT: Final = (
    *_FACTS,
    "default",
    "format",
    "nullable",
    "required",
    "type",
    "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-map-type",
    "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-validations",
)
"""Keywords that matter here and hold no schema."""


class Node:
    """What holds for the values at one place.

    Attributes:
        pending: Name of a type and what is said besides, until :meth:`settle`; else None.
        kind: ``type``, or ``integer,string``; empty is any.
        types: Python types of its values; empty is any.
        plain: Python types whose values are right without looking further.
        facts: Keywords about single values, as the document has them.
        format: What a text must be, where that is checked.
        required: Fields that must be there.
        properties: Fields.
        giving: Those of them that may have a default, or have one in them.
        additional: What holds for all other fields.
        open: Whether any other field may be there, of any content (``additionalProperties: true``).
        closed: Whether no other may (``additionalProperties: false``).
        items: What holds for the items of a list.
        preserve: Whether unknown fields are kept.
        embedded: Whether a value is a resource itself.
        nullable: Whether null is a value.
        keys: Fields that tell the items of a list apart; None for a list that is no map.
        unique: Whether a list is a set.
        atomic: Whether a map is replaced as a whole.
        all_of: Every one must hold.
        any_of: At least one must hold.
        covered: Python types of which at least one always does.
        one_of: Exactly one must hold.
        negated: What must not hold.
        rules: ``x-kubernetes-validations``, as the document has them.
        made: What rules.py makes of the rules.
        defaulting: Whether there may be defaults in it.
        ruling: Whether there are rules in it.
        inert: Whether nothing is ever pruned from a value.
    """

    __slots__ = (
        "__weakref__",
        "_default",
        "_types",
        "additional",
        "all_of",
        "any_of",
        "atomic",
        "closed",
        "covered",
        "defaulting",
        "embedded",
        "facts",
        "format",
        "format_name",
        "giving",
        "inert",
        "items",
        "keys",
        "kind",
        "made",
        "negated",
        "nullable",
        "one_of",
        "open",
        "pending",
        "plain",
        "preserve",
        "properties",
        "required",
        "rules",
        "ruling",
        "types",
        "unique",
    )

    def __init__(self, types: "Types") -> None:
        self._types = types
        self._default: bytes | None = None
        self.pending: tuple[str, JsonObject] | None = None
        self.kind = ""
        self.types = self.plain = _NONE
        self.facts: JsonObject = {}
        self.format: Format | None = None
        self.format_name = ""
        self.required: tuple[str, ...] = ()
        self.properties: dict[str, Node] = {}
        self.giving: tuple[tuple[str, Node], ...] = ()
        self.additional: Node | None = None
        self.open = self.closed = self.preserve = self.embedded = self.nullable = False
        self.unique = self.atomic = self.inert = False
        self.items: Node | None = None
        self.keys: tuple[str, ...] | None = None
        self.all_of: tuple[Node, ...] = ()
        self.any_of: tuple[Node, ...] = ()
        self.covered = _NONE
        self.one_of: tuple[Node, ...] = ()
        self.negated: Node | None = None
        self.rules: tuple[JsonObject, ...] = ()
        self.made: object = None
        self.defaulting = True
        self.ruling = False

    @property
    def defaults(self) -> bool:
        """Whether a value that is missing is given."""
        return self._default is not None

    def default(self) -> Json:
        """A new copy of the default."""
        return None if self._default is None else orjson.loads(self._default)

    def settle(self) -> None:
        """Read the named type, if it is not read yet."""
        if self.pending is None:
            return
        name, more = self.pending
        self.read({**self._types[name], **more})
        self.pending = None  # only now: another thread may look at the same node
        self._types.forget()

    def read(self, raw: JsonObject) -> None:
        """Be what a document says."""
        while "$ref" in raw:
            raw = {**self._types[raw["$ref"].removeprefix(REFERENCE)], **_without_reference(raw)}
        self._be(raw, self._types.parts(raw))

    def _be(self, raw: JsonObject, parts: "Parts") -> None:
        self._read_kind(raw)
        self.properties = dict(parts.properties)
        self.additional, self.items, self.negated = parts.additional, parts.items, parts.negated
        self.open, self.closed = parts.open, parts.closed
        self.all_of, self.any_of, self.one_of = parts.all_of, parts.any_of, parts.one_of
        self._conclude()

    @classmethod
    def of(cls, types: "Types", raw: JsonObject, parts: "Parts") -> "Node":
        """The node of a document whose parts are read."""
        node = cls(types)
        node._be(raw, parts)
        return node

    def _read_kind(self, raw: JsonObject) -> None:
        kind = raw.get("type")
        self.kind = kind if isinstance(kind, str) else ""
        if raw.get("x-kubernetes-int-or-string") and not self.kind:
            self.kind = "integer,string"
        for name in self.kind.split(","):
            self.types |= _TYPES.get(name, _NONE)
        self.facts = {fact: raw[fact] for fact in _FACTS if raw.get(fact) is not None}
        self.format_name = str(raw.get("format") or "")
        self.format = FORMATS.get(normal(self.format_name))
        self.required = tuple(raw.get("required") or ())
        self.nullable = raw.get("nullable") is True
        self.preserve = raw.get("x-kubernetes-preserve-unknown-fields") is True
        self.embedded = raw.get("x-kubernetes-embedded-resource") is True
        listed = raw.get("x-kubernetes-list-type")
        self.unique = listed == "set"
        if listed == "map":
            self.keys = tuple(raw.get("x-kubernetes-list-map-keys") or ())
        self.atomic = raw.get("x-kubernetes-map-type") == "atomic"
        self.rules = tuple(_maps(raw.get("x-kubernetes-validations")))
        if raw.get("default") is not None:
            self._default = orjson.dumps(raw["default"])

    def _conclude(self) -> None:
        inner = [*self.properties.values()]
        inner += [node for node in (self.additional, self.items) if node is not None]
        self.giving = tuple(
            (name, node)
            for name, node in self.properties.items()
            if node.defaulting or node.defaults
        )
        self.defaulting = any(node.defaulting or node.defaults for node in inner)
        self.ruling = bool(self.rules) or any(node.ruling for node in inner)
        self.covered = _NONE.union(*(node.plain for node in self.any_of))
        scalar = not (self.types & {dict, list}) and bool(self.types)
        self.inert = self.preserve and not inner
        junctors = self.all_of or self.any_of or self.one_of or self.negated
        if scalar and not (self.facts or self.format or junctors):
            self.plain = self.types


class Parts(NamedTuple):
    """The nodes in a node: they are one each, so that equal nodes have the same."""

    properties: tuple[tuple[str, Node], ...]
    additional: Node | None
    open: bool
    closed: bool
    items: Node | None
    all_of: tuple[Node, ...]
    any_of: tuple[Node, ...]
    one_of: tuple[Node, ...]
    negated: Node | None


class Types:
    """Named types, each made into a node when it is first met.

    Args:
        named: Documents by name.
    """

    def __init__(self, named: Mapping[str, JsonObject]) -> None:
        self._named = named
        self._referred: dict[str | tuple[str, bytes], Node] = {}
        self._equal: dict[tuple[bytes, Parts], Node] = {}

    def __getitem__(self, name: str) -> JsonObject:
        return self._named[name]

    def node(self, raw: JsonObject) -> Node:
        """The node of a document, or of an equal one that was there before."""
        if "$ref" in raw:
            name, more = raw["$ref"].removeprefix(REFERENCE), _without_reference(raw)
            key = (name, orjson.dumps(more)) if more else name
            found = self._referred.get(key)
            if found is None:
                found = self._referred[key] = Node(self)
                found.pending = (name, more)
            return found
        parts = self.parts(raw)
        facts = {key: raw[key] for key in _KEPT if key in raw}
        identity = (orjson.dumps(facts) if facts else b"", parts)
        found = self._equal.get(identity)
        if found is None:
            found = self._equal[identity] = Node.of(self, raw, parts)
        return found

    def parts(self, raw: JsonObject) -> Parts:
        """The nodes in a document."""
        node, rest = self.node, raw.get("additionalProperties")
        properties, items, negated = raw.get("properties"), raw.get("items"), raw.get("not")
        return Parts(
            tuple(
                (name, node(child)) for name, child in properties.items() if isinstance(child, dict)
            )
            if isinstance(properties, dict)
            else (),
            node(rest) if isinstance(rest, dict) else None,
            rest is True,
            rest is False,
            node(items) if isinstance(items, dict) else None,
            tuple(map(node, _maps(raw["allOf"]))) if "allOf" in raw else (),
            tuple(map(node, _maps(raw["anyOf"]))) if "anyOf" in raw else (),
            tuple(map(node, _maps(raw["oneOf"]))) if "oneOf" in raw else (),
            node(negated) if isinstance(negated, dict) else None,
        )

    def forget(self) -> None:
        """Drop what is only needed while a document is read: which nodes are equal."""
        self._equal.clear()


_SHARED: Final[WeakValueDictionary[int, Types]] = WeakValueDictionary()
"""By the identity of the mapping that each of them keeps alive."""


def types_of(named: Mapping[str, JsonObject]) -> Types:
    """The nodes of named types: the same for everybody who has the same mapping."""
    if not named:
        return Types(named)
    found = _SHARED.get(id(named))
    if found is None:
        found = _SHARED[id(named)] = Types(named)
    return found


def compiled(document: JsonObject, types: Types) -> Node:
    """The node of a whole object: its metadata is kept, whatever the document says."""
    node = Node(types)
    node.read(document)
    node.embedded = True
    types.forget()
    return node


def _without_reference(raw: JsonObject) -> JsonObject:
    return {k: v for k, v in raw.items() if k in _KEPT}


def _maps(value: Json) -> list[JsonObject]:
    return [v for v in value if isinstance(v, dict)] if isinstance(value, list) else []

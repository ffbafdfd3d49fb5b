"""Filters in SQL against an evaluator that knows nothing of SQL, on every database.

The evaluator looks at an entity as it is answered, and at the rules of the registry specification
1.8 in their plainest form.
"""

import gc
import re
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, make_url

from towpath.errors import InvalidError
from towpath.registry import engines, store
from towpath.registry.events import Stamp
from towpath.registry.filters import And, Comparison, Expression, Or, grammar, parse, plan
from towpath.registry.kinds import (
    ARTIFACTS,
    DATA_SET,
    DOC_ARTIFACT,
    KINDS,
    METRIC,
    MODEL_ARTIFACT,
    MODEL_VERSION,
    PARAMETER,
    REGISTERED_MODEL,
    Kind,
    Kinds,
)
from towpath.registry.paging import Paging
from towpath.registry.records import document
from towpath.registry.store import Filter
from towpath.registry.tables import METADATA

INT, TEXT, NUMBER = "int", "text", "number"
COMMON = {
    "id": INT,
    "name": TEXT,
    "externalId": TEXT,
    "createTimeSinceEpoch": INT,
    "lastUpdateTimeSinceEpoch": INT,
}
UNLOCATED = {**COMMON, "state": TEXT, "experimentId": INT, "experimentRunId": INT}
ARTIFACT = {**UNLOCATED, "uri": TEXT}
DECLARED: dict[Kind, dict[str, str]] = {
    REGISTERED_MODEL: {**COMMON, "state": TEXT, "owner": TEXT},
    MODEL_VERSION: {**COMMON, "registeredModelId": INT, "state": TEXT, "author": TEXT},
    MODEL_ARTIFACT: {**ARTIFACT, "modelFormatName": TEXT, "storageKey": TEXT},
    DOC_ARTIFACT: ARTIFACT,
    DATA_SET: {**ARTIFACT, "digest": TEXT, "source": TEXT},
    METRIC: {**UNLOCATED, "value": NUMBER, "timestamp": INT, "step": INT},
    PARAMETER: {**UNLOCATED, "value": TEXT, "parameterType": TEXT},
}
STATES = {
    *("UNKNOWN", "PENDING", "LIVE", "MARKED_FOR_DELETION", "DELETED", "ABANDONED", "REFERENCE"),
}
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}


CUSTOM_PROPERTY = "custom property"


def readings(kind: Kind, name: str) -> list[str]:
    """What a name may mean: a field, a custom property, or both of them."""
    if name in DECLARED[kind]:
        return [name]
    field = re.sub("_([a-z])", lambda found: found[1].upper(), name)
    stored_beside = field in DECLARED[kind] or field == "description"
    return [CUSTOM_PROPERTY, field] if stored_beside else [CUSTOM_PROPERTY]


def type_of(kind: Kind, reading: str) -> str:
    return DECLARED[kind].get(reading, TEXT)


def fits(kind: Kind, reading: str, comparison: Comparison) -> bool:
    """Whether a comparison makes sense for what its name means."""
    value, operator = comparison.value, comparison.operator
    values = value if isinstance(value, tuple) else (value,)
    if reading != CUSTOM_PROPERTY:
        type_ = type_of(kind, reading)
        suffix = {TEXT: "string_value", INT: "int_value", NUMBER: "double_value"}[type_]
        if comparison.forced not in (None, suffix):
            return False
        if operator in ("LIKE", "ILIKE") and type_ != TEXT:
            return False
        return all(is_a(type_, one) for one in values)
    types = {"string_value": TEXT, "int_value": INT, "double_value": NUMBER}
    match comparison.forced:
        case None:
            fitting = True
        case "bool_value":
            fitting = all(isinstance(one, bool) for one in values)
        case forced:
            fitting = all(is_a(types[forced], one) for one in values)
    if operator in ("LIKE", "ILIKE"):
        return fitting and comparison.forced in (None, "string_value")
    ordered = operator in ("<", ">", "<=", ">=")
    return fitting and not (ordered and any(isinstance(one, bool) for one in values))


def is_a(type_: str, value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if type_ == INT and isinstance(value, str):
        return re.fullmatch(r"[+-]?[0-9]{1,19}", value) is not None
    if type_ == INT:
        return bool(value == int(value)) and -(2**63) <= value < 2**63
    return isinstance(value, str) if type_ == TEXT else isinstance(value, int | float)


def passes(kind: Kind, entity: dict[str, Any], expression: Expression) -> bool:
    """The evaluator."""
    match expression:
        case And(terms):
            return all(passes(kind, entity, term) for term in terms)
        case Or(terms):
            return any(passes(kind, entity, term) for term in terms)
    meant = readings(kind, expression.name)
    return any(
        passes_as(kind, entity, reading, expression)
        for reading in meant
        if fits(kind, reading, expression)
    )


def passes_as(kind: Kind, entity: dict[str, Any], reading: str, comparison: Comparison) -> bool:
    listed = isinstance(comparison.value, tuple)
    values = comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)
    operator = "=" if listed else comparison.operator
    if reading == CUSTOM_PROPERTY:
        custom = entity["customProperties"].get(comparison.name)
        return custom is not None and any(
            compared_custom(custom, operator, one, comparison.forced) for one in values
        )
    if reading == "state" and kind in ARTIFACTS and operator in ("=", "!="):
        values = tuple(one for one in values if one in STATES)
    if reading not in entity:
        return False
    if type_of(kind, reading) == INT:
        return any(compared(int(entity[reading]), operator, int(one)) for one in values)
    return any(compared(entity[reading], operator, one) for one in values)


def compared_custom(stored: dict[str, Any], operator: str, value: Any, suffix: str | None) -> bool:
    match stored["metadataType"], value:
        case "MetadataBoolValue", bool():
            return compared(stored["bool_value"], operator, value)
        case _, bool():
            return False
        case "MetadataStringValue", str():
            return suffix in (None, "string_value") and compared(
                stored["string_value"], operator, value
            )
        case "MetadataIntValue", str() if suffix == "int_value":
            return compared(int(stored["int_value"]), operator, int(value))
        case "MetadataIntValue", int() | float() if suffix == "int_value":
            return compared(int(stored["int_value"]), operator, value)
        case "MetadataIntValue", int() if suffix is None:
            return compared(int(stored["int_value"]), operator, value)
        case "MetadataDoubleValue", int() | float() if suffix != "int_value":
            return compared(stored["double_value"], operator, value)
    return False


def compared(stored: Any, operator: str, value: Any) -> bool:
    if operator in ("LIKE", "ILIKE"):
        fold = str.lower if operator == "ILIKE" else str
        parts = re.findall(r"\\.|[\s\S]", fold(value), re.DOTALL)
        wild = {"%": "[\\s\\S]*", "_": "[\\s\\S]"}
        pattern = "".join(wild.get(part) or re.escape(part[-1]) for part in parts)
        return re.fullmatch(pattern, fold(stored)) is not None
    return ORDER[operator](stored, value)


# what is stored, and what is asked

CHARACTERS = "aAbé É%_\\'|ß\U0001f600\uffee"
TEXTS = st.one_of(
    st.sampled_from(["", "a", "A", "a ", "ab", "1", "LIVE", "true", "a" * 62, "a" * 63]),
    st.sampled_from(["a" * 64, "a" * 63 + "b", "a" * 100, "Ä", "ä", "\ue000", "\U00010000"]),
    st.text(CHARACTERS, max_size=4),
)
INTEGERS = st.integers(-2, 3) | st.sampled_from([999_999_999, 1000, 1001])
FLOATS = st.sampled_from([-1.5, -0.0, 0.0, 0.5, 1.0, 2.0, 1e300, -1e-300, 1000.0])
NAMES = ["p", "q", "description", "author", "state", "registered_model_id", "value", "uri", "name"]


def stored(value: str | int | float | bool) -> dict[str, Any]:
    match value:
        case bool():
            return {"metadataType": "MetadataBoolValue", "bool_value": value}
        case int():
            return {"metadataType": "MetadataIntValue", "int_value": str(value)}
        case float():
            return {"metadataType": "MetadataDoubleValue", "double_value": value}
    return {"metadataType": "MetadataStringValue", "string_value": value}


STRUCT = {"metadataType": "MetadataStructValue", "struct_value": "e30="}
CUSTOM = st.dictionaries(
    st.sampled_from(NAMES),
    st.one_of(TEXTS.map(stored), (INTEGERS | FLOATS | st.booleans()).map(stored), st.just(STRUCT)),
    max_size=4,
)


def fields(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    own: dict[str, st.SearchStrategy[Any]] = {}
    for name in kind.creatable & {"author", "uri", "modelFormatName", "digest", "description"}:
        own[name] = TEXTS
    if "state" in kind.creatable:
        states = ["LIVE", "ARCHIVED"] if kind.place == "context" else sorted(STATES)
        own["state"] = st.sampled_from(states)
    if kind is METRIC:
        numbers = {"step": INTEGERS | st.just(2**53 + 1), "timestamp": st.sampled_from(["1", "2"])}
        return st.fixed_dictionaries(
            {"customProperties": CUSTOM, "value": FLOATS}, optional={**own, **numbers}
        )
    if kind is PARAMETER:
        return st.fixed_dictionaries({"customProperties": CUSTOM, "value": TEXTS}, optional=own)
    if kind is MODEL_ARTIFACT:
        own.pop("uri")
        return st.fixed_dictionaries(
            {"customProperties": CUSTOM, "uri": TEXTS.filter(bool)}, optional=own
        )
    return st.fixed_dictionaries({"customProperties": CUSTOM}, optional=own)


ENTITIES = {
    (MODEL_VERSION,): st.lists(
        st.tuples(st.just("ModelVersion"), fields(MODEL_VERSION)), max_size=6
    ),
    ARTIFACTS: st.lists(
        st.sampled_from(ARTIFACTS).flatmap(
            lambda kind: st.tuples(st.just(kind.type), fields(kind))
        ),
        max_size=6,
    ),
}
ASKED = [*NAMES, "id", "externalId", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch", "uri"]
ASKED += ["registeredModelId", "step", "timestamp", "modelFormatName", "model_format_name"]
PLAIN = st.one_of(TEXTS, INTEGERS, FLOATS, st.booleans(), st.just(2**53 + 1), st.just("2"))
FORCED = st.sampled_from([None] * 5 + ["string_value", "double_value", "int_value", "bool_value"])
PATTERNS = st.one_of(
    TEXTS,
    TEXTS.map(str.upper),
    TEXTS.map(lambda text: text.lower() + "%"),
    st.text(CHARACTERS + "%_%_", max_size=5),
)
COMPARISONS = st.one_of(
    st.builds(Comparison, st.sampled_from(ASKED), st.sampled_from([*ORDER]), PLAIN, FORCED),
    st.builds(Comparison, st.sampled_from(ASKED), st.sampled_from(["LIKE", "ILIKE"]), PATTERNS),
    st.builds(
        Comparison,
        st.sampled_from(ASKED),
        st.just("IN"),
        st.one_of(
            st.lists(PLAIN, max_size=3).map(tuple),
            st.lists(TEXTS, max_size=10).map(tuple),
            st.lists(INTEGERS, max_size=3).map(tuple),
        ),
        FORCED,
    ),
)


def joined(terms: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    some = st.lists(terms, min_size=2, max_size=3).map(tuple)
    return st.builds(And, some) | st.builds(Or, some)


EXPRESSIONS = st.recursive(COMPARISONS, joined, max_leaves=5)


@contextmanager
def book(url: str) -> Iterator[Connection]:
    """A connection to an empty database with all tables."""
    engine = engines.connect(make_url(url), 2)
    with engine.connect() as connection:
        METADATA.create_all(connection)
        connection.commit()
        yield connection
        connection.rollback()
    engine.dispose()


@contextmanager
def undone(tx: Connection) -> Iterator[None]:
    """Takes back what is done."""
    try:
        yield
    finally:
        tx.rollback()


def filled(tx: Connection, drafts: list[tuple[str, dict[str, Any]]]) -> int:
    """Stores entities under one parent, in steps of time that go up and down. Gives the parent."""
    model = store.create(tx, REGISTERED_MODEL, {"name": "a"}, Stamp(1000)).id
    version = {"name": "a", "registeredModelId": str(model)}
    parent = model
    if drafts and KINDS[drafts[0][0]].place == "artifact":
        parent = store.create(tx, MODEL_VERSION, version, Stamp(1000)).id
    for number, (type_, draft) in enumerate(drafts):
        kind = KINDS[type_]
        name = "aAbé%"[number % 5] + "_x" * (number // 5)
        entity = {**draft, "name": name}
        if number % 2:
            entity["externalId"] = "aé"[number % 2] + str(number)
        if kind is MODEL_VERSION:
            entity["registeredModelId"] = str(model)
        store.create(tx, kind, entity, Stamp(1000 + number % 3), under=parent)
    return parent


def walk(
    tx: Connection, kinds: Kinds, wanted: Filter, order: str, *, descending: bool
) -> list[int]:
    """Ids of what a list gives, page by page."""
    seen, after = [], None
    while True:
        asked = Paging(size=2, order=order, descending=descending, after=after)
        records, after = store.page(tx, kinds, wanted, asked)
        seen += [record.id for record in records]
        if after is None:
            return seen


def expected(
    tx: Connection, kinds: Kinds, expression: Expression, order: str, *, descending: bool
) -> list[int] | None:
    """The same by the evaluator; nothing when the filter must be refused."""
    everything, _ = store.page(tx, kinds, Filter(), Paging(size=1000))
    if refused(kinds, expression):
        return None
    place = {"ID": "id", "CREATE_TIME": "created", "LAST_UPDATE_TIME": "updated"}[order]
    found = [record for record in everything if passes(record.kind, document(record), expression)]
    found.sort(key=lambda record: (getattr(record, place), record.id), reverse=descending)
    return [record.id for record in found]


def refused(kinds: Kinds, expression: Expression) -> bool:
    """Whether a comparison makes sense for none of the kinds."""
    if not isinstance(expression, Comparison):
        return any(refused(kinds, term) for term in expression.terms)
    return not any(
        fits(kind, reading, expression)
        for kind in kinds
        for reading in readings(kind, expression.name)
    )


EXAMPLES = {"sqlite": 80, "postgresql": 25, "mysql": 25}


@pytest.mark.parametrize("times", [1, pytest.param(15, marks=pytest.mark.long)])
@pytest.mark.parametrize("kinds", ENTITIES, ids=["versions", "artifacts"])
@pytest.mark.timeout(900)
def test_a_filter_gives_what_the_evaluator_gives(
    registry_url: str, kinds: Kinds, times: int
) -> None:
    backend = make_url(registry_url).get_backend_name()

    @settings(
        max_examples=EXAMPLES[backend] * times,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(
        drafts=ENTITIES[kinds],
        expressions=st.lists(EXPRESSIONS, min_size=1, max_size=4),
        order=st.sampled_from(["ID", "CREATE_TIME", "LAST_UPDATE_TIME"]),
        descending=st.booleans(),
        inside=st.booleans(),
        counted=st.sampled_from([1, 3, 2000]),  # so that each way is gone
    )
    def compare(
        drafts: list[tuple[str, dict[str, Any]]],
        expressions: list[Expression],
        order: str,
        descending: bool,
        inside: bool,
        counted: int,
    ) -> None:
        with mock.patch.multiple(plan, COUNTED=counted, SORTED=counted), undone(tx):
            parent = filled(tx, drafts)
            for expression in expressions:
                wanted = Filter(parent=parent if inside and drafts else None, expression=expression)
                right = expected(tx, kinds, expression, order, descending=descending)
                if right is None:
                    with pytest.raises(InvalidError, match="cannot be compared"):
                        walk(tx, kinds, wanted, order, descending=descending)
                else:
                    found = walk(tx, kinds, wanted, order, descending=descending)
                    assert found == right, str(expression)

    with book(registry_url) as tx:
        compare()


def test_filters_that_anybody_invents_do_not_stay(sqlite: str) -> None:
    """A statement of a hundred comparisons takes megabytes, and there is no end of them."""

    def ask(tx: Connection, shape: int) -> None:
        terms = [f"p{n} {'=' if shape >> n & 1 else '>'} 1" for n in range(100)]
        wanted = Filter(expression=parse(" OR ".join(terms)))
        assert store.page(tx, (REGISTERED_MODEL,), wanted, Paging(size=1)) == ([], None)

    with book(sqlite) as tx:
        ask(tx, 0)
        tracemalloc.start()
        for shape in range(1, 9):
            ask(tx, shape)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert kept < 2 * 1024 * 1024


@pytest.mark.parametrize("kinds", ENTITIES, ids=["versions", "artifacts"])
@pytest.mark.parametrize("outer", [("AND", "OR"), ("OR", "AND")])
def test_the_deepest_filter_is_answered(sqlite: str, kinds: Kinds, outer: tuple[str, str]) -> None:
    deepest = "value IN (1, 2)"
    for level in range(grammar.DEPTH):
        deepest = f"(b{level} = 1 {outer[level % 2]} {deepest})"
    with book(sqlite) as tx:
        wanted = Filter(expression=parse(deepest))
        assert store.page(tx, kinds, wanted, Paging(size=1)) == ([], None)

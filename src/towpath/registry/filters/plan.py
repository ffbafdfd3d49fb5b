"""Which way a filtered page is found: so that it costs the same in a large registry as in a small.

Databases choose between two ways by guesses. Walking the list in its order and testing each entity
is right where many pass, collecting what passes and sorting it where few do; a wrong guess reads
everything. Here the choice is made by counting, up to :data:`COUNTED`, and written so that no
planner can turn it around:

- The list is walked in its order, and each entity is tested.
- The rows of a property are walked, or of a few joined by OR. All rows with one value are in the
  list's order in an index of their own; those of a range must be sorted, which is done only where
  they are few. Each is tested for the rest, and only the page's entities are read.
- What has a name or an id is collected where it is little, and tested and sorted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    union,
)
from sqlalchemy.util import LRUCache

from towpath.registry.filters.clauses import Scope, clause, conjuncts, of_row, tests
from towpath.registry.filters.grammar import Comparison, Expression, Or
from towpath.registry.filters.values import Test
from towpath.registry.kinds import Kinds
from towpath.registry.statements import Order, Shape, by_index, listed, ordered, walked
from towpath.registry.tables import ATTRIBUTION, PROPERTIES, TABLES

__all__ = ["filtered"]

Condition: TypeAlias = ColumnElement[bool]

COUNTED: Final = 2000
"""Entities counted at most. A way with fewer is taken; others find a page in few steps."""
SORTED: Final = 10_000
"""Rows of a range that are counted at most, and sorted: only their keys are, not the entities."""
BRANCHES: Final = 8
"""Properties joined by OR, or values of a list, whose rows are walked side by side."""
FENCE: Final = 2**31 - 1
"""A limit that cuts nothing off: a planner takes a query with a limit as it is."""
KEPT: Final = 128
"""Statements kept, as making one takes longer than running it; of filters that are not large."""
LENGTH_KEPT: Final = 500
COMPARISONS_KEPT: Final = 10
"""Each takes some 40 kB in a statement that is kept, and anybody who reads can invent filters."""

_INDEXED: Final = ("id", "name", "external_id", "parent_id")
_SIZE: Final[ColumnElement[int]] = bindparam("size")
_COMPILED: Final[LRUCache[Any, Any]] = LRUCache(KEPT)
"""Apart from the other statements of an engine, which filters would push out."""


@dataclass(frozen=True)
class _Question:
    """A filtered list: equal to another one by the filter's text, which tells 1 from 1.0."""

    kinds: Kinds
    shape: Shape
    text: str
    expression: Expression = field(compare=False)


@dataclass(frozen=True)
class _Rows:
    """The rows of properties that pass any of these, of a term that they decide."""

    term: Expression
    tests: tuple[Test, ...]
    ordered: bool


@dataclass(frozen=True)
class _Few:
    """The entities that pass all of these tests of their own columns."""

    tests: tuple[Test, ...]


_Way: TypeAlias = _Rows | _Few | None
"""Nothing is the list itself."""


@dataclass(frozen=True)
class _Choice:
    """Ways to go, and the statement that counts each of them; nothing where there is no choice."""

    ways: tuple[_Way, ...]
    branches: tuple[int, ...] = ()
    count: Select[Any] | None = None


def filtered(
    tx: Connection,
    listing: tuple[Kinds, Shape, Expression],
    values: Mapping[str, Any],
    order: Order,
) -> Sequence[Row[Any]]:
    """The entities of a page of a filtered list, by the parameters of an unfiltered one.

    Args:
        tx: The transaction.
        listing: What is listed, the simple conditions that it has, and its filter.
        values: The parameters.
        order: Of the list.

    Raises:
        InvalidError: a property is compared with what it cannot be.
    """
    kinds, shape, expression = listing
    question = _Question(kinds, shape, str(expression), expression)

    def run(statement: Select[Any]) -> Sequence[Row[Any]]:
        compiled = _COMPILED if kept else None
        return tx.execute(statement, values, execution_options={"compiled_cache": compiled}).all()

    kept = len(question.text) <= LENGTH_KEPT and _size(expression) <= COMPARISONS_KEPT
    choose, build = (_choice, _statement) if kept else (_choice.__wrapped__, _statement.__wrapped__)
    choice = choose(question)
    counts = run(choice.count)[0] if choice.count is not None else ()
    return run(build(question, _chosen(choice, counts), order))


def _size(expression: Expression) -> int:
    """How many comparisons there are."""
    if isinstance(expression, Comparison):
        return 1
    return sum(map(_size, expression.terms))


@lru_cache(KEPT)
def _statement(question: _Question, way: _Way, order: Order) -> Select[Any]:
    kinds, shape = question.kinds, question.shape
    terms = list(conjuncts(question.expression))
    table = TABLES[kinds[0].place]
    if isinstance(way, _Rows):
        return _of_rows(question, way, order)
    if isinstance(way, _Few):
        few = _of_few(way, kinds).limit(FENCE).subquery()
        scope = Scope(kinds, few.c.id, few.c.type, few)
        tested, value = select(few).where(*_given(scope, shape)), few.c[order.column]
    else:
        scope = Scope(kinds, table.c.id, table.c.type, table)
        tested, value = listed(kinds, shape), table.c[order.column]
        if not (shape.name or shape.external_id):
            tested = ordered(tested, kinds, order.column, of_parent=shape.parent)
    tested = tested.where(*(clause(scope, term) for term in terms))
    return _page(tested, value, scope.ident, order)


def _of_rows(question: _Question, way: _Rows, order: Order) -> Select[Any]:
    kinds, column = question.kinds, order.column
    rest = [term for term in conjuncts(question.expression) if term is not way.term]
    branches = []
    for test in way.tests:
        row = PROPERTIES[kinds[0].place].alias()
        scope = Scope(kinds, row.c.owner_id, row.c.type)
        value = row.c.owner_id if column == "id" else row.c[column]
        found = select(row.c.owner_id, value.label("value")).where(
            _of_kinds(row, kinds),
            of_row(row, test),
            *_given(scope, question.shape),
            *(clause(scope, term) for term in rest),
        )
        if way.ordered:
            found = by_index(found, row, f"ix_{kinds[0].place}_property_{column}")
        branches.append(_page(found, value, row.c.owner_id, order).subquery())
    few = branches[0]
    if len(branches) > 1:
        few = union(*(select(branch) for branch in branches)).subquery()
    table = TABLES[kinds[0].place]
    entities = select(table).join(few, few.c.owner_id == table.c.id)
    return _page(entities, few.c.value, few.c.owner_id, replace(order, continued=False))


def _page(
    statement: Select[Any], value: ColumnElement[int], ident: ColumnElement[int], order: Order
) -> Select[Any]:
    after: tuple[Any, Any] | None = None
    if order.continued:
        after = (bindparam("value"), bindparam("after"))
    return walked(statement, (value, ident), after, _SIZE, descending=order.descending)


def _of_kinds(table: FromClause, kinds: Kinds) -> Condition:
    if len(kinds) == 1:
        condition: Condition = table.c.type == kinds[0].type
        return condition
    return table.c.type.in_([kind.type for kind in kinds])


def _given(scope: Scope, shape: Shape) -> list[Condition]:
    """The simple conditions of a list; its parameters are named as they are."""
    names = {"name": shape.name, "external_id": shape.external_id}
    columns = {name: name for name, asked in names.items() if asked}
    found = []
    if shape.parent and scope.kinds[0].place == "artifact":
        link = ATTRIBUTION.alias()
        of_parent = link.c.context_id == bindparam("parent")
        found.append(scope.there(link, of_parent, link.c.artifact_id == scope.ident))
    elif shape.parent:
        columns["parent_id"] = "parent"
    if columns:

        def build(table: FromClause) -> Condition:
            return and_(*(table.c[name] == bindparam(given) for name, given in columns.items()))

        found.append(scope.holds(Test(build, "one")))
    return found


@lru_cache(KEPT)
def _choice(question: _Question) -> _Choice:
    """The ways that there are. Raises InvalidError."""
    kinds, shape = question.kinds, question.shape
    terms = list(conjuncts(question.expression))
    rows = [way for term in terms if (way := _rows(kinds, term))]
    own = [test for term in terms for test in _own(kinds, term)]
    given = shape.name or shape.external_id or shape.parent
    if not rows and not own:
        return _Choice((None,))
    if len(rows) == 1 and rows[0].ordered and not own and not given:
        return _Choice((rows[0],))
    row = PROPERTIES[kinds[0].place]
    ways: list[_Way] = [*rows]
    sources: list[list[Select[Any]]] = [
        [
            select(row.c.owner_id).where(_of_kinds(row, kinds), of_row(row, test))
            for test in way.tests
        ]
        for way in rows
    ]
    if own:
        ways.append(_Few(tuple(own)))
        sources.append([_of_few(_Few(tuple(own)), kinds)])
    if given:
        ways.append(None)
        sources.append([listed(kinds, shape)])
    limits = [SORTED if isinstance(way, _Rows) and not way.ordered else COUNTED for way in ways]
    counted = [
        _counted(source, limit)
        for group, limit in zip(sources, limits, strict=True)
        for source in group
    ]
    return _Choice(tuple(ways), tuple(map(len, sources)), select(*counted))


def _counted(source: Select[Any], limit: int) -> Any:
    """How many rows there are, up to a limit."""
    ones: Select[Any] = source.with_only_columns(literal_column("1"), maintain_column_froms=True)
    return select(func.count()).select_from(ones.limit(limit).subquery()).scalar_subquery()


def _chosen(choice: _Choice, counted: Sequence[int]) -> _Way:
    if not counted:
        return choice.ways[0]
    each = iter(counted)
    counts = [sum(next(each) for _ in range(branches)) for branches in choice.branches]
    fewest = min(counts)
    if fewest < COUNTED:
        return choice.ways[counts.index(fewest)]
    rows = [
        (count, way)
        for count, way in zip(counts, choice.ways, strict=True)
        if isinstance(way, _Rows)
    ]
    for _, way in rows:
        if way.ordered:
            return way
    count, best = min(rows, key=lambda pair: pair[0], default=(SORTED, None))
    return best if count < SORTED else None


def _rows(kinds: Kinds, term: Expression) -> _Rows | None:
    """The way through the rows of the properties that a term is about, if they decide it."""
    found: list[Test] = []
    for part in term.terms if isinstance(term, Or) else (term,):
        if not isinstance(part, Comparison):
            return None
        tests(kinds, part)  # which refuses what cannot be compared, whatever follows
        value, each = part.value, [part]
        if isinstance(value, tuple) and len(value) <= BRANCHES:
            each = [replace(part, operator="=", value=one) for one in value]
        for comparison in each:
            understood = tests(kinds, comparison)
            if list(understood) != [kinds]:
                return None
            found += understood[kinds]
    if not found or any(test.row is None or test.reach == "all" for test in found):
        return None
    if len(found) > BRANCHES:
        return None
    ordered = len(kinds) == 1 and all(test.reach == "one" for test in found)
    return _Rows(term, tuple(found), ordered)


def _own(kinds: Kinds, term: Expression) -> list[Test]:
    """The test of a term that an index on the entity's own columns decides."""
    if not isinstance(term, Comparison):
        return []
    found = tests(kinds, term).get(kinds, [])
    known = kinds[0].properties.get(term.name)
    if len(found) != 1 or found[0].row is not None or known is None:
        return []
    return found if known.column in _INDEXED and found[0].reach != "all" else []


def _of_few(way: _Few, kinds: Kinds) -> Select[Any]:
    table = TABLES[kinds[0].place]
    return select(table).where(_of_kinds(table, kinds), *(test.build(table) for test in way.tests))

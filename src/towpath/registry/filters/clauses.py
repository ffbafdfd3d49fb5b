"""From an expression to conditions: what a property is, and how an entity is tested for it.

A property of an entity is a column of its table, a row of the table of properties, or a custom
property, which is a row too. A row is looked up by its key (owner, custom, name) in a subquery of
its own, one row at most: so no comparison multiplies an entity, and no planner can turn the lookup
around and collect everything that has the property. Every value is a bound parameter.

Several kinds in one list may understand a name differently (``value`` of a metric is a number, of
a parameter a text): each entity is compared as its own kind has it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias, get_args

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Integer,
    and_,
    false,
    literal_column,
    or_,
    select,
    true,
)

from towpath.errors import InvalidError
from towpath.registry.filters import values
from towpath.registry.filters.grammar import And, Comparison, Expression, Or
from towpath.registry.filters.values import Test
from towpath.registry.kinds import Kind, Kinds, Property
from towpath.registry.records import bad_request
from towpath.registry.tables import PROPERTIES, TABLES
from towpath.spec.registry import ArtifactState

__all__ = ["Scope", "clause", "conjuncts", "of_row", "tests"]

Condition: TypeAlias = ColumnElement[bool]
Meaning: TypeAlias = tuple[Property | None, ...]
"""What a name may stand for; ``None`` is the custom property of that name."""

_TYPES: Final = {"string": "a text", "int": "an integer", "double": "a number"}
_STATES: Final = frozenset(get_args(ArtifactState))
_ONE: Final = literal_column("1", Integer)


@dataclass(frozen=True)
class Scope:
    """Where an entity stands in a statement.

    Args:
        kinds: What it may be.
        ident: The column of its id.
        type: The column of its kind.
        own: Where its own row is; nothing where that is not in the statement.
    """

    kinds: Kinds
    ident: ColumnElement[int]
    type: ColumnElement[str]
    own: FromClause | None = None

    def holds(self, test: Test) -> Condition:
        """The condition that the entity passes a test."""
        place = self.kinds[0].place
        if test.row is not None:
            row = PROPERTIES[place].alias()
            return self.there(row, row.c.owner_id == self.ident, of_row(row, test))
        if self.own is not None:
            return test.build(self.own)
        table = TABLES[place].alias()
        return self.there(table, table.c.id == self.ident, test.build(table))

    def there(self, source: FromClause, *conditions: Condition) -> Condition:
        """That there is a row, of which there is one at most."""
        found = select(_ONE).select_from(source).where(*conditions)
        return found.correlate(self.ident.table).scalar_subquery().is_not(None)


def clause(scope: Scope, expression: Expression) -> Condition:
    """The condition that an expression holds for an entity. Raises InvalidError."""
    match expression:
        case And():
            return and_(*(clause(scope, term) for term in expression.terms))
        case Or():
            return or_(*(clause(scope, term) for term in expression.terms))
    found = []
    for members, wanted in tests(scope.kinds, expression).items():
        held = or_(*(scope.holds(test) for test in wanted))
        types = [kind.type for kind in members]
        found.append(held if members == scope.kinds else and_(scope.type.in_(types), held))
    return or_(*found)


def conjuncts(expression: Expression) -> Iterator[Expression]:
    """What must hold together for the expression to hold."""
    if isinstance(expression, And):
        for term in expression.terms:
            yield from conjuncts(term)
    else:
        yield expression


def of_row(row: FromClause, test: Test) -> Condition:
    """The condition that a row of properties is the one that a test is about, and passes it."""
    custom, name = test.row or (False, "")
    which = and_(row.c.custom == (true() if custom else false()), row.c.name == name)
    return and_(which, test.build(row))


def tests(kinds: Kinds, comparison: Comparison) -> Mapping[Kinds, list[Test]]:
    """What an entity must pass any of, for each group of kinds that understand the name alike.

    Raises:
        InvalidError: no kind has a property of this name that can be compared so.
    """
    groups: dict[Meaning, Kinds] = {}
    for kind in kinds:
        meaning = _meaning(kind, comparison.name)
        groups[meaning] = (*groups.get(meaning, ()), kind)
    found: dict[Kinds, list[Test]] = {}
    for meaning, members in groups.items():
        fit = [test for known in meaning for test in _understood(members[0], known, comparison)]
        if fit:
            found[members] = fit
    if not found:
        raise _mismatch(next(iter(groups))[0], comparison)
    return found


def _meaning(kind: Kind, name: str) -> Meaning:
    known = kind.properties.get(name)
    if known is None:
        return (None,)
    return (known,) if known.lone else (known, None)


def _understood(kind: Kind, known: Property | None, comparison: Comparison) -> list[Test]:
    """The tests of a property, one of which must pass; none when it cannot be compared so."""
    if known is None:
        return values.custom(comparison)
    if kind.place == "artifact" and known.name == "state":
        comparison = _of_states(comparison)
    test = values.fixed(comparison, known)
    return [test] if test else []


def _of_states(comparison: Comparison) -> Comparison:
    """The comparison without states that no artifact has: none is equal to, or unlike, them."""
    value, operator = comparison.value, comparison.operator
    if isinstance(value, tuple):
        known = tuple(one for one in value if one in _STATES or not isinstance(one, str))
        return replace(comparison, value=known)
    if operator in ("=", "!=") and isinstance(value, str) and value not in _STATES:
        return replace(comparison, operator="IN", value=())
    return comparison


def _mismatch(known: Property | None, comparison: Comparison) -> InvalidError:
    name, forced = comparison.name[:60], comparison.forced
    if known is not None:
        what = f"{name} is {_TYPES[known.type]}, which"
    else:
        what = f"{name}.{forced}" if forced else f"custom property {name}"
    why = f"cannot be compared with this value by {comparison.operator}"
    hint = "String values must be quoted, numbers must not be."
    return bad_request(f"invalid filterQuery: {what} {why}", hint)

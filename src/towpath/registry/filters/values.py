"""How a value is compared with what is stored under a property: by the type of either.

A field of an entity has a type, and a value must fit it. A custom property has the type that it
was stored with, and a value chooses: texts are compared with texts, booleans with booleans, floats
with doubles, integers with integers and doubles.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import BigInteger, ColumnElement, FromClause, and_, false, literal, or_

from towpath.registry.filters import texts
from towpath.registry.filters.grammar import Comparison, Plain
from towpath.registry.kinds import Property
from towpath.registry.tables import key_of

__all__ = ["Reach", "Test", "custom", "fixed"]

Condition: TypeAlias = ColumnElement[bool]
Build: TypeAlias = Callable[[FromClause], Condition]
"""A condition, from the table of the entity or from that of its properties."""
Reach: TypeAlias = Literal["one", "some", "all"]
"""What an index says of a test: one value passes, one range or a list, or anything may pass."""

_SUFFIX: Final = {"string": "string_value", "int": "int_value", "double": "double_value"}
_PATTERNS: Final = ("LIKE", "ILIKE")
_LOOSE: Final = {">": ">=", "<": "<="}
_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_INT64: Final = 2**63
_EXACT: Final = 2**53
"""Integers up to here are told apart by their keys, which are those of doubles."""


@dataclass(frozen=True)
class Test:
    """A condition on one entity.

    Args:
        build: Gives the condition.
        reach: How much of the entities an index leaves to be looked at.
        row: ``custom`` and ``name`` of the row of properties that the condition is about; nothing
            when it is about the entity's own row.
    """

    build: Build
    reach: Reach
    row: tuple[bool, str] | None = None


def fixed(comparison: Comparison, known: Property) -> Test | None:
    """The test of a field of the entity; nothing when the value does not fit it."""
    operator, values = comparison.operator, _values(comparison)
    if comparison.forced not in (None, _SUFFIX[known.type]):
        return None
    if known.type != "string" and operator in _PATTERNS:
        return None
    build: Build
    match known.type:
        case "string":
            strings = [value for value in values if isinstance(value, str)]
            if len(strings) < len(values):
                return None
            build = _of_text(known.column, operator, strings)
        case "int":
            whole = [number for value in values if (number := _whole(value)) is not None]
            if len(whole) < len(values):
                return None
            build = _of_integer(known.column, operator, whole)
        case "double":
            numbers = [float(value) for value in values if not isinstance(value, bool | str)]
            if len(numbers) < len(values):
                return None
            build = _of_keys(operator, numbers)
    return Test(build, _reach(comparison), None if known.column else (False, known.name))


def custom(comparison: Comparison) -> list[Test]:
    """Tests of a custom property, one of which must pass; none when the value fits no type."""
    operator, row = comparison.operator, (True, comparison.name)
    sorted_out = _by_type(comparison)
    if sorted_out is None:
        return []
    strings, numbers, typed = sorted_out
    if numbers and operator == "=":  # each has a key of its own
        alike: tuple[float, float] = (numbers[0], float(numbers[0]))
        return [Test(_of_keys("=", [number]), "one", row) for number in alike]
    parts: list[Build] = [_of_keys(operator, alone) for alone in typed if alone]
    if strings:
        parts.append(_of_text(None, operator, strings))
    if numbers:
        parts.append(_of_numbers(operator, numbers))
    return [Test(lambda of: or_(false(), *(part(of) for part in parts)), _reach(comparison), row)]


def _by_type(
    comparison: Comparison,
) -> tuple[list[str], list[int], tuple[list[float], list[float], list[float]]] | None:
    """Texts; numbers of either type; booleans, integers and doubles. Nothing when one is none."""
    operator, forced = comparison.operator, comparison.forced
    strings: list[str] = []
    numbers: list[int] = []
    booleans: list[float] = []
    whole: list[float] = []
    doubles: list[float] = []
    for value in _values(comparison):
        match forced, value:
            case ((None | "bool_value"), bool()):
                booleans.append(value)
            case _, bool():
                return None
            case ((None | "string_value"), str()):
                strings.append(value)
            case "int_value", _ if (number := _whole(value)) is not None:
                whole.append(number)
            case None, int():
                numbers.append(value)
            case ((None | "double_value"), int() | float()):
                doubles.append(float(value))
            case _:
                return None
    if operator in _PATTERNS and not strings:
        return None
    if booleans and operator not in ("=", "!=", "IN"):
        return None
    return strings, numbers, (booleans, whole, doubles)


def _reach(comparison: Comparison) -> Reach:
    match comparison.operator:
        case "=":
            return "one"
        case "!=" | "ILIKE":
            return "all"
        case "LIKE":
            return "some" if texts.prefix(str(comparison.value)) else "all"
    return "some"


def _values(comparison: Comparison) -> tuple[Plain, ...]:
    value = comparison.value
    return value if isinstance(value, tuple) else (value,)


def _of_text(column: str | None, operator: str, wanted: Sequence[str]) -> Build:
    if column is not None:
        return lambda table: texts.compared(table.c[column], None, operator, wanted)
    return lambda row: texts.compared(row.c.string_value, row.c.key, operator, wanted)


def _of_integer(column: str | None, operator: str, wanted: Sequence[int]) -> Build:
    exact = [literal(number, BigInteger()) for number in wanted]
    if column is not None:
        return lambda table: _compared(table.c[column], operator, exact)
    if all(abs(number) < _EXACT for number in wanted):
        return _of_keys(operator, wanted)
    if operator == "!=":
        return lambda row: row.c.int_value != exact[0]
    loose = _of_keys(_LOOSE.get(operator, operator), wanted)
    return lambda row: and_(loose(row), _compared(row.c.int_value, operator, exact))


def _of_keys(operator: str, wanted: Sequence[float]) -> Build:
    """Of values whose keys tell all of them: integers, doubles or booleans."""
    keys = [key_of(value) for value in wanted]
    if operator in ("=", "IN"):
        return lambda row: _compared(row.c.key, operator, keys)
    begin, end = keys[0][0], keys[0][-1]

    def build(row: FromClause) -> Condition:
        key = row.c.key
        test = and_(_compared(key, operator, keys), *_between(key, begin))
        return test if begin == "b" else and_(test, key.like(f"%{end}"))

    return build


def _of_numbers(operator: str, wanted: Sequence[int]) -> Build:
    """Of integers and doubles alike; a double's key is right before that of the same integer."""
    whole, doubles = [key_of(value) for value in wanted], [key_of(float(value)) for value in wanted]
    match operator:
        case "IN":
            return lambda row: row.c.key.in_([*doubles, *whole])
        case "!=":
            both = [*doubles, *whole]
            return lambda row: and_(row.c.key.not_in(both), *_between(row.c.key, "n"))
    edge = doubles if operator in ("<", ">=") else whole
    return lambda row: and_(_compared(row.c.key, operator, edge), *_between(row.c.key, "n"))


def _between(key: ColumnElement[Any], begin: str) -> tuple[Condition, Condition]:
    """That a key is of one type of values."""
    return key >= begin, key < chr(ord(begin) + 1)


def _compared(column: ColumnElement[Any], operator: str, wanted: Sequence[Any]) -> Condition:
    if operator == "IN":
        return column.in_(wanted)
    return texts.COMPARE[operator](column, wanted[0])


def _whole(value: Plain) -> int | None:
    """A value as an integer of 64 bits; it may be quoted, or a float without a fraction."""
    match value:
        case bool():
            return None
        case str():
            found = int(value) if _DIGITS.fullmatch(value) else None
        case float():
            found = int(value) if value.is_integer() else None
        case int():
            found = value
    return found if found is not None and -_INT64 <= found < _INT64 else None

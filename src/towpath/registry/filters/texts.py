"""How texts are compared: by their characters, the same on every database.

A property has a key, which is indexed and holds the first characters of a text. Comparisons go by
the key where it decides, and begin with it where the whole text must be looked at.
"""

import operator as python
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import ColumnElement, Text, and_, literal, or_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from towpath.registry.tables import KEY_LENGTH, key_of

__all__ = ["COMPARE", "compared", "folded", "pattern", "prefix"]

Part: TypeAlias = tuple[Literal["any", "one", "text"], str]
Condition: TypeAlias = ColumnElement[bool]
Texts: TypeAlias = ColumnElement[Any]

COMPARE: Final[Mapping[str, Callable[[Any, Any], Condition]]] = {
    "=": python.eq,
    "!=": python.ne,
    ">": python.gt,
    "<": python.lt,
    ">=": python.ge,
    "<=": python.le,
}
_KEPT: Final = KEY_LENGTH - 1
"""Characters of a text that its key keeps, behind the letter of its type."""
_ESCAPE: Final = "|"
"""Escapes in patterns for a database; a backslash means different things to them."""
_LAST: Final = "\U0010ffff"


def compared(text: Texts, key: Texts | None, operator: str, values: Sequence[str]) -> Condition:
    """The condition that a text compares so.

    Args:
        text: The column of texts.
        key: The column of their keys, where there is one.
        operator: One of the language.
        values: Several with ``IN``, else one.
    """
    match operator:
        case "IN":
            return _among(text, key, values)
        case "LIKE":
            return _like(text, key, list(pattern(values[0])))
        case "ILIKE":
            wanted = literal(_written(list(pattern(values[0]))), Text())
            return folded(text).like(folded(wanted), escape=_ESCAPE)
    compare, value = COMPARE[operator], values[0]
    if key is None:
        return compare(text, value)
    decides = len(value) < _KEPT
    match operator:
        case "!=" if not decides:
            return compare(text, value)
        case "!=":
            return and_(key != key_of(value), *_typed(key))
        case "=":
            begun = key == key_of(value)
        case _:
            loose = COMPARE[operator if decides else f"{operator[0]}="]
            begun = and_(loose(key, key_of(value)), *_typed(key))
    return begun if decides else and_(begun, compare(text, value))


def _typed(key: Texts) -> tuple[Condition, Condition]:
    return key >= "s", key < "t"


def _among(text: Texts, key: Texts | None, values: Sequence[str]) -> Condition:
    if key is None:
        return text.in_(values)
    long = [value for value in values if len(value) >= _KEPT]
    short = key.in_([key_of(value) for value in values if len(value) < _KEPT])
    if not long:
        return short
    return or_(short, and_(key.in_([key_of(value) for value in long]), text.in_(long)))


def _like(text: Texts, key: Texts | None, parts: list[Part]) -> Condition:
    start = parts[0][1] if parts and parts[0][0] == "text" else ""
    rest = parts[1:] if start else parts
    if not rest:
        return compared(text, key, "=", [start])
    first = key_of(start) if key is not None else start
    column = key if key is not None else text
    conditions = [column >= first] if first else []
    if first and (end := _after(first)):
        conditions.append(column < end)
    whole = key is None or len(start) <= _KEPT
    if [kind for kind, _ in rest] != ["any"] or not whole or not conditions:
        conditions.append(text.like(_written(parts), escape=_ESCAPE))
    return and_(*conditions)


def _after(text: str) -> str:
    """The first text, in order of characters, that is behind all texts beginning so."""
    stem = text.rstrip(_LAST)
    if not stem:
        return ""
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)


def prefix(text: str) -> bool:
    """Whether all texts that match a pattern begin with the same character."""
    return not text.startswith(("%", "_"))


def pattern(text: str) -> Iterator[Part]:
    """The parts of a pattern, of which no two texts follow each other.

    Each is anything, one character, or a text that means itself.
    """
    letters, plain = iter(text), ""
    for letter in letters:
        if letter in "%_":
            if plain:
                yield "text", plain
            plain = ""
            yield ("any" if letter == "%" else "one"), ""
        else:
            plain += next(letters, letter) if letter == "\\" else letter
    if plain:
        yield "text", plain


def _written(parts: list[Part]) -> str:
    written = ""
    for kind, text in parts:
        for special in (_ESCAPE, "%", "_"):
            text = text.replace(special, _ESCAPE + special)  # noqa: PLW2901 - grows escapes
        written += {"any": "%", "one": "_", "text": text}[kind]
    return written


class folded(FunctionElement[str]):  # noqa: N801 - spelt as a function of SQL
    """A text with its letters in lower case, of all alphabets."""

    type = Text()
    inherit_cache = True


@compiles(folded)
def _folded(element: folded, compiler: Any, **options: Any) -> str:
    return f"lower({compiler.process(element.clauses, **options)})"


@compiles(folded, "postgresql")
def _folded_postgresql(element: folded, compiler: Any, **options: Any) -> str:
    # the collation "C" of the columns knows the letters of ASCII only
    return f'lower(({compiler.process(element.clauses, **options)}) COLLATE "und-x-icu")'

r"""The language of ``filterQuery``: from a text to an expression (registry specification 1.8).

::

    filter     := or
    or         := and ( OR and )*
    and        := term ( AND term )*
    term       := "(" or ")" | comparison
    comparison := property operator value
                | property ( LIKE | ILIKE ) string
                | property IN "(" [ value ( "," value )* ] ")"
    operator   := "=" | "!=" | "<>" | ">" | "<" | ">=" | "<="
    value      := string | integer | float | TRUE | FALSE
    property   := segment ( "." segment )* [ "." type ]
    type       := "string_value" | "double_value" | "int_value" | "bool_value"
    segment    := letter ( letter | digit | "_" )*       after a dot also with a digit in front
                | "`" any characters "`"
    string     := "'" any characters "'" | '"' any characters '"'
    integer    := [ "+" | "-" ] digit+
    float      := [ "+" | "-" ] ( digit+ "." digit* | "." digit+ | digit+ ) [ exponent ]
    exponent   := ( "e" | "E" ) [ "+" | "-" ] digit+

Keywords may be written in any case, and are no keywords where a property stands. ``<>`` is
``!=``. Space between the parts is free, and ``--`` begins a comment that ends with its line.

Within quotes, a backslash before a quote of any sort or before a backslash stands for that
character; any other backslash is kept, so ``LIKE '100\%'`` reaches the pattern, where ``\%`` is a
percent sign. In a pattern ``%`` is any characters, ``_`` is any one, and a backslash makes the
next character mean itself.

A type at the end of a property tells which values are meant where a name has values of several
types. In backquotes it is a part of the name.
"""

import math
import re
from dataclasses import dataclass
from typing import Final, Literal, NoReturn, TypeAlias, cast

from towpath.registry.records import bad_request

__all__ = ["And", "Comparison", "Expression", "Operator", "Or", "Plain", "parse"]

Plain: TypeAlias = str | int | float | bool
Operator: TypeAlias = Literal["=", "!=", ">", "<", ">=", "<=", "LIKE", "ILIKE", "IN"]
Forced: TypeAlias = Literal["string_value", "double_value", "int_value", "bool_value"]

LENGTH: Final = 16_384
"""Characters of a filter: about what fits into a request line."""
DEPTH: Final = 20
"""Parentheses within each other: SQLite's parser takes 24 of them in the longest statement."""
TERMS: Final = 100
"""Comparisons of one filter."""
VALUES: Final = 1000
"""Values of one list, and of all lists together: databases limit what a statement may bind."""

_FORCED: Final = ("string_value", "double_value", "int_value", "bool_value")
_SYMBOLS: Final = ("=", "!=", "<>", ">", "<", ">=", "<=")
_WORDS: Final = ("LIKE", "ILIKE", "IN")
_INT64: Final = 2**63

_TOKEN: Final = re.compile(
    r"""
      (?P<space>  (?: \s | --[^\n]* )+ )
    | (?P<string> '(?: [^'\\] | \\. )*' | "(?: [^"\\] | \\. )*" )
    | (?P<number> [+-]? (?: [0-9]+ (?: \.[0-9]* )? | \.[0-9]+ ) (?: [eE][+-]?[0-9]+ )? (?! [\w`] ) )
    | (?P<path>   (?: [^\W\d]\w* | `(?: [^`\\] | \\. )+` )
                  (?: \. (?: \w+ | `(?: [^`\\] | \\. )+` ) )* )
    | (?P<symbol> <> | != | >= | <= | [=<>(),] )
    """,
    re.VERBOSE | re.DOTALL,
)
_SEGMENT: Final = re.compile(r"`(?:[^`\\]|\\.)+`|\w+", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([\\'\"`])")
_BARE: Final = re.compile(r"[^\W\d]\w*(?:\.\w+)*")

_QUOTE: Final = "String values must be quoted, as in name = 'fraud'."
_ODD: Final = "A property of other than letters, digits, _ and . stands in backquotes."
_SHAPE: Final = "A filter looks like name = 'fraud' AND accuracy > 0.9."


@dataclass(frozen=True)
class Comparison:
    """One property against a value.

    Args:
        name: The property, its segments joined by dots.
        operator: ``<>`` is told as ``!=``.
        value: A tuple with ``IN``, a text with ``LIKE`` and ``ILIKE``.
        forced: The type that was written behind the property.
    """

    name: str
    operator: Operator
    value: Plain | tuple[Plain, ...]
    forced: Forced | None = None

    def __str__(self) -> str:
        name = self.name
        if not _BARE.fullmatch(name) or name.rpartition(".")[2] in _FORCED:
            name = "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
        suffix = f".{self.forced}" if self.forced else ""
        if isinstance(self.value, tuple):
            value = f"({', '.join(map(_literal, self.value))})"
        else:
            value = _literal(self.value)
        return f"{name}{suffix} {self.operator} {value}"


@dataclass(frozen=True)
class And:
    """All of these."""

    terms: "tuple[Expression, ...]"

    def __str__(self) -> str:
        return " AND ".join(_grouped(term) for term in self.terms)


@dataclass(frozen=True)
class Or:
    """Any of these."""

    terms: "tuple[Expression, ...]"

    def __str__(self) -> str:
        return " OR ".join(_grouped(term) for term in self.terms)


Expression: TypeAlias = Comparison | And | Or
"""A filter; as a text it is one that :func:`parse` reads as the same expression."""


def parse(text: str) -> Expression | None:
    """The expression that a filter is; nothing when it is blank.

    Raises:
        InvalidError: it is none, with the place where it goes wrong; or it is too large.
    """
    if len(text) > LENGTH:
        raise bad_request(f"invalid filterQuery: it is longer than {LENGTH} characters")
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise bad_request("invalid filterQuery: it holds what is no character")
    parser = _Parser(text)
    return None if parser.kind == "end" else parser.filter()


def _grouped(term: Expression) -> str:
    return str(term) if isinstance(term, Comparison) else f"({term})"


def _literal(value: Plain) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return repr(value)


class _Parser:
    """One token of foresight: its ``kind``, its ``text`` and where it ``start``s."""

    def __init__(self, text: str) -> None:
        self.source = text
        self.terms = self.values = 0
        self.kind, self.text, self.start, self.end = "", "", 0, 0
        self.advance()

    def advance(self) -> None:
        """Go to the next token."""
        while True:
            self.start = self.end
            found = _TOKEN.match(self.source, self.start)
            if found is None:
                self.kind, self.text = "end", ""
                if self.start < len(self.source):
                    self.odd()
                return
            self.kind, self.text, self.end = str(found.lastgroup), found[0], found.end()
            if self.kind != "space":
                return

    def odd(self) -> NoReturn:
        """Refuse what no token begins with."""
        first = self.source[self.start]
        if first in "'\"`":
            what = "property" if first == "`" else "text"
            self.refuse(f"a {what} begins with {first} and does not end", f"Close it with {first}.")
        number = re.match(r"[+-]?[.0-9][\w.`]*", self.source[self.start :])
        if number and any(letter.isdigit() for letter in number[0]):
            self.refuse(f"{_shown(number[0])} is no number", _QUOTE)
        self.refuse(f"{first!r} is out of place", _ODD)

    def refuse(self, why: str, hint: str) -> NoReturn:
        """Refuse the filter at this token."""
        raise bad_request(f"invalid filterQuery: at character {self.start + 1}: {why}", hint)

    def expected(self, what: str, hint: str = _SHAPE) -> NoReturn:
        """Refuse this token, which is not what should be here."""
        found = "the end" if self.kind == "end" else _shown(self.text)
        self.refuse(f"expected {what}, found {found}", hint)

    def word(self, *words: str) -> str | None:
        """The keyword that stands here, in upper case, if it is one of these."""
        upper = self.text.upper() if self.kind == "path" else ""
        return upper if upper in words else None

    def symbol(self, text: str) -> bool:
        """Whether this symbol stands here; if so, go on."""
        here = self.kind == "symbol" and self.text == text
        if here:
            self.advance()
        return here

    def filter(self) -> Expression:
        """All of the text."""
        found = self.either(0)
        if self.kind != "end":
            hint = "Equality is one =." if self.text == "=" else _SHAPE
            self.expected("AND, OR or the end", hint)
        return found

    def either(self, depth: int) -> Expression:
        """``or``."""
        terms = [self.both(depth)]
        while self.word("OR"):
            self.advance()
            terms.append(self.both(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def both(self, depth: int) -> Expression:
        """``and``."""
        terms = [self.term(depth)]
        while self.word("AND"):
            self.advance()
            terms.append(self.term(depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def term(self, depth: int) -> Expression:
        """A comparison, or an expression in parentheses."""
        if self.kind == "symbol" and self.text == "(":
            if depth == DEPTH:
                self.refuse(f"more than {DEPTH} parentheses within each other", "Flatten it.")
            self.advance()
            found = self.either(depth + 1)
            if not self.symbol(")"):
                self.expected("AND, OR or )")
            return found
        return self.comparison()

    def comparison(self) -> Comparison:
        """A property, an operator, a value."""
        if self.kind != "path":
            self.expected("a property or (")
        self.terms += 1
        if self.terms > TERMS:
            self.refuse(f"more than {TERMS} comparisons", "Use IN for many values of a property.")
        name, forced = self.property()
        operator = self.operator()
        if operator == "IN":
            return Comparison(name, operator, self.list(), forced)
        if operator in ("LIKE", "ILIKE") and self.kind != "string":
            self.expected(f"a quoted pattern after {operator}", _QUOTE)
        return Comparison(name, operator, self.value(), forced)

    def property(self) -> tuple[str, Forced | None]:
        """A name, and the type behind it."""
        segments = _SEGMENT.findall(self.text)
        forced = segments.pop() if len(segments) > 1 and segments[-1] in _FORCED else None
        names = (_unescaped(part[1:-1]) if part[0] == "`" else part for part in segments)
        name = ".".join(names)
        self.advance()
        return name, cast("Forced | None", forced)

    def operator(self) -> Operator:
        """An operator."""
        word = self.word(*_WORDS)
        if word is None and not (self.kind == "symbol" and self.text in _SYMBOLS):
            hint = "NOT is not served; use !=." if self.word("NOT") else _SHAPE
            self.expected("one of = != <> > < >= <= LIKE ILIKE IN", hint)
        found = word or ("!=" if self.text == "<>" else self.text)
        self.advance()
        return cast(Operator, found)

    def list(self) -> tuple[Plain, ...]:
        """The values of IN."""
        if not self.symbol("("):
            self.expected("( after IN", "A list looks like ('a', 'b').")
        found: list[Plain] = []
        while not self.symbol(")"):
            if found and not self.symbol(","):
                self.expected(", or )", "A list looks like ('a', 'b').")
            self.values += 1
            if self.values > VALUES:
                self.refuse(f"more than {VALUES} values in lists", "Ask in several steps.")
            found.append(self.value())
        return tuple(found)

    def value(self) -> Plain:
        """One value."""
        found: Plain
        match self.kind:
            case "string":
                found = _unescaped(self.text[1:-1])
            case "number":
                found = self.number()
            case "path" if self.word("TRUE", "FALSE"):
                found = self.word("TRUE") is not None
            case _:
                hint = "Equality is one =." if self.text == "=" else _QUOTE
                self.expected("a value", hint)
        self.advance()
        return found

    def number(self) -> int | float:
        """An integer when it looks like one."""
        if self.text.lstrip("+-").isdigit():
            if len(self.text) <= 20 and -_INT64 <= int(self.text) < _INT64:
                return int(self.text)
            self.refuse("the integer does not fit 64 bits", "Write it with an exponent.")
        found = float(self.text)
        if math.isinf(found):
            self.refuse("the number is too large", "The largest is about 1.8e308.")
        return found


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"

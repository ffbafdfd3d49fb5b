"""CEL expressions as text: what they use, what they may cost, and what the engine must be told.

The engine reads neither ``a.?b`` and ``a[?b]`` nor ``optMap``, and counts a text's bytes where
Kubernetes counts characters; all of these are written as calls of functions of ours.

Source: CEL language definition; Kubernetes documentation, "Common Expression Language in
Kubernetes" (functions, escaped names, resource constraints).
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from towpath.spec._wire import JsonObject

__all__ = ["LONGEST", "Cost", "Expression", "escaped", "reached", "read", "unreachable"]

LONGEST: Final = 5000
"""Characters of an expression; the engine follows its nesting on the stack."""

_TOKEN: Final = re.compile(
    r"(?P<space>\s+|//[^\n]*)"
    r"|(?P<text>[bBrR]{0,2}(?:\"\"\"[\s\S]*?\"\"\"|'''[\s\S]*?'''"
    r"|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'))"
    r"|(?P<number>0x[0-9a-fA-F]+u?|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?[uU]?)"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<mark>\.\?|\[\?|&&|\|\||[=!<>]=|.)",
    re.DOTALL,
)
_LOOPS: Final = frozenset({"all", "exists", "existsOne", "exists_one"})
_COPIES: Final = frozenset({"filter", "map"})
_OPTIONS: Final = {"optFlatMap": "__flat", "optMap": "__first"}
_CALLS: Final = {"string": "__string"}
_COUNTED: Final = {"size": "__size", "string": "__string"}
_KEYWORDS: Final = frozenset(
    {
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    }
)
_ESCAPES: Final = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_ESCAPABLE: Final = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*")
_ENTRY: Final = ") "
"""The end of ``[?key]``."""
_MATCHING: Final = 100
"""What one regular expression costs."""
_GROWTH: Final = 40
_DEPTH: Final = 30
"""Loops within each other, at most, that are told apart: so many are never run."""
_MADE: Final = 1024 * 1024
"""Characters, at most, of a text that a function makes."""
_COPIED: Final = 3000
"""Characters of a text that are copied in one step."""
_LISTS: Final = frozenset({"findAll", "getQuery", "split"})
"""Functions that make a list of a text."""
_GATHERS: Final = frozenset({"format", "join"})
"""Functions that make one text of many."""


class Token(NamedTuple):
    """A word of an expression and where it stands."""

    kind: str
    text: str
    at: int


class Cost(NamedTuple):
    """How work grows with what is worked on.

    Attributes:
        loops: Loops within each other that look at each item.
        copies: Loops within each other that make a list, which the engine copies for each item.
        calls: Whether functions are called in a loop with what does not get smaller by it.
        matches: Whether regular expressions are.
        growth: How many times as large a list's items may become.
        literals: Items that the expression itself brings.
        letters: Characters of the longest text that it brings.
        pieces: How many texts may be put together where no list is made.
        lists: Whether lists are made of texts.
        makes: How many calls make a text that may be as long as one text times another.
        fills: How many calls make a text of one text and of literals.
        gathers: Whether texts are made of lists.
    """

    loops: int = 0
    copies: int = 0
    calls: bool = False
    matches: bool = False
    growth: int = 1
    literals: int = 1
    letters: int = 0
    pieces: int = 1
    lists: bool = False
    makes: int = 0
    fills: int = 0
    gathers: bool = False

    def of(self, total: int, longest: int, text: int = 0) -> float:
        """Steps, at most, where values, lists and texts are no larger than that.

        Args:
            total: Size of all values together.
            longest: Items of the longest list.
            text: Characters of the longest text.
        """
        text = self._text(total, text)
        if self.lists and self.loops + self.copies:
            made = (text + 1) * self.pieces * self.growth
            total, longest = max(total, made), max(longest, made)
        wide = float(max(longest, self.literals))
        depth, copies = min(self.loops + self.copies, _DEPTH), min(self.copies, _DEPTH)
        steps = wide ** max(depth - 1, 0) * (total + wide) * (1 + wide / 10) ** copies
        if self.calls:
            steps *= max(total, 1) if depth else 1
        if self.matches:
            steps += wide**depth * _MATCHING
        copied = (self.pieces - 1) ** 2 + self.lists  # each piece copies those before it
        steps += wide**depth * text / _COPIED * copied
        if self.growth <= 4:  # a few pieces put together: none of theirs doubles again and again
            return steps
        return (steps + (text / 16 if self.makes + self.fills else 0)) * self.growth

    def _text(self, total: int, text: int) -> int:
        """Characters of the longest text that there is or that a function makes."""
        text = max(text, self.letters)
        made = max(text, total * 16) if self.gathers else text
        for _ in range(min(self.fills, _DEPTH)):
            made *= self.letters + 1
        for _ in range(self.makes):
            made = min((made + 1) ** 2, _MADE)
            if made == _MADE:
                break
        return max(text, min(made, _MADE))


@dataclass(frozen=True)
class Expression:
    """What an expression says.

    Attributes:
        source: For the engine.
        counted: For the engine, where texts hold more than ASCII.
        names: Variables it uses and does not bind itself, each with its place.
        calls: Functions it calls, ``ip.isCanonical`` for one in a namespace, each with its place.
        paths: Fields of ``self`` and ``oldSelf`` it looks at: names from there on, and the place.
        cost: What it may cost.
    """

    source: str
    counted: str
    names: dict[str, int]
    calls: dict[str, int]
    paths: tuple[tuple[tuple[str, ...], int], ...]
    cost: Cost


def escaped(name: str) -> str | None:
    """A field's name as expressions write it; None where they cannot."""
    if name in _KEYWORDS:
        return f"__{name}__"
    if not _ESCAPABLE.fullmatch(name):
        return None
    return re.sub(r"__|[.\-/]", lambda found: _ESCAPES[found[0]], name)


def read(text: str, spaces: frozenset[str]) -> Expression:
    """What an expression says.

    Args:
        text: The expression.
        spaces: Namespaces of functions: ``ip`` of ``ip.isCanonical``.

    Raises:
        ValueError: it is longer than any may be.
    """
    if len(text) > LONGEST:
        raise ValueError(f"the expression is longer than {LONGEST} characters")
    tokens = list(_tokens(text))
    names, calls = _uses(tokens, spaces)
    heavy = calls.keys() - _LIGHT - _LOOPS - _COPIES - _OPTIONS.keys()
    return Expression(
        _written(tokens, _CALLS),
        _written(tokens, _COUNTED),
        names,
        calls,
        tuple(_paths(tokens)),
        _cost(tokens, heavy),
    )


_LIGHT: Final = frozenset({"endsWith", "has", "matches", "size", "startsWith", "type", "dyn"})


def _tokens(text: str) -> Iterator[Token]:
    for found in _TOKEN.finditer(text):
        kind = str(found.lastgroup)
        if kind != "space":
            yield Token(kind, found[0], found.start())


def _text(tokens: Sequence[Token], index: int) -> str:
    return tokens[index].text if 0 <= index < len(tokens) else ""


def _uses(tokens: Sequence[Token], spaces: frozenset[str]) -> tuple[dict[str, int], dict[str, int]]:
    bound = {
        _text(tokens, index + 2)
        for index, token in enumerate(tokens)
        if token.text in (_LOOPS | _COPIES | _OPTIONS.keys())
        and _text(tokens, index - 1) == "."
        and _text(tokens, index + 1) == "("
    }
    names: dict[str, int] = {}
    calls: dict[str, int] = {}
    for index, token in enumerate(tokens):
        if token.kind != "name" or token.text in _KEYWORDS:
            continue
        member = _text(tokens, index - 1) in (".", ".?")
        if _text(tokens, index + 1) == "(":
            space = _text(tokens, index - 2) if member else ""
            bare = _text(tokens, index - 3) not in (".", ".?")
            known = space in spaces and bare
            calls.setdefault(f"{space}.{token.text}" if known else token.text, token.at)
        elif not member and token.text not in bound:
            key = _text(tokens, index + 1) == "." and token.text in spaces
            if not key:
                names.setdefault(token.text, token.at)
    return names, calls


def _paths(tokens: Sequence[Token]) -> Iterator[tuple[tuple[str, ...], int]]:
    for index, token in enumerate(tokens):
        if token.text not in ("self", "oldSelf") or _text(tokens, index - 1) in (".", ".?"):
            continue
        path: list[str] = []
        at, next_ = token.at, index + 1
        while (
            _text(tokens, next_) == "."
            and next_ + 1 < len(tokens)
            and tokens[next_ + 1].kind == "name"
            and _text(tokens, next_ + 2) != "("
        ):
            path.append(tokens[next_ + 1].text)
            at = tokens[next_].at
            next_ += 2
        if path:
            yield tuple(path), at


def _closing(tokens: Sequence[Token], index: int) -> int:
    """Where the bracket closes that opens here."""
    depth = 0
    for at in range(index, len(tokens)):
        if tokens[at].text in ("(", "[", "{", "[?"):
            depth += 1
        elif tokens[at].text in (")", "]", "}"):
            depth -= 1
            if not depth:
                return at
    return len(tokens)


def _written(tokens: Sequence[Token], calls: dict[str, str]) -> str:
    """The expression as the engine reads it."""
    closing: dict[int, str] = {}
    words: list[str] = []
    chained = False
    """Whether what stands before is a value that may be missing: so are its fields."""
    index = 0
    while index < len(tokens):
        word, follows = tokens[index].text, _text(tokens, index + 1)
        if word == ".?" or (word == "." and chained and _text(tokens, index + 2) != "("):
            words.append(f'.__field("{follows}")')
            chained = True
            index += 2
            continue
        chained = closing.get(index) == _ENTRY
        if word == "[?":
            closing[_closing(tokens, index)] = _ENTRY
            word = ".__field("
        elif follows == "(" and word in _OPTIONS and _text(tokens, index - 1) == ".":
            closing[_closing(tokens, index + 1)] = f").{_OPTIONS[word]}()"
            word = "__list().map"
        elif follows == "(" and tokens[index].kind == "name":
            word = calls.get(word, word)
        words.append(closing.get(index, word))
        index += 1
    return " ".join(words)


def _given(tokens: Sequence[Token], index: int) -> Sequence[Token]:
    """What a call is given in its brackets."""
    return tokens[index + 1 : _closing(tokens, index + 1)]


def _of_all(tokens: Sequence[Token], index: int) -> bool:
    """Whether a call is given ``self`` or a field of it."""
    inside = _given(tokens, index)
    while index > 1 and tokens[index - 1].text == "." and tokens[index - 2].kind == "name":
        index -= 2
    return any(token.text in ("self", "oldSelf") for token in (tokens[index], *inside))


def _cost(tokens: Sequence[Token], heavy: set[str]) -> Cost:
    growth = literals = 1
    deepest = (0, 0)
    calls = matches = False
    joints: Counter[int] = Counter()
    open_: list[tuple[int, int, str]] = [(0, 0, "")]
    for index, token in enumerate(tokens):
        inside = open_[-1]
        macro = _text(tokens, index - 1) if token.text == "(" else ""
        if token.text in ("(", "[", "{", "[?"):
            method = _text(tokens, index - 2) == "."
            loops, copies = inside[0], inside[1]
            if method and macro in _LOOPS:
                open_.append((loops + 1, copies, macro))
            elif method and (macro in _COPIES or macro in _OPTIONS):
                open_.append((loops, copies + 1, macro))
            else:
                open_.append((loops, copies, ""))
            deepest = max(deepest, open_[-1][:2], key=lambda each: (each[0] + each[1], each[1]))
        elif token.text in (")", "]", "}") and len(open_) > 1:
            open_.pop()
        elif token.text == ",":
            literals += 1
        elif token.text == "+" and inside[1]:
            growth = min(growth * 2, 2**_GROWTH)
        elif token.text == "+":
            joints[inside[0]] += 1
        elif token.kind == "name" and _text(tokens, index + 1) == "(" and inside[0] + inside[1]:
            matches = matches or token.text == "matches"
            calls = calls or (token.text in heavy and _of_all(tokens, index))
    called = [
        (token.text, any(each.kind == "name" for each in _given(tokens, index)))
        for index, token in enumerate(tokens)
        if token.kind == "name" and _text(tokens, index + 1) == "("
    ]
    made = [named for name, named in called if name == "replace" or name in _GATHERS]
    return Cost(
        *deepest,
        calls,
        matches,
        growth,
        literals,
        letters=max((len(token.text) - 2 for token in tokens if token.kind == "text"), default=0),
        pieces=min(math.prod(each + 1 for each in joints.values()), 2**_GROWTH),
        lists=any(name in _LISTS for name, _ in called),
        makes=sum(made),
        fills=len(made) - sum(made),
        gathers=any(name in _GATHERS for name, _ in called),
    )


_STEP: Final = re.compile(r"\.([^.\[\]]+)|\['((?:\\.|[^'\\])*)'\]")


def unreachable(path: str, schema: JsonObject, *, brackets: bool = True) -> str:
    """Why a path such as ``.a['b.c']`` leads to nothing in a schema; empty where it leads."""
    found = reached(path, schema, brackets=brackets)
    return found if isinstance(found, str) else ""


def reached(path: str, schema: JsonObject, *, brackets: bool = True) -> JsonObject | str:
    """The schema that a path leads to, or why it leads nowhere."""
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return f"expected [ or . but got: {path[at:].partition('.')[0]}"
        if step[1] is None and not brackets:
            return "array notation is not allowed"
        name = step[1] if step[1] is not None else re.sub(r"\\(.)", r"\1", step[2])
        properties, rest = schema.get("properties"), schema.get("additionalProperties")
        if isinstance(properties, dict) and isinstance(properties.get(name), dict):
            schema = properties[name]
        elif not properties and isinstance(rest, dict):
            schema = rest
        else:
            return "does not refer to a valid field"
        at = step.end()
    return schema

r"""Regular expressions of schemas: Go's, by whichever engine here does them right and in time.

Python's engine is the faster one for a short text but goes back and forth without bound, so that
it is only asked where that cannot take long; all else, and what only Go knows (``\pL``,
``[[:alpha:]]``) goes to the engine of the CEL library, which takes linear time.

Source: RE2 syntax, as Go's regexp reads it.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from towpath.apiserver.schema.engine import Program, cel

__all__ = ["flaw", "matcher", "simple"]

_STEPS: Final = 1_000_000
"""What Python may try for one text."""
_LONGEST: Final = 1024
"""Characters of a text that Python looks at in any case."""
_SHORTEST: Final = 8
"""Below that, it is not worth asking Python."""
_SMALL: Final = 64
"""Characters of a text, as of a name or a quantity, whose answer is remembered."""
_REPEATS: Final = 1000
"""Most repeats that Go takes."""
_WORD: Final = re.compile(
    r"\\(?:x\{[^}]*\}|[pP](?:\{\^?\w+\}|\w)|.)"
    r"|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]"
    r"|\((?:\?(?:[imsU]*(?:-[imsU]+)?[:)]|P?<\w+>))?"
    r"|[*+?]\??|\{\d+(?:,\d*)?\}\??|.",
    re.DOTALL,
)
_COUNT: Final = re.compile(r"\{(\d+)(?:(,)(\d*))?\}\??")
_FOREIGN: Final = re.compile(r"(?<!\\)\(\?(?:<?[=!]|>|#|\()")
_STRANGE: Final = frozenset("123456789ZGKXRuUNcke")
"""What no backslash may stand before, for Go."""
_END: Final = frozenset({"$", "\\z"})


class Simple(NamedTuple):
    """A pattern that Python may look for.

    Attributes:
        pattern: For Python.
        longest: Characters of a text up to which that cannot take long.
    """

    pattern: re.Pattern[str]
    longest: int


@lru_cache(maxsize=2048)
def matcher(pattern: str) -> Callable[[str], bool] | None:
    """What says whether a pattern is found in a text; None where it is no pattern."""
    if flaw(pattern):
        return None
    found = simple(pattern)

    def linear(text: str) -> bool:
        return (_remembered if len(text) <= _SMALL else _linear)(pattern, text)

    if found is None:
        return linear
    search, longest = found.pattern.search, found.longest
    return lambda text: search(text) is not None if len(text) <= longest else linear(text)


def flaw(pattern: str) -> str:
    """Why a pattern is none, in Go's words; empty where it is one."""
    before = ""
    for word in _WORD.findall(pattern):
        counts = _COUNT.fullmatch(word)
        if counts and any(n and int(n) > _REPEATS for n in (counts[1], counts[3])):
            return f"error parsing regexp: invalid repeat count: `{word}`"
        repeats = counts or word[0] in "*+?"
        if repeats and before:
            return f"error parsing regexp: invalid nested repetition operator: `{before}{word}`"
        before = word if repeats else ""
        if len(word) == 2 and word[0] == "\\" and word[1] in _STRANGE:
            return f"error parsing regexp: invalid escape sequence: `{word}`"
    if look := _FOREIGN.search(pattern):
        return f"error parsing regexp: invalid or unsupported Perl syntax: `{look[0]}`"
    if simple(pattern) is not None:
        return ""
    try:
        _linear(pattern, "")
    except ValueError as exc:
        return f"error parsing regexp: {exc}"
    return ""


def simple(pattern: str) -> Simple | None:
    """The pattern for Python; None where only the other engine will do."""
    words = _WORD.findall(pattern)
    if any(map(_unknown, words)) or any(re.match(r"\(\?[a-zA-Z-]*\)", w) for w in words[1:]):
        return None
    longest = _bound(words)
    if longest is None:
        return None
    try:
        text = "".join(r"\Z" if word in _END else word for word in words)
        return Simple(re.compile(text, re.ASCII), longest)
    except (re.error, OverflowError, RecursionError):
        return None


def _unknown(word: str) -> bool:
    """Whether a word means nothing, or something else, to Python."""
    return (
        word[:2] in ("\\p", "\\P", "\\Q", "\\E", "\\C", "[]")
        or word.startswith(("\\x{", "[^]"))
        or "[:" in word
        or (word.startswith("(?") and "U" in word.partition("<")[0])
    )


def _bound(words: list[str]) -> int | None:
    """Characters of a text up to which Python does not try too much; None where there are none."""
    choices, loops = 0, 0 if words[:1] == ["^"] else 1
    groups: list[bool] = []
    choosing, before = False, ""
    """Whether there is a choice in the group so far, or in the one that was just closed."""
    for word in words:
        count = _COUNT.fullmatch(word)
        if word[0] == "(":
            groups.append(choosing)
            choosing = False
        elif word == ")":
            if not groups:
                return None
            before = "choice" if choosing else word
            choosing = groups.pop() or choosing
            continue
        elif word[0] in "*+" or count:
            if before == "choice":
                return None
            loops += not count or bool(count[2])
            choosing = choosing or not count or bool(count[2])
        elif word[0] == "?" or word == "|":
            choices += 1
            choosing = True
        before = word
    left = _STEPS / 2.0 ** min(choices, 64)
    longest = min(int(left ** (1 / loops)) if loops else _LONGEST, _LONGEST)
    return longest if longest >= _SHORTEST else None


def _linear(pattern: str, text: str) -> bool:
    context = cel().Context(variables={"text": text, "pattern": pattern})
    try:
        return bool(_program().execute(context))
    except (RuntimeError, ValueError, TypeError) as exc:
        lines = str(exc).splitlines()
        why = next((line for line in lines if line.startswith("error: ")), "error: not a pattern")
        raise ValueError(why.removeprefix("error: ").partition(". Check")[0]) from exc


_remembered: Final = lru_cache(maxsize=4096)(_linear)


@lru_cache(maxsize=1)
def _program() -> Program:
    return cel().compile("text.matches(pattern)")

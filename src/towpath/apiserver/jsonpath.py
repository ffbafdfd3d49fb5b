"""The JSONPath of printer columns: fields, indexes, ``[*]`` and one-comparison filters.

Source: Kubernetes documentation, "JSONPath Support", as far as CustomResourceDefinitions use it.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import orjson

from towpath.errors import InvalidError
from towpath.spec._wire import Json

__all__ = ["find"]

_Step = Callable[[Json], list[Json]]

_TOKEN: Final = re.compile(
    r"""(?P<all>\[\*\]|\.\*)
      |\.(?P<field>(?:\\.|[^.\[\]\\])+)
      |\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
      |\[(?P<index>-?\d{1,9})\]
      |\[\?\(@(?P<left>[^=!<>]*?)\s*(?:(?P<op>==|!=)\s*(?P<right>'[^']*'|"[^"]*"|[^)'"\s]+))?\s*\)\]
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=1024)
def find(path: str) -> Callable[[Json], list[Json]]:
    """A function that gives what a path finds in a value, in order.

    Raises:
        InvalidError: the path is not of the supported kind.
    """
    steps: list[_Step] = []
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise InvalidError(f"JSONPath {path[:200]!r} is not supported from character {at} on")
        steps.append(_step(match))
        at = match.end()

    def run(value: Json) -> list[Json]:
        found = [value]
        for step in steps:
            found = [result for item in found for result in step(item)]
        return found

    return run


def _step(match: re.Match[str]) -> _Step:
    if match["all"]:
        return lambda v: (
            v if isinstance(v, list) else list(v.values()) if isinstance(v, dict) else []
        )
    if match["index"]:
        index = int(match["index"])
        return lambda v: [v[index]] if isinstance(v, list) and -len(v) <= index < len(v) else []
    if match["left"] is not None:
        return _filter(match)
    name = match["quoted"] if match["quote"] else re.sub(r"\\(.)", r"\1", match["field"])
    return lambda v: [v[name]] if isinstance(v, dict) and name in v else []


def _filter(match: re.Match[str]) -> _Step:
    left = find(match["left"].strip())
    if not match["op"]:
        return lambda v: [item for item in _items(v) if left(item)]
    text, equal = match["right"], match["op"] == "=="
    if text[0] in "'\"":
        right: Json = text[1:-1]
    else:
        try:
            right = orjson.loads(text)
        except orjson.JSONDecodeError:
            right = text
    return lambda v: [
        item for item in _items(v) if (found := left(item)) and (found[0] == right) is equal
    ]


def _items(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []

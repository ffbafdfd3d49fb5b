"""What is wrong with a field, in the words of Kubernetes.

A message is what stands after ``field: `` in an answer. Values are repeated in it as Go prints
them, and never in full length.

Source: Kubernetes API conventions, "HTTP Status codes" (422); the causes of a ``Status``.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final, NamedTuple

import orjson

from towpath.spec._wire import Json

__all__ = [
    "Problem",
    "below",
    "duplicate",
    "forbidden",
    "invalid",
    "mistyped",
    "number",
    "quoted",
    "required",
    "shown",
    "too_long",
    "too_many",
    "unsupported",
]

_SHOWN: Final = 1024
"""Characters of a value that a message repeats."""
_EXPONENTS: Final = range(-4, 21)
"""Powers of ten that are written without an exponent."""


class Problem(NamedTuple):
    """One thing that is wrong: a cause of a 422, as Kubernetes tells it."""

    field: str
    reason: str
    message: str


def below(path: str, name: str) -> str:
    """The path of a field."""
    return f"{path}.{name}" if path else name


def number(value: float) -> str:
    """A number as Go prints it."""
    if isinstance(value, int):
        return str(value)
    parts = Decimal(repr(value))
    if not parts.is_finite():
        return {"Infinity": "+Inf", "-Infinity": "-Inf"}.get(str(parts), "NaN")
    if not parts or parts.adjusted() in _EXPONENTS:
        return format(parts.normalize(), "f")
    digits, _, exponent = f"{parts.normalize():e}".partition("e")
    return f"{digits}e{exponent[0]}{exponent[1:]:0>2}"


def quoted(text: str) -> str:
    """A text in quotes."""
    return orjson.dumps(text.encode(errors="replace").decode()).decode()


def shown(value: Json) -> str:
    """A value as messages repeat it."""
    text = quoted(value[:_SHOWN]) if isinstance(value, str) else _plain(value)
    return text if len(text) <= 2 * _SHOWN else text[: 2 * _SHOWN] + "..."


def _plain(value: Json) -> str:
    if value is None:
        return '"null"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, tuple):
        return orjson.dumps(value).decode()
    return _go(value, [4 * _SHOWN])


def _go(value: Json, left: list[int]) -> str:
    """A value as Go source; stops where nobody reads on."""
    if left[0] <= 0:
        return "..."
    if isinstance(value, dict):
        pairs = (f"{quoted(str(k))}:{_go(value[k], left)}" for k in sorted(value))
        text = f"map[string]interface {{}}{{{', '.join(pairs)}}}"
    elif isinstance(value, list):
        text = f"[]interface {{}}{{{', '.join(_go(item, left) for item in value)}}}"
    elif isinstance(value, str):
        text = quoted(value)
    else:
        text = "interface {}(nil)" if value is None else _plain(value)
    left[0] -= len(text)
    return text


def invalid(path: str, value: Json, why: str) -> Problem:
    """A value that is not legal."""
    return Problem(path, "FieldValueInvalid", f"Invalid value: {shown(value)}: {why}")


def mistyped(path: str, value: Json, why: str) -> Problem:
    """A value of another type than the field's."""
    return Problem(path, "FieldValueTypeInvalid", f"Invalid value: {shown(value)}: {why}")


def required(path: str, why: str = "") -> Problem:
    """A field that is missing."""
    message = f"Required value: {why}" if why else "Required value"
    return Problem(path, "FieldValueRequired", message)


def forbidden(path: str, why: str) -> Problem:
    """A field that must not be there."""
    return Problem(path, "FieldValueForbidden", f"Forbidden: {why}")


def unsupported(path: str, value: Json, values: Iterable[Json]) -> Problem:
    """A value that is none of those that are allowed."""
    texts = (v if isinstance(v, str) else orjson.dumps(v).decode() for v in values)
    allowed = ", ".join(quoted(text) for text in texts)
    message = f"Unsupported value: {shown(value)}: supported values: {allowed}"
    return Problem(path, "FieldValueNotSupported", message)


def duplicate(path: str, value: Json) -> Problem:
    """A value that is there already."""
    return Problem(path, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")


def too_long(path: str, limit: int) -> Problem:
    """A text of more than so many bytes."""
    unit = "byte" if limit == 1 else "bytes"
    return Problem(path, "FieldValueTooLong", f"Too long: may not be more than {limit} {unit}")


def too_many(path: str, count: int, limit: int) -> Problem:
    """A list or map of more than so many items."""
    unit = "item" if limit == 1 else "items"
    message = f"Too many: {count}: must have at most {limit} {unit}"
    return Problem(path, "FieldValueTooMany", message)

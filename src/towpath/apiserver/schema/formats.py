"""Formats of texts: those that Kubernetes checks; any other name means nothing.

Source: CustomResourceDefinition documentation, "Specifying a structural schema" (``format``).
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Final
from urllib.parse import urlsplit

__all__ = ["FORMATS", "Format", "normal"]

Format = Callable[[str], bool]

_LONGEST: Final = 64 * 1024
"""Longest text that any format but ``byte`` and ``password`` looks at."""
_DURATION: Final = 100
"""Longest text that is a duration."""
_HEX: Final = "[0-9a-fA-F]"


def normal(name: str) -> str:
    """A format's name as it is compared: without dashes."""
    return name.replace("-", "")


def _like(pattern: str) -> Format:
    found = re.compile(pattern, re.ASCII)
    return lambda text: found.fullmatch(text) is not None


def _try(read: Callable[[str], object]) -> Format:
    def holds(text: str) -> bool:
        try:
            return read(text) is not False
        except (ValueError, binascii.Error):
            return False

    return holds


_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


def _time(text: str) -> bool:
    found = _TIME.fullmatch(text)
    if found is None:
        return False
    datetime.fromisoformat(f"{found[1]}T{found[2]}")
    return True


def _byte(text: str) -> bool:
    base64.b64decode(text, validate=True)
    return True


def _uri(text: str) -> bool:
    parts = urlsplit(text)
    return text.startswith("/") or bool(parts.scheme and (parts.netloc or parts.path))


def _uuid(third: str = _HEX, fourth: str = _HEX) -> Format:
    return _like(f"{_HEX}{{8}}-?{_HEX}{{4}}-?{third}{_HEX}{{3}}-?{fourth}{_HEX}{{3}}-?{_HEX}{{12}}")


def _isbn(text: str) -> bool:
    digits = re.sub("[ -]", "", text)
    if re.fullmatch(r"\d{9}[\dX]", digits):
        numbers = [10 if digit == "X" else int(digit) for digit in digits]
        return sum((10 - at) * value for at, value in enumerate(numbers)) % 11 == 0
    if re.fullmatch(r"\d{13}", digits):
        return sum(int(digit) * (3 if at % 2 else 1) for at, digit in enumerate(digits)) % 10 == 0
    return False


def _isbn_of(length: int) -> Format:
    return lambda text: len(re.sub("[ -]", "", text)) == length and _isbn(text)


def _card(text: str) -> bool:
    digits = re.sub("[ -]", "", text)
    if not re.fullmatch(r"\d{13,19}", digits):
        return False
    doubled = (int(d) * (2 if at % 2 else 1) for at, d in enumerate(reversed(digits)))
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _hostname(text: str) -> bool:
    label = re.compile(r"[^\W_]([^\W_]|-)*(?<!-)")
    return len(text) <= 255 and all(
        len(part) <= 63 and label.fullmatch(part) for part in text.split(".")
    )


_COLOR: Final = r"\s*(25[0-5]|2[0-4]\d|1?\d?\d)\s*"
_EMAIL: Final = r"[^@\s<>()\[\],;:\"\\]+@[^@\s<>()\[\],;:\"\\]+"

_SHORT: Final[Mapping[str, Format]] = {
    "bsonobjectid": _like(f"{_HEX}{{24}}"),
    "cidr": _try(lambda text: "/" in text and ipaddress.ip_interface(text)),
    "creditcard": _card,
    "date": _try(lambda text: len(text) == 10 and date.fromisoformat(text)),
    "datetime": _try(_time),
    "duration": _like(
        rf"(?=.{{0,{_DURATION}}}\Z)(?:"
        r"[+-]?(0|((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))+)|\d+ ?"
        r"(ns|nanos?|us|µs|micros?|ms|millis?|s|seconds?|m|minutes?|h|hours?|d|days?|w|weeks?))"
    ),
    "email": _like(rf"{_EMAIL}|[^<>]*<{_EMAIL}>"),
    "hexcolor": _like(f"#?({_HEX}{{3}}|{_HEX}{{6}})"),
    "hostname": _hostname,
    "ipv4": _try(ipaddress.IPv4Address),
    "ipv6": _try(ipaddress.IPv6Address),
    "isbn": _isbn,
    "isbn10": _isbn_of(10),
    "isbn13": _isbn_of(13),
    "mac": _like(f"({_HEX}{{2}}[:-]){{5}}{_HEX}{{2}}|({_HEX}{{4}}\\.){{2}}{_HEX}{{4}}"),
    "rgbcolor": _like(rf"rgb\({_COLOR},{_COLOR},{_COLOR}\)"),
    "ssn": _like(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _try(_uri),
    "uuid": _uuid(),
    "uuid3": _uuid(third="3"),
    "uuid4": _uuid(third="4", fourth="[89abAB]"),
    "uuid5": _uuid(third="5", fourth="[89abAB]"),
}


def _bounded(holds: Format) -> Format:
    return lambda text: len(text) <= _LONGEST and holds(text)


FORMATS: Final[Mapping[str, Format]] = {
    **{name: _bounded(holds) for name, holds in _SHORT.items()},
    "byte": _try(_byte),
    "password": lambda _: True,
}
"""What each format says of a text."""

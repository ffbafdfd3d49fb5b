"""Functions that Kubernetes adds to CEL, and those of CEL that the engine lacks.

The engine finds a function by its name alone, so that each looks at what it is given. Quantities,
addresses and URLs are maps there, since it knows no types but its own: equal ones are equal maps.

Source: Kubernetes documentation, "Common Expression Language in Kubernetes".
"""

import ipaddress
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Final
from urllib.parse import SplitResult, urlsplit

from towpath.apiserver.schema.engine import cel
from towpath.apiserver.schema.patterns import flaw, simple
from towpath.apiserver.schema.problem import number
from towpath.spec._wire import Json, JsonObject

__all__ = ["NATIVE", "SPACES", "functions"]

NATIVE: Final = frozenset(
    {
        "all",
        "bool",
        "bytes",
        "contains",
        "double",
        "duration",
        "dyn",
        "endsWith",
        "exists",
        "existsOne",
        "exists_one",
        "filter",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "has",
        "hasValue",
        "int",
        "map",
        "matches",
        "optFlatMap",
        "optMap",
        "optional.none",
        "optional.of",
        "or",
        "orValue",
        "size",
        "startsWith",
        "string",
        "timestamp",
        "type",
        "uint",
        "value",
    }
)
"""What the engine knows itself."""
SPACES: Final = frozenset({"cidr", "ip", "optional", "sets"})
"""Namespaces of functions."""

_LARGEST: Final = 1024 * 1024
"""Characters of a text that a function makes."""
_COMPARED: Final = 10_000_000
"""Pairs of items that are compared with each other."""
_QUANTITY: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+|)")
_POWERS: Final[Mapping[str, Fraction]] = {
    "": Fraction(1),
    **{name: Fraction(1000) ** power for power, name in enumerate("num", -3)},
    **{name: Fraction(1000) ** power for power, name in enumerate("kMGTPE", 1)},
    **{f"{name}i": Fraction(1024) ** power for power, name in enumerate("KMGTPE", 1)},
}
_WHOLE: Final = 2**63


# Values that may be missing


def _maybe(found: bool, value: Json) -> Json:
    kind = cel().OptionalValue
    return kind.of(value) if found else kind.none()


def _field(value: Json, name: Json) -> Json:
    if isinstance(value, cel().OptionalValue):
        if not value.has_value():
            return value
        value = value.value()
    if isinstance(value, list) and isinstance(name, int):
        return _maybe(0 <= name < len(value), value[name] if 0 <= name < len(value) else None)
    found = isinstance(value, dict) and name in value
    return _maybe(found, value[name] if found else None)


def _list(value: Json) -> Json:
    return [value.value()] if value.has_value() else []


def _first(values: list[Json]) -> Json:
    return _maybe(bool(values), values[0] if values else None)


def _flat(values: list[Json]) -> Json:
    return values[0] if values else _maybe(False, None)


# Lists


def _sum(values: list[Json]) -> Json:
    if values and isinstance(values[0], timedelta):
        return sum(values, timedelta())
    return sum(values)


def _index(value: Json, item: Json, start: int = 0) -> int:
    if isinstance(value, str):
        if not 0 <= start <= len(value):
            raise IndexError(f"index out of range: {start}")
        return value.find(item, start)
    return value.index(item) if item in value else -1


def _last_index(value: Json, item: Json, start: int | None = None) -> int:
    if isinstance(value, str):
        return value.rfind(item, 0, len(value) if start is None else start + len(item))
    return len(value) - 1 - value[::-1].index(item) if item in value else -1


def _contains(one: list[Json], other: list[Json]) -> bool:
    if len(one) * len(other) > _COMPARED:
        raise ValueError("the lists are too long")
    return all(item in one for item in other)


def _intersect(one: list[Json], other: list[Json]) -> bool:
    if len(one) * len(other) > _COMPARED:
        raise ValueError("the lists are too long")
    return any(item in one for item in other)


# Texts


def _split(text: str, by: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    if not by:
        letters = list(text)
        if 0 < limit < len(letters):
            return [*letters[: limit - 1], "".join(letters[limit - 1 :])]
        return letters
    return text.split(by, limit - 1 if limit > 0 else -1)


def _substring(text: str, start: int, end: int | None = None) -> str:
    end = len(text) if end is None else end
    if not 0 <= start <= end <= len(text):
        raise IndexError(f"invalid substring range: {start}, {end}")
    return text[start:end]


def _char(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise IndexError(f"index out of range: {index}")
    return text[index : index + 1]


def _ascii(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: "".join(change(char) if char.isascii() else char for char in text)


def _fitting(length: int) -> None:
    if length > _LARGEST:
        raise ValueError("the text is too long")


def _join(values: list[str], by: str = "") -> str:
    _fitting(sum(map(len, values)) + len(by) * max(len(values) - 1, 0))
    return by.join(values)


def _replace(text: str, old: str, new: str, limit: int = -1) -> str:
    times = text.count(old) if limit < 0 else min(text.count(old), limit)
    _fitting(len(text) + times * (len(new) - len(old)))
    return text.replace(old, new, limit)


def _find(text: str, pattern: str) -> str:
    found = _pattern(text, pattern).search(text)
    return found[0] if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = [match[0] for match in _pattern(text, pattern).finditer(text)]
    return found if limit < 0 else found[:limit]


def _pattern(text: str, pattern: str) -> re.Pattern[str]:
    if why := flaw(pattern):
        raise ValueError(why)
    found = simple(pattern)
    if found is None or len(text) > found.longest:
        raise ValueError(f"this pattern is not looked for in a text of {len(text)} characters")
    return found.pattern


def _string(value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return f"{number(value.total_seconds())}s"
    if isinstance(value, dict):
        for name in ("ip", "cidr", "url"):
            if name in value:
                return str(value[name])
    raise TypeError("no such overload")


def _format(text: str, values: Sequence[Json]) -> str:
    left = list(values)[::-1]
    length = len(text)

    def written(found: re.Match[str]) -> str:
        nonlocal length
        made = one(found)
        length += len(made)
        _fitting(length)
        return made

    def one(found: re.Match[str]) -> str:
        if found[0] == "%%":
            return "%"
        if not left:
            raise IndexError("index out of range in format")
        value = left.pop()
        if found[2] in "fe":
            return f"{value:.{found[1] or 6}{found[2]}}"
        if found[2] in "bxXo":
            return format(value, found[2])
        if isinstance(value, list):
            return f"[{_join([_string(item) for item in value], ', ')}]"
        return _string(value)

    return re.sub(r"%(?:\.(\d{1,2}))?([sdfebxXo%])", written, text)


# Quantities


def _amount(text: str) -> Fraction:
    found = _QUANTITY.fullmatch(text) if len(text) <= 100 else None
    if found is None:
        raise ValueError(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    value, unit = Fraction(found[1]), found[2]
    if unit in _POWERS:
        return value * _POWERS[unit]
    if abs(int(unit[1:])) > 100:
        raise ValueError("the exponent is too large")
    return value * Fraction(10) ** int(unit[1:])


def _quantity(value: Fraction) -> JsonObject:
    return {"quantity": str(value)}


def _of(value: Json) -> Fraction:
    return Fraction(value) if isinstance(value, int) else Fraction(value["quantity"])


def _integer(value: Json) -> int:
    amount = _of(value)
    if amount.denominator != 1 or not -_WHOLE <= amount < _WHOLE:
        raise ValueError("cannot convert value to integer")
    return int(amount)


def _compared(one: Json, other: Json) -> int:
    return (_of(one) > _of(other)) - (_of(one) < _of(other))


# Addresses and URLs


def _is(read: Callable[[str], object]) -> Callable[..., bool]:
    def holds(*given: Json) -> bool:
        try:
            read(*given)
        except (ValueError, KeyError, TypeError):
            return False
        return True

    return holds


def _address(value: Json) -> JsonObject:
    if isinstance(value, dict):
        return {"ip": str(ipaddress.ip_network(value["cidr"], strict=False).network_address)}
    if "%" in value:
        raise ValueError("IP address with zone is not allowed")
    address = ipaddress.ip_address(value)
    if address.version == 6 and address.ipv4_mapped:
        raise ValueError("IPv4-mapped IPv6 address is not allowed")
    return {"ip": str(address)}


_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _ip(value: Json) -> _Address:
    return ipaddress.ip_address(value["ip"] if isinstance(value, dict) else value)


def _cidr(text: str) -> JsonObject:
    address, slash, length = text.partition("/")
    if not slash or not length.isdecimal():
        raise ValueError("CIDR parse error")
    return {
        "cidr": f"{_address(address)['ip']}/{ipaddress.ip_network(text, strict=False).prefixlen}"
    }


def _network(value: Json) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(value["cidr"] if isinstance(value, dict) else value, strict=False)


def _within(outer: Json, inner: Json) -> bool:
    one, other = _network(outer), _network(inner)
    if isinstance(one, ipaddress.IPv4Network):
        return isinstance(other, ipaddress.IPv4Network) and other.subnet_of(one)
    return isinstance(other, ipaddress.IPv6Network) and other.subnet_of(one)


def _url(text: str) -> JsonObject:
    parts = urlsplit(text)
    if not (text.startswith("/") or (parts.scheme and parts.netloc)) or " " in text:
        raise ValueError(f'URL parse error during conversion from string: parse "{text[:200]}"')
    return {"url": text, "port": parts.port or 0}


def _part(part: Callable[[SplitResult], Json]) -> Callable[[JsonObject], Json]:
    return lambda url: part(urlsplit(url["url"]))


def _query(parts: SplitResult) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in filter(None, parts.query.split("&")):
        name, _, value = pair.partition("=")
        found.setdefault(name, []).append(value)
    return found


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


_FUNCTIONS: Final[Mapping[str, Callable[..., Json]]] = {
    "__field": _field,
    "__first": _first,
    "__flat": _flat,
    "__list": _list,
    "__size": len,
    "__string": _string,
    "add": lambda one, other: _quantity(_of(one) + _of(other)),
    "asApproximateFloat": lambda value: float(_of(value)),
    "asInteger": _integer,
    "charAt": _char,
    "cidr": _cidr,
    "compareTo": _compared,
    "containsCIDR": _within,
    "containsIP": lambda value, ip: _ip(ip) in _network(value),
    "family": lambda value: _ip(value).version,
    "find": _find,
    "findAll": _find_all,
    "format": _format,
    "getEscapedPath": _part(lambda parts: parts.path),
    "getHost": _part(_host),
    "getHostname": _part(lambda parts: parts.hostname or ""),
    "getPort": _part(lambda parts: str(parts.port or "")),
    "getQuery": _part(_query),
    "getScheme": _part(lambda parts: parts.scheme),
    "indexOf": _index,
    "ip": _address,
    "ip.isCanonical": lambda text: _address(text)["ip"] == text,
    "isCIDR": _is(_cidr),
    "isGlobalUnicast": lambda value: (
        not (
            _ip(value).is_multicast
            or _ip(value).is_unspecified
            or _ip(value).is_loopback
            or _ip(value).is_link_local
        )
    ),
    "isGreaterThan": lambda one, other: _compared(one, other) > 0,
    "isIP": _is(_address),
    "isInteger": _is(_integer),
    "isLessThan": lambda one, other: _compared(one, other) < 0,
    "isLinkLocalMulticast": lambda value: (
        _ip(value)
        in ipaddress.ip_network("224.0.0.0/24" if _ip(value).version == 4 else "ff02::/16")
    ),
    "isLinkLocalUnicast": lambda value: _ip(value).is_link_local,
    "isLoopback": lambda value: _ip(value).is_loopback,
    "isQuantity": _is(_amount),
    "isSorted": lambda values: all(one <= other for one, other in pairwise(values)),
    "isURL": _is(_url),
    "isUnspecified": lambda value: _ip(value).is_unspecified,
    "join": _join,
    "lastIndexOf": _last_index,
    "lowerAscii": _ascii(str.lower),
    "masked": lambda value: _cidr(str(_network(value))),
    "max": max,
    "min": min,
    "prefixLength": lambda value: _network(value).prefixlen,
    "quantity": lambda text: _quantity(_amount(text)),
    "replace": _replace,
    "reverse": lambda text: text[::-1],
    "sets.contains": _contains,
    "sets.equivalent": lambda one, other: _contains(one, other) and _contains(other, one),
    "sets.intersects": _intersect,
    "sign": lambda value: (_of(value) > 0) - (_of(value) < 0),
    "split": _split,
    "sub": lambda one, other: _quantity(_of(one) - _of(other)),
    "substring": _substring,
    "sum": _sum,
    "trim": str.strip,
    "upperAscii": _ascii(str.upper),
    "url": _url,
}


def functions() -> Mapping[str, Callable[..., Json]]:
    """All of them by name; those whose names begin with ``__`` are not for rules to call."""
    return _FUNCTIONS

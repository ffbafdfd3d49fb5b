"""Quantities, as ``resources`` and storage sizes write them: one spelling for each amount.

Source: Kubernetes API reference, Quantity.
"""

import re
from fractions import Fraction
from typing import Final

__all__ = ["canonical"]

_FORM: Final = re.compile(
    r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([KMGTPE]i)|([numkMGTPE]?)|[eE]([+-]?\d+))"
)
_BINARY: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL: Final = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
"""Powers of 1000, from the smallest amount on."""
_ONE: Final = 10**9
"""How many of the smallest amount make one."""
_MOST: Final = (2**63 - 1) * _ONE
_DIGITS: Final = 100
"""Longest text, and largest exponent, that is looked at."""


def canonical(text: str) -> str:
    """The canonical spelling, whole and with the largest suffix: ``500m`` for ``0.5``.

    Raises:
        ValueError: it is no quantity.
    """
    found = _FORM.fullmatch(text) if len(text) <= _DIGITS else None
    if found is None or abs(int(found[4] or 0)) > _DIGITS:
        raise ValueError(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, binary, decimal, power = found.groups()
    value = Fraction(number) * _ONE
    if binary:
        value *= 1024 ** _BINARY.index(binary)
    elif power is not None:
        value *= Fraction(10) ** int(power)
    else:
        value *= Fraction(1000) ** (_DECIMAL.index(decimal) - 3)
    amount = min(-(-abs(value) // 1), _MOST)
    sign = "-" if value < 0 else ""
    if binary and amount >= 1024 * _ONE:
        whole, suffix = _whole(-(-amount // _ONE), 1024, len(_BINARY) - 1)
        return f"{sign}{whole}{_BINARY[suffix]}"
    if not amount:
        return "0"
    whole, suffix = _whole(amount, 1000, len(_DECIMAL) - 1)
    if power is not None and suffix != 3:
        return f"{sign}{whole}e{3 * suffix - 9}"
    return f"{sign}{whole}{_DECIMAL[suffix]}"


def _whole(amount: int, base: int, most: int) -> tuple[int, int]:
    steps = 0
    while amount % base == 0 and steps < most:
        amount //= base
        steps += 1
    return amount, steps

"""Strict, bounded JSON: one set of rules for all that comes from outside.

Standard library only. Python's own reader takes `NaN`, repeated keys and integers that no browser can hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Never


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The limits of a text: bytes in all, levels of nesting, keys of one object, and the largest integer."""

    size: int
    depth: int
    keys: int = 10_000
    largest: int | None = None


def loads(text: object, bounds: Bounds) -> Any:
    """Return the value of a JSON text. Raises ValueError for anything but strict JSON within the bounds."""
    if not isinstance(text, str) or _size(text) > bounds.size:
        return _refuse("no text, or one that is too long,")
    try:
        value = json.loads(
            text,
            object_pairs_hook=partial(_object, keys=bounds.keys),
            parse_int=partial(_integer, largest=bounds.largest),
            parse_float=_number,
            parse_constant=_refuse,
        )
    except RecursionError:
        return _refuse("what nests without end")
    return _refuse("what nests too deep") if is_deeper(value, bounds.depth) else value


def _size(text: str) -> int:
    """Return the bytes of the text in UTF-8. Raises ValueError for lone surrogates, which UTF-8 cannot hold."""
    return len(text) if text.isascii() else len(text.encode())


def is_deeper(value: object, depth: int) -> bool:
    """Return whether arrays and objects nest deeper than `depth` levels."""
    level = [value]
    for _ in range(depth):
        level = [inner for one in level for inner in _inside(one)]
        if not level:
            return False
    return any(isinstance(one, list | dict) for one in level)


def _inside(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _object(pairs: list[tuple[str, Any]], keys: int) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs) or len(pairs) > keys:
        _refuse("an object that repeats a key or has too many")
    return found


def _integer(digits: str, largest: int | None) -> int:
    value = int(digits)  # raises ValueError beyond 4,300 digits
    return _refuse("a number that large") if largest is not None and abs(value) > largest else value


def _number(digits: str) -> float:
    value = float(digits)
    return value if math.isfinite(value) else _refuse(digits)


def _refuse(what: str) -> Never:
    msg = f"{what} is not taken for JSON"
    raise ValueError(msg)

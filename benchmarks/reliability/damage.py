"""Random damage to the bytes of a file and to values of JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

ODD: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 2**31, 10**12, 10**400, -0.5, 1e308, float("nan"), float("inf")),
    *("", ".", "..", "../../x", "/etc/passwd", "a" * 5000, "\x00", "\n", "\x1b[2J", "\ud800"),
    *("<b>", "=cmd|' /C calc'!A0", "[/]", "%s", [], {}, [[]], [None], {"": {}}),
)
"""Values to put in unexpected places."""


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    """Return bytes with a few changes, or with one small change, which is harder to detect."""
    found = bytearray(content)
    small = random.random() < 0.5
    for _ in range(1 if small else random.integers(1, 6)):
        place = int(random.integers(len(found) + 1))
        length = int(min(random.geometric(0.05), len(found) - place))
        kind = random.integers(4, 6) if small else random.integers(6)
        if kind == 0:
            del found[place:]
        elif kind == 1:
            del found[place : place + length]
        elif kind == 2:
            found[place:place] = random.bytes(length)
        elif kind == 3:
            found[place:place] = found[place : place + length] * int(random.integers(1, 50))
        elif kind == 4 and length:
            found[place : place + min(length, 8)] = random.choice([b"\xff" * 8, b"\0" * 8])
        elif place < len(found):
            found[place] ^= 1 << int(random.integers(8))
    return bytes(found)


def twisted(value: Any, random: np.random.Generator) -> Any:
    """Return a JSON value with one change."""
    if isinstance(value, dict | list) and value and random.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = keys[random.integers(len(keys))]
        changed = dict(value) if isinstance(value, dict) else list(value)
        chance = random.random()
        if chance < 0.05:
            del changed[key]
        elif chance < 0.1 and isinstance(changed, dict):
            changed[str(ODD[random.integers(len(ODD))])] = changed.pop(key)
        elif chance < 0.15 and isinstance(changed, list):
            changed.append(changed[key])
        else:
            changed[key] = twisted(value[key], random)
        return changed
    if isinstance(value, int) and random.random() < 0.3:
        return value + int(random.integers(-3, 4))
    return ODD[random.integers(len(ODD))]

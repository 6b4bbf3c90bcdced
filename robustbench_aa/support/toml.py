"""The places of keys in the text of a TOML file, for messages."""

from __future__ import annotations

import re


def line_of(text: str, key: str | int, *within: str | int) -> int:
    """Return the number of the line on which a key stands.

    Args:
        text: text of a TOML file.
        key: a key at its top.
        within: number of a table in the list under this key, counted from zero, and its key.
    """
    start = rf"^[ \t]*{{}}[ \t]*[\"']?{re.escape(str(key))}\b"
    found = re.search(start.format(r"\[*"), text, re.MULTILINE)
    place = found.start() if found else 0
    if within:
        header = re.compile(start.format(r"\[\["), re.MULTILINE)
        tables = [*header.finditer(text)] or [*re.compile("{").finditer(text, place)]
        before = tables[: int(within[0]) + 1]
        place = before[-1].start() if before else place
    if len(within) > 1:
        found = re.search(rf"\b{re.escape(str(within[1]))}\b[\"']?[ \t]*=", text[place:])
        place += found.start() if found else 0
    return text.count("\n", 0, place) + 1

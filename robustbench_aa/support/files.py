"""Files that others made: read only if they are plain files, and no larger than they should be."""

from __future__ import annotations

import errno
from pathlib import Path
from stat import S_ISREG


def plain(path: Path) -> Path:
    """The path, if a plain file lies there: a pipe or a device would be waited on for ever.

    Raises:
        OSError: there is nothing, or something else.
    """
    if not S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return path


def is_plain(path: Path) -> bool:
    """Whether a plain file lies at a path, which may be no path at all."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or has a zero in it
        return False


def read_text(path: Path, most: int) -> str:
    """The text of a file of at most so many bytes.

    Raises:
        OSError: there is no such plain file, or it is larger.
        ValueError: it is not UTF-8.
    """
    if plain(path).stat().st_size > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
    return path.read_text(encoding="utf-8")

"""Files from any source: only plain files of limited size are read."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from stat import S_ISREG

WINDOWS = os.name == "nt"
"""Whether this is Windows, which opens no folders and allows no colon in a file's name."""


def plain(path: Path) -> Path:
    """Return a path after checking that it is a plain file; reading a pipe could block for ever.

    Raises:
        OSError: there is no file, or it is not a plain one.
    """
    if not S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a plain file", str(path))
    return path


def is_plain(path: Path) -> bool:
    """Return whether a path is that of a plain file; any text is accepted as a path."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # the name is too long, or contains a null character
        return False


def read_text(path: Path, most: int) -> str:
    """Return the text of a file.

    Args:
        path: a plain file.
        most: the largest size, in bytes.

    Raises:
        OSError: there is no such plain file, or it is larger.
        ValueError: the file is not UTF-8.
    """
    if plain(path).stat().st_size > most:
        raise OSError(errno.EFBIG, f"larger than {most:,} bytes", str(path))
    return path.read_text(encoding="utf-8")


def flush(path: Path) -> None:
    """Write a file or the entries of a folder from the system's cache to the disk.

    Raises:
        OSError: the disk fails.
    """
    if WINDOWS and path.is_dir():
        return
    # only Linux and macOS flush a file that was opened for reading
    descriptor = os.open(path, os.O_RDWR if WINDOWS else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Operating system errors at one chosen call: open, read, write, rename, … below a directory.

`fail_at` replaces Python's functions for files in this process, so it is for a fork that ends soon.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CALLS: Mapping[str, tuple[str, ...]] = {
    "EIO": (
        *("open", "create", "read", "write", "fsync", "stat", "lstat", "mkdir", "scandir"),
        *("listdir", "rename", "replace", "link", "unlink", "remove", "rmdir", "utime"),
    ),
    "EMFILE": ("open", "create", "scandir", "listdir"),
    "ENOSPC": ("create", "write", "fsync", "mkdir", "rename", "replace", "link"),
}
"""By error, the calls that can fail with it."""


class Injector:
    """Counts calls that concern a directory, and lets one of them fail.

    Args:
        directory: absolute.
        error: `EIO`, `EMFILE` or `ENOSPC`.
        place: which of the calls that can fail with it fails, from 0.
        failed: is called with the call's name and path when it fails.
    """

    def __init__(
        self, directory: Path, error: str, place: int, failed: Callable[[str], object]
    ) -> None:
        self._directory, self._error, self._place = directory, error, place
        self._failed, self._seen = failed, 0

    def check(self, call: str, path: object) -> None:
        """Count a call.

        Raises:
            OSError: it is the one that is to fail.
        """
        if call not in CALLS[self._error] or not self.concerns(path):
            return
        self._seen += 1
        if self._seen == self._place + 1:
            number = getattr(errno, self._error)
            self._failed(f"{call} {path}")
            raise OSError(number, os.strerror(number), str(path))

    def concerns(self, path: object) -> bool:
        """Return whether a path is the directory or below it."""
        if not isinstance(path, str | os.PathLike):
            return False
        # Path.resolve would follow links by calls that are counted here
        return Path(os.path.abspath(path)).is_relative_to(self._directory)  # noqa: PTH100


def fail_at(directory: Path, error: str, place: int, failed: Callable[[str], object]) -> None:
    """Let one call of this process fail; the arguments are those of `Injector`."""
    injector = Injector(directory, error, place, failed)
    plain_open = io.open
    for name in CALLS["EIO"]:
        if name not in ("create", "read", "write"):
            setattr(os, name, _checked(getattr(os, name), name, injector))

    class File(io.FileIO):
        """A file whose reads and writes are counted."""

        def readinto(self, buffer: Any) -> Any:
            injector.check("read", self.name)
            return super().readinto(buffer)

        def readall(self) -> bytes:
            injector.check("read", self.name)
            return super().readall()

        def write(self, content: Any) -> Any:
            injector.check("write", self.name)
            return super().write(content)

    def opened(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if not injector.concerns(file):
            return plain_open(file, mode, *more, **options)
        injector.check("open" if mode.startswith("r") else "create", file)
        kind = mode.replace("b", "").replace("t", "")
        raw = File(os.fspath(file), kind)
        buffered: Any = io.BufferedReader(raw) if kind == "r" else io.BufferedWriter(raw)
        if "b" in mode:
            return buffered
        names = ("buffering", "encoding", "errors", "newline")
        given = dict(zip(names, more, strict=False)) | options
        given.pop("buffering", None)
        return io.TextIOWrapper(buffered, **given)

    io.open = builtins.open = opened


def _checked(call: Callable[..., Any], name: str, injector: Injector) -> Callable[..., Any]:
    def checked(path: Any = ".", *more: Any, **options: Any) -> Any:
        creates = name == "open" and more[0] & os.O_CREAT
        injector.check("create" if creates else name, _absolute(path, options))
        return call(path, *more, **options)

    return checked


def _absolute(path: Any, options: Mapping[str, Any]) -> Any:
    """Return the path that a call is about, also of one relative to an open directory."""
    if isinstance(path, int):
        return Path(f"/proc/self/fd/{path}").readlink()
    if options.get("dir_fd") is not None:
        return Path(f"/proc/self/fd/{options['dir_fd']}").readlink() / path
    return path

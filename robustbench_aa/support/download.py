"""Downloads that resume after an interruption and check what they got."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import IO

from filelock import FileLock
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from robustbench_aa.errors import DownloadError, cause

CHUNK = 1 << 20
TIMEOUT = 30.0
"""Seconds without data after which a connection counts as lost."""
HEADERS = {"User-Agent": "robustbench-aa"}
RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class Download:
    """A published file.

    Attributes:
        url: the file's URL.
        algorithm: the name of the checksum's algorithm in hashlib.
        digest: the checksum in hexadecimal digits, or the published beginning of it.
    """

    url: str
    algorithm: str
    digest: str

    def to(self, path: Path) -> Path:
        """Download the file to a path, unless it exists; an interrupted download is resumed.

        The file grows as `<path>.part` and gets its name when its checksum is right. If several
        processes ask for it, one downloads it and the others wait.

        Returns:
            The path.

        Raises:
            DownloadError: the file cannot be downloaded or written, or is not the published one.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                with FileLock(f"{path}.lock"):
                    self._fetch(path)
            if not self._is(path):
                raise DownloadError(
                    f"{path} is not the published file ({self._mismatch()}); delete it to "
                    "download it again"
                )
        except OSError as error:
            raise DownloadError(
                f"{path} cannot be written ({cause(error)}); check the disk and its permissions"
            ) from error
        return path

    def length(self) -> int:
        """Return the file's size in bytes, as the server states it.

        Raises:
            DownloadError: the server does not answer or states no size.
        """
        request = urllib.request.Request(self.url, headers=HEADERS)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return int(answer.headers["Content-Length"])  # the body is not read
        except (OSError, HTTPException, TypeError, ValueError) as error:
            raise DownloadError(
                f"{self.url} cannot be downloaded ({_reason(error)}); check the connection"
            ) from error

    def _fetch(self, path: Path) -> None:
        if path.exists():
            return  # another process has downloaded it meanwhile
        part = path.with_name(f"{path.name}.part")
        try:
            self._complete(part)
        except (OSError, HTTPException) as error:
            raise self._failure(path, _reason(error)) from error
        if not self._is(part):
            part.unlink()
            raise self._failure(path, self._mismatch())
        part.replace(path)

    def _complete(self, part: Path) -> None:
        """Request the rest of the file until it is complete, or an answer brings no data."""
        while True:
            before = _size(part)
            try:
                self._continue(part, before)
                return
            except (OSError, HTTPException) as error:
                if getattr(error, "code", None) == RANGE_NOT_SATISFIABLE and before:
                    if self._is(part):
                        return
                    part.unlink()  # as long as the file, but with other content
                elif _size(part) <= before:
                    raise

    def _continue(self, part: Path, start: int) -> None:
        request = urllib.request.Request(self.url, headers=HEADERS)
        if start:
            request.add_header("Range", f"bytes={start}-")
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            continued = answer.status == 206
            with part.open("ab" if continued else "wb") as file:
                _copy(answer, file, self.url)
                file.flush()
                os.fsync(file.fileno())

    def _is(self, path: Path) -> bool:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, self.algorithm).hexdigest()
        return found.startswith(self.digest)

    def _mismatch(self) -> str:
        return f"its {self.algorithm} does not begin with {self.digest}"

    def _failure(self, path: Path, why: str) -> DownloadError:
        return DownloadError(
            f"{self.url} cannot be downloaded ({why}); fetch it elsewhere and save it as {path}"
        )


def _copy(answer: HTTPResponse, file: IO[bytes], url: str) -> None:
    """Copy the body of an answer to a file, with a progress bar on a terminal.

    Raises:
        IncompleteRead: the connection was lost before the end.
    """
    length = answer.length
    columns = (TextColumn(url.rpartition("/")[2]), BarColumn(), DownloadColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, TransferSpeedColumn(), console=console, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=length)
        received = 0
        while chunk := answer.read(CHUNK):
            file.write(chunk)
            received += len(chunk)
            bar.update(task, completed=received)
    if length is not None and received < length:
        raise IncompleteRead(b"", length - received)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)  # a URLError wraps the actual error
    return cause(reason if isinstance(reason, Exception) else error)

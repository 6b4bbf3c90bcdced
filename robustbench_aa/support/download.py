"""Files from the network: resumed when cut off, checked, and whole or not there at all."""

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
"""Seconds without a byte after which a connection counts as lost."""
HEADERS = {"User-Agent": "robustbench-aa"}
RANGE_NOT_SATISFIABLE = 416


@dataclass(frozen=True)
class Download:
    """A published file.

    Attributes:
        url: where it is.
        algorithm: of the checksum, as hashlib calls it.
        digest: the checksum's hexadecimal digits, or as many of the first as are published.
    """

    url: str
    algorithm: str
    digest: str

    def to(self, path: Path) -> Path:
        """Brings the file to a path, unless it is there; what was cut off before is continued.

        The file grows as `<path>.part` and takes its name when its checksum is right. Several
        processes may ask for it at once; one fetches it, the others wait.

        Raises:
            DownloadError: it cannot be fetched or written, or it is not the published one.
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
            raise DownloadError(f"{path} cannot be written ({cause(error)})") from error
        return path

    def length(self) -> int:
        """How many bytes the server says that the file has.

        Raises:
            DownloadError: it does not say.
        """
        request = urllib.request.Request(self.url, headers=HEADERS)
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                return int(answer.headers["Content-Length"])  # its body is not read
        except (OSError, HTTPException, TypeError, ValueError) as error:
            raise DownloadError(
                f"{self.url} cannot be downloaded ({_reason(error)}); check the connection"
            ) from error

    def _fetch(self, path: Path) -> None:
        if path.exists():
            return  # another process had the lock before
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
        """Asks for what is missing until nothing is, or until an answer brought nothing."""
        while True:
            before = _size(part)
            try:
                self._continue(part, before)
                return
            except (OSError, HTTPException) as error:
                if getattr(error, "code", None) == RANGE_NOT_SATISFIABLE and before:
                    if self._is(part):
                        return
                    part.unlink()  # it is as long as the file, and another
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
    """All of an answer's body, with a bar on a terminal.

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
    told = getattr(error, "reason", None)  # of an URLError, which wraps what it is about
    return cause(told if isinstance(told, Exception) else error)

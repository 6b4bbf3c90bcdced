"""The storage of a run: a directory on a disk, or in object storage such as s3://bucket/run.

Other modules use both as paths. This module holds the differences: atomic writes, retries,
parallel requests, locks, and folders that must be on a disk while they are written.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from robustbench_aa.errors import RunError, StoreError, UsageError, cause
from robustbench_aa.support.files import file_sha256, flush
from robustbench_aa.support.optional import extra

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
ATTEMPTS = 6
"""The number of attempts before a request to an object storage fails."""
LOCK = ".lock"
"""The lock file, held by the one process that writes to a run."""
REQUESTS = 32
"""The number of parallel requests to an object storage; each takes about 50 ms."""
T = TypeVar("T")
R = TypeVar("R")


def open_directory(name: str | os.PathLike[str]) -> Path:
    """Return the path of a directory, which need not exist.

    Args:
        name: a folder, or a URL that fsspec supports. Credentials and other options come from
            the places where the storage's own tools look for them.

    Raises:
        UsageError: the storage needs a package that is not installed, or cannot be reached.
    """
    text = str(name)
    if not URL.match(text):
        return Path(name)
    upath = extra("upath", "objects")
    try:
        # other processes write as well, so lists of files must not be cached
        path: Path = upath.UPath(text, use_listings_cache=False)
        exists(path)
    except Exception as error:  # each storage's own
        raise UsageError(
            f"{text} cannot be reached ({cause(error)}); check the URL and its credentials"
        ) from error
    return path


def is_on_disk(path: Path) -> bool:
    """Return whether a path lies on a disk rather than in an object storage."""
    return isinstance(path, Path)


def readable(path: Path) -> bytes | None:
    """Return the content of a plain file or an object; None if there is no such file.

    Raises:
        StoreError: the disk fails, or the object storage cannot be reached.
    """
    try:
        if is_on_disk(path) and not path.is_file():
            return None
        return patiently(path, path.read_bytes)
    except FileNotFoundError:
        return None
    except Exception as error:  # each storage's own
        raise _unreadable_now(path, error) from error


def _unreadable_now(path: Path, error: Exception) -> StoreError:
    """Return the error for a file that may be whole, but cannot be read at the moment."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else cause(error)
    return StoreError(f"cannot read {path} ({why}); fix this, then run the same command again")


def patiently(path: Path, ask: Callable[[], T]) -> T:
    """Return the result of a request, with retries if its path is in an object storage.

    The waiting time doubles with every attempt. A missing file is a result and is not retried, nor
    is any error of a disk, since it does not pass by itself.

    Args:
        path: the path that the request is about.
        ask: makes the request.

    Raises:
        Exception: the error of the last attempt.
    """
    if is_on_disk(path):
        return ask()
    tenacity = extra("tenacity", "objects")
    retrying = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
        retry=tenacity.retry_if_not_exception_type((FileNotFoundError, NotADirectoryError)),
        reraise=True,
    )
    answer: T = retrying(ask)
    return answer


def each(directory: Path, ask: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield the result for each item in order, with parallel requests to an object storage."""
    if is_on_disk(directory):
        yield from map(ask, items)
        return
    with ThreadPoolExecutor(REQUESTS) as threads:
        yield from threads.map(ask, items)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Lock a run, so that no other process on any machine with the same disk writes to it.

    Read what you overwrite inside the lock. Object storage has no locks: there, users must not
    start two sessions for the same cells.

    Raises:
        RunError: another process holds the lock, or the directory cannot be written.
    """
    if not is_on_disk(directory):
        yield
        return
    lock = FileLock(directory / LOCK, timeout=0)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise RunError(
            f"another process is at work on {directory}; wait for it, or choose another "
            "--output-dir"
        ) from error
    except OSError as error:
        raise unwritable(directory, error) from error
    try:
        yield
    finally:
        lock.release()


def unwritable(directory: Path, error: OSError) -> RunError:
    """Return the error for a run's directory that cannot be written."""
    return RunError(f"cannot write to {directory} ({error.strerror}); choose another --output-dir")


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file that appears under its name whole and durable, or not at all.

    Args:
        path: the file, on a disk or in an object storage.
        write: writes the content to the path that it is given, on a disk.

    Raises:
        OSError: the file cannot be written.
    """
    if is_on_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_beside(path, write)
        return
    with TemporaryDirectory() as folder:
        here = Path(folder) / "whole"
        write(here)
        _upload(here, path)


def _write_beside(path: Path, write: Callable[[Path], Any]) -> None:
    beside = path.with_name(path.name + ".tmp")
    try:
        beside.unlink(missing_ok=True)  # writing would follow a link
        write(beside)
        flush(beside)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    flush(path.parent)


def _upload(file: Path, to: Any) -> None:
    """Upload a file to an object storage, where it appears after its last byte has arrived."""
    try:
        patiently(to, lambda: to.fs.put_file(os.fspath(file), to.path))
    except OSError:
        raise
    except Exception as error:  # each storage's own
        raise OSError(errno.EIO, cause(error), str(to)) from error


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process of the user on this machine is in this context for a folder."""
    name = hashlib.sha256(f"{Path.home()} {folder.resolve()}".encode()).hexdigest()
    lock = FileLock(Path(gettempdir()) / f"robustbench-aa-{name[:16]}.lock")
    with suppress(OSError):  # without a place for the lock, nobody waits
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Replace a folder by an empty one for the caller to fill, all at once at the end.

    After an interruption or a full disk, the old folder is unchanged.

    Args:
        folder: a folder on a disk, which need not exist.

    Yields:
        The new folder, under a temporary name.

    Raises:
        OSError: a file cannot be written.
    """
    folder = folder.resolve()
    new, old = (folder.with_name(f"{folder.name}.{age}") for age in ("new", "old"))
    restore(folder)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    for path in new.rglob("*"):
        if path.is_file():
            flush(path)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path) -> None:
    """Restore a folder whose replacement was interrupted."""
    folder = folder.resolve()
    old = folder.with_name(f"{folder.name}.old")
    if old.is_dir() and not old.is_symlink():
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(folder)


@contextmanager
def on_disk(folder: Path) -> Iterator[Path]:
    """Give access to a folder on a disk; one in an object storage is copied there and back.

    Yields:
        The folder, or its copy, whose changes are uploaded at the end.

    Raises:
        RunError: the name of an object points outside the folder.
        OSError: an object cannot be written.
    """
    if is_on_disk(folder):
        yield folder
        return
    with TemporaryDirectory() as place:
        here = Path(place)
        before = _files(folder)
        for name, there in before.items():
            if ".." in name.split("/"):
                raise RunError(f"{there} is not a file of a run; delete it")
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            patiently(there, partial(there.fs.get_file, there.path, os.fspath(here / name)))
        digests = {name: file_sha256(here / name) for name in before}
        yield here
        after = _files(here)
        # another session may have written a file meanwhile that did not change here
        changed = [name for name in after if file_sha256(after[name]) != digests.get(name)]
        # the page is uploaded last, so that it never shows files that do not exist yet
        for name in sorted(changed, key=lambda name: name == "index.html"):
            _upload(after[name], folder / name)
        for name in before.keys() - after:
            patiently(before[name], partial(before[name].unlink, missing_ok=True))


def _files(folder: Path) -> dict[str, Any]:
    """Return all files in a folder, by their names relative to it."""
    return {path.relative_to(folder).as_posix(): path for path in files_in(folder)}


def files_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the files below a folder whose names match a pattern.

    Raises:
        OSError: the folder cannot be listed.
    """
    return patiently(folder, lambda: [path for path in folder.rglob(pattern) if path.is_file()])


def exists(path: Path) -> bool:
    """Return whether a path exists.

    Raises:
        OSError: the disk fails, or the object storage cannot be reached.
    """
    return patiently(path, path.exists)

"""Directories of runs: on a file system, or in object storage behind a URL, s3://bucket/run.

Both are used as paths. What differs between them is here: how a file appears under its name only
when it is whole, how many are asked for at once, and what can be written on a disk alone.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from robustbench_aa.errors import RunError, StoreError, UsageError, cause
from robustbench_aa.support.optional import extra

URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
ATTEMPTS = 6
"""How often an object storage is asked before its failure is one."""
LOCK = ".lock"
"""The file that one writer of a run holds."""
REQUESTS = 32
"""How many answers of an object storage are waited for at a time; each takes some 50 ms."""
T = TypeVar("T")
R = TypeVar("R")


def open_directory(name: str | os.PathLike[str]) -> Path:
    """The path of a directory, which need not be there.

    Args:
        name: of a folder, or a URL that fsspec knows; its options, such as credentials, come from
            where each storage's own tools look for them.

    Raises:
        UsageError: the storage needs a package that is not there, or does not answer.
    """
    text = str(name)
    if not URL.match(text):
        return Path(name)
    upath = extra("upath", "objects")
    try:
        # other processes write too, so that no list of files is to be remembered
        path: Path = upath.UPath(text, use_listings_cache=False)
        patiently(path, path.exists)
    except Exception as error:  # each storage's own
        raise UsageError(
            f"{text} cannot be reached ({cause(error)}); check the URL and its credentials"
        ) from error
    return path


def is_on_disk(path: Path) -> bool:
    """Whether a path is a file system's, and not an object storage's."""
    return isinstance(path, Path)


def readable(path: Path) -> Path | io.BytesIO | None:
    """What pyarrow reads: the plain file at a path, or the object, whole; None if there is none.

    Raises:
        StoreError: the disk fails, or the object storage does not answer.
    """
    try:
        if is_on_disk(path):
            return path if path.is_file() else None
        return io.BytesIO(patiently(path, path.read_bytes))
    except FileNotFoundError:
        return None
    except Exception as error:  # each storage's own
        raise unreadable_now(path, error) from error


def unreadable_now(path: Path, error: Exception) -> StoreError:
    """Return the error of a file that may be whole, but cannot be read at the moment."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else cause(error)
    return StoreError(f"cannot read {path} ({why}); when that is mended, the same command resumes")


def patiently(path: Path, ask: Callable[[], T]) -> T:
    """Return an answer about a path; ask an object storage again where it fails for the moment.

    Waits twice as long before each further attempt. What is not there is an answer. A disk is asked
    once: its errors do not pass by themselves.

    Raises:
        Exception: what the last attempt raised.
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


def each(of: Path, ask: Callable[[T], R], things: Iterable[T]) -> Iterator[R]:
    """The answers in their order; several at once where a path's files are far away."""
    if is_on_disk(of):
        yield from map(ask, things)
        return
    with ThreadPoolExecutor(REQUESTS) as threads:
        yield from threads.map(ask, things)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes from writing to a run, also on other machines that share it.

    Whatever is written under the lock must have been read under it. Object storage knows no locks:
    there, whoever starts two sees to it that they differ.

    Raises:
        RunError: another process is at work on it, or the directory cannot be written.
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
    """Return the error of a run that cannot be written to."""
    return RunError(f"cannot write to {directory} ({error.strerror}); choose another --output-dir")


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Writes a file so that it appears under its name whole and durable, or not at all.

    Args:
        write: is given another path, on a disk.

    Raises:
        OSError: it cannot be written.
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
        beside.unlink(missing_ok=True)  # it may be a link, which would be written through
        write(beside)
        _flush(beside)
        beside.replace(path)
    except OSError:
        with suppress(OSError):
            beside.unlink()
        raise
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _upload(file: Path, to: Any) -> None:
    """Puts a file into an object storage, where it appears when the last byte has arrived."""
    try:
        patiently(to, lambda: to.fs.put_file(os.fspath(file), to.path))
    except OSError:
        raise
    except Exception as error:  # each storage's own
        raise OSError(errno.EIO, cause(error), str(to)) from error


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """Give an empty folder, which takes the place of another one once all of it is written.

    A process that is stopped, or a disk that is full, leaves the other one as it was.

    Args:
        folder: on a disk; need not be there.

    Raises:
        OSError: something cannot be written.
    """
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
            _flush(path)
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def restore(folder: Path) -> None:
    """Bring back a folder that was being replaced when its process was stopped."""
    old = folder.with_name(f"{folder.name}.old")
    if old.is_dir() and not old.is_symlink():
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(folder)


@contextmanager
def on_disk(folder: Path) -> Iterator[Path]:
    """The folder, or a copy of one in an object storage, which becomes what is made of the copy.

    Raises:
        RunError: an object's name leads out of the folder.
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
                raise RunError(f"{there} is no file of a run; delete it")
            (here / name).parent.mkdir(parents=True, exist_ok=True)
            patiently(there, partial(there.fs.get_file, there.path, os.fspath(here / name)))
        yield here
        after = _files(here)
        # the page comes last, so that it never shows what is not there yet
        for name in sorted(after, key=lambda name: name == "index.html"):
            _upload(after[name], folder / name)
        for name in before.keys() - after:
            patiently(before[name], partial(before[name].unlink, missing_ok=True))


def _files(folder: Path) -> dict[str, Any]:
    """By their names within a folder."""
    return {path.relative_to(folder).as_posix(): path for path in files_in(folder)}


def files_in(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the files below a folder whose names match a pattern.

    Raises:
        OSError: the folder cannot be listed.
    """
    return patiently(folder, lambda: [of for of in folder.rglob(pattern) if of.is_file()])


def exists(path: Path) -> bool:
    """Return whether there is something at a path.

    Raises:
        OSError: the disk or the object storage does not say.
    """
    return patiently(path, path.exists)

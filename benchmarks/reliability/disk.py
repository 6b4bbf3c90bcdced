"""Faults of disks: errors at every call, a full disk, a disk that cannot be written.

Disks that are full or read-only are small file systems in memory that only root may mount.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click

from benchmarks.reliability.file_errors import fail_at
from benchmarks.reliability.sandbox import Ended, Fault, Sandbox, Unavailable, expect

CALLS_AT_MOST = 10_000


def each_call(sandbox: Sandbox, error: str, finished: bool) -> Iterator[str]:
    """Let the first call on the run's own files fail, then the second, and so on.

    Args:
        error: `EIO`, `EMFILE` or `ENOSPC`.
        finished: whether a finished run is continued, instead of a new one each time.
    """
    output = f"{error}-finished" if finished else error
    folder = sandbox.folder / output
    refused = 0
    if finished:
        sandbox.check_resumes(output, suite="small")
    failed = sandbox.folder / "failed-call.txt"
    for place in range(0, CALLS_AT_MOST, sandbox.count(1, 40)):
        failed.write_text("")
        inject = partial(fail_at, folder, error, place, failed.write_text)
        ended = sandbox.benchmark(output, suite="small", before=inject).wait()
        if not (call := failed.read_text()):
            expect(ended.status, 0, ended.last)
            return
        _check(sandbox, folder, ended, f"{error} at {call}")
        sandbox.check_resumes(output, suite="small")
        if not finished:
            shutil.rmtree(folder)
        refused += ended.status > 0
        yield f"{refused} times one line with the cause, exit status 1 or 2; else no effect"


def _check(sandbox: Sandbox, folder: Path, ended: Ended, where: str) -> None:
    """Check that a command reports its error or has written the right tables."""
    if any("Traceback" in line for line in ended.lines):
        raise click.ClickException(f"{where}: a traceback, {ended.last}")
    if ended.status == 0:
        sandbox.check_tables(folder, "small")
    else:
        expect(ended.status in (1, 2), True, f"{where}: status {ended.status}, {ended.last}")
        expect(ended.last.startswith("error: "), True, f"{where}: {ended.last}")


@contextmanager
def file_system(place: Path, size: str) -> Iterator[None]:
    """Mount a small file system in memory.

    Raises:
        Unavailable: this process may not.
    """
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(place)]
    if os.geteuid() or subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
        place.rmdir()
        raise Unavailable("only root may mount a file system")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)
        place.rmdir()


def disk_full(sandbox: Sandbox) -> Iterator[str]:
    """Leave no room for predictions, for more and more of them."""
    disk = sandbox.folder / "full"
    with file_system(disk, "100k"):
        for size in ("100k", "200k", "400k", "800k")[: sandbox.count(4)]:
            subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)
            ended = sandbox.benchmark("full/run").wait()
            expect((ended.status, "No space left" in ended.last), (1, True), ended.last)
            yield f"exit status {ended.status}, 'error: cannot write … (No space left on device) …'"
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        sandbox.check_resumes("full/run")


def read_only(sandbox: Sandbox) -> Iterator[str]:
    """Let nothing be written from the beginning."""
    disk = sandbox.folder / "sealed"
    with file_system(disk, "100m"):
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        ended = sandbox.benchmark("sealed/run").wait()
        expect((ended.status, "Read-only file system" in ended.last), (2, True), ended.last)
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        sandbox.check_resumes("sealed/run")
        message = "'… (Read-only file system); choose another --output-dir'"
        yield f"exit status {ended.status}, {message}"


FAULTS: dict[str, Fault] = {
    **{
        f"{error} at each call of {run}": partial(each_call, error=error, finished=finished)
        for finished, run in ((False, "a new run"), (True, "a finished run"))
        for error in ("EIO", "EMFILE", "ENOSPC")
    },
    "the disk is full": disk_full,
    "the disk is read-only": read_only,
}

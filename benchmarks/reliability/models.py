"""Faults of models: exceptions of every kind, wrong results, too little memory."""

from __future__ import annotations

import builtins
import shutil
from collections.abc import Iterator
from functools import partial

from benchmarks.reliability.sandbox import FLAKY, Fault, Sandbox, expect, predictions, times

assert "a kernel failed" in FLAKY
MESSAGE = "a kernel failed"
WITHOUT_KIND = {"RuntimeError", "ValueError"}
"""Exceptions of torch, whose text is shown without their kind."""


def exceptions() -> list[str]:
    """Return the names of all exceptions in builtins that derive from Exception."""
    found = [
        kind.__name__
        for kind in vars(builtins).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ]
    return sorted(dict.fromkeys(found))


def failing(sandbox: Sandbox, fault: str, message: str, status: int = 1) -> Iterator[str]:
    """Let a model fail on some images.

    Args:
        fault: what the model does.
        message: part of the last line of the command.
        status: its exit status.
    """
    output = "model"
    shutil.rmtree(sandbox.folder / output, ignore_errors=True)
    ended = sandbox.benchmark(output, environment={"FAULT": fault}).wait()
    expect(ended.status, status, f"{fault}: {ended.last}")
    expect(message in ended.last, True, ended.last)
    run = sandbox.folder / output
    files = predictions(run)
    kept = times(files)
    sandbox.check_resumes(output)
    expect(times(files), kept, "files that were evaluated again")
    if status:  # the other model is complete, this one is not
        made = [file for file in files if "resnet" in str(file)]
        expect(len(made), len(predictions(run)) // 2, "files of the other model")
        expect(len(files) < len(predictions(run)), True, "some files are missing")
    yield f"exit status {status}, {ended.last!r}" if status else "the tables are the same"


def raises(sandbox: Sandbox) -> Iterator[str]:
    """Let a model raise each exception of builtins on some images."""
    for kind in exceptions()[:: sandbox.count(1, 20)]:
        yield from failing(sandbox, kind, MESSAGE if kind in WITHOUT_KIND else kind)


def exits(sandbox: Sandbox) -> Iterator[str]:
    """Let a model call `sys.exit(0)`: the command stops, and not as if it had succeeded."""
    output = "exits"
    ended = sandbox.benchmark(output, environment={"FAULT": "SystemExit"}).wait()
    expect(ended.status, 1, ended.last)
    expect(sum(line.startswith("error:") for line in ended.lines), 1, str(ended.lines))
    sandbox.check_resumes(output)
    yield f"exit status 1, {ended.last!r}"


FAULTS: dict[str, Fault] = {
    "a model raises each builtin exception": raises,
    "a model raises SystemExit(0)": exits,
    **{
        f"a model {fault}": partial(failing, fault=fault, message=message)
        for fault, message in (
            ("returns NaN", "returned logits that are not finite"),
            ("returns another shape", "instead of logits"),
        )
    },
    "memory runs out in some batches": partial(failing, fault="memory", message="", status=0),
}

"""Exports: the results of a run in the formats of other tools, and as a submission."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.export.hugging_face import model_index
from robustbench_aa.export.markdown import markdown_table
from robustbench_aa.export.submission import write_submission
from robustbench_aa.export.timm_csv import timm_csv
from robustbench_aa.report.latex import latex_table
from robustbench_aa.run import Run
from robustbench_aa.store.storage import write_whole

__all__ = ["FORMATS", "Format", "export"]


class Format(NamedTuple):
    """A format of exports.

    Attributes:
        write: a function (run, path, **options) that writes a file.
        options: the names of its options.
    """

    write: Callable[..., None]
    options: tuple[str, ...]


def _of_text(text: Callable[..., str]) -> Callable[..., None]:
    """Return a function that writes the text that another one returns."""

    def write(run: Run, path: Path, **options: Any) -> None:
        content = text(run, **options)
        write_whole(path, lambda beside: beside.write_text(content, encoding="utf-8", newline="\n"))

    return write


def _latex(run: Run, baseline: str | None = None) -> str:
    return latex_table(run.tables(baseline).leaderboard)


def _markdown(run: Run, baseline: str | None = None) -> str:
    return markdown_table(run.leaderboard(baseline))


FORMATS: Mapping[str, Format] = {
    "timm-csv": Format(_of_text(timm_csv), ("models", "dataset", "distortion")),
    "hf-eval-results": Format(_of_text(model_index), ("models", "baseline")),
    "latex": Format(_of_text(_latex), ("baseline",)),
    "markdown": Format(_of_text(_markdown), ("baseline",)),
    "submission": Format(write_submission, ("baseline",)),
}
"""Formats by name."""


def export(run: Run, path: Path, name: str, **options: Any) -> None:
    """Write the results of a run in a format.

    Args:
        run: the run.
        path: the file to write.
        name: one of `FORMATS`.
        options: options of the format; None and empty ones are not given.

    Raises:
        UnknownName: there is no such format, or the run has no such model or data set.
        UsageError: the format does not have an option, or the run lacks what it needs.
        OSError: the file cannot be written.
    """
    if name not in FORMATS:
        raise UnknownName("format", name, FORMATS)
    given = {key: value for key, value in options.items() if value not in (None, ())}
    for key in given:
        if key not in FORMATS[name].options:
            flag = "--" + key.removesuffix("s")
            raise UsageError(f"format {name} has no {flag}; leave it out")
    FORMATS[name].write(run, path, **given)

"""The page of a report: one HTML file that opens from disk and needs no network."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import itables
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from robustbench_aa.metrics.baselines import BASELINES
from robustbench_aa.report.columns import STATISTICS, value_columns
from robustbench_aa.report.drawing import INK, Plot
from robustbench_aa.report.leaderboard import ranking_column
from robustbench_aa.report.rounding import format_full, format_rounded
from robustbench_aa.report.tables import Tables
from robustbench_aa.store.thumbnails import Samples
from robustbench_aa.types import CLEAN

THEME = "<style>:root{color:#1b1b1f}@media(prefers-color-scheme:dark){:root{color:#e8e9ec}}</style>"
"""The colours inside an SVG image, which does not inherit those of the page."""


@dataclass(frozen=True)
class Cell:
    """A cell of a table on the page.

    Attributes:
        text: rounded value, with its spread over training seeds.
        order: unrounded value as in the CSV file, for sorting; empty for a missing value.
        interval: rounded bounds of the interval.
        column: name of the column.
        relative: normalised metric, if the value depends on the chosen baseline.
        shade: intensity of the background in a heat map, in [0, 1].
    """

    text: str
    order: str = ""
    interval: str = ""
    column: str = ""
    relative: str = ""
    shade: float = 0.0


def render_page(title: str, tables: Tables, plots: Mapping[str, Plot], samples: Samples) -> str:
    """Render the page as HTML.

    Args:
        title: title of the run.
        tables: tables of the run.
        plots: plots of `draw_plots` by name, and `features` if there are feature maps.
        samples: images that the models saw.
    """
    loader = PackageLoader("robustbench_aa.report", "template")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    plot_images = {
        name: {"uri": _uri("image/svg+xml", _themed(plot.svg)), "caption": plot.caption}
        for name, plot in plots.items()
    }
    sample_images = {
        dataset: {
            name: [_uri("image/webp", file) for file in files] for name, files in by_name.items()
        }
        for dataset, by_name in samples.items()
    }
    return environment.get_template("page.html.jinja").render(
        _leaderboard(tables),
        title=title,
        library=_library(),
        plots=plot_images,
        grids=list(_grids(tables)),
        samples=sample_images,
        notes=tables.notes,
        warnings=tables.warnings,
        missing=tables.missing.to_dict("records"),
        completing=_completing(tables),
        unverified=_rests_on_unverified(tables),
        provenance={
            subject: rows.to_dict("records")
            for subject, rows in tables.provenance.groupby("subject", sort=False)
        },
    )


def _completing(tables: Tables) -> dict[str, str]:
    """Return the command that evaluates the missing predictions, and an explanation of it."""
    if not tables.command:
        return {}
    if not tables.partial:
        return {
            "command": tables.command,
            "how": "The command that started the run evaluates them:",
        }
    words = shlex.split(tables.command)
    whole = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not {before, word.partition("=")[0]} & {*SUBSET_OPTIONS}
    ]
    if not tables.subset.empty:
        whole += _subset_options(tables)
        how = "The latest session evaluated only a part. This command evaluates the rest:"
    elif whole != words:
        how = "The latest session evaluated only a part. This command evaluates the rest:"
    else:
        how = "The latest session evaluated only a part. Remove corruptions, severities and "
        how += "perturbations from its suite; then this command evaluates the rest:"
    return {"command": shlex.join(whole), "how": how}


def _subset_options(tables: Tables) -> list[str]:
    """Return options that ask for every distortion of the run's subsets."""
    graded = tables.subset[tables.subset["severity"] > 0]
    others = tables.subset[tables.subset["severity"] == 0]
    has_clean = not graded.empty and bool((tables.corruptions["severity"] == 0).any())
    values: dict[str, list[object]] = {
        "--corruption": [*([CLEAN.name] if has_clean else []), *graded["distortion"]],
        "--severity": [*graded["severity"]],
        "--perturbation": [*others["distortion"]],
    }
    return [
        word
        for option, chosen in values.items()
        for value in dict.fromkeys(chosen)
        for word in (option, str(value))
    ]


SUBSET_OPTIONS = ("--corruption", "--severity", "--perturbation", "--protocol")
"""The options that select some of the distortions. Each takes a value."""


def _rests_on_unverified(tables: Tables) -> bool:
    """Return whether metrics rest on AlexNet's flip rates, which no primary source confirms."""
    relative = tables.relative
    if relative.empty:
        return False
    flips = relative["metric"].isin(["mfr", "mt5d"])
    return bool((flips & relative["baseline"].isin([*BASELINES])).any())


def _leaderboard(tables: Tables) -> dict[str, Any]:
    """Return the values of the leaderboard on the page.

    The page contains the normalised metrics for every baseline, and shows those for one.
    """
    board, relative = tables.leaderboard, tables.relative
    baselines = list(dict.fromkeys(relative["baseline"])) if not relative.empty else []
    metrics = list(dict.fromkeys(relative["metric"])) if not relative.empty else []
    normalised = {f"{metric}_{baseline}" for metric in metrics for baseline in baselines}
    plain = [name for name in value_columns(board) if name not in normalised]
    place = plain.index("complete")
    baseline = tables.baseline if tables.baseline in baselines else next(iter(baselines), None)
    # by baseline, model and metric
    choices: dict[str, dict[str, dict[str, Cell]]] = {name: {} for name in baselines}
    for row in _records(relative):
        by_metric = choices[row["baseline"]].setdefault(row["model"], {})
        by_metric[row["metric"]] = _number(row, "value", row["metric"], row["metric"])
    intervals = {
        (row["model"], row["metric"]): {"low": row["low"], "high": row["high"]}
        for row in _records(tables.intervals)
    }
    rows = []
    for row in _records(board):
        cells = [_cell(row | intervals.get((row["model"], name), {}), name) for name in plain]
        shown = choices[baseline].get(row["model"], {}) if baseline else {}
        cells[place:place] = [shown.get(name, Cell("–", relative=name)) for name in metrics]
        rows.append({"model": row["model"], "published": bool(row.get("source")), "cells": cells})
    columns = [{"name": name, "text": name in TEXT, "relative": ""} for name in plain]
    columns[place:place] = [{"name": name, "text": False, "relative": name} for name in metrics]
    return {
        "rows": rows,
        "columns": columns,
        "own": sum(not row["published"] for row in rows),
        "published": any(row["published"] for row in rows),
        "ranked_by": ranking_column(board),
        "baseline": baseline,
        "baselines": baselines,
        "relative": {
            name: {
                model: {metric: vars(cell) for metric, cell in by_metric.items()}
                for model, by_metric in models.items()
            }
            for name, models in choices.items()
        },
    }


TEXT = ("model", "complete", "conversion", "trained_on", "source")
"""Columns without numbers."""


def _cell(row: Mapping[str, Any], column: str) -> Cell:
    value = row[column]
    if isinstance(value, float) and column not in WHOLE:
        return _number(row, column, column)
    text: str = "–" if pd.isna(value) else str(int(value) if column in WHOLE else value)
    return Cell(text, "" if text == "–" else text, column=column)


WHOLE = ("rank", "rank_group", "images", "classes", "classes_present", "seeds")
"""Columns of whole numbers, which pandas turns into floats if some are missing."""


def _number(row: Mapping[str, Any], key: str, column: str, relative: str = "") -> Cell:
    """Return a value with its spread over training seeds and its interval, if it has them."""
    spread = row.get("std" if relative else f"{column}_std", float("nan"))
    text = format_rounded(row[key], column)
    if not pd.isna(spread):
        text += f" ± {format_rounded(spread, column)}"
    interval = ""
    if not pd.isna(row.get("low", float("nan"))):
        low, high = (format_rounded(row[bound], column) for bound in ("low", "high"))
        interval = f"{low} to {high}"
    return Cell(text, format_full(row[key]), interval, column, relative)


def _grids(tables: Tables) -> Iterator[dict[str, Any]]:
    """Yield the sections that consist of tables of numbers and plots."""
    corruptions = tables.corruptions
    if not corruptions.empty:
        yield {
            "anchor": "corruptions",
            "heading": "Error by corruption and severity",
            "note": "Top-1 error under the corruptions that the run asked for."
            if "mean_error_subset" in tables.leaderboard
            else "Top-1 error. The mean error counts the 15 corruptions of ImageNet-C, without "
            "its hold-outs (speckle_noise, gaussian_blur, spatter, saturate) or others.",
            "choose": "Model",
            "tables": [
                _matrix(rows, "corruption", "severity", "error", name=str(model))
                for model, rows in corruptions.groupby("model", sort=False)
            ],
            "plots": ["corruptions"],
        }
    if not tables.perturbations.empty:
        yield {
            "anchor": "perturbations",
            "heading": "Flip probability by perturbation",
            "note": "How often the top-1 class changes along a sequence. Frames of noise are "
            "compared with the first frame, all others with the previous one.",
            "tables": [_matrix(tables.perturbations, "model", "perturbation", "flip_probability")],
            "plots": ["perturbations"],
        }
    if not tables.consistency.empty:
        yield {
            "anchor": "consistency",
            "heading": "Consistency under shifts",
            "note": "What changes if an image moves, by protocol: the accuracy over all shifts; "
            "the consistency, or probability that two shifts get the same top-1 class; the share "
            "of images that are correct at every shift, and of those that a single step fools; "
            "the accuracy that shifts cost; and the mean change of the probability of the class "
            "that is predicted without a shift.",
            "choose": "Protocol",
            "tables": [
                _shift_metrics(rows, str(protocol))
                for protocol, rows in tables.consistency.groupby("protocol", sort=False)
            ],
            "plots": ["worst_case", "consistency", "diagonal"],
        }
    if not tables.calibration.empty:
        yield {
            "anchor": "calibration",
            "heading": "Calibration",
            "note": "Expected calibration error (15 bins) by severity, averaged over corruptions.",
            "tables": [_matrix(tables.calibration, "model", "severity", "ece")],
            "plots": ["calibration"],
        }


def _shift_metrics(table: pd.DataFrame, protocol: str) -> dict[str, Any]:
    """Return the metrics of a shift protocol as columns, those that it has."""
    columns = table.dropna(axis="columns", how="all")
    metrics = [name for name in value_columns(columns) if name not in SHIFT_KEYS] or ["accuracy"]
    long = [
        {"model": row["model"], "metric": metric, "value": row[metric]}
        | {f"value_{end}": row.get(f"{metric}_{end}", float("nan")) for end in STATISTICS}
        for row in _records(table)
        for metric in metrics
    ]
    return _matrix(pd.DataFrame(long), "model", "metric", "value", protocol, shaded=False)


SHIFT_KEYS = ("model", "dataset", "protocol", "images")
"""Columns of `consistency.csv` without metrics."""


def _matrix(
    table: pd.DataFrame, down: str, across: str, value: str, name: str = "", shaded: bool = True
) -> dict[str, Any]:
    """Return a long table as rows and columns, in the order of their first appearance."""
    columns = list(dict.fromkeys(table[across]))
    if across == "severity":
        columns.sort()
    found = {(row[down], row[across]): row for row in _records(table)}
    top = max(table[value].max(), 1e-9) if value != "error" else 1.0

    def cell(row: object, column: object) -> Cell:
        record = found.get((row, column))
        if record is None:
            return Cell("")
        bounds = {bound: record.get(f"{value}_{bound}", float("nan")) for bound in ("low", "high")}
        number = _number(record | bounds, value, value)
        shade = record[value] / top if shaded and number.order else 0.0
        return Cell(number.text, number.order, number.interval, shade=round(shade, 3))

    rows = [
        {"name": row, "cells": [cell(row, column) for column in columns]}
        for row in dict.fromkeys(table[down])
    ]
    headings = [down, *(_heading(across, column) for column in columns)]
    return {"name": name, "headings": headings, "rows": rows}


def _heading(across: str, column: object) -> str:
    if across != "severity":
        return str(column)
    return f"severity {column}" if column else "clean"


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _themed(svg: str) -> str:
    """Return an image whose lines and text turn light when the page turns dark."""
    head, end, body = svg.replace(INK, "currentColor").partition("<metadata>")
    return f"{head}{THEME}{end}{body}"


def _uri(kind: str, content: str | bytes) -> str:
    data = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@cache
def _library() -> dict[str, str]:
    """Return the script and style of DataTables, which the itables package contains."""
    script = Path(itables.options.dt_bundle)
    return {
        "script": base64.b64encode(script.read_bytes()).decode(),
        "css": script.with_suffix(".css").read_text(encoding="utf-8"),
    }

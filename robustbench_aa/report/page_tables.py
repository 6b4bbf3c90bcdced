"""The tables of numbers on the page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robustbench_aa.report.cell_tables import one_clean
from robustbench_aa.report.columns import STATISTICS, value_columns
from robustbench_aa.report.rounding import format_full, format_rounded
from robustbench_aa.report.tables import Tables


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


TEXT = ("model", "complete", "conversion", "trained_on", "source")
"""Columns without numbers."""


def make_cell(row: Mapping[str, Any], column: str) -> Cell:
    """Return the cell of a column, with its interval if the row has one."""
    value = row[column]
    if isinstance(value, float) and column not in WHOLE:
        return make_number(row, column, column)
    text: str = "–" if pd.isna(value) else str(int(value) if column in WHOLE else value)
    return Cell(text, "" if text == "–" else text, column=column)


WHOLE = ("rank", "rank_group", "images", "classes", "classes_present", "seeds")
"""Columns of whole numbers, which pandas turns into floats if some are missing."""


def make_number(row: Mapping[str, Any], key: str, column: str, relative: str = "") -> Cell:
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


def number_grids(tables: Tables) -> Iterator[dict[str, Any]]:
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
                for model, rows in one_clean(corruptions).groupby("model", sort=False)
            ],
        }
    if not tables.natural_shifts.empty:
        yield {
            "anchor": "natural_shifts",
            "heading": "Natural shifts",
            "note": "Top-1 error on clean images from other sources, by the rule of each data set. "
            f"{_class_rules(tables.natural_shifts)}.",
            "tables": [_matrix(tables.natural_shifts, "model", "dataset", "error")],
        }
    if not tables.perturbations.empty:
        yield {
            "anchor": "perturbations",
            "heading": "Flip probability by perturbation",
            "note": "How often the top-1 class changes along a sequence. Frames of noise are "
            "compared with the first frame, all others with the previous one.",
            "tables": [_matrix(tables.perturbations, "model", "perturbation", "flip_probability")],
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
        }
    if not tables.calibration.empty:
        yield {
            "anchor": "calibration",
            "heading": "Calibration",
            "note": "Expected calibration error (15 bins) by severity, averaged over corruptions.",
            "tables": [_matrix(tables.calibration, "model", "severity", "ece")],
        }


def _class_rules(table: pd.DataFrame) -> str:
    """Return the rule of each data set by which an answer is right."""
    rules = table.drop_duplicates("dataset")
    return "; ".join(f"{row['dataset']}: {row['class_rule']}" for row in records(rules))


def _shift_metrics(table: pd.DataFrame, protocol: str) -> dict[str, Any]:
    """Return the metrics of a shift protocol as columns, those that it has."""
    columns = table.dropna(axis="columns", how="all")
    metrics = [name for name in value_columns(columns) if name not in SHIFT_KEYS] or ["accuracy"]
    long = [
        {"model": row["model"], "metric": metric, "value": row[metric]}
        | {f"value_{end}": row.get(f"{metric}_{end}", float("nan")) for end in STATISTICS}
        for row in records(table)
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
    found = {(row[down], row[across]): row for row in records(table)}
    top = max(table[value].max(), 1e-9) if value != "error" else 1.0

    def cell(row: object, column: object) -> Cell:
        record = found.get((row, column))
        if record is None:
            return Cell("")
        bounds = {bound: record.get(f"{value}_{bound}", float("nan")) for bound in ("low", "high")}
        number = make_number(record | bounds, value, value)
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


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table by column."""
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]

"""The page: one HTML file that opens from disk and asks no network for anything."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import itables
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from robustbench_aa.metrics.baselines import BASELINES
from robustbench_aa.report.leaderboard import ranking_figure
from robustbench_aa.report.plots import INK, Drawn
from robustbench_aa.report.rounding import in_full, rounded
from robustbench_aa.report.tables import Tables

Samples = Mapping[str, Mapping[str, Sequence[bytes]]]
"""By data set and name of a distortion: WebP files, one a severity."""
THEME = "<style>:root{color:#1b1b1f}@media(prefers-color-scheme:dark){:root{color:#e8e9ec}}</style>"
"""The colour of ink inside a picture, which does not see the page's."""


Row = dict[str, Any]


@dataclass(frozen=True)
class Cell:
    """A number on the page.

    Attributes:
        text: rounded, with its spread over training seeds.
        order: in full, as in the CSV file; empty for none.
        interval: rounded, in words.
        column: what it is.
        relative: the normalised figure, if the choice of a baseline changes it.
        shade: in [0, 1], how dark it lies on a heat map.
    """

    text: str
    order: str = ""
    interval: str = ""
    column: str = ""
    relative: str = ""
    shade: float = 0.0


def render_page(title: str, tables: Tables, figures: Mapping[str, Drawn], samples: Samples) -> str:
    """The text of the page.

    Args:
        title: what the run is called.
        figures: by name, those of `draw_figures`, and `features` if there are feature maps.
        samples: what the models saw.
    """
    loader = PackageLoader("robustbench_aa.report", "template")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    pictures = {
        name: {"uri": _uri("image/svg+xml", _themed(of.svg())), "caption": of.caption}
        for name, of in figures.items()
    }
    strips = {
        dataset: {name: [_uri("image/webp", file) for file in files] for name, files in of.items()}
        for dataset, of in samples.items()
    }
    return environment.get_template("page.html.jinja").render(
        _leaderboard(tables),
        title=title,
        library=_library(),
        figures=pictures,
        grids=list(_grids(tables)),
        samples=strips,
        warnings=tables.warnings,
        missing=tables.missing.to_dict("records"),
        completing=_completing(tables),
        unverified=_rests_on_unverified(tables),
        provenance={
            of: rows.to_dict("records")
            for of, rows in tables.provenance.groupby("subject", sort=False)
        },
    )


def _completing(tables: Tables) -> dict[str, str]:
    """Return the command that evaluates what is missing, and what must be changed before."""
    if not tables.command:
        return {}
    if not tables.subset:
        return {"command": tables.command, "how": "The command that started the run fills them in:"}
    words = shlex.split(tables.command)
    whole = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not {before, word.partition("=")[0]} & {*SUBSET_OPTIONS}
    ]
    if whole != words:
        how = "The latest session was asked for a part. This command evaluates the rest:"
    else:
        how = "The latest session was asked for a part. Take corruptions, severities and "
        how += "perturbations out of its suite; then this command evaluates the rest:"
    return {"command": shlex.join(whole), "how": how}


SUBSET_OPTIONS = ("--corruption", "--severity", "--perturbation")
"""The options that ask for some of the distortions only; each takes a value."""


def _rests_on_unverified(tables: Tables) -> bool:
    """Return whether metrics are relative to AlexNet's flips, which no primary source confirms."""
    relative = tables.relative
    if relative.empty:
        return False
    flips = relative["metric"].isin(["mfr", "mt5d"])
    return bool((flips & relative["baseline"].isin([*BASELINES])).any())


def _leaderboard(tables: Tables) -> dict[str, Any]:
    """Rows of the leaderboard; of the figures of every baseline, one baseline's are shown."""
    board, relative = tables.leaderboard, tables.relative
    baselines = list(dict.fromkeys(relative["baseline"])) if not relative.empty else []
    figures = list(dict.fromkeys(relative["metric"])) if not relative.empty else []
    normalised = {f"{figure}_{baseline}" for figure in figures for baseline in baselines}
    plain = [
        name
        for name in map(str, board)
        if name not in normalised and not name.endswith(("_low", "_high", "_std"))
    ]
    place = plain.index("complete")
    baseline = tables.baseline if tables.baseline in baselines else next(iter(baselines), None)
    of_baselines: dict[str, dict[str, dict[str, Cell]]] = {name: {} for name in baselines}
    for row in _records(relative):
        of_model = of_baselines[row["baseline"]].setdefault(row["model"], {})
        of_model[row["metric"]] = _number(row, "value", f"{row['metric']}_", row["metric"])
    intervals = {
        (of["model"], of["metric"]): {"low": of["low"], "high": of["high"]}
        for of in _records(tables.intervals)
    }
    rows = []
    for row in _records(board):
        cells = [_cell(row | intervals.get((row["model"], name), {}), name) for name in plain]
        shown = of_baselines[baseline].get(row["model"], {}) if baseline else {}
        cells[place:place] = [shown.get(f, Cell("–", relative=f)) for f in figures]
        rows.append({"model": row["model"], "published": _is_published(row), "cells": cells})
    columns = [{"name": name, "text": name in TEXT, "relative": ""} for name in plain]
    columns[place:place] = [{"name": f, "text": False, "relative": f} for f in figures]
    return {
        "rows": rows,
        "columns": columns,
        "own": sum(not row["published"] for row in rows),
        "published": any(row["published"] for row in rows),
        "ranked_by": ranking_figure(board),
        "baseline": baseline,
        "baselines": baselines,
        "relative": {
            name: {
                model: {figure: vars(cell) for figure, cell in of.items()}
                for model, of in models.items()
            }
            for name, models in of_baselines.items()
        },
    }


TEXT = ("model", "complete", "source")
"""Columns that are no numbers."""


def _is_published(row: Row) -> bool:
    return bool(row.get("source"))


def _cell(row: Row, column: str) -> Cell:
    value = row[column]
    if isinstance(value, float) and column not in WHOLE:
        return _number(row, column, column)
    text: str = "–" if pd.isna(value) else str(int(value) if column in WHOLE else value)
    return Cell(text, "" if text == "–" else text, column=column)


WHOLE = ("rank", "rank_group", "images", "classes", "classes_present", "seeds")
"""Columns of whole numbers, which are read as fractions where some are missing."""


def _number(row: Row, key: str, column: str, relative: str = "") -> Cell:
    """A figure with its spread over training seeds and its interval, as far as they are known."""
    spread = row.get("std" if relative else f"{column}_std", float("nan"))
    text = rounded(row[key], column)
    if not pd.isna(spread):
        text += f" ± {rounded(spread, column)}"
    interval = ""
    if not pd.isna(row.get("low", float("nan"))):
        interval = f"{rounded(row['low'], column)} to {rounded(row['high'], column)}"
    return Cell(text, in_full(row[key]), interval, column, relative)


def _grids(tables: Tables) -> Iterator[dict[str, Any]]:
    """The sections that are tables of numbers with figures below."""
    corruptions = tables.corruptions
    if not corruptions.empty:
        yield {
            "anchor": "corruptions",
            "heading": "Error by corruption and severity",
            "note": "Top-1 error. The mean error counts ImageNet-C's 15 corruptions: neither its "
            "hold-outs (speckle_noise, gaussian_blur, spatter, saturate) nor any other.",
            "tables": [
                _matrix(of, "corruption", "severity", "error", name=str(model))
                for model, of in corruptions.groupby("model", sort=False)
            ],
            "figures": ["corruptions"],
        }
    if not tables.perturbations.empty:
        yield {
            "anchor": "perturbations",
            "heading": "Flip probability by perturbation",
            "note": "How often the top-1 class changes along a sequence: noise against the first "
            "frame, all others against the frame before.",
            "tables": [_matrix(tables.perturbations, "model", "perturbation", "flip_probability")],
            "figures": ["perturbations"],
        }
    if not tables.consistency.empty:
        yield {
            "anchor": "consistency",
            "heading": "Consistency under shifts",
            "note": "The probability that two shifts of an image get the same top-1 class, of all "
            "images and of those that were classified correctly at least once.",
            "tables": [_consistency(tables.consistency)],
            "figures": ["consistency", "diagonal"],
        }
    if not tables.calibration.empty:
        yield {
            "anchor": "calibration",
            "heading": "Calibration",
            "note": "Expected calibration error (15 bins) by severity, the mean over corruptions.",
            "tables": [_matrix(tables.calibration, "model", "severity", "ece")],
            "figures": ["calibration"],
        }


def _consistency(table: pd.DataFrame) -> dict[str, Any]:
    figures = ["accuracy", "consistency", "consistency_among_correct"]
    long = table.melt(["model", "protocol"], figures, "metric", "value")
    long["metric"] += " (" + long["protocol"] + ")"
    return _matrix(long, "model", "metric", "value", shaded=False)


def _matrix(
    table: pd.DataFrame, down: str, across: str, value: str, name: str = "", shaded: bool = True
) -> dict[str, Any]:
    """A long table as rows and columns, in the order in which their names come up."""
    columns = list(dict.fromkeys(table[across]))
    if across == "severity":
        columns.sort()
    found = {(row[down], row[across]): row for row in _records(table)}
    top = max(table[value].max(), 1e-9) if value != "error" else 1.0

    def cell(row: object, column: object) -> Cell:
        of = found.get((row, column))
        if of is None:
            return Cell("")
        bounds = {bound: of.get(f"{value}_{bound}", float("nan")) for bound in ("low", "high")}
        number = _number(of | bounds, value, value)
        shade = of[value] / top if shaded and number.order else 0.0
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


def _records(table: pd.DataFrame) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _themed(svg: str) -> str:
    """The picture with ink that turns light where the page turns dark."""
    head, end, body = svg.replace(INK, "currentColor").partition("<metadata>")
    return f"{head}{THEME}{end}{body}"


def _uri(kind: str, content: str | bytes) -> str:
    given = content.encode() if isinstance(content, str) else content
    return f"data:{kind};base64,{base64.b64encode(given).decode()}"


@cache
def _library() -> dict[str, str]:
    """DataTables, as the itables package carries it: a module whose default export it is."""
    script = Path(itables.options.dt_bundle)
    return {
        "script": base64.b64encode(script.read_bytes()).decode(),
        "css": script.with_suffix(".css").read_text(encoding="utf-8"),
    }

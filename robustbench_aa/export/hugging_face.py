"""Results for a model card of the Hugging Face Hub: the YAML of `model-index`.

The hub's newer files in `.eval_results/` accept only benchmarks that the hub has registered, each
with the id of a task. `model-index` accepts any data set and metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.metrics.metric import find_metric
from robustbench_aa.report.columns import value_columns
from robustbench_aa.run import Run
from robustbench_aa.store.kinds import kinds_of
from robustbench_aa.store.shards import Store
from robustbench_aa.types import column_of

KINDS = {
    "clean": ("clean_error", "error"),
    "perturbation": (
        *("flip_probability", "mean_flip_probability", "mean_flip_probability_subset"),
        *("top5_distance", "zipf_distance", "fr", "t5d", "mfr", "mt5d"),
    ),
    "shift": (
        *("consistency", "accuracy", "accuracy_worst", "accuracy_drop"),
        *("fooled", "probability_change"),
    ),
}
"""By kind of data set, its metrics; all others are of corruptions."""


def model_index(run: Run, models: Sequence[str] = (), baseline: str | None = None) -> str:
    """Return the entry `model-index` of a model card, with every metric of the leaderboard.

    A metric has the name of its column in `leaderboard.csv` as its type, and the same value. Its
    `args` are the bounds of the 95% interval.

    Args:
        run: the run.
        models: the models to include; all by default.
        baseline: as in `Run.tables`.

    Raises:
        UnknownName: the run has no such model or baseline.
        UsageError: a model lacks predictions.
    """
    import yaml

    store = Store.of_run(run.directory)
    board, intervals = run.leaderboard(baseline), run.table("intervals", baseline)
    known = [str(name) for name in board["model"]]
    for model in models:
        if model not in known:
            raise UnknownName("model of the run", model, known)
    rows = board[board["model"].isin([*models])] if models else board
    for row in rows.to_dict("records"):
        if not row["complete"]:
            raise UsageError(
                f"{row['model']} lacks predictions; evaluate them, or name other models by --model"
            )
    metrics = [name for name in value_columns(board) if find_metric(name)]
    entries = [
        {"name": row["model"], "results": _results(store, metrics, intervals, row)}
        for row in rows.to_dict("records")
    ]
    text: str = yaml.safe_dump({"model-index": entries}, sort_keys=False, allow_unicode=True)
    return text


def _results(
    store: Store, metrics: Sequence[str], intervals: pd.DataFrame, row: Mapping[Any, Any]
) -> list[dict[str, Any]]:
    """Return a model's metrics on the leaderboard, grouped by data set."""
    own = intervals[intervals["model"] == row["model"]]
    known = {one["metric"]: one for one in own.to_dict("records")}
    by_dataset: dict[str, list[dict[str, Any]]] = {}
    for column in metrics:
        if pd.isna(row[column]):
            continue
        found = known.get(column, {})
        bounds = {end: found.get(end, float("nan")) for end in ("low", "high")}
        # to six decimals, as in the CSV files
        args = {end: round(value, 6) for end, value in bounds.items() if not pd.isna(value)}
        metric = {"type": column, "name": _title(column), "value": round(row[column], 6)}
        metric |= {"args": args} if args else {}
        by_dataset.setdefault(_dataset(store, column), []).append(metric)
    return [
        {
            "task": {"type": "image-classification", "name": "Image Classification"},
            "dataset": {"type": name, "name": name, "args": _described(store, name)},
            "metrics": metrics,
        }
        for name, metrics in by_dataset.items()
    ]


def _dataset(store: Store, column: str) -> str:
    """Return the data set that a metric was measured on."""
    kinds, metric = kinds_of(store.manifest), find_metric(column)
    for key, name in kinds.items():
        if column_of(key) and column.endswith(f"_{column_of(key)}"):
            return name
    name = metric.name if metric else column
    kind = next((kind for kind, metrics in KINDS.items() if name in metrics), "corruption")
    # clean images may belong to a data set of corruptions
    return kinds.get(kind) or kinds.get("corruption") or next(iter(kinds.values()))


def _title(column: str) -> str:
    metric = find_metric(column)
    if metric is None:
        return column
    suffix = column[len(metric.name) + 1 :].replace("_", " ")
    return f"{metric.title} {suffix}".strip() + (" [%]" if metric.normalised else "")


def _described(store: Store, name: str) -> dict[str, Any]:
    dataset = store.manifest.datasets[name]
    keys = ("images", "classes", "size", "geometry", "sha256")
    return {key: dataset[key] for key in keys} | {"seed": store.manifest.seed}

"""Results in the columns of timm's `results/results-*.csv`, for timm's own tools.

A file of timm has one test set, and so has this one: the images under one distortion.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.run import Run
from robustbench_aa.store.shards import Cell, Store

GEOMETRY = re.compile(r"Resize (?P<side>\d+) (?P<interpolation>\w+), CenterCrop (?P<size>\d+)")
TOP = [f"top{rank}" for rank in range(1, 6)]
ONE_LABEL = "one label"
"""The beginning of the class rules of images that have one label each."""
KINDS = ("clean", "corruption")
"""The kinds of distortions with one frame for each image."""


def timm_csv(
    run: Run, models: Sequence[str] = (), dataset: str | None = None, distortion: str = "clean"
) -> str:
    """Return one row per network, the best first.

    The columns are `model`, `img_size`, `top1`, `top1_err`, `top5`, `top5_err` (percent),
    `param_count` (millions), `crop_pct` and `interpolation`. The last two describe how the pictures
    of the data set were resized, and are empty if it was not done for this run. The top-5 columns
    are empty for images that may have several labels, of which predictions record one.

    Args:
        run: the run.
        models: the networks to include; all by default. The prefix `timm:` is left out of names.
        dataset: the data set; by default the only one that has the distortion.
        distortion: the distortion, such as `clean` or `fog/3`.

    Raises:
        UnknownName: the run has no such model, data set or distortion.
        UsageError: several data sets have the distortion, images have several frames under it, or a
            network lacks predictions.
    """
    store = Store.of_run(run.directory)
    for model in models:
        if model not in store.manifest.models:
            raise UnknownName("model of the run", model, store.manifest.models)
    cell = _cell(store, dataset, distortion)
    rows = [_row(store, model, cell) for model in models or store.manifest.models]
    table = pd.DataFrame(rows).sort_values(
        ["top1", "top5", "model"], ascending=[False, False, True]
    )
    table["param_count"] = table["param_count"].map("{:,.2f}".format)
    text: str = table.to_csv(index=False, float_format="%.3f", lineterminator="\n")
    return text


def _cell(store: Store, dataset: str | None, distortion: str) -> Cell:
    """Return the cell of a distortion, in the named data set or in the only one that has it."""
    datasets = store.manifest.datasets
    if dataset is not None and dataset not in datasets:
        raise UnknownName("data set of the run", dataset, datasets)
    cells = [cell for name in datasets if dataset in (None, name) for cell in store.cells(name)]
    found = [cell for cell in cells if str(cell.distortion) == distortion]
    if not found:
        known = dict.fromkeys(str(one.distortion) for one in cells if one.distortion.kind in KINDS)
        raise UnknownName("distortion of the run", distortion, known)
    if len(found) > 1:
        names = " and ".join(cell.dataset for cell in found)
        raise UsageError(f"{names} have {distortion} images; name one by --dataset")
    if found[0].distortion.kind not in KINDS:
        raise UsageError(
            f"{found[0]} has {found[0].frames} frames of each image, and timm's columns are for "
            "one; name a corruption by --distortion"
        )
    return found[0]


def _row(store: Store, model: str, cell: Cell) -> dict[str, object]:
    rows = store.read(model, cell, ["label", *TOP])
    if rows is None:
        raise UsageError(
            f"{model} lacks predictions of {cell}; evaluate them, or name other models by --model"
        )
    described = store.manifest.datasets[cell.dataset]
    hits = rows[TOP].eq(rows["label"], axis="index")
    top1, top5 = 100 * hits["top1"].mean(), 100 * hits.any(axis="columns").mean()
    if not (described.get("scoring") or {}).get("rule", ONE_LABEL).startswith(ONE_LABEL):
        top5 = float("nan")
    geometry = GEOMETRY.fullmatch(described["geometry"])
    return {
        "model": model.removeprefix("timm:"),
        "img_size": described["size"],
        "top1": top1,
        "top1_err": 100 - top1,
        "top5": top5,
        "top5_err": 100 - top5,
        "param_count": store.manifest.models[model]["parameters"] / 1e6,
        "crop_pct": int(geometry["size"]) / int(geometry["side"]) if geometry else None,
        "interpolation": geometry["interpolation"] if geometry else None,
    }

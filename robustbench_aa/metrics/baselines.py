"""Published errors that others are relative to.

`alexnet.csv`, AlexNet on ImageNet-C: the constants of the official evaluation (github
hendrycks/robustness), in which AlexNet's own mCE is 100. `alexnet_p.csv`: those for ImageNet-P, in
which its mFR and mT5D are 100. `imagenet_c.csv`: the results of others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from robustbench_aa.metrics.figures import Means, ModelMeans
from robustbench_aa.metrics.outcomes import ByKind

PUBLISHED = Path(__file__).with_name("published")
BASELINES = ("alexnet",)
"""The networks whose published figures others can be relative to."""


def published_for(outcomes: ByKind) -> dict[str, ModelMeans]:
    """The published baselines' figures for the cells of a run on ImageNet's photographs.

    Cells that nothing was published of are left out.
    """
    return {"alexnet": alexnet_for(outcomes)}


def alexnet_for(outcomes: ByKind) -> ModelMeans:
    """AlexNet's published figures for the cells of a run on ImageNet's photographs.

    Cells that nothing was published of are left out.
    """
    errors, sequences = alexnet(), alexnet_p()
    found = {}
    if corrupted := outcomes.get("corruption"):
        known = {cell: (cell.name, cell.severity or 0) for cell in corrupted.wrong}
        wrong = {cell: np.array(errors[key]) for cell, key in known.items() if key in errors}
        found["corruption"] = Means(wrong)
    if perturbed := outcomes.get("perturbation"):
        flips, distances = (
            {
                cell: np.array(sequences.loc[cell.name, figure])
                for cell in perturbed.flips
                if cell.name in sequences.index
            }
            for figure in ("flip_probability", "top5_distance")
        )
        found["perturbation"] = Means({}, {}, flips, distances)
    return found


@cache
def alexnet() -> Mapping[tuple[str, int], float]:
    """AlexNet's errors on ImageNet-C at 224 px by corruption and severity; `clean` has 0."""
    table = pd.read_csv(PUBLISHED / "alexnet.csv")
    cells = zip(table["corruption"], table["severity"].astype(int), strict=True)
    return dict(zip(cells, table["error"].astype(float), strict=True))


@cache
def alexnet_p() -> pd.DataFrame:
    """AlexNet's `flip_probability` and `top5_distance` on ImageNet-P, by perturbation."""
    return pd.read_csv(PUBLISHED / "alexnet_p.csv", index_col="perturbation")


def imagenet_c() -> pd.DataFrame:
    """What was published of networks on ImageNet-C: a row a network, with its source.

    `clean_error` is a fraction; `mce_alexnet`, `relative_mce_alexnet` and the CE of each corruption
    are percent of AlexNet's, empty where they were not published.
    """
    return pd.read_csv(PUBLISHED / "imagenet_c.csv")

"""What was published of others, and the networks among them that figures can be relative to.

`published/` has the tables of a report, by the same names and in the same columns and units, each
row with its source: `leaderboard.csv`, `normalised.csv` (CE, relative CE, FR and T5D by
distortion) and, of AlexNet alone, `corruptions.csv` and `perturbations.csv`: the constants of the
official evaluation, in which AlexNet's own mCE, mFR and mT5D are 100. Figures are of ImageNet-C
and ImageNet-P as released, at 224 px, and of ImageNet's validation set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.metrics.aggregates import Means, ModelMeans
from robustbench_aa.metrics.per_image import ByKind
from robustbench_aa.store.schema import distortion_of
from robustbench_aa.types import CLEAN, PHOTOGRAPHS, kind

PUBLISHED = Path(__file__).with_name("published")
BASELINES = {"alexnet": "AlexNet", "resnet50": "ResNet-50"}
"""The networks that figures can be relative to, by the name that columns carry."""


CLASSES, SIZE = 1000, 224
"""What published metrics are of: ImageNet's classes, and the pixels of the square that is seen."""
GEOMETRIES = (
    "CenterCrop 224",
    "Resize 256 bilinear, CenterCrop 224",
    "Resize 256 bilinear, CenterCrop 256",
)
"""How published work crops photographs: stored ones, others, and those that shifts move over."""
PIXELS: Mapping[str, Collection[str]] = {
    "clean": ("torch",),
    "corruption": ("files", "torch, JPEG 85"),
    "perturbation": ("files",),
    "shift": ("torch",),
}
"""By kind of data set, the origins of pixels for which published metrics hold.

docs/metrics.md measures which pixels are close enough: those of `imagenet-c-live` are. Those of
`imagenet-p-live` are not: along the released videos, whose encoding softens noise, models flip less
under noise.
"""


def is_comparable(described: Mapping[str, Any]) -> bool:
    """Return whether published metrics can stand beside those of a data set.

    They can on photographs of ImageNet's 1,000 classes, all of which have images, at 224 px, with
    the released pixels or equivalent ones. This rule decides about `report --with-published`, the
    columns relative to AlexNet and the published baselines.

    Args:
        described: the data set as `run.json` describes it.
    """
    labels = described["labels"]
    measured = kind(distortion_of(entry) for entry in described["distortions"])
    return (
        described["collection"] == PHOTOGRAPHS
        and described["pixels"] in PIXELS[measured]
        and (described["classes"], described["size"]) == (CLASSES, SIZE)
        and (labels["rule"], labels["present"]) == ("ImageNet wnids", CLASSES)
        and described["geometry"] in GEOMETRIES
    )


def published(table: str) -> pd.DataFrame:
    """A published table: `leaderboard`, `normalised`, `corruptions` or `perturbations`.

    Errors and consistency are fractions, normalised figures percent; what was not published is
    empty.
    """
    return pd.read_csv(PUBLISHED / f"{table}.csv")


def published_for(outcomes: ByKind) -> dict[str, ModelMeans]:
    """The `BASELINES`' figures for the cells of a run on ImageNet's photographs.

    Cells that nothing was published of are left out; the clean error is always there.
    """
    return {name: _means(network, outcomes) for name, network in BASELINES.items()}


def _means(network: str, outcomes: ByKind) -> ModelMeans:
    found = {}
    if corrupted := outcomes.get("corruption"):
        errors = errors_of(network)
        known = {cell: (cell.name, cell.severity or 0) for cell in corrupted.wrong}
        wrong = {cell: np.array(errors[key]) for cell, key in known.items() if key in errors}
        # the run's clean images may be of another data set
        found["corruption"] = Means({CLEAN: np.array(errors["clean", 0])} | wrong)
    if perturbed := outcomes.get("perturbation"):
        sequences = sequences_of(network)
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
def errors_of(network: str) -> Mapping[tuple[str, int], float]:
    """A network's errors on ImageNet-C, as in `alexnet`, under the corruptions that mCE counts.

    Of others than AlexNet CE was published: sums over severities, in percent of AlexNet's. Each
    error here is that share of AlexNet's, so that the sums are right, and nothing finer is.
    """
    board = published("leaderboard")
    # the clean error that goes with the published relative CE
    of_network = board[(board["model"] == network) & board["relative_mce_alexnet"].notna()]
    share = _shares(network, "ce")
    errors = {cell: share[cell[0]] * e for cell, e in alexnet().items() if cell[0] in share}
    return {("clean", 0): float(of_network["clean_error"].item())} | errors


@cache
def sequences_of(network: str) -> pd.DataFrame:
    """A network's figures on ImageNet-P, as in `alexnet_p`, of the perturbations that mFR counts.

    Of others than AlexNet they were published in percent of AlexNet's.
    """
    figures = {"flip_probability": "fr", "top5_distance": "t5d"}
    shares = pd.DataFrame({of: _shares(network, figure) for of, figure in figures.items()})
    return shares * alexnet_p().loc[shares.index]


def _shares(network: str, figure: str) -> dict[str, float]:
    """A normalised figure by distortion, as fractions of AlexNet's."""
    table = published("normalised")
    chosen = table[(table["model"] == network) & (table["figure"] == figure)]
    return dict(zip(chosen["of"], chosen["value"] / 100.0, strict=True))


@cache
def alexnet() -> Mapping[tuple[str, int], float]:
    """AlexNet's errors on ImageNet-C at 224 px by corruption and severity; `clean` has 0."""
    table = published("corruptions")
    cells = zip(table["corruption"], table["severity"].astype(int), strict=True)
    return dict(zip(cells, table["error"].astype(float), strict=True))


@cache
def alexnet_p() -> pd.DataFrame:
    """AlexNet's `flip_probability` and `top5_distance` on ImageNet-P, by perturbation."""
    columns = ["flip_probability", "top5_distance"]
    return published("perturbations").set_index("perturbation")[columns]

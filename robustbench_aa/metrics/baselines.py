"""Published results, and the published networks that can serve as a baseline.

`published/` has tables with the names, columns and units of a report's tables, and a source for
each row: `leaderboard.csv`, `normalised.csv` (CE, relative CE, FR and T5D by distortion) and, for
AlexNet only, `corruptions.csv` and `perturbations.csv`. The latter two are the constants of the
official evaluation, by which AlexNet's own mCE, mFR and mT5D are 100. All results are for
ImageNet-C and ImageNet-P as released, at 224 px, and for ImageNet's validation set.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robustbench_aa.metrics.cell_means import CellMeans, MeansByKind
from robustbench_aa.metrics.per_image import OutcomesByKind
from robustbench_aa.store.dataset_schema import distortion_of
from robustbench_aa.types import CLEAN, PHOTOGRAPHS, kind

PUBLISHED = Path(__file__).with_name("published")
BASELINES = {"alexnet": "AlexNet", "resnet50": "ResNet-50"}
"""The published baselines: the name in columns, and the name in published tables."""


CLASSES, SIZE = 1000, 224
"""The number of classes and the image size in pixels of published results."""
GEOMETRIES = (
    "CenterCrop 224",
    "Resize 256 bilinear, CenterCrop 224",
    "Resize 256 bilinear, CenterCrop 256",
)
"""How published results crop: stored images, photographs, and photographs for shifts."""
PIXELS: Mapping[str, Collection[str]] = {
    "clean": ("torch",),
    "corruption": ("files", "torch, JPEG 85"),
    "perturbation": ("files",),
    "shift": ("torch",),
}
"""By kind of data set, the origins of pixels that published results apply to.

docs/metrics.md measures which live data sets are close enough. `imagenet-c-live` is;
`imagenet-p-live` is not: the encoding of the released videos softens noise, so that models flip
less.
"""


def column(described: Mapping[str, Any]) -> str:
    """Return the end of a data set's columns, such as `imagenet_r_200`; empty if it has none.

    Args:
        described: description of the data set in `run.json`.
    """
    return str((described.get("scoring") or {}).get("column", ""))


def is_comparable(described: Mapping[str, Any]) -> bool:
    """Return whether published results can be compared with those on a data set.

    The data set must be of photographs at 224 px, with images of all of ImageNet's 1,000 classes,
    and with the released pixels or equivalent ones. `report --with-published`, columns relative to
    AlexNet and published baselines all depend on this rule.

    Args:
        described: description of the data set in `run.json`.
    """
    if column(described):
        return False  # its metrics have columns of their own, for which nothing is published
    labels = described["labels"]
    measured = kind(distortion_of(entry) for entry in described["distortions"])
    return (
        described["collection"] == PHOTOGRAPHS
        and described["pixels"] in PIXELS[measured]
        and (described["classes"], described["size"]) == (CLASSES, SIZE)
        and (labels["rule"], labels["present"]) == ("ImageNet wnids", CLASSES)
        and described["geometry"] in GEOMETRIES
    )


def published_table(name: str) -> pd.DataFrame:
    """Read a published table: `leaderboard`, `normalised`, `corruptions` or `perturbations`.

    Errors and consistency are fractions, normalised metrics are in percent, and values that were
    not published are empty.
    """
    return pd.read_csv(PUBLISHED / f"{name}.csv")


def published_means(outcomes: OutcomesByKind) -> dict[str, MeansByKind]:
    """Return the published means of the `BASELINES` for the cells of a run on ImageNet.

    Cells without published values are left out. The clean error is always included.
    """
    return {name: _means(network, outcomes) for name, network in BASELINES.items()}


def _means(network: str, outcomes: OutcomesByKind) -> MeansByKind:
    found = {}
    if corrupted := outcomes.get("corruption"):
        errors = published_errors(network)
        known = {cell: (cell.name, cell.severity or 0) for cell in corrupted.wrong}
        wrong = {cell: np.array(errors[key]) for cell, key in known.items() if key in errors}
        # the clean images of the run may belong to another data set
        found["corruption"] = CellMeans({CLEAN: np.array(errors["clean", 0])} | wrong)
    if perturbed := outcomes.get("perturbation"):
        sequences = published_flips(network)
        flips, distances = (
            {
                cell: np.array(sequences.loc[cell.name, metric])
                for cell in perturbed.flips
                if cell.name in sequences.index
            }
            for metric in ("flip_probability", "top5_distance")
        )
        found["perturbation"] = CellMeans({}, flips, distances)
    return found


@cache
def published_errors(network: str) -> Mapping[tuple[str, int], float]:
    """Return a network's errors under the corruptions that mCE counts, as `alexnet_errors` does.

    For networks other than AlexNet, only CE was published: sums over severities in percent of
    AlexNet's. Each error returned is that share of AlexNet's error, so that only the sums over
    severities are right.
    """
    board = published_table("leaderboard")
    # the clean error on which the published relative CE is based
    rows = board[(board["model"] == network) & board["relative_mce_alexnet"].notna()]
    share = _shares(network, "ce")
    errors = {
        (name, severity): share[name] * error
        for (name, severity), error in alexnet_errors().items()
        if name in share
    }
    return {("clean", 0): float(rows["clean_error"].item())} | errors


@cache
def published_flips(network: str) -> pd.DataFrame:
    """Return a network's values under the perturbations that mFR counts, as `alexnet_flips` does.

    For networks other than AlexNet, they were published in percent of AlexNet's.
    """
    normalised = {"flip_probability": "fr", "top5_distance": "t5d"}
    shares = pd.DataFrame({name: _shares(network, metric) for name, metric in normalised.items()})
    return shares * alexnet_flips().loc[shares.index]


def _shares(network: str, metric: str) -> dict[str, float]:
    """Return a normalised metric by distortion, as fractions of AlexNet's values."""
    table = published_table("normalised")
    chosen = table[(table["model"] == network) & (table["metric"] == metric)]
    return dict(zip(chosen["distortion"], chosen["value"] / 100.0, strict=True))


@cache
def alexnet_errors() -> Mapping[tuple[str, int], float]:
    """Return AlexNet's errors on ImageNet-C by corruption and severity, 0 for `clean`."""
    table = published_table("corruptions")
    cells = zip(table["corruption"], table["severity"].astype(int), strict=True)
    return dict(zip(cells, table["error"].astype(float), strict=True))


@cache
def alexnet_flips() -> pd.DataFrame:
    """Return AlexNet's `flip_probability` and `top5_distance` on ImageNet-P, by perturbation."""
    columns = ["flip_probability", "top5_distance"]
    return published_table("perturbations").set_index("perturbation")[columns]

"""Published errors that others are relative to.

`alexnet.csv`, AlexNet on ImageNet-C: the constants of the official evaluation (github
hendrycks/robustness), in which AlexNet's own mCE is 100. `alexnet_p.csv`: those for ImageNet-P, in
which its mFR and mT5D are 100. `imagenet_c.csv`: the results of others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

PUBLISHED = Path(__file__).with_name("published")


@dataclass(frozen=True)
class Baseline:
    """A published model.

    Attributes:
        name: as columns are called after it.
        clean_error: its top-1 error on clean images.
        errors: corruptions (rows) × severities (columns), top-1 errors in [0, 1].
    """

    name: str
    clean_error: float
    errors: pd.DataFrame


@cache
def alexnet() -> Baseline:
    """AlexNet's errors on ImageNet-C at 224 px, hold-out corruptions included."""
    table = pd.read_csv(PUBLISHED / "alexnet.csv")
    clean = table[table.severity == 0]
    corrupted = table[table.severity > 0].pivot_table(
        index="corruption", columns="severity", values="error"
    )
    return Baseline("alexnet", float(clean.error.iloc[0]), corrupted)


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

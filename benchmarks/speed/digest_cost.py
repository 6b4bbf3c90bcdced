"""Measure the cost of digests of pictures and frames: `python -m benchmarks.speed.digest_cost`.

A MobileNetV2 with random weights is evaluated on clean photographs many times, in turn with digests
and without them. Single evaluations differ by more than digests cost, so the result is the median
ratio of many short rounds, with its 95% interval: a difference of 1% is visible if the interval is
narrower. Clean photographs are the hardest case: each file is read for a single frame.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import pandas as pd

from benchmarks.photographs import write_crops
from benchmarks.rows import publish
from robustbench_aa.datasets import content, pictures
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.suite import Suite

OUTPUT = Path("results/performance/digest_cost.csv")
MODEL = "torchvision:mobilenet_v2@random"
HALF_WIDTH = np.array([-0.98, 0.98])
"""The quantiles of the 95% interval of a median are 0.5 ± 0.98 / √n."""


def seconds(folder: Path, digests: bool) -> float:
    """Return the time of an evaluation, with digests or without."""
    with tempfile.TemporaryDirectory() as run, contextlib.ExitStack() as patched:
        if not digests:
            patched.enter_context(patch.object(pictures, "digest", lambda _: 0))
            patched.enter_context(patch.object(content.Digest, "add_batch", lambda *_: None))
        session = prepare(Suite([MODEL], ["image-folder"], data_dir=str(folder)), run, "cpu")
        start = time.perf_counter()
        assert not session.run().failures
        return time.perf_counter() - start


@click.command()
@click.option("--images", default=100, show_default=True, help="Number of photographs.")
@click.option("--rounds", default=60, show_default=True, help="Number of evaluations of each kind.")
@click.option("--output", default=OUTPUT, show_default=True, type=click.Path(path_type=Path))
def main(images: int, rounds: int, output: Path) -> None:
    """Measure the cost of digests, and write a row for each kind of evaluation."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_crops(folder, images)
        seconds(folder, digests=True)  # warm-up
        found: dict[bool, list[float]] = {True: [], False: []}
        for repetition in range(rounds):
            # each kind is first in every other round, so that a drift of the machine cancels
            for kind in (True, False) if repetition % 2 else (False, True):
                found[kind].append(seconds(folder, kind))
    rows = []
    for kind, times in found.items():
        # within a round, because a busy moment slows both of its evaluations
        ratios = np.divide(times, found[False])
        low, high = np.quantile(ratios, np.clip(0.5 + HALF_WIDTH / rounds**0.5, 0, 1))
        row: dict[str, object] = {"digests": kind, "images": images, "rounds": rounds}
        row |= {"seconds": np.median(times), "fastest": min(times)}
        rows.append(row | {"ratio": np.median(ratios), "low": low, "high": high})
    publish(pd.DataFrame(rows), output)


if __name__ == "__main__":
    main()

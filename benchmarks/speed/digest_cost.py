"""Measure the cost of digests of pictures and frames: `python -m benchmarks.speed.digest_cost`.

A MobileNetV2 with random weights is evaluated on clean photographs many times, in turn with digests
and without them. The times of single evaluations differ by a tenth, so many are needed. Clean
photographs are the hardest case: each file is read for a single frame.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import click
import pandas as pd

from benchmarks.photographs import write_crops
from benchmarks.rows import publish
from robustbench_aa.datasets import content, pictures
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.suite import Suite

OUTPUT = Path("results/performance/digest_cost.csv")
MODEL = "torchvision:mobilenet_v2@random"


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
@click.option("--images", default=300, show_default=True, help="Number of photographs.")
@click.option("--rounds", default=60, show_default=True, help="Number of evaluations of each kind.")
@click.option("--output", default=OUTPUT, show_default=True, type=click.Path(path_type=Path))
def main(images: int, rounds: int, output: Path) -> None:
    """Measure the cost of digests, and write a row for each kind of evaluation."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_crops(folder, images)
        seconds(folder, digests=True)  # warm-up
        found: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(rounds):
            for kind in found:
                found[kind].append(seconds(folder, kind))
    rows = [
        {
            "digests": kind,
            "images": images,
            "rounds": rounds,
            "seconds": pd.Series(times).median(),
            "fastest": min(times),
            # within a round, since a busy moment slows both evaluations of it alike
            "ratio": (pd.Series(times) / pd.Series(found[False])).median(),
        }
        for kind, times in found.items()
    ]
    publish(pd.DataFrame(rows), output)


if __name__ == "__main__":
    main()

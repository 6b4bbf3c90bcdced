"""Measure what the digests of pictures and frames cost: `python -m benchmarks.speed.digest_cost`.

A MobileNetV2 with random weights is evaluated on clean photographs again and again, in turn with
the digests and without them. Single evaluations differ by a tenth, so many are needed. Clean
photographs are the hardest case: each file is read for one frame alone.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import click
import pandas as pd
from PIL import Image

from benchmarks.photographs import originals
from benchmarks.rows import write_table
from robustbench_aa.datasets import content, pictures
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.suite import Suite

OUTPUT = Path("results/performance/digest_cost.csv")
MODEL = "torchvision:mobilenet_v2@random"


def write_photographs(folder: Path, count: int) -> None:
    """Write photographs of the usual size of ImageNet's, in class folders."""
    chosen = [Image.fromarray(picture).resize((500, 375)) for picture in originals()]
    for place in range(count):
        path = folder / wnids()[place % 1000] / f"{place}.JPEG"
        path.parent.mkdir(parents=True, exist_ok=True)
        chosen[place % len(chosen)].rotate(place).save(path, quality=95)


def seconds(folder: Path, digests: bool) -> float:
    """Return how long an evaluation takes, with digests or without."""
    with tempfile.TemporaryDirectory() as run, contextlib.ExitStack() as patched:
        if not digests:
            patched.enter_context(patch.object(pictures, "digest", lambda _: 0))
            patched.enter_context(patch.object(content.Digest, "add_batch", lambda *_: None))
        session = prepare(Suite([MODEL], ["image-folder"], data_dir=str(folder)), run, "cpu")
        start = time.perf_counter()
        assert not session.run().failures
        return time.perf_counter() - start


@click.command()
@click.option("--images", default=300, show_default=True, help="Photographs that are evaluated.")
@click.option("--rounds", default=60, show_default=True, help="Evaluations of either kind.")
@click.option("--output", default=OUTPUT, show_default=True, type=click.Path(path_type=Path))
def main(images: int, rounds: int, output: Path) -> None:
    """Measure the cost of digests and write a row for each kind of evaluation."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_photographs(folder, images)
        seconds(folder, digests=True)  # the first one loads what the others have
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
            # of evaluations that followed each other, which a busy moment slows alike
            "ratio": (pd.Series(times) / pd.Series(found[False])).median(),
        }
        for kind, times in found.items()
    ]
    table = pd.DataFrame(rows)
    write_table(table, output)
    click.echo(table.to_string(index=False))
    click.echo(output)


if __name__ == "__main__":
    main()

"""Measure the speed of corruptions: `python -m benchmarks.speed.corruption_speed`.

Our corruptions take batches; the imagecorruptions package takes single images. Both run on the same
photographs and cores in one process, and the result is the ratio of their medians.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import click
import numpy as np
import pandas as pd
import torch

from benchmarks.photographs import originals
from benchmarks.rows import device_name, write_table
from robustbench_aa.distortions import corruptions_at, distort, imagecorruptions_backend
from robustbench_aa.support.devices import choose_device
from robustbench_aa.types import Distortion

OUTPUT = Path("results/performance/corruption_speed.csv")
SIZE = 224


def photographs(count: int) -> torch.Tensor:
    """Return a batch of repeated crops of three photographs, [count, 3, 224, 224] uint8."""
    crops = [picture[40 : 40 + SIZE, 100 : 100 + SIZE] for picture in originals()]
    batch = np.stack([crops[place % len(crops)] for place in range(count)])
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()


def milliseconds(action: Callable[[], object], repetitions: int) -> float:
    """Return the median time of an action, after a first call that is not counted."""
    times = []
    for repetition in range(repetitions + 1):
        start = time.perf_counter()
        action()
        if repetition:
            times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def _corrupt(images: torch.Tensor, cell: Distortion) -> None:
    distort(images, cell, range(len(images)), 0, SIZE)
    if images.is_cuda:
        torch.cuda.synchronize()


@click.command()
@click.option("--device", default=choose_device)
@click.option("--batch", default=16, show_default=True)
@click.option("--repetitions", default=3, show_default=True)
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
def main(device: str, batch: int, repetitions: int, output: Path) -> None:
    """Measure every corruption at every severity, and write a row for each."""
    warnings.simplefilter("ignore")
    cores = torch.get_num_threads()
    images = photographs(batch).to(device)
    picture = images[0].permute(1, 2, 0).cpu().numpy()
    rows: list[dict[str, object]] = []
    table = pd.DataFrame()
    for cell in corruptions_at(SIZE):
        name, severity = cell.name, cell.severity or 0

        ours = partial(_corrupt, images, cell)
        theirs = partial(imagecorruptions_backend.corrupt_by_seed, picture, name, severity, 0)
        found = {"all_cores": milliseconds(ours, repetitions) / batch}
        torch.set_num_threads(1)
        found["one_core"] = milliseconds(ours, repetitions) / batch
        package = milliseconds(theirs, 1 if name == "glass_blur" else repetitions)
        torch.set_num_threads(cores)
        rows.append(
            {
                "corruption": name,
                "severity": severity,
                "ours_one_core_ms": found["one_core"],
                "ours_all_cores_ms": found["all_cores"],
                "imagecorruptions_ms": package,
                "ours_over_imagecorruptions": found["one_core"] / package,
                "device": device_name(device),
                "cores": cores,
                "batch": batch,
            }
        )
        table = pd.DataFrame(rows)
        write_table(table, output)
    click.echo(table.groupby("corruption", sort=False).mean(numeric_only=True).to_string())
    sums = table[["ours_one_core_ms", "ours_all_cores_ms", "imagecorruptions_ms"]].sum()
    click.echo(f"sum over all cells, ms per image:\n{sums.to_string()}")
    without = table[table.corruption != "glass_blur"]
    ratio = without.imagecorruptions_ms.sum() / without.ours_one_core_ms.sum()
    click.echo(f"without glass_blur the package takes {ratio:.1f} times as long")
    click.echo(output)


if __name__ == "__main__":
    main()

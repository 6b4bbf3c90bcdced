"""Measure the speed of corruptions: `python -m benchmarks.speed.corruption_speed`.

Our corruptions take batches; the imagecorruptions package takes single images. Both run on the same
photographs and cores in one process, which keeps freed memory as an evaluation does, and the
result is the ratio of their medians.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch

from benchmarks.photographs import originals
from benchmarks.rows import device_name, write_table
from benchmarks.timing import medians
from robustbench_aa.distortions import corruptions_at, distort, imagecorruptions_backend
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.process import keep_freed_memory

OUTPUT = Path("results/performance/corruption_speed.csv")
SIZE = 224


def photographs(count: int) -> torch.Tensor:
    """Return a batch of repeated crops of three photographs, [count, 3, 224, 224] uint8."""
    crops = [picture[40 : 40 + SIZE, 100 : 100 + SIZE] for picture in originals()]
    batch = np.stack([crops[place % len(crops)] for place in range(count)])
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()


@click.command()
@click.option("--device", default=choose_device)
@click.option("--batch", default=16, show_default=True)
@click.option("--repetitions", default=3, show_default=True)
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
def main(device: str, batch: int, repetitions: int, output: Path) -> None:
    """Measure every corruption at every severity, and write a row for each."""
    warnings.simplefilter("ignore")
    keep_freed_memory()
    cores = torch.get_num_threads()
    images = photographs(batch).to(device)
    picture = images[0].permute(1, 2, 0).cpu().numpy()
    rows: list[dict[str, object]] = []
    table = pd.DataFrame()
    for cell in corruptions_at(SIZE):
        name, severity = cell.name, cell.severity or 0
        ours = {"": partial(distort, images, cell, range(batch), 0, SIZE)}
        theirs = partial(imagecorruptions_backend.corrupt_by_seed, picture, name, severity, 0)
        all_cores = medians(ours, repetitions)[""] / batch
        torch.set_num_threads(1)
        one_core = medians(ours, repetitions)[""] / batch
        package = medians({"": theirs}, 1 if name == "glass_blur" else repetitions)[""]
        torch.set_num_threads(cores)
        rows.append(
            {
                "corruption": name,
                "severity": severity,
                "ours_one_core_ms": one_core,
                "ours_all_cores_ms": all_cores,
                "imagecorruptions_ms": package,
                "ours_over_imagecorruptions": one_core / package,
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

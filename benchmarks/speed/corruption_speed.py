"""Measure the speed of corruptions: `python -m benchmarks.speed.corruption_speed`.

Our corruptions take batches; the imagecorruptions package takes single images. Both run on the same
photographs and cores in one process, which keeps freed memory as an evaluation does, and the
result is the ratio of their medians.

With `--rates`, and on every device but a CPU, the result is pictures per second instead: of the
corruption alone, and with the final JPEG file of quality 85 that a run adds. Its mean is the number
of all pictures divided by the time of all cells.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path

import click
import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.photographs import originals
from benchmarks.rows import device_name, harmonic_mean, write_table
from benchmarks.timing import medians
from robustbench_aa.distortions import corruptions_at, distort, imagecorruptions_backend
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.process import keep_freed_memory
from robustbench_aa.types import Distortion

OUTPUT = Path("results/performance/corruption_speed.csv")
SIZE = 224


def photographs(count: int) -> Tensor:
    """Return a batch of repeated crops of three photographs, [count, 3, 224, 224] uint8."""
    crops = [picture[40 : 40 + SIZE, 100 : 100 + SIZE] for picture in originals()]
    batch = np.stack([crops[place % len(crops)] for place in range(count)])
    return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()


def beside_the_package(
    images: Tensor, cell: Distortion, repetitions: int, cores: int
) -> dict[str, float]:
    """Return the milliseconds per picture of our corruption and of the imagecorruptions package."""
    name, severity = cell.name, cell.severity or 0
    picture = images[0].permute(1, 2, 0).numpy()
    ours = {"": partial(distort, images, cell, range(len(images)), 0, SIZE)}
    theirs = partial(imagecorruptions_backend.corrupt_by_seed, picture, name, severity, 0)
    all_cores = medians(ours, repetitions)[""] / len(images)
    torch.set_num_threads(1)
    one_core = medians(ours, repetitions)[""] / len(images)
    package = medians({"": theirs}, 1 if name == "glass_blur" else repetitions)[""]
    torch.set_num_threads(cores)
    return {
        "ours_one_core_ms": one_core,
        "ours_all_cores_ms": all_cores,
        "imagecorruptions_ms": package,
        "ours_over_imagecorruptions": one_core / package,
    }


def rates(images: Tensor, cell: Distortion, repetitions: int) -> dict[str, float]:
    """Return the pictures per second of a corruption, without and with the final JPEG file."""
    ours = partial(distort, images, cell, range(len(images)), 0, SIZE)
    found = medians({"alone": ours, "jpeg": partial(ours, stored_jpeg=True)}, repetitions)
    return {
        "pictures_per_second": 1e3 * len(images) / found["alone"],
        "with_jpeg_per_second": 1e3 * len(images) / found["jpeg"],
    }


@click.command()
@click.option("--device", default=choose_device)
@click.option("--batch", default=16, show_default=True)
@click.option("--repetitions", default=3, show_default=True)
@click.option("--rates", "only_rates", is_flag=True, help="Measure pictures per second.")
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
def main(device: str, batch: int, repetitions: int, only_rates: bool, output: Path) -> None:
    """Measure every corruption at every severity, and write a row for each."""
    warnings.simplefilter("ignore")
    keep_freed_memory()
    cores = torch.get_num_threads()
    images = photographs(batch).to(device)
    only_rates = only_rates or images.device.type != "cpu"
    rows: list[dict[str, object]] = []
    table = pd.DataFrame()
    for cell in corruptions_at(SIZE):
        row: dict[str, object] = {"corruption": cell.name, "severity": cell.severity}
        row |= (
            rates(images, cell, repetitions)
            if only_rates
            else beside_the_package(images, cell, repetitions, cores)
        )
        rows.append(row | {"device": device_name(device), "cores": cores, "batch": batch})
        table = pd.DataFrame(rows)
        write_table(table, output)
    click.echo(table.groupby("corruption", sort=False).mean(numeric_only=True).to_string())
    click.echo(mean_and_lowest(table) if only_rates else sums(table))
    click.echo(output)


def mean_and_lowest(table: pd.DataFrame) -> str:
    """Return the mean rate of all cells and the lowest, as sentences."""
    lines = []
    for column in ("pictures_per_second", "with_jpeg_per_second"):
        found = table[column]
        slowest = table.iloc[int(found.to_numpy().argmin())]
        where = f"{slowest.corruption} {slowest.severity}"
        lines.append(f"{column}: {harmonic_mean(found):.0f}, lowest {found.min():.0f} ({where})")
    return "\n".join(lines)


def sums(table: pd.DataFrame) -> str:
    """Return the milliseconds of a picture under all corruptions, and a ratio, as sentences."""
    total = table[["ours_one_core_ms", "ours_all_cores_ms", "imagecorruptions_ms"]].sum()
    without = table[table.corruption != "glass_blur"]
    ratio = without.imagecorruptions_ms.sum() / without.ours_one_core_ms.sum()
    return (
        f"sum over all cells, ms per image:\n{total.to_string()}\n"
        f"without glass_blur the package takes {ratio:.1f} times as long"
    )


if __name__ == "__main__":
    main()

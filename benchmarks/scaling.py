"""How time and memory grow with the images: `python -m benchmarks.scaling`.

Every run is a process of its own, a small network on the same photographs again and again. Linear
time and flat memory are expected: the fixed cost is the start, and a shard's photographs and
predictions are kept at most.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click
import pandas as pd

from benchmarks.evaluation_speed import PHOTOGRAPHS, write_photographs
from benchmarks.process import measured

OUTPUT = Path("results/performance/scaling.csv")
MODEL = "torchvision:shufflenet_v2_x0_5@random"
CASES = {
    "imagenet-p-live": (("--perturbation", "brightness"), (50, 500)),
    "imagenet-c-live": (("--corruption", "brightness", "--severity", "3"), (250, 1000, 2000)),
}


def repeated(clean: Path, images: int, folder: Path) -> None:
    """So many photographs, links to a few."""
    originals = sorted(clean.glob("*/*.JPEG"))
    for place in range(images):
        original = originals[place % PHOTOGRAPHS]
        link = folder / original.parent.name / f"{place}.JPEG"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(original)


def measure(dataset: str, chosen: tuple[str, ...], clean: Path, images: int) -> dict[str, object]:
    """One run: its seconds, and the most memory that its process held."""
    with tempfile.TemporaryDirectory(dir=clean.parent) as folder:
        repeated(clean, images, Path(folder) / "val")
        command = [sys.executable, "-m", "robustbench_aa", "evaluate", "-m", MODEL, "-d", dataset]
        command += ["--data-dir", f"{folder}/val", "--output-dir", f"{folder}/run", *chosen]
        return {"dataset": dataset, "images": images, "model": MODEL} | measured(command)


@click.command()
def main() -> None:
    """Measures every case at every size and writes a row for each."""
    rows = []
    with tempfile.TemporaryDirectory() as place:
        clean = Path(place) / "clean"
        write_photographs(clean)
        for dataset, (chosen, sizes) in CASES.items():
            rows += [measure(dataset, chosen, clean, images) for images in sizes]
    table = pd.DataFrame(rows)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUTPUT, index=False, float_format="%.1f")
    click.echo(table.to_string(index=False))
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()

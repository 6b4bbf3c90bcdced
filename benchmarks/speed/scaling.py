"""Measure the growth of time and memory: `python -m benchmarks.speed.scaling`.

Every row is a separate process in which networks with random weights predict repeated photographs.
We expect linear time and constant memory, because at most one shard of photographs and predictions
is in memory. The first rows measure the fixed cost: Python with torch, and bare forward passes.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import click
import pandas as pd

from benchmarks.photographs import link, write_crops
from benchmarks.process import measured
from benchmarks.rows import publish
from robustbench_aa.types import COUNTED_CORRUPTIONS

OUTPUT = Path("results/performance/scaling.csv")
BATCH_SIZE = 64
MODELS = (
    "torchvision:shufflenet_v2_x0_5@random",
    "torchvision:squeezenet1_1@random",
    "torchvision:mnasnet0_5@random",
)
LARGE = "torchvision:resnet50@random"
BARE = f"""
import torch, robustbench_aa
from robustbench_aa.support.process import keep_freed_memory
keep_freed_memory()
module = robustbench_aa.load({LARGE!r}).module.eval()
with torch.inference_mode():
    for _ in range(4):
        module(torch.zeros(41, 3, 224, 224))
"""
Row = dict[str, object]


def evaluated(
    dataset: str,
    clean: Path,
    images: int,
    *,
    models: int = 1,
    corruptions: int = 1,
    model: str | None = None,
) -> Row:
    """Measure one run and return its row."""
    named = [model] if model else MODELS[:models]
    command = [sys.executable, "-m", "robustbench_aa", "evaluate", "-d", dataset]
    command += [word for name in named for word in ("-m", name)]
    command += ["--batch-size", str(BATCH_SIZE)]
    if dataset == "imagenet-c-live":
        # the cheapest corruptions, which cost about the same
        chosen = [name for name in reversed(COUNTED_CORRUPTIONS) if name != "elastic_transform"]
        command += [word for name in chosen[:corruptions] for word in ("--corruption", name)]
        command += ["--severity", "3"]
    elif dataset == "imagenet-p-live":
        command += ["--perturbation", "brightness"]
    with tempfile.TemporaryDirectory(dir=clean.parent) as folder:
        repeated = itertools.cycle(sorted(clean.glob("*/*.JPEG")))
        source = link(list(itertools.islice(repeated, images)), Path(folder) / "val")
        command += ["--data-dir", str(source), "--output-dir", f"{folder}/run"]
        found = measured(command)
    return {
        "process": "evaluate",
        "dataset": dataset,
        "images": images,
        "corruptions": corruptions,
        "models": " ".join(named),
        **found,
    }


def fixed_cost(process: str, *arguments: str) -> Row:
    """Measure a process that evaluates nothing, and return its row."""
    return {"process": process, **measured([sys.executable, *arguments])}


@click.command()
def main() -> None:
    """Measure every case, and write a row for each."""
    rows = [
        fixed_cost("import torch", "-c", "import torch"),
        fixed_cost("--help", "-m", "robustbench_aa", "--help"),
        fixed_cost(f"bare {LARGE}", "-c", BARE),
    ]
    with tempfile.TemporaryDirectory() as place:
        clean = Path(place) / "clean"
        write_crops(clean, 12)
        rows += [evaluated("image-folder", clean, 1)]
        rows += [evaluated("imagenet-c-live", clean, images) for images in (250, 1000, 2000, 4000)]
        rows += [evaluated("imagenet-p-live", clean, images) for images in (50, 500)]
        rows += [evaluated("imagenet-c-live", clean, 500, corruptions=n) for n in (2, 4, 8)]
        rows += [evaluated("imagenet-c-live", clean, 1000, models=n) for n in (2, 3)]
        rows += [evaluated("imagenet-c-live", clean, n, model=LARGE) for n in (250, 500)]
    publish(pd.DataFrame(rows), OUTPUT, digits=2)


if __name__ == "__main__":
    main()

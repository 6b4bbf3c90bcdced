"""How time and memory grow, and what a start costs: `python -m benchmarks.speed.scaling`.

Every row is a process of its own; networks of random weights see the same photographs again and
again. Linear time and flat memory are expected: a shard's photographs and predictions are kept at
most. The rows above stand for what is there anyway: Python with torch, and the bare forward passes.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import click
import pandas as pd

from benchmarks.process import measured
from benchmarks.speed.evaluation_speed import CORRUPTIONS, write_photographs

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


def repeated(clean: Path, images: int, folder: Path) -> Path:
    """So many photographs, links to a few."""
    for place, original in zip(range(images), itertools.cycle(sorted(clean.glob("*/*.JPEG")))):
        link = folder / original.parent.name / f"{place}.JPEG"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.hardlink_to(original)
    return folder


def evaluated(
    dataset: str,
    clean: Path,
    images: int,
    *,
    models: int = 1,
    corruptions: int = 1,
    model: str | None = None,
) -> Row:
    """One run."""
    named = [model] if model else MODELS[:models]
    command = [sys.executable, "-m", "robustbench_aa", "evaluate", "-d", dataset]
    command += [word for name in named for word in ("-m", name)]
    command += ["--batch-size", str(BATCH_SIZE)]
    if dataset == "imagenet-c-live":
        # the cheapest, so that all cost about the same
        chosen = [name for name in reversed(CORRUPTIONS) if name != "elastic_transform"]
        command += [word for name in chosen[:corruptions] for word in ("--corruption", name)]
        command += ["--severity", "3"]
    elif dataset == "imagenet-p-live":
        command += ["--perturbation", "brightness"]
    with tempfile.TemporaryDirectory(dir=clean.parent) as folder:
        source = repeated(clean, images, Path(folder) / "val")
        command += ["--data-dir", str(source), "--output-dir", f"{folder}/run"]
        found = measured(command)
    told: Row = {
        "what": "evaluate",
        "dataset": dataset,
        "images": images,
        "corruptions": corruptions,
    }
    return {**told, "models": " ".join(named), **found}


def started(what: str, *arguments: str) -> Row:
    """A process that evaluates nothing."""
    return {"what": what, **measured([sys.executable, *arguments])}


@click.command()
def main() -> None:
    """Measures every case and writes a row for each."""
    rows = [
        started("import torch", "-c", "import torch"),
        started("--help", "-m", "robustbench_aa", "--help"),
        started(f"bare {LARGE}", "-c", BARE),
    ]
    with tempfile.TemporaryDirectory() as place:
        clean = Path(place) / "clean"
        write_photographs(clean, 12)
        rows += [evaluated("image-folder", clean, 1)]
        rows += [evaluated("imagenet-c-live", clean, of) for of in (250, 1000, 2000, 4000)]
        rows += [evaluated("imagenet-p-live", clean, of) for of in (50, 500)]
        rows += [evaluated("imagenet-c-live", clean, 500, corruptions=of) for of in (2, 4, 8)]
        rows += [evaluated("imagenet-c-live", clean, 1000, models=of) for of in (2, 3)]
        rows += [evaluated("imagenet-c-live", clean, of, model=LARGE) for of in (250, 500)]
    table = pd.DataFrame(rows)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUTPUT, index=False, float_format="%.2f")
    click.echo(table.to_string(index=False))
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()

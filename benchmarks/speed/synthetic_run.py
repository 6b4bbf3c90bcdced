"""Measure how long a run of all of ImageNet-C is read: `python -m benchmarks.speed.synthetic_run`.

The predictions are random and written by the real store: three models on 50,000 images under 19
corruptions at five severities. An image that is hard for one model is hard for the others, and
errors are proportional to AlexNet's published errors. Every report is a separate process on the
predictions of some images and models, which are still in the system's page cache. On all of them,
two more processes are measured: `Run.leaderboard`, and the search for missing predictions when a
finished run is continued, with the seals of the files and without them. All are measured in turn,
several times, and the medians are reported. The predictions take less than a gigabyte in the folder
for temporary files (TMPDIR) and are removed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import NormalDist
from typing import Any

import click
import numpy as np
import pandas as pd

from benchmarks.process import measured
from benchmarks.rows import publish
from robustbench_aa.evaluation.identity import dataset_identity
from robustbench_aa.metrics.baselines import alexnet_errors
from robustbench_aa.store.environment import environment
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.types import PHOTOGRAPHS, Shard

OUTPUT = Path("results/performance/report_scaling.csv")
MODELS = {"synthetic:resnet50": 0.767, "synthetic:lpf3": 0.74, "synthetic:lpf5": 0.72}
"""Model → its error as a share of AlexNet's in every cell. The first model is the baseline."""
IMAGES = (5_000, 17_000, 50_000)
"""A tenth, a third and all of the images, in whole shards."""
REPETITIONS = 3
REPORT = ["-m", "robustbench_aa", "report"]
LEADERBOARD = """
import sys, robustbench_aa
robustbench_aa.Run(sys.argv[1]).leaderboard()
"""
CONTINUE = """
import sys
from pathlib import Path
from robustbench_aa.evaluation.loop import plan
from robustbench_aa.store import predictions
from robustbench_aa.store.shards import Store
if not SEALED:
    predictions.is_intact = lambda content: False
store = Store.of_run(Path(sys.argv[1]))
assert not plan(store.manifest.models, store.cells("imagenet-c"), store)
"""
OTHERS = {
    "leaderboard": ["-c", LEADERBOARD],
    "continue": ["-c", f"SEALED = True\n{CONTINUE}"],
    "continue without seals": ["-c", f"SEALED = False\n{CONTINUE}"],
}
"""What else is measured on all predictions, as arguments of Python."""
CLASSES = 1000
SHARES = {"image": 0.6, "cell": 0.2, "model": 0.2}
"""Shares of the variance of an image's difficulty: common to all cells and models, common to the
models in a cell, and of one model in one cell."""


def synthetic_manifest() -> Manifest:
    """Return the manifest of these models on the released ImageNet-C."""
    # these import torch, whose memory must not count in the process that measures
    from robustbench_aa.datasets.labels import Labels
    from robustbench_aa.datasets.pictures import STORED
    from robustbench_aa.datasets.stored import StoredDataset
    from robustbench_aa.distortions import corruptions_at
    from robustbench_aa.suite import Suite

    cells = tuple(corruptions_at(STORED.size))
    dataset = StoredDataset(
        name="imagenet-c",
        classes=CLASSES,
        labels=Labels("ImageNet wnids", CLASSES),
        collection=PHOTOGRAPHS,
        size=STORED.size,
        distortions=cells,
        missing={},
        geometry=str(STORED),
        files_sha256=f"{_sha256('imagenet-c')} {' '.join(map(str, cells))}",
        index=np.arange(max(IMAGES)),
        stored=lambda _cell, _index: sys.exit("the synthetic data set has no pictures"),
        files=lambda _cell, _index: [],
    )
    return Manifest(
        suite=None,
        baseline=next(iter(MODELS)),
        seed=0,
        shard_size=Suite.shard_size,
        models={model: _model_identity(model) for model in MODELS},
        datasets={"imagenet-c": dataset_identity(dataset)},
        environment=environment("cpu"),
    )


def _model_identity(name: str) -> dict[str, Any]:
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    return {
        "weights_sha256": _sha256(name),
        "architecture_sha256": _sha256("resnet50"),
        "parameters": 25_557_032,
        "input_size": 224,
        "classes": CLASSES,
        "preprocessing": {"mean": mean, "std": std, "resize": 256, "interpolation": "bilinear"},
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def write_shard(store: Store, shard: Shard) -> None:
    """Write the predictions of all models in all cells for the images of a shard."""
    random = np.random.default_rng(shard.start)
    images = np.arange(*shard)
    hard = _spread(random, "image", len(images))
    for cell in store.cells("imagenet-c"):
        hard_here = hard + _spread(random, "cell", len(images))
        for model in store.manifest.models:
            hard_for_model = hard_here + _spread(random, "model", len(images))
            rows = predictions(model, cell, images, hard_for_model, random)
            store.commit(model, cell, shard, rows)


def _spread(random: np.random.Generator, share: str, count: int) -> np.ndarray:
    return random.normal(scale=SHARES[share] ** 0.5, size=count)


def predictions(
    model: str, cell: Cell, images: np.ndarray, hard: np.ndarray, random: np.random.Generator
) -> dict[str, np.ndarray]:
    """Return the columns of a prediction file.

    Args:
        images: Image indices [N], ordered by class like the validation images.
        hard: Normally distributed difficulty [N]; the model is wrong above a threshold.
    """
    distortion = cell.distortion
    error = MODELS[model] * alexnet_errors()[distortion.name, distortion.severity or 0]
    margin = NormalDist().inv_cdf(1 - error) - hard
    confidence = 1 / (1 + np.exp(1 - 2 * np.abs(margin)))
    label = images // (max(IMAGES) // CLASSES)
    others = np.cumsum(random.integers(1, CLASSES // 5, (5, len(images))), axis=0)
    others[0, margin > 0] = 0  # the first is the true class
    top = (label + others) % CLASSES
    return {
        "image": images,
        "frame": np.zeros(len(images)),
        "label": label,
        **{f"top{rank}": classes for rank, classes in enumerate(top, start=1)},
        "top1_probability": confidence,
        "label_probability": np.where(margin > 0, confidence, (1 - confidence) / 10),
    }


def measure(store: Store, models: int, process: str, arguments: list[str]) -> dict[str, object]:
    """Measure a process on the first models of a run, and return its row."""
    manifest = store.manifest
    [(dataset, identity)] = manifest.datasets.items()
    part = dataclasses.replace(manifest, models=dict(islice(manifest.models.items(), models)))
    part_store = Store(store.directory, part)
    part_store.write_manifest()
    pairs = models * len(part_store.cells(dataset))
    command = [sys.executable, *arguments, str(store.directory)]
    return {
        "process": process,
        "images": identity["images"],
        "models": models,
        "rows": identity["images"] * pairs,
        "files": len(part_store.shards(dataset)) * pairs,
        **measured(command),
    }


def run_of(manifest: Manifest, folder: Path, images: int) -> Store:
    """Return a run of the first images, in a folder of its own."""
    datasets = {name: one | {"images": images} for name, one in manifest.datasets.items()}
    return Store(folder / str(images), dataclasses.replace(manifest, datasets=datasets))


@click.command()
@click.option("--quick", is_flag=True, help="Measure a tenth of the images once; write no file.")
def main(quick: bool) -> None:
    """Write the predictions, measure every process, and write a row for each."""
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        with ProcessPoolExecutor(cores, get_context("spawn")) as workers:
            manifest = workers.submit(synthetic_manifest).result()
            sizes = IMAGES[:1] if quick else IMAGES
            stores = [run_of(manifest, Path(folder), images) for images in sizes]
            for store in stores:
                for _ in workers.map(partial(write_shard, store), store.shards("imagenet-c")):
                    pass
        size = sum(file.stat().st_size for file in Path(folder).rglob("*.parquet"))
        click.echo(f"{size / 1e6:.0f} MB in {time.perf_counter() - start:.0f} s")
        every = range(1, len(MODELS) + 1)
        cases = [(store, models, "report", REPORT) for store in stores for models in every]
        cases += [(stores[-1], len(MODELS), *other) for other in OTHERS.items()]
        rows = [measure(*case) for _ in range(1 if quick else REPETITIONS) for case in cases]
    keys = ["process", "images", "models", "rows", "files"]
    table = pd.DataFrame(rows).groupby(keys, as_index=False, sort=False).median()
    table["cores"] = cores
    if quick:
        click.echo(table.round(1).to_string(index=False))
    else:
        publish(table, OUTPUT, digits=1)


if __name__ == "__main__":
    main()

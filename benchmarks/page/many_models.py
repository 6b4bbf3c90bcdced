"""A run of many models that do not exist: `python -m benchmarks.page.many_models FOLDER`.

It shows how a page looks with many models. The predictions are random and written by the real
store. Models differ in how often they fail and in how often their answers change; an image that is
hard for one model is hard for the others, and errors grow with the severity.
"""

from __future__ import annotations

import zlib
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from robustbench_aa.distortions import corruptions_at, frames, perturbations_at, shifts_by
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.predictions import UNSHIFTED_PROBABILITY
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.types import CLEAN, PHOTOGRAPHS, is_default, unshifted

NAMES = ("tiny", "small", "narrow", "medium", "wide", "deep", "large")
FILTERS = ("", "+lpf3", "+lpf5")
MODELS = [f"example:{name}{blur}" for name in NAMES for blur in FILTERS][:20]
BASELINE = "example:medium"
CROPPED = "Resize 256 bilinear, CenterCrop"
DATASETS = {
    "imagenet-c": (corruptions_at(224), "CenterCrop 224"),
    "imagenet-p": (perturbations_at(224), "CenterCrop 224"),
    "imagenet-shift": (shifts_by("crops", "circular"), f"{CROPPED} 256"),
    "image-folder": ([CLEAN], f"{CROPPED} 224"),
}
CLASSES = 1000


def write_run(folder: Path, models: int, images: int) -> Store:
    """Write a run of the first models on some images, and return its store."""
    described = {}
    for name, (distortions, geometry) in DATASETS.items():
        entries = [{**asdict(one), "frames": frames(one, 224)} for one in distortions]
        described[name] = {
            "sha256": name,
            "images": images,
            "classes": CLASSES,
            "size": 224,
            "collection": PHOTOGRAPHS,
            "pixels": "files",
            "geometry": geometry,
            "labels": {"rule": "ImageNet wnids", "present": CLASSES},
            "distortions": entries,
        }
    identities = {
        name: {"parameters": 10_000_000 + _seed(name) % 10**8, "classes": CLASSES}
        for name in MODELS[:models]
    }
    baseline = BASELINE if BASELINE in identities else MODELS[0]
    manifest = Manifest("many models", baseline, 0, images, identities, described, {})
    store = Store(folder, manifest)
    store.write_manifest()
    for model in identities:
        for cell in (cell for name in described for cell in store.cells(name)):
            if is_default(cell.distortion):
                [shard] = store.shards(cell.dataset)
                store.commit(model, cell, shard, _predictions(model, cell, images))
    return store


def _predictions(model: str, cell: Cell, images: int) -> dict[str, np.ndarray]:
    """Return the columns of a prediction file."""
    distortion = cell.distortion
    shared, here = (np.random.default_rng(_seed(key)) for key in (cell.dataset, f"{model} {cell}"))
    place = MODELS.index(model)
    blurred = FILTERS.index(f"+{model.partition('+')[2]}" if "+" in model else "")
    skill = 0.25 + 0.08 * (place // len(FILTERS)) + 0.1 * blurred
    harm = 0.0
    if distortion.severity:
        harm = (0.15 + _seed(distortion.name) % 100 / 250) * distortion.severity
    jitter = 0.12 / (1 + blurred) if cell.frames > 1 else 0.0
    margin = skill - harm + shared.normal(size=images) + 0.4 * here.normal(size=images)
    margin = np.repeat(margin, cell.frames) + jitter * here.normal(size=images * cell.frames)
    image = np.repeat(np.arange(images), cell.frames)
    label = 7 * image % CLASSES
    others = (label + np.cumsum(here.integers(1, 90, (5, len(image))), axis=0)) % CLASSES
    others[0] = np.where(margin > 0, label, (label + 91 + 3 * (image % 5)) % CLASSES)
    confidence = (1 / (1 + np.exp(0.8 - 2.2 * np.abs(margin)))).astype(np.float32)
    rows: dict[str, np.ndarray] = {
        "image": image,
        "frame": np.tile(np.arange(cell.frames), images),
        "label": label,
    }
    rows |= {f"top{rank}": classes for rank, classes in enumerate(others, start=1)}
    rows["top1_probability"] = confidence
    rows["label_probability"] = np.where(margin > 0, confidence, (1 - confidence) / 4)
    if unshifted(distortion, cell.frames) is not None:
        rows[UNSHIFTED_PROBABILITY] = np.clip(confidence - 0.05 * here.random(len(image)), 0, 1)
    return rows


def _seed(*parts: object) -> int:
    return zlib.crc32(" ".join(map(str, parts)).encode())


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--models", default=20, show_default=True, help="Number of models.")
@click.option("--images", default=100, show_default=True, help="Images of each data set.")
def main(folder: Path, models: int, images: int) -> None:
    """Write a run of many models into FOLDER."""
    write_run(folder, models, images)
    click.echo(f"next: robustbench-aa report {folder}")


if __name__ == "__main__":
    main()

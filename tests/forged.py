"""Runs with random predictions on ImageNet, whose photographs tests do not have."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import numpy as np

from robustbench_aa.distortions import corruptions_at, frames, perturbations_at, shifts_by
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.predictions import SCHEMA, UNSHIFTED_PROBABILITY
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.types import CLEAN, PHOTOGRAPHS, Distortion, is_default, unshifted

CROPPED = "Resize 256 bilinear, CenterCrop"
IMAGENET: dict[str, tuple[list[Distortion], str]] = {
    "imagenet-c": (corruptions_at(224), "CenterCrop 224"),
    "imagenet-p": (perturbations_at(224), "CenterCrop 224"),
    "imagenet-shift": (shifts_by("crops", "circular", "diagonal"), f"{CROPPED} 256"),
    "image-folder": ([CLEAN], f"{CROPPED} 224"),
}
"""The distortions and the geometry of the data sets of photographs."""
PIXELS = {"imagenet-c": "files", "imagenet-p": "files"}
PIXELS |= dict.fromkeys(("imagenet-shift", "image-folder"), "torch")


def forge(
    folder: Path,
    models: Iterable[str],
    datasets: Iterable[str] = IMAGENET,
    images: int = 12,
    **changes: object,
) -> Path:
    """Write a run of models that do not exist, with random predictions.

    Args:
        folder: the run's directory.
        models: names of the models.
        datasets: names of data sets in `IMAGENET`.
        images: number of images of each data set.
        changes: changed entries of every data set in the manifest.
    """
    described = {}
    for name in datasets:
        distortions, geometry = IMAGENET[name]
        entries = [{**asdict(one), "frames": frames(one, 224)} for one in distortions]
        entry = {"sha256": name, "images": images, "classes": 1000, "size": 224}
        entry |= {"collection": PHOTOGRAPHS, "pixels": PIXELS[name]}
        entry |= {"labels": {"rule": "ImageNet wnids", "present": 1000}}
        described[name] = entry | {"geometry": geometry, "distortions": entries} | changes
    identities = {name: {"parameters": 1000, "classes": 1000} for name in models}
    manifest = Manifest(None, None, 0, 5, identities, described, {})
    store = Store(folder, manifest)
    store.write_manifest()
    random = np.random.default_rng(0)
    for model in identities:
        for cell in (cell for name in described for cell in store.cells(name)):
            if is_default(cell.distortion):
                _write_cell(store, model, cell, random)
    return folder


def _write_cell(store: Store, model: str, cell: Cell, random: np.random.Generator) -> None:
    for shard in store.shards(cell.dataset):
        image = np.repeat(np.arange(*shard), cell.frames)
        # the true class is among ten candidates that change places from frame to frame
        places = np.arange(10, 0, -1) * 0.5 + random.normal(size=(len(image), 10))
        top = np.argsort(-places, axis=1)[:, :5] + 7 * image[:, None]
        rows = {"image": image, "frame": np.tile(np.arange(cell.frames), shard.stop - shard.start)}
        rows |= {"label": 7 * image} | {f"top{rank + 1}": top[:, rank] for rank in range(5)}
        rows |= {
            f"{name}_probability": random.uniform(size=len(image)) for name in ("top1", "label")
        }
        columns = {
            field.name: rows[field.name].astype(field.type.to_pandas_dtype()) for field in SCHEMA
        }
        if unshifted(cell.distortion, cell.frames) is not None:
            certain = np.random.default_rng(0).random(len(image), np.float32)
            columns[UNSHIFTED_PROBABILITY] = certain
        store.commit(model, cell, shard, columns)

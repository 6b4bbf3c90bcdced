"""The identity of models and data sets: everything that predictions depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

import torch

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import Dataset
from robustbench_aa.datasets.labels import PLAIN
from robustbench_aa.errors import DatasetError
from robustbench_aa.store.environment import environment
from robustbench_aa.store.manifest import Identity, Manifest
from robustbench_aa.types import Shard


def model_identity(classifier: Classifier) -> Identity:
    """Return everything about a model that its predictions depend on."""
    return {
        "weights_sha256": classifier.weights_sha256,
        "source_sha256": classifier.source_sha256,
        "architecture_sha256": hashlib.sha256(classifier.architecture().encode()).hexdigest(),
        "parameters": classifier.parameters,
        "input_size": classifier.input_size,
        "classes": classifier.classes,
        # through JSON, so that tuples are lists and an identity equals itself read from run.json
        "preprocessing": json.loads(json.dumps(dataclasses.asdict(classifier.preprocessing))),
        **_conversion(classifier),
        **({"trained_on": [*classifier.trained_on]} if classifier.trained_on else {}),
    }


def _conversion(classifier: Classifier) -> Identity:
    """Return how a model was converted, if it was; only recorded, not part of its identity."""
    for part in classifier.module.modules():  # another module may wrap the converted one
        meta = getattr(part, "meta", None)
        if isinstance(meta, dict) and "conversion" in meta:
            return {"conversion": meta["conversion"], "fine_tuned": meta["fine_tuned"]}
    return {}


def dataset_identity(dataset: Dataset) -> Identity:
    """Return everything about a data set that predictions depend on, and all its distortions."""
    return {
        "sha256": dataset.sha256,
        "images": dataset.images,
        "collection": dataset.collection,
        "classes": dataset.classes,
        "labels": dataclasses.asdict(dataset.labels),
        "pixels": dataset.pixels,
        "size": dataset.size,
        "geometry": dataset.geometry,
        **_scoring(dataset),
        **_listed(dataset),
        "distortions": [
            {**dataclasses.asdict(distortion), "frames": dataset.frames(distortion)}
            for distortion in dataset.distortions
        ],
    }


def _scoring(dataset: Dataset) -> Identity:
    """Return the class rule of a data set; nothing for one label among all classes."""
    scoring = getattr(dataset, "scoring", PLAIN)  # a user's data set may lack it
    return {} if scoring is PLAIN else {"scoring": scoring.description()}


def _listed(dataset: Dataset) -> Identity:
    """Return the SHA-256 of the list of images that a data set was limited to, if any."""
    listed = getattr(dataset, "listed", "")
    return {"image_list_sha256": listed} if listed else {}


def decoded_sha256(dataset: Dataset) -> str:
    """Return the SHA-256 of the pixels of three images, which shows another image decoder.

    The images are the first, the middle and the last, under the first available distortion,
    computed on the CPU.

    Returns:
        The digest; empty if one of the images cannot be read, which the evaluation reports.
    """
    available = next(one for one in dataset.distortions if one not in dataset.missing)
    digest = hashlib.sha256()
    try:
        for place in sorted({0, dataset.images // 2, dataset.images - 1}):
            shard = Shard(place, place + 1)
            for batch in dataset.read(available, shard, 1, torch.device("cpu")):
                digest.update(batch.frames.numpy().tobytes())
    except DatasetError:
        return ""
    return digest.hexdigest()


def with_provenance(
    manifest: Manifest, datasets: Mapping[str, Dataset], device: str, inference: Mapping[str, str]
) -> Manifest:
    """Return a manifest with the environment and the decoded images of this process.

    Args:
        manifest: Manifest of the run.
        datasets: The data sets, by name.
        device: A torch device.
        inference: The settings of `Inference.provenance`.
    """
    decoded = {name: decoded_sha256(dataset) for name, dataset in datasets.items()}
    return dataclasses.replace(
        manifest,
        environment=environment(device) | dict(inference),
        decoded=manifest.decoded | decoded,
    )

"""Measure a network that is being trained, and leave everything about it as it was."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import Openable, Request, open_dataset
from robustbench_aa.errors import ModelError, UsageError
from robustbench_aa.evaluation.inference import Inference
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.metrics.metric import find_metric
from robustbench_aa.models.plain_module import as_classifier
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.suite import Selection, Suite

NOT_HASHED = "in training"
"""Stands for the digest of weights, which nothing compares here."""


def measure(
    model: Classifier | nn.Module,
    datasets: Sequence[str | Selection | Openable],
    limit: int = 100,
    *,
    preprocessing: Preprocessing | None = None,
    seed: int = 0,
    batch_size: int = 256,
) -> dict[str, float]:
    """Measure the robustness of a network on a few images, for example after every epoch.

    The images are evenly spread over each data set and distorted in the same way in every call, so
    that values of different epochs can be compared. The network is measured where it is, in its
    own precision. Its mode, its device and torch's random state are afterwards as they were.

    Args:
        model: A classifier, or a module that maps normalised images to logits.
        datasets: Names of data sets, data sets as objects, or selections of their distortions.
        limit: Number of images of each data set.
        preprocessing: How 8-bit pixels become the input of a module. Its image size and its
            number of classes are those of the data sets.
        seed: Seed of the distortions.
        batch_size: Frames that go through the network at once.

    Returns:
        The metrics of the leaderboard, such as `mean_error`, `mean_flip_probability` and
        `consistency_crops`, each with the bounds `<metric>_low` and `<metric>_high` of its 95%
        interval. Metrics relative to a baseline are left out.

    Raises:
        UsageError: An argument is wrong, or the model and the data sets do not fit.
        ModelError: The network failed on some images; the text has the first failure.
    """
    suite = Suite(["model"], datasets, limit=limit, seed=seed)
    classifier = _classifier(model, suite, preprocessing)
    device = next(iter(classifier.module.parameters()), torch.empty(0)).device
    network = _InOwnPrecision(classifier.module)
    classifier = dataclasses.replace(classifier, module=network, weights_sha256=NOT_HASHED)
    suite = dataclasses.replace(suite, models=[classifier])
    with ExitStack() as stack:
        stack.enter_context(
            torch.random.fork_rng([device.index or 0] if device.type == "cuda" else [])
        )
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        run = prepare(suite, folder, str(device)).run(Inference(batch_size=batch_size))
        if run.failures:
            raise ModelError(str(run.failures[0]))
        found: dict[str, float] = {}
        for row in run.table("intervals").to_dict("records"):
            metric = find_metric(row["metric"])
            if metric is not None and metric.on_leaderboard and not metric.normalised:
                name = row["metric"]
                found |= {name: row["value"]}
                found |= {f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return found


def _classifier(
    model: Classifier | nn.Module, suite: Suite, preprocessing: Preprocessing | None
) -> Classifier:
    """Return a model as a classifier; a module takes its size and classes from the data sets."""
    if isinstance(model, Classifier):
        if preprocessing is not None:
            raise UsageError("a classifier has its own preprocessing; leave the argument out")
        return model
    if preprocessing is None:
        return as_classifier(model)
    first = suite.datasets[0]
    if isinstance(first, Selection):
        first = first.dataset or first.name
    opened = open_dataset(first, Request(limit=1))
    return Classifier(
        model,
        name="model",
        input_size=opened.size,
        classes=opened.classes,
        preprocessing=preprocessing,
        weights_sha256=NOT_HASHED,
    )


class _InOwnPrecision(nn.Module):
    """A network that gets its input in the type of its parameters, outside of autocast."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images."""
        kinds = (each.dtype for each in self.network.parameters() if each.is_floating_point())
        dtype = next(kinds, images.dtype)
        with torch.autocast(images.device.type, enabled=False):
            logits: Tensor = self.network(images.to(dtype))
        return logits

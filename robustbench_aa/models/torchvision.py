"""Classification networks of torchvision, with published weights, a file's, or random ones."""

from __future__ import annotations

from http.client import HTTPException
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UnknownName, UsageError, cause
from robustbench_aa.models.checkpoint import is_path, load_weights
from robustbench_aa.models.untrained import untrained
from robustbench_aa.preprocessing import Preprocessing

CLASSES = 1000
TRANSFORM_INPUT = ("googlenet", "inception_v3")
"""Networks with weights from TensorFlow, which undo ImageNet's normalisation."""


def names() -> list[str]:
    """Return every architecture with each of its published weights."""
    return [f"{name}@{known.name}" for name in _architectures() for known in _published(name)]


def load(name: str, weights: str | None) -> Classifier:
    """Load a network of torchvision, with the preprocessing of its published weights.

    Args:
        name: an architecture for classification, such as `resnet50`.
        weights: a name such as `IMAGENET1K_V1`; `DEFAULT`, the default; `random`; or a path. The
            name of a file with published weights determines its preprocessing; other files get
            that of the default weights. For classes other than ImageNet's, use `file:NAME@PATH`.

    Raises:
        UnknownName: there is no such architecture or weights.
        UsageError: the weights cannot be downloaded.
        CheckpointError: the file does not fit the architecture.
    """
    published = _published(name)
    known = published.DEFAULT
    if weights == "random":
        module = build(name, published=known)
    elif weights is not None and is_path(weights):
        file = Path(weights)
        known = next((one for one in published if Path(one.url).name == file.name), known)
        size = known.transforms().crop_size[0]
        module = load_weights(build(name, published=known), file, size)
    else:
        known = _named(name, weights or "DEFAULT")
        weights, module = known.name, _downloaded(name, known)
    transforms = known.transforms()
    return Classifier(
        module.eval(),
        name=f"torchvision:{name}@{weights}",
        input_size=transforms.crop_size[0],
        classes=CLASSES,
        preprocessing=Preprocessing(
            mean=tuple(transforms.mean),
            std=tuple(transforms.std),
            resize=transforms.resize_size[0],
            interpolation=transforms.interpolation.value,
        ),
    )


def build(name: str, classes: int = CLASSES, published: Any = None) -> nn.Module:
    """Return an architecture with random weights.

    Args:
        name: an architecture of torchvision.
        classes: the number of classes.
        published: the member of torchvision's weights enumeration that is loaded into it later.

    Raises:
        UnknownName: there is no such architecture.
    """
    _published(name)
    arguments: dict[str, Any] = {"num_classes": classes}
    if name in TRANSFORM_INPUT:  # torchvision warns if these are not given
        arguments |= {"init_weights": False, "transform_input": published is not None}
    if name.startswith("vit_") and published is not None:
        arguments["image_size"] = published.transforms().crop_size[0]
    module: nn.Module = untrained(lambda: models.get_model(name, weights=None, **arguments))
    return module


def _architectures() -> list[str]:
    return list(models.list_models(module=models))


def _published(name: str) -> Any:
    """Return torchvision's enumeration of an architecture's weights."""
    if name not in _architectures():
        raise UnknownName("torchvision model", name, _architectures())
    return models.get_model_weights(name)


def _named(name: str, weights: str) -> Any:
    published = _published(name)
    if weights not in published.__members__:
        raise UnknownName(f"weights of torchvision:{name}", weights, published.__members__)
    return published[weights]


def _downloaded(name: str, known: Any) -> nn.Module:
    """Return a network with published weights, from torch's cache if it has them."""
    try:
        module: nn.Module = models.get_model(name, weights=known)
    except (OSError, HTTPException, RuntimeError) as error:  # the last: a hash that does not match
        cached = Path(torch.hub.get_dir(), "checkpoints", Path(known.url).name)
        raise UsageError(
            f"{known.url} cannot be downloaded ({cause(error)}); fetch it elsewhere and save it "
            f"as {cached}, or give your file as torchvision:{name}@PATH"
        ) from error
    return module

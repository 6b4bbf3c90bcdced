"""Plain modules as classifiers: how their input is found, and whether they take it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UsageError, cause
from robustbench_aa.models.timm import resized_side
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.support.process import restored

INPUT_SIZE = 224
PREPROCESSING = Preprocessing(
    mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=256, interpolation="bilinear"
)
EXAMPLE = (
    "robustbench_aa.Classifier(module, name='mine', input_size=224, classes=1000, "
    "preprocessing=robustbench_aa.Preprocessing(mean=(0.485, 0.456, 0.406), "
    "std=(0.229, 0.224, 0.225), resize=256))"
)


def bare(
    module: nn.Module, name: str, input_size: int = INPUT_SIZE, weights_sha256: str = ""
) -> Classifier:
    """Return a classifier around a module, with ImageNet's preprocessing.

    A black image goes through the module to find the number of classes.

    Args:
        module: the network.
        name: the classifier's name.
        input_size: height and width of its images, in pixels.
        weights_sha256: the digest of its weights; computed if empty.

    Raises:
        UsageError: the module does not map [1, 3, input_size, input_size] to logits [1, classes].
    """
    advice = "for any other input, return a robustbench_aa.Classifier from a python: model"
    return Classifier(
        module,
        name=name,
        input_size=input_size,
        classes=_count_classes(module.eval(), name, input_size, advice),
        preprocessing=PREPROCESSING,
        weights_sha256=weights_sha256,
    )


def as_classifier(model: object) -> Classifier:
    """Return a model that was given in Python as a classifier whose logits have been checked.

    A black image goes through the module, which stays in its mode and on its device.

    Args:
        model: a classifier, or a module that describes its input as the models of timm do, by a
            `default_cfg` with `input_size`, `mean` and `std`.

    Raises:
        UsageError: the model is something else, or its module does not take images of its size
            or does not return a logit for each of its classes.
    """
    if isinstance(model, nn.Module):
        return _described(model)
    if not isinstance(model, Classifier):
        raise UsageError(
            f"{model!r} is no model; give a specification such as 'digits:resnet@lpf3', or a "
            "robustbench_aa.Classifier"
        )
    with restored(model.module):
        advice = "give the input_size that its module was made for"
        classes = _count_classes(model.module.eval(), model.name, model.input_size, advice)
    if classes != model.classes:
        raise UsageError(
            f"classifier {model.name} has classes={model.classes}, and its module returns "
            f"{classes} logits; give the number of logits"
        )
    return model


def _described(module: nn.Module) -> Classifier:
    """Return a classifier around a module that describes its input."""
    kind = type(module).__name__
    found: Any = getattr(module, "default_cfg", None)
    config = found if isinstance(found, Mapping) else getattr(found, "__dict__", {})
    missing = [key for key in ("input_size", "mean", "std") if config.get(key) is None]
    if missing:
        raise UsageError(
            f"a plain {kind} does not say its {', '.join(missing)}; wrap it, with your values, as "
            f"{EXAMPLE}"
        )
    _, height, size = config["input_size"]
    if height != size:
        raise UsageError(f"{kind} expects images of {height} × {size} px, which are not square")
    name = str(config.get("architecture") or kind)
    with restored(module):
        advice = f"wrap it as {EXAMPLE}"
        classes = _count_classes(module.eval(), name, size, advice)
    return Classifier(
        module,
        name=name,
        input_size=size,
        classes=classes,
        preprocessing=Preprocessing(
            mean=config["mean"],
            std=config["std"],
            resize=resized_side(config),
            interpolation=config.get("interpolation") or "bilinear",
        ),
    )


def _count_classes(module: nn.Module, name: str, input_size: int, advice: str) -> int:
    """Return how many logits a module in evaluation mode has for a black image."""
    shape = (1, 3, input_size, input_size)
    tensor = next(module.parameters(), torch.empty(0))
    try:
        with torch.no_grad():
            logits = module(torch.zeros(shape, device=tensor.device))
    except Exception as error:  # the module may be the user's
        raise _unfit(name, shape, cause(error), advice) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise _unfit(name, shape, f"returned {found}", advice)
    return logits.shape[1]


def _unfit(name: str, shape: tuple[int, ...], why: str, advice: str) -> UsageError:
    return UsageError(f"{name} does not map images {shape} to logits ({why}); {advice}")

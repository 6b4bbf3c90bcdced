"""Plain modules, which do not describe their input, as classifiers for ImageNet."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robustbench_aa.errors import UsageError, cause
from robustbench_aa.types import Classifier, Preprocessing

INPUT_SIZE = 224
PREPROCESSING = Preprocessing(
    mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=256, interpolation="bilinear"
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
    shape = (1, 3, input_size, input_size)
    try:
        with torch.inference_mode():
            logits = module.eval()(torch.zeros(shape))
    except Exception as error:  # the module may be the user's
        raise _unfit(name, shape, cause(error)) from error
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise _unfit(name, shape, f"returned {found}")
    return Classifier(
        module,
        name=name,
        input_size=input_size,
        classes=logits.shape[1],
        preprocessing=PREPROCESSING,
        weights_sha256=weights_sha256,
    )


def _unfit(name: str, shape: tuple[int, ...], why: str) -> UsageError:
    return UsageError(
        f"{name} does not map images {shape} to logits ({why}); for any other input, return a "
        "robustbench_aa.Classifier from a python: model"
    )

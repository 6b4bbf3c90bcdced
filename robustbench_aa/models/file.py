"""The user's checkpoints: `file:ARCHITECTURE@PATH`, or `file:timm/ARCHITECTURE@PATH`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.models import timm, torchvision
from robustbench_aa.models.checkpoint import is_path, load_weights, read_state_dict
from robustbench_aa.models.plain_module import INPUT_SIZE, bare
from robustbench_aa.support.files import file_sha256

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "torchvision": torchvision.build,
    "timm": timm.build,
}
"""By library: a function from an architecture and a number of classes to an untrained network."""


def names() -> list[str]:
    """Return no names, since the files are the user's."""
    return []


def load(name: str, weights: str | None) -> Classifier:
    """Load a checkpoint into an architecture, with the number of classes in the file.

    The preprocessing is ImageNet's: 224 px, from a shorter side of 256 px by bilinear
    interpolation, mean (0.485, 0.456, 0.406), standard deviation (0.229, 0.224, 0.225).

    Args:
        name: an architecture of torchvision, or of another library as `LIBRARY/NAME`.
        weights: a path to a `.pth` or `.safetensors` file.

    Raises:
        UnknownName: there is no such library or architecture.
        UsageError: no path is given, or the network does not accept images of 224 px.
        CheckpointError: the file cannot be read or does not fit the architecture.
    """
    if weights is None or not is_path(weights):
        raise UsageError(f"file:{name} needs a checkpoint; write file:{name}@PATH")
    library, _, architecture = name.rpartition("/") if "/" in name else ("torchvision", "", name)
    if library not in BUILDERS:
        raise UnknownName("library of architectures", library, BUILDERS)
    build = BUILDERS[library]
    module = build(architecture)
    state = read_state_dict(Path(weights))
    own = module.state_dict()
    head = [key for key, tensor in own.items() if tensor.ndim > 1][-1]
    found = state.get(head, own[head])
    if found.shape[1:] == own[head].shape[1:] and len(found) != len(own[head]):
        module = build(architecture, len(found))
    module = load_weights(module, Path(weights), INPUT_SIZE)
    classifier = bare(module, f"file:{name}@{weights}")
    return dataclasses.replace(classifier, source_sha256=file_sha256(Path(weights)))

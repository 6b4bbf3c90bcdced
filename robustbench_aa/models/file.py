"""Checkpoints of one's own: `file:ARCHITECTURE@PATH`, or `file:timm/ARCHITECTURE@PATH`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

from torch import nn

from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.models import timm, torchvision
from robustbench_aa.models.checkpoint import is_path, load_weights, read_state_dict
from robustbench_aa.models.plain_module import INPUT_SIZE, bare
from robustbench_aa.types import Classifier

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "torchvision": torchvision.build,
    "timm": timm.build,
}
"""Prefix → (architecture, classes or its own number) → the network, untrained."""


def names() -> list[str]:
    """None: the files are the user's."""
    return []


def load(name: str, weights: str | None) -> Classifier:
    """Loads a checkpoint into an architecture; the file tells the number of classes.

    The images are taken as ImageNet's networks take them: 224 px, from a shorter side of 256 px by
    bilinear interpolation, mean (0.485, 0.456, 0.406), standard deviation (0.229, 0.224, 0.225).

    Args:
        name: an architecture of torchvision's, or of another library's as `LIBRARY/NAME`.
        weights: a path to a `.pth` or `.safetensors` file.

    Raises:
        UnknownName: no such library or architecture.
        UsageError: no path is given, or the network does not take images of 224 px.
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
    with Path(weights).open("rb") as file:
        source = hashlib.file_digest(file, "sha256").hexdigest()
    return dataclasses.replace(bare(module, f"file:{name}@{weights}"), source_sha256=source)

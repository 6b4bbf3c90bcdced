"""The published anti-aliased networks: `antialiased:resnet50@lpf5`."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from robustbench_aa.antialiasing.published import ARCHITECTURES, Architecture
from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import CheckpointError, DownloadError, UnknownName
from robustbench_aa.models.checkpoint import is_path, load_weights, read_state_dict
from robustbench_aa.models.plain_module import INPUT_SIZE, bare
from robustbench_aa.models.untrained import untrained
from robustbench_aa.support.download import Download

URL = "https://antialiased-cnns.s3.us-east-2.amazonaws.com/weights_v0.1/"
WEIGHTS = ("lpf2", "lpf3", "lpf4", "lpf5", "lpf4_finetune")
DEFAULT = "lpf4_finetune"

_SCRATCH_AND_FINETUNED = {
    "alexnet": "da8aca74 f9bbc410 0114fe25 4fa3706a 20598a7a",
    "vgg16": "60268e0c e9b0ce42 de9267ac 1391f70c 79c9dff7",
    "vgg16_bn": "2c2052a8 1782878a a1c3559b c500b52f 1dd798d1",
    "resnet18": "6e2ee76f 449351b9 8c77af40 c1eed0a1 8cc58f59",
    "resnet34": "4707aed9 16aa6c48 55747267 85283561 db622952",
    "resnet50": "f0f7589d a4e868d2 994b528f 9953c9ad cad66808",
    "resnet101": "3d00941d 928f1444 f8a116ff 1f3745af 9280acb0",
    "densenet121": "7da7d4cd 0f267ad8 edeaab00 ebc7880c eceaa619",
    "mobilenet_v2": "f4379012 23b2e2ee 2e0b9cb9 ab8fe968 7eed94b1",
}
_FINETUNED = {
    "resnet152": "7f67d9ae",
    "resnext50_32x4d": "9106e549",
    "resnext101_32x8d": "8f13a25d",
    "wide_resnet50_2": "02a183f7",
    "wide_resnet101_2": "da4eae04",
    "vgg11": "35eab449",
    "vgg11_bn": "5d60b5e4",
    "vgg13": "d8ff02c4",
    "vgg13_bn": "45e2a72f",
    "vgg19": "7ab2cf45",
    "vgg19_bn": "d0114293",
    "densenet161": "a5e0f328",
    "densenet169": "992131e6",
    "densenet201": "736979b2",
}
CHECKPOINTS: dict[str, dict[str, str]] = {
    **{
        name: dict(zip(WEIGHTS, digests.split(), strict=True))
        for name, digests in _SCRATCH_AND_FINETUNED.items()
    },
    **{name: {DEFAULT: digest} for name, digest in _FINETUNED.items()},
}
"""Architecture → weights → the first eight digits of the file's SHA-256, as in its name."""


def names() -> list[str]:
    """Return every architecture with each of its published weights."""
    return [f"{name}@{weights}" for name in ARCHITECTURES for weights in CHECKPOINTS[name]]


def load(name: str, weights: str | None) -> Classifier:
    """Load a published anti-aliased network, with ImageNet's preprocessing.

    Args:
        name: one of the 23 architectures, such as `resnet50`.
        weights: `lpf2` to `lpf5`, trained from scratch; `lpf4_finetune`, the default; `random`,
            with filter size 4; or a path. The keys of a file determine the filter size, whether
            the first convolution is blurred, and the number of classes.

    Raises:
        UnknownName: there is no such architecture or weights.
        DownloadError: the weights cannot be downloaded.
        CheckpointError: the file does not fit the architecture.
    """
    architecture = ARCHITECTURES[name]
    weights = weights or DEFAULT
    specification = f"antialiased:{name}@{weights}"
    if weights == "random":
        module = untrained(architecture.build)
    elif is_path(weights):
        module = _trained(architecture, Path(weights))
    else:
        module = _trained(architecture, _downloaded(name, weights))
    return bare(module, specification)


def _trained(architecture: Architecture, path: Path) -> nn.Module:
    state = read_state_dict(path)
    try:
        module = untrained(lambda: architecture.build_for(state))
    except ValueError as error:
        raise CheckpointError(
            f"{path} holds {error}; load a plain network as torchvision:{architecture.name}@PATH"
        ) from error
    return load_weights(module, path, INPUT_SIZE)


def _downloaded(name: str, weights: str) -> Path:
    """Return the path of the published file in torch's cache, downloading it if needed."""
    if weights not in CHECKPOINTS[name]:
        known = [*CHECKPOINTS[name], "random", "a path"]
        raise UnknownName(f"weights of antialiased:{name}", weights, known)
    digest = CHECKPOINTS[name][weights]
    file = f"{name}_{weights}-{digest}.pth"
    cached = Path(torch.hub.get_dir(), "checkpoints", file)
    try:
        return Download(URL + file, "sha256", digest).to(cached)
    except DownloadError as error:
        raise DownloadError(f"{error}, or give your file as antialiased:{name}@PATH") from error

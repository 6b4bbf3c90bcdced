"""The embedded models: small networks for 32-px images, with and without anti-aliasing.

`data_prep.train_digits` trains them, with three seeds for each filter size.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import CheckpointError, UnknownName, cause
from robustbench_aa.models.checkpoint import (
    fit,
    is_converted,
    is_path,
    load_weights,
    read_state_dict,
)
from robustbench_aa.models.digits_networks import VGG, ResNet
from robustbench_aa.models.untrained import untrained
from robustbench_aa.preprocessing import Preprocessing

WEIGHTS_FOLDER = Path(__file__).with_name("weights")
NETWORKS: dict[str, type[ResNet] | type[VGG]] = {"resnet": ResNet, "vgg": VGG}
FILTER_SIZES: dict[str, dict[str, int | None]] = {
    "resnet": {"baseline": None, "lpf2": 2, "lpf3": 3, "lpf5": 5},
    "vgg": {"baseline": None, "lpf3": 3, "lpf5": 5},
}
CONVERSIONS: dict[str, dict[str, str]] = {
    "resnet": {"aps": "aps-circular", "flc": "flc"},
    "vgg": {},
}
"""Networks that were converted before they were trained: name of the weights → short form."""
SEEDS = (0, 1, 2)
PREPROCESSING = Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


def names() -> list[str]:
    """Return every embedded model with each training seed."""
    return [
        f"{name}@{weights}-seed{seed}"
        for name in NETWORKS
        for weights in trained(name)
        for seed in SEEDS
    ]


def trained(name: str) -> list[str]:
    """Return the names of a network's embedded weights, without the training seed."""
    return [*FILTER_SIZES[name], *CONVERSIONS[name]]


def load(name: str, weights: str | None) -> Classifier:
    """Load an embedded model.

    Args:
        name: `resnet` or `vgg`.
        weights: `baseline` (the default), `lpf3` or `lpf5`, or only for the ResNet `lpf2`, `aps`
            or `flc`, each with `-seed0` (the default), `-seed1` or `-seed2`; `random`; or a path.

    Raises:
        UnknownName: there is no such architecture or weights.
        CheckpointError: the file does not fit the architecture.
    """
    if name not in NETWORKS:
        raise UnknownName("digits model", name, NETWORKS)
    weights = weights or "baseline"
    if weights in trained(name):
        weights = f"{weights}-seed{SEEDS[0]}"
    return Classifier(
        _module(name, weights).eval(),
        name=f"digits:{name}@{weights}",
        input_size=32,
        classes=10,
        preprocessing=PREPROCESSING,
    )


def weights_path(name: str, weights: str, seed: int) -> Path:
    """Return the path of an embedded model's weights."""
    return WEIGHTS_FOLDER / f"{name}-{weights}-seed{seed}.safetensors"


def _module(name: str, weights: str) -> nn.Module:
    """Return a network with weights; blurs among them determine its filter size."""
    network, known = NETWORKS[name], trained(name)
    if weights == "random":
        return untrained(lambda: network(None))
    embedded = {f"{one}-seed{seed}": (one, seed) for one in known for seed in SEEDS}
    if is_path(weights):
        path = Path(weights)
    elif weights in embedded:
        path = weights_path(name, *embedded[weights])
    else:
        raise UnknownName(
            f"weights of digits:{name}", weights, [*known, *embedded, "random", "a path"]
        )
    if is_converted(path):
        return load_weights(network(None), path, 32)
    state = read_state_dict(path)
    blur = next((tensor for key, tensor in state.items() if key.endswith("filt")), None)
    try:
        module = network(None if blur is None else blur.shape[-1])
    except (ValueError, IndexError) as error:
        raise CheckpointError(
            f"{path} has no valid blur filters ({cause(error)}); check the path"
        ) from error
    fit(module, state, str(path))
    return module

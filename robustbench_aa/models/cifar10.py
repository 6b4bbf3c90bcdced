"""ResNet-20 trained on CIFAR-10 with each kind of downsampling, by `data_prep.train_cifar10`."""

from __future__ import annotations

from pathlib import Path

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import CheckpointError, UnknownName, UsageError
from robustbench_aa.models.checkpoint import fit, is_path, read_metadata, read_state_dict
from robustbench_aa.models.cifar10_networks import DOWNSAMPLINGS, ResNet20
from robustbench_aa.models.untrained import untrained
from robustbench_aa.preprocessing import Preprocessing

WEIGHTS_FOLDER = Path(__file__).with_name("weights")
NETWORK = "resnet20"
SEEDS = (0, 1, 2)
DOWNSAMPLING = "downsampling"
"""The entry of a file's metadata that names its key of `DOWNSAMPLINGS`."""
TRAINED_ON = ("jpeg_compression",)
"""The corruption in the training pictures of the shipped networks: JPEG files of quality 75."""
PREPROCESSING = Preprocessing(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))


def names() -> list[str]:
    """Return every trained network with each training seed."""
    return [
        f"{NETWORK}@{weights}-seed{seed}"
        for weights in DOWNSAMPLINGS
        for seed in SEEDS
        if weights_path(weights, seed).exists()
    ]


def load(name: str, weights: str | None) -> Classifier:
    """Load a trained network.

    Args:
        name: `resnet20`.
        weights: `plain` (the default), `lpf2`, `lpf3`, `lpf5`, `aps` or `flc`, each with `-seed0`
            (the default), `-seed1` or `-seed2`; `random`, for the plain network; or the path of a
            file of `data_prep.train_cifar10`.

    Raises:
        UnknownName: there is no such network, or no such weights are shipped.
        UsageError: no weights are shipped.
        CheckpointError: the file cannot be read, or is not of this network.
    """
    if name != NETWORK:
        raise UnknownName("cifar10 model", name, [NETWORK])
    weights = weights or "plain"
    if weights in DOWNSAMPLINGS:
        weights = f"{weights}-seed{SEEDS[0]}"
    return Classifier(
        _module(weights).eval(),
        name=f"cifar10:{name}@{weights}",
        input_size=32,
        classes=10,
        preprocessing=PREPROCESSING,
        trained_on=TRAINED_ON if f"{name}@{weights}" in names() else (),
    )


def weights_path(weights: str, seed: int) -> Path:
    """Return the path of a network's weights, which are float16."""
    return WEIGHTS_FOLDER / f"cifar10-{NETWORK}-{weights}-seed{seed}.safetensors"


def _module(weights: str) -> ResNet20:
    if weights == "random":
        return untrained(lambda: ResNet20("plain"))
    if is_path(weights):
        path = Path(weights)
    else:
        shipped = [name.partition("@")[2] for name in names()]
        if not shipped:
            raise UsageError(
                f"the package has no weights of cifar10:{NETWORK} yet; train them by python -m "
                f"data_prep.train_cifar10 and give their path, as cifar10:{NETWORK}@PATH"
            )
        if weights not in shipped:
            raise UnknownName(f"weights of cifar10:{NETWORK}", weights, shipped)
        downsampling, _, seed = weights.partition("-seed")
        path = weights_path(downsampling, int(seed))
    state = read_state_dict(path)
    downsampling = read_metadata(path).get(DOWNSAMPLING, "")
    if downsampling not in DOWNSAMPLINGS:
        raise CheckpointError(f"{path} is not a file of data_prep.train_cifar10; check the path")
    module = ResNet20(downsampling)
    fit(module, state, str(path))
    return module

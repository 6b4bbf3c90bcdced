"""Train the embedded models: `python -m data_prep.train_digits`.

The recipe is the same for all filter sizes and does not shift images, so that only the architecture
differs. It was fixed beforehand and never adjusted to the test split.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import fx, nn

from data_prep.training import destination, seed_option, to_option
from robustbench_aa.antialiasing import Conversion, convert
from robustbench_aa.datasets.digits import load_split
from robustbench_aa.models.checkpoint import write_converted
from robustbench_aa.models.digits import (
    CONVERSIONS,
    FILTER_SIZES,
    NETWORKS,
    PREPROCESSING,
    SEEDS,
    trained,
    weights_path,
)

EPOCHS = 40
BATCH_SIZE = 50
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05


def normalised(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a split as the network's input, [N, 3, 32, 32] float32, and its labels."""
    images, labels = load_split(split)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (PREPROCESSING.mean, PREPROCESSING.std))
    return (images.float() / 255.0 - mean) / std, labels


def build(name: str, weights: str) -> nn.Module:
    """Return an untrained network with the downsampling that the name of its weights says."""
    if weights in FILTER_SIZES[name]:
        return NETWORKS[name](FILTER_SIZES[name][weights])
    return convert(NETWORKS[name](None), Conversion.parse(CONVERSIONS[name][weights]), 32)


def train(name: str, weights: str, seed: int) -> nn.Module:
    """Train one network on the training digits; the same seed gives the same network."""
    torch.manual_seed(seed)
    images, labels = normalised("train")
    model = build(name, weights).train()
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    steps = EPOCHS * (len(images) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH_SIZE):
            loss = F.cross_entropy(model(images[chosen]), labels[chosen], label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return model.eval()


@torch.inference_mode()
def accuracy(model: nn.Module, split: str) -> float:
    """Return the fraction of a split's images that the network classifies correctly."""
    images, labels = normalised(split)
    return float((model(images).argmax(1) == labels).float().mean())


@click.command()
@click.option(
    "--network",
    "-n",
    "names",
    multiple=True,
    type=click.Choice(list(NETWORKS)),
    help="Train only this network (repeatable).",
)
@click.option(
    "--weights", "-w", multiple=True, help="Train only these weights, such as lpf3 (repeatable)."
)
@seed_option(SEEDS)
@to_option
def main(
    names: tuple[str, ...], weights: tuple[str, ...], seeds: tuple[str, ...], to: Path | None
) -> None:
    """Train all embedded models, or those that are named."""
    for name in names or NETWORKS:
        for known in trained(name):
            for seed in map(int, seeds or map(str, SEEDS)):
                if known in (weights or (known,)):
                    path = destination(weights_path(name, known, seed), to)
                    _write(train(name, known, seed), path)


def _write(model: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(model, fx.GraphModule):
        write_converted(model, path, fine_tuned=True)
    else:
        save_file(model.state_dict(), path)
    scores = ", ".join(f"{split} {accuracy(model, split):.2%}" for split in ("train", "test"))
    click.echo(f"{path.stem}: accuracy {scores}")


if __name__ == "__main__":
    main()

"""Trains the embedded models: `python -m data_prep.train_digits`.

The recipe is the same for every filter size, and nothing in it shifts the images, so that the
architecture alone is what differs. It was fixed beforehand and never adjusted to the test split.
"""

from __future__ import annotations

from pathlib import Path

import click
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from robustbench_aa.datasets.digits import load_split
from robustbench_aa.models.digits import (
    FILTER_SIZES,
    PREPROCESSING,
    SEEDS,
    ResNet,
    weights_path,
)

EPOCHS = 40
BATCH_SIZE = 50
LEARNING_RATE = 3e-3
WEIGHT_DECAY = 0.05


def normalised(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """A split as the network takes it: float32 [N, 3, 32, 32], and its labels."""
    images, labels = load_split(split)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (PREPROCESSING.mean, PREPROCESSING.std))
    return (images.float() / 255.0 - mean) / std, labels


def train(filter_size: int | None, seed: int) -> ResNet:
    """Trains one network on the training digits; the same seed gives the same network."""
    torch.manual_seed(seed)
    images, labels = normalised("train")
    model = ResNet(filter_size)
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
def accuracy(model: ResNet, split: str) -> float:
    """The share of a split's images that the network gets right."""
    images, labels = normalised(split)
    return float((model(images).argmax(1) == labels).float().mean())


@click.command()
@click.option("--weights", "-w", multiple=True, type=click.Choice(list(FILTER_SIZES)))
@click.option("--seed", "-s", "seeds", multiple=True, type=click.Choice([str(s) for s in SEEDS]))
@click.option("--to", type=click.Path(path_type=Path), help="A folder other than the package's.")
def main(weights: tuple[str, ...], seeds: tuple[str, ...], to: Path | None) -> None:
    """Trains every filter size with every seed, or those that are named."""
    for name in weights or FILTER_SIZES:
        for seed in map(int, seeds or map(str, SEEDS)):
            model = train(FILTER_SIZES[name], seed)
            path = weights_path(name, seed)
            path = to / path.name if to else path
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(model.state_dict(), path)
            told = ", ".join(f"{split} {accuracy(model, split):.2%}" for split in ("train", "test"))
            click.echo(f"resnet@{name}-seed{seed}: {told}")


if __name__ == "__main__":
    main()

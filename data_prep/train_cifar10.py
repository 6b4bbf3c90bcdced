"""Train the CIFAR-10 networks: `python -m data_prep.train_cifar10 --data-dir FOLDER`.

The recipe is the same for all networks, so that only the downsampling differs. It was fixed
beforehand and never adjusted to the test split. The same seed, device and number of threads give
the same network. After an interruption, the same command continues with the next epoch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import matplotlib.pyplot as plt
import pandas as pd
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from data_prep.training import destination, seed_option, to_option
from robustbench_aa.datasets.cifar import NAMES, SIZE, read_batch
from robustbench_aa.datasets.dataset import spread
from robustbench_aa.datasets.pictures import Geometry, find_pictures
from robustbench_aa.errors import UsageError
from robustbench_aa.models.cifar10 import DOWNSAMPLING, PREPROCESSING, SEEDS, weights_path
from robustbench_aa.models.cifar10_networks import DOWNSAMPLINGS, ResNet20
from robustbench_aa.support.devices import choose_device

EPOCHS = 15
BATCH_SIZE = 128
LEARNING_RATE = 0.2
MOMENTUM = 0.9
WEIGHT_DECAY = 5e-4
WARM_UP = 0.2
"""The share of the steps in which the learning rate rises."""
PADDING = 4
"""The largest shift of a random crop, in pixels."""
BATCHES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}


def read_split(root: Path, split: str, limit: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the images, [N, 3, 32, 32] uint8, and their classes, [N] int64.

    Args:
        root: a folder that holds `cifar-10-batches-py` or the folders `train` and `test`, which
            hold one folder of pictures for each class.
        split: `train` or `test`.
        limit: at most this many images, evenly spread.

    Raises:
        UsageError: the folder holds neither.
        DatasetError: a file cannot be read.
    """
    if (root / "cifar-10-batches-py").is_dir():
        parts = [read_batch(root / "cifar-10-batches-py" / name) for name in BATCHES[split]]
        images, labels = (torch.cat(values) for values in zip(*parts, strict=True))
        chosen = spread(len(images), limit)
        return images[chosen], labels[chosen]
    if not (root / split).is_dir():
        raise UsageError(f"{root} has neither cifar-10-batches-py nor {split}; check --data-dir")
    pictures = replace(find_pictures(root / split, NAMES), geometry=Geometry(SIZE))
    images, labels, _ = pictures.read(spread(len(pictures.files), limit))
    return images, labels


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return random crops of padded images, half of them mirrored, [N, 3, 32, 32] uint8."""
    count, _, size, _ = images.shape
    padded = F.pad(images, (PADDING,) * 4).permute(0, 2, 3, 1)
    corners = torch.randint(2 * PADDING + 1, (2, count, 1), generator=generator)
    mirrored = torch.rand(count, 1, generator=generator) < 0.5
    line = torch.arange(size).expand(count, size)
    rows, columns = corners[0] + line, corners[1] + torch.where(mirrored, line.flip(1), line)
    each = torch.arange(count).view(-1, 1, 1)
    return padded[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


class Training:
    """The training of one network, which can be interrupted after each epoch.

    Args:
        weights: a key of `DOWNSAMPLINGS`.
        seed: the training seed.
        epochs: the number of passes over the images.
        images: the number of images of an epoch.
        device: a torch device.
    """

    def __init__(self, weights: str, seed: int, epochs: int, images: int, device: str) -> None:
        torch.manual_seed(seed)
        self.weights, self.seed, self.device = weights, seed, device
        self.module = ResNet20(weights).to(device).to(memory_format=torch.channels_last)
        self.optimiser = torch.optim.SGD(
            self.module.parameters(),
            LEARNING_RATE,
            momentum=MOMENTUM,
            weight_decay=WEIGHT_DECAY,
            nesterov=True,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser,
            LEARNING_RATE,
            epochs=epochs,
            steps_per_epoch=images // BATCH_SIZE,
            pct_start=WARM_UP,
            cycle_momentum=False,
        )
        self.settings = {"epochs": epochs, "images": images}
        self.log: list[dict[str, float]] = []

    @property
    def epoch(self) -> int:
        """The number of epochs that are finished."""
        return len(self.log)

    def run_epoch(self, images: Tensor, labels: Tensor) -> None:
        """Train for one epoch and add a row to the log."""
        start = time.perf_counter()
        self.module.train()
        losses, hits, seen = 0.0, 0, 0
        for x, y in self._batches(images, labels):
            with torch.autocast(torch.device(self.device).type, torch.bfloat16):
                logits = self.module(x)
            loss = F.cross_entropy(logits.float(), y)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            self.schedule.step()
            losses += loss.item() * len(y)
            hits += int((logits.argmax(1) == y).sum())
            seen += len(y)
        self.log.append(
            {
                "epoch": self.epoch + 1,
                "training_loss": losses / seen,
                "training_accuracy": hits / seen,
                "seconds": time.perf_counter() - start,
            }
        )

    def _batches(self, images: Tensor, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's batches; they depend on the seed and the epoch alone."""
        generator = torch.Generator().manual_seed(1_000 * self.seed + self.epoch)
        order = torch.randperm(len(images), generator=generator)
        for chosen in order[: len(order) // BATCH_SIZE * BATCH_SIZE].split(BATCH_SIZE):
            x = augmented(images[chosen], generator).to(self.device)
            yield PREPROCESSING.normalised(x), labels[chosen].to(self.device)

    def save(self, path: Path) -> None:
        """Write everything that is needed to continue."""
        unfinished = path.with_suffix(".tmp")
        torch.save(
            {name: getattr(self, name).state_dict() for name in _STATEFUL}
            | {"log": self.log, "settings": self.settings},
            unfinished,
        )
        unfinished.replace(path)

    def restore(self, path: Path) -> None:
        """Continue from what `save` wrote.

        Raises:
            UsageError: it was written with other settings.
        """
        saved: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if saved.get("settings") != self.settings:
            raise UsageError(f"{path} is from a training with other settings; delete it")
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(saved[name])
        self.log = saved["log"]


_STATEFUL = ("module", "optimiser", "schedule")


@torch.inference_mode()
def accuracy(module: nn.Module, images: Tensor, labels: Tensor, device: str) -> float:
    """Return the fraction of images that a network classifies correctly, in float32."""
    module.eval()
    hits = 0
    for x, y in zip(images.split(500), labels.split(500), strict=True):
        logits = module(PREPROCESSING.normalised(x.to(device)))
        hits += int((logits.argmax(1).cpu() == y).sum())
    return hits / len(labels)


def half_precision(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights as they are shipped: float16 instead of float32."""
    return {
        name: tensor.half().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in module.state_dict().items()
    }


@click.command()
@click.option(
    "--data-dir",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder that holds cifar-10-batches-py, or train and test with one folder per class.",
)
@click.option(
    "--weights",
    "-w",
    "names",
    multiple=True,
    type=click.Choice(list(DOWNSAMPLINGS)),
    help="Train only these weights (repeatable).",
)
@seed_option(SEEDS)
@click.option("--epochs", default=EPOCHS, show_default=True, help="Passes over the images.")
@click.option("--limit", type=int, help="Use at most this many images of each split.")
@click.option("--device", help="Device to train on; a GPU by default where there is one.")
@to_option
@click.option(
    "--log-dir",
    type=click.Path(path_type=Path),
    default=Path("runs/train-cifar10"),
    show_default=True,
    help="Folder of logs, curves and the states that an interrupted training continues from.",
)
def main(
    data_dir: Path,
    names: tuple[str, ...],
    seeds: tuple[str, ...],
    epochs: int,
    limit: int | None,
    device: str | None,
    to: Path | None,
    log_dir: Path,
) -> None:
    """Train all networks on CIFAR-10, or those that are named; finished ones are left alone."""
    device = choose_device(device)
    log_dir.mkdir(parents=True, exist_ok=True)
    splits = {split: read_split(data_dir, split, limit) for split in BATCHES}
    for seed in map(int, seeds or map(str, SEEDS)):
        for weights in names or DOWNSAMPLINGS:
            path = destination(weights_path(weights, seed), to)
            if not path.exists():
                training = Training(weights, seed, epochs, len(splits["train"][0]), device)
                _train(training, splits["train"], epochs, log_dir / path.stem)
                _finish(training, splits["test"], path, log_dir / path.stem)


def _train(training: Training, split: tuple[Tensor, Tensor], epochs: int, log: Path) -> None:
    state = log.with_suffix(".state")
    if state.exists():
        training.restore(state)
    while training.epoch < epochs:
        training.run_epoch(*split)
        training.save(state)
        pd.DataFrame(training.log).round(4).to_csv(log.with_suffix(".csv"), index=False)
        last = training.log[-1]
        click.echo(
            f"{log.name}: epoch {training.epoch} of {epochs}, "
            f"accuracy {last['training_accuracy']:.2%}, {last['seconds']:.0f} s"
        )


def _finish(training: Training, split: tuple[Tensor, Tensor], path: Path, log: Path) -> None:
    """Write the weights and the curve, and print the accuracy before and after rounding."""
    exact = accuracy(training.module, *split, training.device)
    shipped = half_precision(training.module)
    training.module.load_state_dict(shipped)
    rounded = accuracy(training.module, *split, training.device)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    save_file(shipped, unfinished, {DOWNSAMPLING: training.weights})
    unfinished.replace(path)
    log.with_suffix(".state").unlink(missing_ok=True)
    _draw(training.log, log.with_suffix(".png"))
    click.echo(f"{path.stem}: test accuracy {exact:.2%} in float32, {rounded:.2%} in float16")


def _draw(log: list[dict[str, float]], path: Path) -> None:
    """Draw the training loss and accuracy by epoch."""
    frame = pd.DataFrame(log).set_index("epoch")[["training_loss", "training_accuracy"]]
    axes = frame.plot(subplots=True, figsize=(5, 4), xlabel="epoch", legend=True)
    axes[0].figure.savefig(path, dpi=100)
    plt.close(axes[0].figure)


if __name__ == "__main__":
    main()

"""The callback in a real training with Lightning, on the embedded digits."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import robustbench_aa as rb
from robustbench_aa.datasets.digits import load_split
from robustbench_aa.errors import UsageError
from tests.conftest import PLAIN

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning gives advice on data loaders
DATASETS = [
    {"name": "digits-c", "corruptions": ["clean", "fog"], "severities": [3]},
    {"name": "digits-p", "perturbations": ["tilt"], "limit": 2},
    {"name": "digits-shift", "protocols": ["circular32"]},
]


class Digits(lightning.LightningModule):
    """A linear network that counts the modes in which it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(3 * 32 * 32, 10))
        self.losses: list[float] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network(images)
        return found

    def training_step(self, batch: Any) -> torch.Tensor:
        assert self.training
        assert self.network.training
        images, labels = batch
        loss = nn.functional.cross_entropy(self(images), labels)
        self.losses.append(float(loss))
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def train(folder: Path, *callbacks: Any, epochs: int = 2) -> Digits:
    torch.manual_seed(0)
    random.seed(0)
    images, labels = load_split("train")
    data = DataLoader(TensorDataset(images[:64] / 255, labels[:64]), batch_size=32, shuffle=True)
    module = Digits()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=lightning.loggers.CSVLogger(folder, name="", version=""),
        callbacks=[*callbacks],
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return module


def test_metrics_are_logged_and_training_is_not_changed(tmp_path: Path) -> None:
    callback = rb.callbacks.LightningRobustness(
        DATASETS, every_n_epochs=2, limit=4, preprocessing=PLAIN
    )
    with_callback = train(tmp_path / "with", callback, epochs=4)
    logged = pd.read_csv(tmp_path / "with" / "metrics.csv")
    rows = logged[logged["mean_error_subset"].notna()]
    assert rows["epoch"].tolist() == [1, 3]
    for name in ("clean_error", "mean_error_subset", "mean_flip_probability_subset"):
        assert (rows[f"{name}_low"] <= rows[name]).all()
        assert (rows[name] <= rows[f"{name}_high"]).all()
    assert rows["consistency_circular32"].between(0, 1).all()
    expected = rb.callbacks.measure(with_callback, DATASETS, limit=4, preprocessing=PLAIN)
    last = rows.iloc[-1]
    assert {name: last[name] for name in expected} == pytest.approx(expected)
    without = train(tmp_path / "without", epochs=4)
    assert with_callback.losses == without.losses


def test_a_part_of_the_module_can_be_measured(tmp_path: Path) -> None:
    callback = rb.callbacks.LightningRobustness(
        ["digits"], limit=4, preprocessing=PLAIN, network="network"
    )
    train(tmp_path, callback, epochs=1)
    assert "clean_error" in pd.read_csv(tmp_path / "metrics.csv")
    with pytest.raises(UsageError, match="Digits has no attribute 'net'"):
        train(tmp_path / "2", rb.callbacks.LightningRobustness(["digits"], network="net"))
    with pytest.raises(UsageError, match="every_n_epochs"):
        rb.callbacks.LightningRobustness(["digits"], every_n_epochs=0)

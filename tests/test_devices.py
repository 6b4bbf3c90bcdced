"""A GPU makes the same pictures and predictions as a CPU.

A value within rounding of a threshold may fall to either side of it on another device.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import robustbench_aa as rb
from robustbench_aa.cli.doctor import diagnose
from robustbench_aa.datasets import open_dataset
from robustbench_aa.distortions import corruptions_at, distort, perturbations_at
from robustbench_aa.distortions.rng import Draws
from robustbench_aa.evaluation.inference import Inference, Predictor
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.features import feature_distance
from robustbench_aa.store.predictions import SCHEMA
from robustbench_aa.suite import Suite
from robustbench_aa.support.process import full_float32
from robustbench_aa.types import CLEAN, Batch, Distortion, Shard
from tests.evaluation.test_restored import NEEDS_COMPILER, Network, mine, state_of

GPU = "cuda"
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
CELLS = [cell for cell in corruptions_at(224) if cell.severity in (1, 3, 5)]
MODELS = ["digits:resnet@baseline-seed0", "digits:resnet@lpf3-seed0"]


def assert_same_picture(found: torch.Tensor, expected: torch.Tensor) -> None:
    assert found.device.type == GPU
    difference = (found.cpu().int() - expected.int()).abs()
    assert (difference <= 1).float().mean() > 0.999
    assert (difference == 0).float().mean() > 0.99


def test_draws_are_the_same_numbers() -> None:
    cell = Distortion("corruption", "gaussian_noise", 1)
    here, there = (Draws(7, cell, range(3), device) for device in ("cpu", GPU))
    assert torch.equal(here.uniform(5, 777), there.uniform(5, 777).cpu())
    torch.testing.assert_close(here.normal(5, 777), there.normal(5, 777).cpu())


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_corruptions_are_the_same_pictures(photographs: torch.Tensor, cell: Distortion) -> None:
    here, there = (distort(photographs.to(device), cell, (3, 4), 0, 224) for device in ("cpu", GPU))
    assert_same_picture(there, here)


@pytest.mark.parametrize("cell", perturbations_at(224), ids=lambda cell: cell.name)
def test_perturbations_are_the_same_sequences(photographs: torch.Tensor, cell: Distortion) -> None:
    here, there = (distort(photographs.to(device), cell, (3, 4), 0, 224) for device in ("cpu", GPU))
    assert_same_picture(there, here)


def evaluated(folder: Path, device: str, inference: Inference) -> pd.DataFrame:
    """Return all predictions on some digits, clean, corrupted and shifted."""
    found = []
    for dataset in ("digits-c", "digits-shift"):
        session = prepare(Suite(MODELS, [dataset], limit=20), folder / dataset, device)
        assert not session.run(inference, profile=True).failures
        manifest = json.loads((folder / dataset / "run.json").read_text())
        assert bool(manifest["environment"]["gpu"]) == (device == GPU)
        assert (manifest["profile"]["waiting"] > 0) == (device == GPU)
        for model in session.classifiers:
            for cell in session.cells:
                rows = session.store.read(model, cell, SCHEMA.names)
                assert rows is not None
                found.append(rows)
    return pd.concat(found, ignore_index=True)


@pytest.mark.parametrize("batch_size", [7, 256])
def test_predictions_are_the_same(tmp_path: Path, batch_size: int) -> None:
    here = evaluated(tmp_path / "here", "cpu", Inference())
    there = evaluated(tmp_path / "there", GPU, Inference(batch_size))
    assert (here["image"] == there["image"]).all()
    assert (here["top1"] == there["top1"]).mean() > 0.995
    distance = np.abs(here["label_probability"] - there["label_probability"])
    assert (distance < 1e-2).mean() > 0.99


def test_memory_that_runs_out_halves_the_batch(caplog: pytest.LogCaptureFixture) -> None:
    frames = torch.randint(256, (512, 1, 3, 224, 224), dtype=torch.uint8)
    batch = Batch(CLEAN, np.arange(512), np.zeros(512, np.int64), frames.to(GPU))
    classifier = rb.load("torchvision:resnet18@random")
    expected = Predictor(classifier, Inference(16), GPU).predict(batch)
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(
        2**30 / torch.cuda.get_device_properties(GPU).total_memory
    )
    try:
        found = Predictor(classifier, Inference(512), GPU).predict(batch)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "out of memory with 512 frames; going on with 256" in caplog.messages[0]
    assert (found["top1"] == expected["top1"]).mean() > 0.99


def test_float32_is_not_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    torch.manual_seed(0)
    pixels, filters = torch.randn(8, 64, 56, 56), torch.randn(64, 64, 3, 3)
    exact = torch.nn.functional.conv2d(pixels.double(), filters.double())
    with full_float32():
        found = torch.nn.functional.conv2d(pixels.to(GPU), filters.to(GPU)).cpu()
    # values are about 24; float32 is off by 1e-5, TF32 by more than 1e-3
    assert (found - exact).abs().max() < 1e-3
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(("owner", "device"), [("cpu", GPU), (GPU, "cpu"), (GPU, GPU)])
def test_a_module_is_back_on_its_device_afterwards(tmp_path: Path, owner: str, device: str) -> None:
    module = Network().to(owner)
    before = state_of(module)
    how = Inference(channels_last=True)
    run = rb.benchmark([mine(module)], ["digits"], tmp_path, limit=3, device=device, inference=how)
    assert not run.failures
    assert state_of(module) == before
    feature_distance(mine(module), images_of_digits(), max_shift=1, device=device)
    assert state_of(module) == before


def images_of_digits() -> torch.Tensor:
    (batch,) = open_dataset("digits").read(CLEAN, Shard(0, 2), 2, torch.device("cpu"))
    return batch.frames[:, 0]


def test_the_self_test_passes() -> None:
    lines: list[str] = []
    assert diagnose(lines.append), lines
    assert any(line.startswith("cuda: ok") for line in lines)


@pytest.mark.parametrize(
    "inference",
    [
        Inference(amp_dtype="bfloat16", channels_last=True),
        Inference(amp_dtype="float16"),
        pytest.param(Inference(compiled=True), marks=NEEDS_COMPILER),
    ],
    ids=["bfloat16 channels-last", "float16", "compiled"],
)
def test_switches_move_little(tmp_path: Path, inference: Inference) -> None:
    plain = evaluated(tmp_path / "plain", GPU, Inference())
    found = evaluated(tmp_path / "found", GPU, inference)
    assert (plain["top1"] == found["top1"]).mean() > 0.97

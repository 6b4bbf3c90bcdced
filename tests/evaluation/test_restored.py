"""A library call leaves the process and the caller's modules as they were."""

from __future__ import annotations

import ctypes
import dataclasses
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

import robustbench_aa as rb
from robustbench_aa.classifier import Classifier
from robustbench_aa.cli.main import commands
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.evaluation.inference import Inference
from robustbench_aa.features import feature_distance
from robustbench_aa.preview import write_contact_sheet
from robustbench_aa.types import CLEAN, Shard
from tests.conftest import PLAIN

NEEDS_COMPILER = pytest.mark.skipif(shutil.which("g++") is None, reason="torch needs a compiler")


class Network(nn.Module):
    """A network in training mode, except for its frozen norm."""

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 10)
        self.error = error
        self.train()
        self.norm.eval()
        self.head(torch.zeros(1, 4)).sum().backward()

    def forward(self, images: Tensor) -> Tensor:
        if self.error is not None and images.any():  # not the black image of an early check
            raise self.error
        features: Tensor = self.head(self.norm(self.conv(images)).mean((2, 3)))
        return features


def state_of(module: nn.Module) -> dict[str, object]:
    """Return everything about a module that a later training step could notice."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return {
        "modes": [part.training for part in module.modules()],
        "tensors": {name: id(tensor) for name, tensor in tensors},
        "memory": {name: (t.data_ptr(), t.stride(), t.device, t.dtype) for name, t in tensors},
        "values": {name: tensor.tolist() for name, tensor in tensors},
        "gradients": {
            name: None if p.grad is None else p.grad.tolist()
            for name, p in module.named_parameters()
        },
        "hooks": [len(part._forward_hooks) for part in module.modules()],
    }


def state_of_process() -> dict[str, object]:
    return {
        "cudnn_tf32": torch.backends.cudnn.allow_tf32,
        "matmul": torch.get_float32_matmul_precision(),
        "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "gradients": torch.is_grad_enabled(),
        "environment": {
            name: value
            for name, value in os.environ.items()
            if "PYTEST" not in name and "TORCHINDUCTOR" not in name  # they set their own
        },
        "signals": [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
    }


@pytest.fixture(params=[True, False], ids=["tf32", "no tf32"])
def process(request: pytest.FixtureRequest) -> Iterator[dict[str, object]]:
    """Settings that the caller has chosen."""
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = request.param
    torch.set_float32_matmul_precision("high" if request.param else "highest")
    yield state_of_process()
    torch.backends.cudnn.allow_tf32 = before[0]
    torch.set_float32_matmul_precision(before[1])


def mine(module: nn.Module) -> Classifier:
    return Classifier(module, name="mine", input_size=32, classes=10, preprocessing=PLAIN)


def benchmark(module: nn.Module, folder: Path, inference: Inference) -> rb.Run:
    return rb.benchmark([mine(module)], ["digits"], folder, limit=3, inference=inference)


@pytest.mark.parametrize(
    "inference",
    [
        Inference(),
        Inference(channels_last=True, threads=1),
        Inference(threads=3),
        pytest.param(Inference(compiled=True), marks=NEEDS_COMPILER),
    ],
    ids=["plain", "channels-last", "threads", "compiled"],
)
@pytest.mark.filterwarnings("ignore:Skipping serialization")  # of the compiler of torch 2.6
def test_a_benchmark_restores_the_module_and_the_process(
    tmp_path: Path, process: dict[str, object], inference: Inference
) -> None:
    module = Network()
    before, random = state_of(module), torch.get_rng_state()
    assert not benchmark(module, tmp_path, inference).failures
    assert state_of(module) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert state_of_process() == process


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)])
def test_a_failing_benchmark_restores_the_module_and_the_process(
    tmp_path: Path, process: dict[str, object], error: BaseException
) -> None:
    module = Network(error)
    before = state_of(module)
    inference = Inference(channels_last=True, threads=3)
    if isinstance(error, Exception):
        with pytest.warns(RuntimeWarning, match="1 cells failed"):
            assert benchmark(module, tmp_path, inference).failures
    else:
        with pytest.raises(type(error)):
            benchmark(module, tmp_path, inference)
    assert state_of(module) == before
    assert state_of_process() == process


def test_a_module_that_two_models_share_is_restored(tmp_path: Path) -> None:
    module = Network()
    before = state_of(module)
    models = [mine(module), dataclasses.replace(mine(module), name="twin")]
    rb.benchmark(models, ["digits"], tmp_path, limit=3, inference=Inference(channels_last=True))
    assert state_of(module) == before


@pytest.mark.parametrize("error", [None, ValueError("no"), KeyboardInterrupt()])
def test_feature_maps_restore_the_module_and_the_process(
    process: dict[str, object], error: BaseException | None
) -> None:
    module = Network(error)
    before = state_of(module)
    (batch,) = open_dataset("digits").read(CLEAN, Shard(0, 2), 2, torch.device("cpu"))
    images = batch.frames[:, 0]
    if error is None:
        assert len(feature_distance(mine(module), images, max_shift=1))
    else:
        with pytest.raises(type(error)):
            feature_distance(mine(module), images, max_shift=1)
    assert state_of(module) == before
    assert state_of_process() == process


def test_loading_and_previews_leave_the_process_alone(
    tmp_path: Path, process: dict[str, object]
) -> None:
    rb.load("digits:resnet@lpf3")
    rb.load("torchvision:squeezenet1_1@random")
    Image.new("RGB", (224, 224), "red").save(tmp_path / "red.png")
    write_contact_sheet(tmp_path / "red.png", tmp_path / "sheet.png")
    list(
        open_dataset("digits-c", Request(limit=2)).read(CLEAN, Shard(0, 2), 2, torch.device("cpu"))
    )
    assert state_of_process() == process


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Record the settings of glibc's allocator."""
    given: list[tuple[int, int]] = []

    class Library:
        def __init__(self, *_: Any) -> None:
            pass

        mallopt: Callable[[int, int], None] = staticmethod(lambda *how: given.append(how))

    monkeypatch.setattr(ctypes, "CDLL", Library)
    return given


def test_only_the_command_line_changes_the_allocator(
    tmp_path: Path, allocator: list[tuple[int, int]]
) -> None:
    benchmark(Network(), tmp_path / "library", Inference())
    assert not allocator
    command = ["evaluate", "-m", "digits:resnet@lpf3-seed0", "-d", "digits", "--limit", "3"]
    result = CliRunner().invoke(
        commands, [*command, "--device", "cpu", "--output-dir", str(tmp_path / "command")]
    )
    assert result.exit_code == 0, result.output
    assert len(allocator) == 2

"""Settings and modules are restored to any earlier state."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest
import torch
from torch import nn

from robustbench_aa.support.process import full_float32, restored, thread_count

CUDNN = torch.backends.cudnn


def precision() -> list[object]:
    """The settings of cuDNN; torch does not summarize those that differ."""
    found: list[object] = ["mixed"]
    with suppress(RuntimeError):
        found = [CUDNN.allow_tf32]
    parts = [getattr(CUDNN, name, None) for name in ("conv", "rnn")]
    return found + [part.fp32_precision for part in parts if part is not None]


@pytest.fixture(autouse=True)
def defaults() -> Iterator[None]:
    yield
    CUDNN.allow_tf32 = True


def assert_restored() -> None:
    before = precision()
    with full_float32():
        assert CUDNN.allow_tf32 is False
    assert precision() == before
    with suppress(KeyboardInterrupt), full_float32():
        raise KeyboardInterrupt
    assert precision() == before


@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_restored(allowed: bool) -> None:
    CUDNN.allow_tf32 = allowed
    assert_restored()


@pytest.mark.skipif(not hasattr(CUDNN, "conv"), reason="this torch has one setting")
@pytest.mark.parametrize("parts", [["conv"], ["rnn"], ["conv", "rnn"]])
@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_of_each_operation_is_restored(parts: list[str], allowed: bool) -> None:
    CUDNN.allow_tf32 = allowed
    for name in parts:
        getattr(CUDNN, name).fp32_precision = "ieee" if allowed else "tf32"
    assert_restored()


def test_threads_are_restored() -> None:
    before = torch.get_num_threads()
    with suppress(KeyboardInterrupt), thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
        raise KeyboardInterrupt
    assert torch.get_num_threads() == before
    with thread_count(None):
        assert torch.get_num_threads() == before


def tensors_of(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """A parameter and a buffer."""
    parameters, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    return parameters["0.weight"], buffers["1.running_mean"]


@pytest.mark.parametrize(
    "change",
    [
        lambda module: module.to(memory_format=torch.channels_last),
        lambda module: module.double(),  # replaces the data of parameters
        lambda module: module.to("meta"),  # replaces the parameters
        lambda module: module.eval(),
    ],
    ids=["layout", "data", "parameters", "mode"],
)
@pytest.mark.parametrize("scripted", [False, True])
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is")
def test_a_module_is_restored(change: object, scripted: bool) -> None:
    module: nn.Module = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    module = torch.jit.script(module) if scripted else module
    weight, mean = tensors_of(module)
    weight.sum().backward()
    values, place = weight.tolist(), (weight.data_ptr(), weight.stride(), mean.data_ptr())
    with restored(module):
        change(module)  # type: ignore[operator]
    assert tensors_of(module)[0] is weight
    assert tensors_of(module)[1] is mean
    assert (weight.data_ptr(), weight.stride(), mean.data_ptr()) == place
    assert weight.tolist() == values
    assert weight.grad is not None
    assert weight.grad.dtype == weight.dtype
    assert weight.grad.device == weight.device
    assert all(part.training for part in module.modules())


@pytest.mark.parametrize("precision_before", ["highest", "high", "medium"])
def test_products_are_not_rounded_either(precision_before: str) -> None:
    try:
        torch.set_float32_matmul_precision(precision_before)
        with full_float32():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == precision_before
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.skipif(not hasattr(CUDNN, "conv"), reason="this torch has one setting")
@pytest.mark.parametrize("setting", ["tf32", "ieee", "none"])
def test_the_newer_setting_of_products_is_restored(setting: str) -> None:
    # in a process of its own, since torch never forgets that a newer setting was used
    code = f"""if True:
        import torch
        from robustbench_aa.support.process import full_float32
        part = torch.backends.cuda.matmul
        part.fp32_precision = {setting!r}
        before = part.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
        with full_float32():
            assert part.fp32_precision == "ieee", part.fp32_precision
        after = part.fp32_precision, torch.backends.mkldnn.matmul.fp32_precision
        assert after == before, (before, after)
    """
    subprocess.run([sys.executable, "-c", code], check=True)

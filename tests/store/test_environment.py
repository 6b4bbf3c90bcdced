from __future__ import annotations

import pytest
import torch

from robustbench_aa.store.environment import environment


def test_the_environment_names_versions_decoders_hardware_and_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import av
    import PIL
    import torchvision

    told = environment("cpu")
    assert all(isinstance(value, str) for value in told.values())
    assert told["pillow"] == PIL.__version__
    assert told["av"] == av.__version__
    assert torchvision.__version__.startswith(told["torchvision"])
    assert told["imagecorruptions"]
    assert told["libjpeg"].startswith(("libjpeg-turbo ", "libjpeg "))
    assert told["libavcodec"].count(".") == 2
    assert (told["device"], told["gpu"]) == ("cpu", "")
    assert told["cpu"]
    precision = ("float32_matmul_precision", "matmul_tf32", "cudnn_tf32")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        told = environment("cpu")
    finally:
        torch.set_float32_matmul_precision(before)
    assert [told[flag] for flag in precision] == ["high", "True", "True"]


def test_precision_that_torch_does_not_tell_is_unclear(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise RuntimeError("you have used mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
    assert environment("cpu")["float32_matmul_precision"] == "unclear"

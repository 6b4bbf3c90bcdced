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

    found = environment("cpu")
    assert all(isinstance(value, str) for value in found.values())
    assert found["pillow"] == PIL.__version__
    assert found["av"] == av.__version__
    assert torchvision.__version__.startswith(found["torchvision"])
    assert found["imagecorruptions"]
    assert found["libjpeg"].startswith(("libjpeg-turbo ", "libjpeg "))
    assert found["libavcodec"].count(".") == 2
    assert (found["device"], found["gpu"]) == ("cpu", "")
    assert found["cpu"]
    precision = ("float32_matmul_precision", "matmul_tf32", "cudnn_tf32")
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("high")
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
        found = environment("cpu")
    finally:
        torch.set_float32_matmul_precision(before)
    assert [found[flag] for flag in precision] == ["high", "True", "True"]


def test_a_precision_that_torch_does_not_report_is_unclear(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> str:
        raise RuntimeError("you have used mix of the legacy and new APIs")

    monkeypatch.setattr(torch, "get_float32_matmul_precision", refuse)
    assert environment("cpu")["float32_matmul_precision"] == "unclear"

"""The import of torchvision without torch's compiler."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
import torch
import robustbench_aa as rb

rb.load_model("torchvision:squeezenet1_1@random")
assert "torch._dynamo" not in sys.modules

import torchvision
boxes = [torch.tensor([[0.0, 0.0, 4.0, 4.0]])]
torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), boxes, 2)
torch.use_deterministic_algorithms(True)
torchvision.ops.roi_align(torch.ones(1, 1, 8, 8), boxes, 2)  # asks the compiler
import torch._dynamo
assert isinstance(torch._dynamo.utils.is_compile_supported("cpu"), bool)
"""


def test_a_network_loads_without_the_compiler_and_operators_still_find_it() -> None:
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr

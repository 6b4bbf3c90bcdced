"""A network in an ONNX file: `python onnx_model.py`. It needs the extra `onnx`.

The file comes from one of the embedded networks; give yours by `--file`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import robustbench_aa as rb

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--file", type=Path, help="a graph for images of 32 px with 10 classes")
parser.add_argument("--output-dir", default="runs/onnx")
arguments = parser.parse_args()

file = arguments.file
if file is None:
    file = Path(arguments.output_dir).with_suffix(".onnx")
    file.parent.mkdir(parents=True, exist_ok=True)
    embedded = rb.load_model("digits:resnet@lpf3").module
    torch.onnx.export(embedded, (torch.rand(1, 3, 32, 32),), file, dynamo=False)
run = rb.benchmark([f"net=onnx:{file}"], ["digits-shift"], arguments.output_dir, limit=50)
print(run.leaderboard())

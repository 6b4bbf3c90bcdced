"""Convert a network, fine-tune it, and evaluate the checkpoint: `python fine_tuned_checkpoint.py`.

A conversion keeps the weights, which were trained without the blur. A few epochs of training adapt
them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

import robustbench_aa as rb
from robustbench_aa.datasets.digits import load_split
from robustbench_aa.models.checkpoint import write_converted

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=5)
parser.add_argument("--output-dir", type=Path, default=Path("runs/fine_tuned"))
arguments = parser.parse_args()

plain = rb.load_model("digits:resnet@baseline-seed0")
converted = rb.antialias(plain, filter_size=3)
network = converted.module.train()
images, labels = load_split("train")
pixels = plain.preprocessing.normalised(images)
optimiser = torch.optim.AdamW(network.parameters(), 3e-4)
torch.manual_seed(0)
for _ in range(arguments.epochs):
    for chosen in torch.randperm(len(pixels)).split(50):
        loss = F.cross_entropy(network(pixels[chosen]), labels[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

arguments.output_dir.mkdir(parents=True, exist_ok=True)
checkpoint = arguments.output_dir / "fine_tuned.safetensors"
write_converted(network.eval(), checkpoint, fine_tuned=True)
run = rb.benchmark(
    [plain, rb.antialias(plain, filter_size=3), f"tuned=digits:resnet@{checkpoint}"],
    ["digits", "digits-shift"],
    arguments.output_dir / "run",
    limit=100,
)
print(run.leaderboard())

"""A network of torchvision on your photographs: `python torchvision_model.py FOLDER`.

FOLDER holds one folder of photographs for each class, named by its ImageNet wnid.
"""

from __future__ import annotations

import argparse

import robustbench_aa as rb

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder")
parser.add_argument("--model", default="torchvision:mobilenet_v2@IMAGENET1K_V2")
parser.add_argument("--limit", type=int, help="evaluate at most this many photographs")
parser.add_argument("--output-dir", default="runs/torchvision")
arguments = parser.parse_args()

model = rb.load_model(arguments.model)
steady = rb.select_crop(model)  # the same weights, behind a choice of the crop
run = rb.benchmark(
    [model, steady],
    [
        rb.ImageFolder(arguments.folder, distortions="imagenet-c"),
        rb.ImageFolder(arguments.folder, distortions="shift"),
    ],
    arguments.output_dir,
    baseline=model,
    limit=arguments.limit,
    corruptions=["gaussian_noise", "fog", "clean"],
    severities=[3],
    protocols=["neighbours"],
)
print(run.leaderboard())
print(run.compare(steady, model))

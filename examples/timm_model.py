"""A network of timm on images in memory: `python timm_model.py`. It needs the extra `timm`.

A module of timm describes its input, so it can be given as it is.
"""

from __future__ import annotations

import argparse

import timm
import torch
from skimage import data
from torchvision.transforms.v2.functional import center_crop, resize, to_image

import robustbench_aa as rb

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--model", default="resnet10t")
parser.add_argument("--pretrained", action="store_true", help="download the weights")
parser.add_argument("--output-dir", default="runs/timm")
arguments = parser.parse_args()

network = timm.create_model(arguments.model, pretrained=arguments.pretrained).eval()
size = network.default_cfg["input_size"][-1]
pictures = [to_image(picture) for picture in (data.astronaut(), data.chelsea(), data.coffee())]
images = [center_crop(resize(picture, [size + 32]), [size, size]) for picture in pictures]
labels = [0, 285, 967]  # the astronaut has no class of ImageNet
batch = rb.ImageArrays(torch.stack(images), labels, "three", distortions="imagenet-c", classes=1000)
run = rb.benchmark(
    [network], [batch], arguments.output_dir, corruptions=["snow"], severities=[1, 5]
)
print(run.table("corruptions")[["corruption", "severity", "error"]])

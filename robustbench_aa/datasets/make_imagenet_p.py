"""Make ImageNet-P from photographs, in the layout of the released files.

The files are `<perturbation>/<class>/<picture>.mp4`, H.264 as the released ones: preset veryslow,
crf 20, or tuned for grain under noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from rich.console import Console

from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.datasets.dataset import spread
from robustbench_aa.datasets.make_imagenet_c import keep_apart
from robustbench_aa.datasets.pictures import cores, find_pictures
from robustbench_aa.datasets.videos import encode_video, require_video
from robustbench_aa.distortions import perturbations_at
from robustbench_aa.errors import UnknownName
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.progress import progress
from robustbench_aa.types import Distortion, Shard

SEQUENCES = 8
"""Sequences that are made at once and encoded in parallel."""


def make_imagenet_p(
    source: Path,
    to: Path,
    perturbations: Sequence[str] = (),
    seed: int = 0,
    limit: int | None = None,
    device: str | None = None,
) -> tuple[int, int]:
    """Perturb the photographs of a folder and write those videos that do not exist yet.

    Args:
        source: a folder of clean photographs, in class folders.
        to: the folder to fill.
        perturbations: the perturbations to make; if empty, those that a mean flip rate counts.
        seed: the seed of the perturbations.
        limit: use at most this many photographs, evenly spread; None for all.
        device: a torch device; None for a GPU if there is one.

    Returns:
        The numbers of sequences written and of perturbations made.

    Raises:
        UnknownName: there is no such perturbation.
        UsageError: the extra `video` is not installed, the device does not exist, there are no
            photographs, or the folder holds files that were made from others.
    """
    cells = _chosen(perturbations)
    require_video()
    device = choose_device(device)
    request = Request(data_dir=str(source), seed=seed, limit=limit)
    dataset = open_dataset("imagenet-p-live", request)
    keep_apart(to, {"photographs": dataset.sha256, "seed": seed}, cells)
    files = find_pictures(source).files
    chosen = [files[place].relative_to(source) for place in spread(len(files), limit)]
    written = 0
    total = len(cells) * len(chosen)
    with (
        progress(total, Console(stderr=True), "sequences") as advance,
        ThreadPoolExecutor(cores()) as threads,
    ):
        for cell in cells:
            for start in range(0, len(chosen), SEQUENCES):
                part = Shard(start, min(start + SEQUENCES, len(chosen)))
                videos = [
                    to / cell.name / name.with_suffix(".mp4") for name in chosen[slice(*part)]
                ]
                if not all(video.exists() for video in videos):
                    (batch,) = dataset.read(cell, part, 10**6, torch.device(device))
                    options = [encoder_options(cell)] * len(videos)
                    written += sum(threads.map(_write, batch.frames, videos, options))
                advance(f"{dataset.name} {cell}", len(videos))
    return written, len(cells)


def _chosen(names: Sequence[str]) -> list[Distortion]:
    cells = perturbations_at(224)
    known = [cell.name for cell in cells]
    for name in names:
        if name not in known:
            raise UnknownName("perturbation", name, known)
    return [cell for cell in cells if (cell.name in names if names else not cell.held_out)]


def encoder_options(cell: Distortion) -> dict[str, str]:
    """Return the options of libx264 that the official script gives for a perturbation.

    For noise, it tunes for grain, at the encoder's default quality.
    """
    noise = cell.compared_with == "first"
    return {"preset": "veryslow"} | ({"tune": "grain"} if noise else {"crf": "20"})


def _write(frames: torch.Tensor, video: Path, options: dict[str, str]) -> bool:
    """Write a sequence unless the file exists; a file of its name is complete."""
    if video.exists():
        return False
    video.parent.mkdir(parents=True, exist_ok=True)
    part = video.with_name(f"{video.name}.part")
    encode_video(frames, part, options)
    part.replace(video)
    return True

"""Make ImageNet-P from photographs, in the layout of the released files.

`python -m data_prep.make_imagenet_p --source VAL --to DIR`: VAL holds class folders. The command
writes `<perturbation>/<class>/<picture>.mp4`, H.264 as the released ones: preset veryslow, crf 20,
or tuned for grain under noise. Run again, it writes the missing files.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import torch
from rich.console import Console

from data_prep.make_imagenet_c import keep_apart
from robustbench_aa.cli.main import run_command
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.datasets.live import spread
from robustbench_aa.datasets.pictures import find_pictures
from robustbench_aa.datasets.videos import encode_video
from robustbench_aa.distortions import perturbations_at
from robustbench_aa.errors import UnknownName
from robustbench_aa.store.shards import Cell
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.progress import progress
from robustbench_aa.types import Distortion, Shard

SEQUENCES = 8
"""Sequences that are made at once and encoded in parallel."""


@click.command()
@click.option("--source", required=True, help="Folder of clean photographs, in class folders.")
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Folder to fill.")
@click.option(
    "--perturbation", "names", multiple=True, help="Make only this perturbation (repeatable)."
)
@click.option("--seed", default=0, show_default=True, help="Seed of the perturbations.")
@click.option("--limit", type=int, help="Use at most this many photographs, evenly spread.")
@click.option("--device", default=choose_device, help="Torch device; a GPU if there is one.")
def main(
    source: str, to: Path, names: tuple[str, ...], seed: int, limit: int | None, device: str
) -> None:
    """Perturb the photographs of a folder and write them in the layout of ImageNet-P."""
    cells = _chosen(names)
    dataset = open_dataset("imagenet-p-live", Request(data_dir=source, seed=seed, limit=limit))
    keep_apart(to, {"photographs": dataset.sha256, "seed": seed}, cells)
    files = find_pictures(Path(source)).files
    chosen = [files[place].relative_to(source) for place in spread(len(files), limit)]
    written = 0
    total = len(cells) * len(chosen)
    with (
        progress(total, Console(stderr=True), "sequences") as advance,
        ThreadPoolExecutor(os.cpu_count()) as threads,
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
                advance(Cell(dataset.name, cell, 1), len(videos))
    click.echo(f"{written:,} sequences written, {len(cells)} perturbations are in {to}")


def _chosen(names: tuple[str, ...]) -> list[Distortion]:
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


if __name__ == "__main__":
    run_command(main)

"""What the harness costs beside the bare forward passes: `python -m benchmarks.evaluation_speed`.

The bare model runs on normalised tensors that are already in memory; the harness reads, distorts,
normalises, predicts and commits the same number of frames. The two alternate in one process, and
the ratio of each pair is what counts: absolute speeds drift with the machine. Videos are also read
in the manner of the official evaluation: by OpenCV, one after the other, each frame transformed by
itself.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
import numpy as np
import pandas as pd
import torch
from PIL import Image
from skimage.data import astronaut
from sklearn.datasets import load_sample_image
from torchvision import transforms

from data_prep.make_imagenet_p import main as make_imagenet_p
from robustbench_aa.datasets.pictures import wnids
from robustbench_aa.job import Job, prepare
from robustbench_aa.suite import Suite
from robustbench_aa.types import Classifier

OUTPUT = Path("results/performance/evaluation_speed.csv")
BATCH_SIZE = 256
REPETITIONS = 5
PHOTOGRAPHS = 12


@dataclass(frozen=True)
class Case:
    """What is evaluated: enough for a few seconds a repetition."""

    dataset: str
    images: int
    perturbation: str | None = None
    model: str = "torchvision:mobilenet_v2@random"


CASES = [
    Case("digits-c", 100, model="digits:resnet@lpf3-seed0"),
    Case("digits-shift", 60, model="digits:resnet@lpf3-seed0"),
    *(
        Case(dataset, PHOTOGRAPHS, perturbation)
        for dataset in ("imagenet-p-live", "imagenet-p")
        for perturbation in ("gaussian_noise", "snow", "tilt")
    ),
]


def write_photographs(folder: Path) -> None:
    """Crops of three photographs, each in a class of its own."""
    whole = (astronaut(), load_sample_image("china.jpg"), load_sample_image("flower.jpg"))
    for place in range(PHOTOGRAPHS):
        left = 10 * (place // len(whole))
        crop = whole[place % len(whole)][:400, left : left + 500]
        (folder / wnids()[place]).mkdir(parents=True)
        Image.fromarray(crop).save(folder / wnids()[place] / f"{place}.JPEG", quality=95)


@torch.inference_mode()
def bare_seconds(classifier: Classifier, frames: int, device: str) -> float:
    """The time of the forward passes alone."""
    size = classifier.input_size
    step = min(BATCH_SIZE, 41) if size == 224 and device == "cpu" else BATCH_SIZE
    batch = torch.randn(step, 3, size, size, device=device)
    start = time.perf_counter()
    for done in range(0, frames, step):
        classifier.module(batch[: min(step, frames - done)])
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def harness_seconds(job: Job) -> float:
    """The time of a whole evaluation into an empty directory."""
    with tempfile.TemporaryDirectory() as folder:
        store = type(job.store)(Path(folder), job.store.manifest)
        fresh = dataclasses.replace(job, store=store)
        start = time.perf_counter()
        run = fresh.carry_out()
        seconds = time.perf_counter() - start
    if run.failures:
        raise click.ClickException(str(run.failures[0]))
    return seconds


@torch.inference_mode()
def official_seconds(classifier: Classifier, videos: list[Path], device: str) -> float:
    """The time of a loop in the manner of the official evaluation of ImageNet-P."""
    import cv2

    how = classifier.preprocessing
    transform = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize(list(how.mean), list(how.std))]
    )
    start = time.perf_counter()
    for video in videos:
        capture = cv2.VideoCapture(str(video))
        frames = []
        while True:
            there, frame = capture.read()
            if not there:
                break
            picture = Image.fromarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))
            frames.append(transform(picture))
        capture.release()
        np.asarray(classifier.module(torch.stack(frames).to(device)).argmax(1).cpu())
    return time.perf_counter() - start


def measure(case: Case, folders: dict[str, Path], device: str | None) -> dict[str, object]:
    """One row."""
    named = [case.perturbation] if case.perturbation else []
    folder = folders.get(case.dataset)
    suite = Suite(
        [case.model],
        [case.dataset],
        limit=case.images,
        perturbations=named,
        data_dir=str(folder) if folder else None,
    )
    job = prepare(suite, Path(tempfile.gettempdir()) / "robustbench-aa-none", device)
    (classifier,) = job.classifiers.values()
    frames = sum(item.passes for item in job.work)
    videos = sorted((folders["imagenet-p"] / str(case.perturbation)).glob("*/*.mp4"))
    routes: dict[str, Callable[[], float]] = {
        "bare": lambda: bare_seconds(classifier, frames, job.device),
        "harness": lambda: harness_seconds(job),
    }
    if case.dataset == "imagenet-p":
        routes["official"] = lambda: official_seconds(classifier, videos, job.device)
    times: dict[str, list[float]] = {name: [] for name in routes}
    for repetition in range(REPETITIONS + 1):
        for name, route in routes.items():
            seconds = route()
            if repetition:  # the first is a warm-up
                times[name].append(seconds)
    shares = [b / h for b, h in zip(times["bare"], times["harness"], strict=True)]
    row: dict[str, object] = {
        "dataset": case.dataset,
        "perturbation": case.perturbation or "",
        "model": case.model,
        "device": torch.cuda.get_device_name() if "cuda" in job.device else "cpu",
        "threads": torch.get_num_threads(),
        "frames": frames,
        "bare_frames_per_second": frames / median(times["bare"]),
        "frames_per_second": frames / median(times["harness"]),
        "share_of_bare": median(shares),
    }
    if "official" in times:
        row["official_frames_per_second"] = frames / median(times["official"])
    return row


@click.command()
@click.option("--device", default=None, help="A GPU if there is one by default.")
def main(device: str | None) -> None:
    """Measures every case and writes one row for each."""
    with tempfile.TemporaryDirectory() as place:
        clean, videos = Path(place) / "val", Path(place) / "p"
        write_photographs(clean)
        named = {case.perturbation for case in CASES if case.perturbation}
        chosen = [word for name in named for word in ("--perturbation", name)]
        how = ["--source", str(clean), "--to", str(videos), *chosen]
        make_imagenet_p.main(how, standalone_mode=False)
        folders = {"imagenet-p-live": clean, "imagenet-p": videos}
        table = pd.DataFrame([measure(case, folders, device) for case in CASES])
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUTPUT, index=False, float_format="%.3f")
    click.echo(table.to_string(index=False))
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()

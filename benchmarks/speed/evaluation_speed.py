"""Compare the harness with bare forward passes: `python -m benchmarks.speed.evaluation_speed`.

The bare model runs on normalised tensors in memory. The harness and its peers read, distort,
normalise and predict the same number of frames from the same files; the harness also commits them.
All alternate in one process, and the result is the ratio within each repetition, because absolute
speeds drift with the machine. Every repetition measures another severity, so that five repetitions
cover all 75 standard cells of ImageNet-C, or another perturbation.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import pandas as pd
import torch

from benchmarks.photographs import link, write_crops
from benchmarks.rows import device_name, write_table
from benchmarks.speed import peers
from data_prep.make_imagenet_c import main as make_imagenet_c
from data_prep.make_imagenet_p import main as make_imagenet_p
from robustbench_aa.classifier import Classifier
from robustbench_aa.distortions.severities import SEVERITIES
from robustbench_aa.evaluation.inference import AMP_DTYPES, CPU_PIXELS, Inference
from robustbench_aa.evaluation.session import Session, prepare
from robustbench_aa.suite import Suite
from robustbench_aa.types import COUNTED_CORRUPTIONS

OUTPUT = Path("results/performance/evaluation_speed.csv")
BATCH_SIZE = 256
PHOTOGRAPHS = 96
MODELS = {
    "torchvision:mobilenet_v2@random": 24,
    "torchvision:resnet50@random": 16,
    "torchvision:resnet18@random": 24,
}
"""Model → number of photographs under every corruption."""
DATASETS = ("imagenet-c", "imagenet-c-live", "imagenet-p-live", "image-folder", "imagenet-shift")
VIDEOS = "imagenet-p"
PERTURBATIONS = ("gaussian_noise", "motion_blur", "snow", "tilt", "scale")
REPETITIONS = len(SEVERITIES)
Routes = dict[str, Callable[[], float]]


@dataclass(frozen=True)
class Files:
    """The folders of a model's pictures.

    Attributes:
        clean: Clean photographs.
        few: Links to the first of them.
        stored: Their corruptions, as ImageNet-C nests them: corruption, severity, class.
        by_severity: Links to the same, nested as severity, corruption, class.
        videos: Their perturbations as videos.
    """

    clean: Path
    few: Path
    stored: Path
    by_severity: Path
    videos: Path

    @classmethod
    def written(cls, place: Path, count: int, datasets: Iterable[str]) -> Files:
        """Write the files that the data sets need; only the first photographs are corrupted."""
        names = ("clean", "few", "stored", "severities", "videos")
        files = cls(*(place / name for name in names))
        write_crops(files.clean, max(PHOTOGRAPHS, count))
        link(sorted(files.clean.glob("*/*.JPEG"))[:count], files.few)
        if "imagenet-c" in datasets:
            files._write_corrupted()
        if VIDEOS in datasets:
            chosen = [word for name in PERTURBATIONS for word in ("--perturbation", name)]
            arguments = ["--source", str(files.few), "--to", str(files.videos), *chosen]
            make_imagenet_p.main(arguments, standalone_mode=False)
        return files

    def _write_corrupted(self) -> None:
        chosen = [word for name in COUNTED_CORRUPTIONS for word in ("--corruption", name)]
        arguments = ["--source", str(self.few), "--to", str(self.stored), *chosen]
        make_imagenet_c.main(arguments, standalone_mode=False)
        for severity in SEVERITIES:
            for name in COUNTED_CORRUPTIONS:
                folder = self.by_severity / str(severity) / name
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.symlink_to(self.stored / name / str(severity))


def suite_of(dataset: str, model: str, files: Files, repetition: int, count: int) -> Suite:
    """Return the suite of a repetition."""
    suite = Suite([model], [dataset], data_dir=str(files.clean))
    severities, perturbations = [SEVERITIES[repetition]], [PERTURBATIONS[repetition]]
    changes: dict[str, dict[str, Any]] = {
        "imagenet-c": {"data_dir": str(files.stored), "severities": severities},
        "imagenet-c-live": {
            "data_dir": str(files.few),
            "severities": severities,
            "corruptions": COUNTED_CORRUPTIONS,
        },
        "imagenet-p": {"data_dir": str(files.videos), "perturbations": perturbations},
        "imagenet-p-live": {"perturbations": perturbations, "limit": count // 2},
        "imagenet-shift": {"limit": count // 8},
    }
    return dataclasses.replace(suite, **changes.get(dataset, {}))


@torch.inference_mode()
def bare_seconds(setting: peers.Setting, frames: int) -> float:
    """Return the time of the forward passes alone."""
    size, device = setting.classifier.input_size, setting.device
    step = min(setting.batch_size, frames)
    batch = torch.randn(step, 3, size, size, device=device)
    start = time.perf_counter()
    with setting.precision():
        for done in range(0, frames, step):
            setting.classifier.module(batch[: min(step, frames - done)]).argmax(1).cpu()
    return time.perf_counter() - start


def harness_seconds(session: Session, inference: Inference) -> float:
    """Return the time of a whole evaluation into an empty directory."""
    with tempfile.TemporaryDirectory() as folder:
        store = type(session.store)(Path(folder), session.store.manifest)
        fresh = dataclasses.replace(session, store=store)
        start = time.perf_counter()
        run = fresh.run(inference)
        seconds = time.perf_counter() - start
    if run.failures:
        raise click.ClickException(str(run.failures[0]))
    return seconds


def peers_of(
    dataset: str, setting: peers.Setting, files: Files, session: Session, place: int
) -> Routes:
    """Return the peers that can do the same measurement."""
    severity = str(SEVERITIES[place])
    cells = [cell.distortion for cell in session.cells]
    if dataset == "imagenet-c":
        roots = [files.stored / name / severity for name in COUNTED_CORRUPTIONS]
        return {
            "official": partial(peers.folders, setting, roots, peers.CROP),
            "timm": partial(peers.timm_validate, setting, files.by_severity / severity, 1.0),
        }
    if dataset == "imagenet-c-live":
        return {
            "imagecorruptions": partial(peers.imagecorruptions_route, setting, files.few, cells),
            "torch_uncertainty": partial(peers.torch_uncertainty_route, setting, files.few, cells),
        }
    if dataset == "image-folder":
        return {
            "official": partial(peers.folders, setting, [files.clean], peers.RESIZE_CROP),
            "timm": partial(peers.timm_validate, setting, files.clean, 224 / 256),
        }
    if dataset == VIDEOS:
        found = sorted((files.videos / PERTURBATIONS[place]).glob("*/*.mp4"))
        return {"official": partial(peers.videos, setting, found)}
    return {}


def measure(
    dataset: str,
    model: str,
    dtype: str,
    files: Files,
    count: int,
    device: str | None,
    with_peers: bool,
) -> Iterator[dict[str, object]]:
    """Yield a row for each route: frames per second, and its median share of the bare speed."""
    amp_dtype = None if dtype == "float32" else dtype
    inference = Inference(BATCH_SIZE, amp_dtype)
    seconds: dict[str, list[float]] = {}
    frames, warm = 0, False
    for repetition in [0, *range(REPETITIONS)]:
        suite = suite_of(dataset, model, files, repetition, count)
        session = prepare(suite, Path(tempfile.gettempdir()) / "robustbench-aa-none", device)
        setting = _setting(session, amp_dtype)
        frames = sum(item.passes for item in session.work)
        routes: Routes = {
            "bare": partial(bare_seconds, setting, frames),
            "robustbench_aa": partial(harness_seconds, session, inference),
        }
        if warm and with_peers:
            routes |= peers_of(dataset, setting, files, session, repetition)
        for name, route in routes.items():
            duration = route()
            if warm:
                seconds.setdefault(name, []).append(duration)
        warm = True
    for name, times in seconds.items():
        shares = [bare / ours for bare, ours in zip(seconds["bare"], times, strict=True)]
        yield {
            "dataset": dataset,
            "model": model,
            "dtype": dtype,
            "route": name,
            "frames_per_second": frames / median(times),
            "share_of_bare": median(shares),
            "lowest": min(shares),
            "highest": max(shares),
            "frames": frames,
            "repetitions": REPETITIONS,
            "device": device_name(session.device),
            "threads": torch.get_num_threads(),
        }


def _setting(session: Session, amp_dtype: str | None) -> peers.Setting:
    classifier: Classifier
    (classifier,) = session.classifiers.values()
    classifier.module.to(session.device).eval()
    kind = torch.device(session.device).type
    largest = BATCH_SIZE if kind == "cuda" else CPU_PIXELS // classifier.input_size**2
    return peers.Setting(
        classifier,
        session.device,
        min(BATCH_SIZE, largest),
        lambda: torch.autocast(kind, AMP_DTYPES[amp_dtype]) if amp_dtype else nullcontext(),
    )


def _write(rows: list[dict[str, object]], earlier: pd.DataFrame | None, output: Path) -> None:
    """Write the new rows after the rows of an earlier table that measure other cases."""
    table = pd.DataFrame(rows)
    if earlier is not None:
        case = ["dataset", "model", "dtype", "device"]
        again = pd.MultiIndex.from_frame(earlier[case]).isin(pd.MultiIndex.from_frame(table[case]))
        table = pd.concat([earlier[~again], table])
    write_table(table, output)


@click.command()
@click.option("--device", default=None, help="Torch device [default: cuda if available].")
@click.option("--model", "models", multiple=True, help="Measure only this model (repeatable).")
@click.option(
    "--dataset", "datasets", multiple=True, help="Measure only this data set (repeatable)."
)
@click.option(
    "--dtype",
    "dtypes",
    multiple=True,
    default=("float32", "bfloat16"),
    help="Measure only this dtype (repeatable).",
)
@click.option("--no-peers", is_flag=True, help="Measure only the bare model and the harness.")
@click.option(
    "--photographs", type=int, help="Number of photographs [default: fewer for slower models]."
)
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
def main(
    device: str | None,
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    dtypes: tuple[str, ...],
    no_peers: bool,
    photographs: int | None,
    output: Path,
) -> None:
    """Measure every case and write a row for each route; rows of other cases stay."""
    rows: list[dict[str, object]] = []
    earlier = pd.read_csv(output) if output.exists() else None
    datasets = datasets or (*DATASETS, VIDEOS)
    for model in models or MODELS:
        with tempfile.TemporaryDirectory() as place:
            count = photographs or MODELS[model]
            files = Files.written(Path(place), count, datasets)
            for dtype in dtypes:
                for dataset in datasets:
                    case = (dataset, model, dtype)
                    found = list(measure(*case, files, count, device, not no_peers))
                    click.echo(pd.DataFrame(found).iloc[:, :8].to_string(index=False))
                    rows += found
                    _write(rows, earlier, output)
    click.echo(output)


if __name__ == "__main__":
    main()

"""Measure the harness beside bare forward passes: `python -m benchmarks.speed.evaluation_speed`.

The bare model runs on normalised tensors that are already in memory; the harness reads, distorts,
normalises, predicts and commits the same number of frames, and so do its peers, on the same files.
All alternate in one process, and the ratio within each repetition is what counts: absolute speeds
drift with the machine. Every repetition measures another severity, so that five go through all 75
standard cells of ImageNet-C, or another perturbation.
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
from PIL import Image

from benchmarks.photographs import originals
from benchmarks.rows import device_name, write_table
from benchmarks.speed import peers
from data_prep.make_imagenet_c import main as make_imagenet_c
from data_prep.make_imagenet_p import main as make_imagenet_p
from robustbench_aa.datasets.imagenet import LIVE
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.distortions.severities import SEVERITIES
from robustbench_aa.evaluation.inference import AMP_DTYPES, CPU_PIXELS, Inference
from robustbench_aa.evaluation.session import Session, prepare
from robustbench_aa.suite import Suite
from robustbench_aa.types import Classifier

OUTPUT = Path("results/performance/evaluation_speed.csv")
BATCH_SIZE = 256
PHOTOGRAPHS = 96
MODELS = {
    "torchvision:mobilenet_v2@random": 24,
    "torchvision:resnet50@random": 16,
    "torchvision:resnet18@random": 24,
}
"""And how many photographs each is shown under every corruption."""
DATASETS = ("imagenet-c", "imagenet-c-live", "imagenet-p-live", "image-folder", "imagenet-shift")
VIDEOS = "imagenet-p"
CORRUPTIONS = [
    *dict.fromkeys(of.name for of in LIVE["imagenet-c-live"](224)[1:] if of.group != "extra")
]
PERTURBATIONS = ("gaussian_noise", "motion_blur", "snow", "tilt", "scale")
REPETITIONS = len(SEVERITIES)
Routes = dict[str, Callable[[], float]]


def write_photographs(folder: Path, count: int = PHOTOGRAPHS) -> None:
    """Crops of three photographs, each in a class of its own."""
    whole = originals()
    for place in range(count):
        left = 100 * place // count
        crop = whole[place % len(whole)][:375, left : left + 500]
        (folder / wnids()[place]).mkdir(parents=True)
        Image.fromarray(crop).save(folder / wnids()[place] / f"{place:03}.JPEG", quality=95)


def some(clean: Path, count: int, folder: Path) -> Path:
    """A folder of the first photographs."""
    for file in sorted(clean.glob("*/*.JPEG"))[:count]:
        there = folder / file.parent.name / file.name
        there.parent.mkdir(parents=True)
        there.hardlink_to(file)
    return folder


@dataclass(frozen=True)
class Files:
    """Where a model's pictures are: `clean`, `few` of them, their `stored` corruptions, videos."""

    clean: Path
    few: Path
    stored: Path
    by_severity: Path
    videos: Path

    @classmethod
    def written(cls, place: Path, count: int, datasets: Iterable[str]) -> Files:
        """Make what the data sets need in a folder; only a few photographs are corrupted."""
        of = cls(*(place / name for name in ("clean", "few", "stored", "severities", "videos")))
        write_photographs(of.clean, max(PHOTOGRAPHS, count))
        some(of.clean, count, of.few)
        if "imagenet-c" in datasets:
            of._write_corrupted()
        if VIDEOS in datasets:
            chosen = [word for name in PERTURBATIONS for word in ("--perturbation", name)]
            how = ["--source", str(of.few), "--to", str(of.videos), *chosen]
            make_imagenet_p.main(how, standalone_mode=False)
        return of

    def _write_corrupted(self) -> None:
        chosen = [word for name in CORRUPTIONS for word in ("--corruption", name)]
        how = ["--source", str(self.few), "--to", str(self.stored), *chosen]
        make_imagenet_c.main(how, standalone_mode=False)
        for severity in SEVERITIES:
            for name in CORRUPTIONS:
                link = self.by_severity / str(severity) / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(self.stored / name / str(severity))


def asked(dataset: str, model: str, files: Files, repetition: int, count: int) -> Suite:
    """What is evaluated in a repetition."""
    suite = Suite([model], [dataset], data_dir=str(files.clean))
    severities, perturbations = [SEVERITIES[repetition]], [PERTURBATIONS[repetition]]
    changes: dict[str, dict[str, Any]] = {
        "imagenet-c": {"data_dir": str(files.stored), "severities": severities},
        "imagenet-c-live": {
            "data_dir": str(files.few),
            "severities": severities,
            "corruptions": CORRUPTIONS,
        },
        "imagenet-p": {"data_dir": str(files.videos), "perturbations": perturbations},
        "imagenet-p-live": {"perturbations": perturbations, "limit": count // 2},
        "imagenet-shift": {"limit": count // 8},
    }
    return dataclasses.replace(suite, **changes.get(dataset, {}))


@torch.inference_mode()
def bare_seconds(setting: peers.Setting, frames: int) -> float:
    """The time of the forward passes alone."""
    size, device = setting.classifier.input_size, setting.device
    step = min(setting.batch_size, frames)
    batch = torch.randn(step, 3, size, size, device=device)
    start = time.perf_counter()
    with setting.precision():
        for done in range(0, frames, step):
            setting.classifier.module(batch[: min(step, frames - done)]).argmax(1).cpu()
    return time.perf_counter() - start


def harness_seconds(session: Session, inference: Inference) -> float:
    """The time of a whole evaluation into an empty directory."""
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
    """The other routes to what is measured."""
    severity = str(SEVERITIES[place])
    cells = [of.distortion for of in session.cells]
    if dataset == "imagenet-c":
        roots = [files.stored / name / severity for name in CORRUPTIONS]
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
    """A row a route: frames a second, and the median over repetitions of its share of bare."""
    amp_dtype = None if dtype == "float32" else dtype
    inference = Inference(BATCH_SIZE, amp_dtype)
    seconds: dict[str, list[float]] = {}
    frames, warm = 0, False
    for repetition in [0, *range(REPETITIONS)]:
        suite = asked(dataset, model, files, repetition, count)
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
            of = route()
            if warm:
                seconds.setdefault(name, []).append(of)
        warm = True
    for name, times in seconds.items():
        shares = [bare / of for bare, of in zip(seconds["bare"], times, strict=True)]
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
@click.option("--device", default=None, help="A GPU if there is one by default.")
@click.option("--model", "models", multiple=True, help="Only this; may be repeated.")
@click.option("--dataset", "datasets", multiple=True, help="Likewise.")
@click.option("--dtype", "dtypes", multiple=True, default=("float32", "bfloat16"))
@click.option("--no-peers", is_flag=True, help="Only the bare model and ours.")
@click.option("--photographs", type=int, help="How many; by default few for a slow model.")
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
    """Measure every case, write a row for each route, and keep the rows of other cases."""
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

"""Compare the harness with bare forward passes: `python -m benchmarks.speed.evaluation_speed`.

The bare model runs on normalised tensors in memory. The harness and its peers read, distort,
normalise and predict the same number of frames from the same files; the harness also commits them.
All alternate in one process, and the result is the ratio within each repetition, because absolute
speeds drift with the machine. Every repetition measures another severity, so that five repetitions
cover all 75 standard cells of ImageNet-C, or another perturbation. The bare model has the same
precision and memory format, and is compiled if the harness compiles it.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import click
import pandas as pd
import torch

from benchmarks.photographs import link, write_crops
from benchmarks.rows import device_name, write_table
from benchmarks.speed import peers
from benchmarks.timing import wait_for_gpu
from data_prep.make_imagenet_c import main as make_imagenet_c
from data_prep.make_imagenet_p import main as make_imagenet_p
from robustbench_aa.classifier import Classifier
from robustbench_aa.distortions.severities import SEVERITIES
from robustbench_aa.evaluation.inference import AMP_DTYPES, CPU_PIXELS, Inference, Predictor
from robustbench_aa.evaluation.session import Session, prepare
from robustbench_aa.models import load
from robustbench_aa.store.shards import Cell
from robustbench_aa.suite import Suite
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.process import full_float32, keep_freed_memory, restored
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
SETTINGS = {
    "float32": Inference(BATCH_SIZE),
    "bfloat16": Inference(BATCH_SIZE, "bfloat16"),
    "channels-last": Inference(BATCH_SIZE, "bfloat16", channels_last=True),
    "compiled": Inference(BATCH_SIZE, "bfloat16", channels_last=True, compiled=True),
}
"""Name → how frames go through the model; the last two add to the one before."""
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
    def written(cls, place: Path, count: int, datasets: Iterable[str], times: int) -> Files:
        """Write the files that the data sets and repetitions need.

        Only the first photographs are corrupted.
        """
        names = ("clean", "few", "stored", "severities", "videos")
        files = cls(*(place / name for name in names))
        write_crops(files.clean, max(PHOTOGRAPHS, count))
        link(sorted(files.clean.glob("*/*.JPEG"))[:count], files.few)
        if "imagenet-c" in datasets:
            files._write_corrupted(severities_of(times))
        if VIDEOS in datasets:
            chosen = [word for name in PERTURBATIONS[:times] for word in ("--perturbation", name)]
            arguments = ["--source", str(files.few), "--to", str(files.videos), *chosen]
            make_imagenet_p.main(arguments, standalone_mode=False)
        return files

    def _write_corrupted(self, severities: Sequence[int]) -> None:
        chosen = [word for name in COUNTED_CORRUPTIONS for word in ("--corruption", name)]
        chosen += [word for severity in severities for word in ("--severity", str(severity))]
        arguments = ["--source", str(self.few), "--to", str(self.stored), *chosen]
        make_imagenet_c.main(arguments, standalone_mode=False)
        for severity in severities:
            for name in COUNTED_CORRUPTIONS:
                folder = self.by_severity / str(severity) / name
                folder.parent.mkdir(parents=True, exist_ok=True)
                folder.symlink_to(self.stored / name / str(severity))


def severities_of(repetitions: int) -> list[int]:
    """Return the severity of each repetition, evenly spread."""
    return [SEVERITIES[len(SEVERITIES) * place // repetitions] for place in range(repetitions)]


def suite_of(dataset: str, classifier: Classifier, files: Files, count: int, times: int) -> Suite:
    """Return the suite of all repetitions together."""
    suite = Suite([classifier], [dataset], data_dir=str(files.clean))
    severities, perturbations = severities_of(times), PERTURBATIONS[:times]
    changes: dict[str, dict[str, Any]] = {
        "imagenet-c": {"data_dir": str(files.stored), "severities": severities},
        "imagenet-c-live": {
            "data_dir": str(files.few),
            "severities": severities,
            "corruptions": COUNTED_CORRUPTIONS,
        },
        "imagenet-p": {"data_dir": str(files.videos), "perturbations": perturbations},
        "imagenet-p-live": {"perturbations": perturbations, "limit": max(1, count // 2)},
        "imagenet-shift": {"limit": max(1, count // 8)},
    }
    return dataclasses.replace(suite, **changes.get(dataset, {}))


def part_of(session: Session, place: int, times: int) -> Session:
    """Return the part of a session that a repetition evaluates."""
    here = (severities_of(times)[place], PERTURBATIONS[place], None)

    def belongs(cell: Cell) -> bool:
        one = cell.distortion
        return {"corruption": one.severity, "perturbation": one.name}.get(one.kind) in here

    return dataclasses.replace(
        session,
        cells=[cell for cell in session.cells if belongs(cell)],
        work=[item for item in session.work if belongs(item.cell)],
    )


@torch.inference_mode()
def bare_seconds(setting: peers.Setting, bare: Classifier, layout: Any, frames: int) -> float:
    """Return the time of the forward passes alone.

    Args:
        setting: Device, batch size and precision.
        bare: The classifier whose module is measured.
        layout: Memory format of the frames.
        frames: Number of frames.
    """
    step = min(setting.batch_size, frames)
    size = (step, 3, bare.input_size, bare.input_size)
    batch = torch.randn(size, device=setting.device).contiguous(memory_format=layout)
    wait_for_gpu()
    start = time.perf_counter()
    with setting.precision(), full_float32():  # as the harness does
        for done in range(0, frames, step):
            bare.module(batch[: min(step, frames - done)]).argmax(1).cpu()
    return time.perf_counter() - start


def harness_seconds(session: Session, inference: Inference) -> float:
    """Return the time of a whole evaluation into an empty directory."""
    with tempfile.TemporaryDirectory() as folder:
        store = type(session.store)(Path(folder), session.store.manifest)
        # without cells, no example pictures are made for a page, which a run does once
        fresh = dataclasses.replace(session, store=store, cells=[])
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
    session: Session, name: str, files: Files, times: int, with_peers: bool
) -> Iterator[dict[str, object]]:
    """Yield a row for each route: frames per second, and its median share of the bare speed.

    Args:
        session: One model and one data set, for all repetitions.
        name: Name of the setting.
        files: Folders of the pictures.
        times: Number of repetitions, up to 5; one more comes first and is not counted.
        with_peers: Whether to measure the peers too.
    """
    inference = SETTINGS[name]
    [(model, classifier)] = session.classifiers.items()
    [dataset] = session.datasets
    setting = _setting(session, classifier, inference.amp_dtype)
    layout = torch.channels_last if inference.channels_last else torch.contiguous_format
    with restored(classifier.module):
        bare = Predictor(classifier, inference, session.device).classifier
        seconds: dict[str, list[float]] = {}
        frames = 0
        for repetition in [0, *range(times)]:
            part = part_of(session, repetition, times)
            frames = sum(item.passes for item in part.work)
            routes: Routes = {
                "bare": partial(bare_seconds, setting, bare, layout, frames),
                "robustbench_aa": partial(harness_seconds, part, inference),
            }
            if seconds and with_peers:
                routes |= peers_of(dataset, setting, files, part, repetition)
            for route, run in routes.items():
                seconds.setdefault(route, []).append(run())
    # the first round warms up
    counted = {route: found[len(found) - times :] for route, found in seconds.items()}
    for route, found in counted.items():
        shares = [bare / ours for bare, ours in zip(counted["bare"], found, strict=True)]
        yield {
            "dataset": dataset,
            "model": model,
            "setting": name,
            "route": route,
            "frames_per_second": frames / median(found),
            "share_of_bare": median(shares),
            "lowest": min(shares),
            "highest": max(shares),
            "frames": frames,
            "repetitions": times,
            "device": device_name(session.device),
            "threads": torch.get_num_threads(),
        }


def _setting(session: Session, classifier: Classifier, amp_dtype: str | None) -> peers.Setting:
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
        case = ["dataset", "model", "setting", "device"]
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
    "--setting",
    "settings",
    multiple=True,
    type=click.Choice(list(SETTINGS)),
    default=("float32", "bfloat16"),
    help="Measure this setting (repeatable) [default: float32 and bfloat16].",
)
@click.option("--no-peers", is_flag=True, help="Measure only the bare model and the harness.")
@click.option(
    "--photographs", type=int, help="Number of photographs [default: fewer for slower models]."
)
@click.option("--repetitions", default=5, show_default=True, type=click.IntRange(1, 5))
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
def main(
    device: str | None,
    models: tuple[str, ...],
    datasets: tuple[str, ...],
    settings: tuple[str, ...],
    no_peers: bool,
    photographs: int | None,
    repetitions: int,
    output: Path,
) -> None:
    """Measure every case and write a row for each route; rows of other cases stay."""
    keep_freed_memory()  # as the command line does
    rows: list[dict[str, object]] = []
    earlier = pd.read_csv(output) if output.exists() else None
    datasets = datasets or (*DATASETS, VIDEOS)
    device = choose_device(device)
    nowhere = Path(tempfile.gettempdir()) / "robustbench-aa-none"
    for model in models or MODELS:
        classifier = load(model)
        with tempfile.TemporaryDirectory() as place:
            count = photographs or MODELS[model]
            files = Files.written(Path(place), count, datasets, repetitions)
            suites = [suite_of(name, classifier, files, count, repetitions) for name in datasets]
            sessions = [prepare(suite, nowhere, device) for suite in suites]
            for setting, session in product(settings, sessions):
                found = list(measure(session, setting, files, repetitions, not no_peers))
                click.echo(pd.DataFrame(found).iloc[:, :8].to_string(index=False))
                rows += found
                _write(rows, earlier, output)
    click.echo(output)


if __name__ == "__main__":
    main()

"""What the harness costs beside the bare forward passes: `python -m benchmarks.evaluation_speed`.

The bare model runs on normalised tensors that are already in memory; the harness reads, distorts,
normalises, predicts and commits the same number of frames. The two alternate in one process, and
the ratio of each pair is what counts: absolute speeds drift with the machine.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from statistics import median

import click
import pandas as pd
import torch

from robustbench_aa.job import Job, prepare
from robustbench_aa.suite import Suite
from robustbench_aa.types import Classifier

OUTPUT = Path("results/performance/evaluation_speed.csv")
BATCH_SIZE = 256
REPETITIONS = 5
CASES = {"digits-c": 100, "digits-shift": 60}
"""Images of each data set: enough for a few seconds a repetition."""


@torch.inference_mode()
def bare_seconds(classifier: Classifier, frames: int, device: str) -> float:
    """The time of the forward passes alone."""
    size = classifier.input_size
    batch = torch.randn(BATCH_SIZE, 3, size, size, device=device)
    start = time.perf_counter()
    for done in range(0, frames, BATCH_SIZE):
        classifier.module(batch[: min(BATCH_SIZE, frames - done)])
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def harness_seconds(job: Job) -> float:
    """The time of a whole evaluation into an empty directory."""
    with tempfile.TemporaryDirectory() as folder:
        store = type(job.store)(Path(folder), job.store.manifest)
        fresh = dataclasses.replace(job, store=store)
        start = time.perf_counter()
        run = fresh.carry_out(BATCH_SIZE)
        seconds = time.perf_counter() - start
    if run.failures:
        raise click.ClickException(str(run.failures[0]))
    return seconds


@click.command()
@click.option("--model", "-m", default="digits:resnet@lpf3-seed0", show_default=True)
@click.option("--device", default=None, help="A GPU if there is one by default.")
def main(model: str, device: str | None) -> None:
    """Measures every case and writes one row for each."""
    rows = []
    for dataset, images in CASES.items():
        suite = Suite([model], [dataset], limit=images)
        job = prepare(suite, Path(tempfile.gettempdir()) / "robustbench-aa-none", device)
        (classifier,) = job.classifiers.values()
        frames = sum(item.passes for item in job.work)
        harness_seconds(job), bare_seconds(classifier, frames, job.device)  # warm-up
        pairs = [
            (bare_seconds(classifier, frames, job.device), harness_seconds(job))
            for _ in range(REPETITIONS)
        ]
        rows.append(
            {
                "dataset": dataset,
                "model": model,
                "device": torch.cuda.get_device_name() if "cuda" in job.device else "cpu",
                "threads": torch.get_num_threads(),
                "frames": frames,
                "bare_frames_per_second": frames / median(bare for bare, _ in pairs),
                "frames_per_second": frames / median(whole for _, whole in pairs),
                "share_of_bare": median(bare / whole for bare, whole in pairs),
            }
        )
    table = pd.DataFrame(rows)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUTPUT, index=False, float_format="%.3f")
    click.echo(table.to_string(index=False))
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()

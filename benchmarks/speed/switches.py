"""Measure the effect of inference options: `python -m benchmarks.speed.switches -m MODEL …`.

A model predicts the same photographs, clean and under the fifteen standard corruptions at one
severity: once without options and once with each option. All options except mixed precision should
leave every predicted class unchanged, up to ties. An embedded model (`-m
digits:resnet@baseline-seed0`) uses the embedded digits and needs no `--data-dir`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import pandas as pd

from benchmarks.rows import write_table
from robustbench_aa.cli.main import run_command
from robustbench_aa.evaluation.inference import Inference
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.suite import Suite
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS

OUTPUT = Path("results/performance/switches.csv")
PHOTOGRAPHS = ("image-folder", "imagenet-c-live")
DIGITS = ("digits", "digits-c")
PLAIN = "none"
SWITCHES: dict[str, tuple[Inference, int | None]] = {
    PLAIN: (Inference(), None),
    "--batch-size 7": (Inference(batch_size=7), None),
    "--threads 1 --workers 1": (Inference(threads=1), 1),
    "--channels-last": (Inference(channels_last=True), None),
    "--compile": (Inference(compiled=True), None),
    "--amp": (Inference(amp_dtype="bfloat16"), None),
}
"""Option → settings of the inference, and number of decoding threads."""


def predictions(suite: Suite, switch: str, device: str | None) -> pd.DataFrame:
    """Evaluate a suite and return a row for each frame: `label`, `top1`, `corrupted`."""
    inference, workers = SWITCHES[switch]
    with tempfile.TemporaryDirectory() as folder:
        session = prepare(suite, folder, device, workers=workers)
        run = session.run(inference)
        if run.failures:
            raise click.ClickException(str(run.failures[0]))
        (model,) = session.classifiers
        found = []
        for cell in session.cells:
            rows = session.store.read(model, cell, ["label", "top1"])
            assert rows is not None, cell
            found.append(rows.assign(corrupted=cell.distortion != CLEAN))
    return pd.concat(found, ignore_index=True)


def row(switch: str, found: pd.DataFrame, plain: pd.DataFrame) -> dict[str, object]:
    """Return a row: the share of unchanged classes, and the changes of the errors."""
    wrong = found["top1"] != found["label"]
    plain_wrong = plain["top1"] != plain["label"]
    error, plain_error = (
        column.groupby(plain["corrupted"]).mean() for column in (wrong, plain_wrong)
    )
    return {
        "switch": switch,
        "frames": len(found),
        "same_top1": (found["top1"] == plain["top1"]).mean(),
        "clean_error": error[False],
        "clean_error_moved": error[False] - plain_error[False],
        "error": error[True],
        "error_moved": error[True] - plain_error[True],
    }


@click.command()
@click.option("--model", "-m", default="torchvision:mobilenet_v2@IMAGENET1K_V1", show_default=True)
@click.option("--data-dir", help="Folder of clean photographs in class folders.")
@click.option("--limit", default=200, show_default=True, help="Number of photographs.")
@click.option("--severity", default=3, show_default=True)
@click.option("--device", default=None, help="Torch device [default: cuda if available].")
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
def main(
    model: str, data_dir: str | None, limit: int, severity: int, device: str | None, output: Path
) -> None:
    """Evaluate with each option, and write a row for it."""
    clean_set, corrupted_set = DIGITS if model.startswith("digits:") else PHOTOGRAPHS
    corrupted = Suite(
        [model],
        [corrupted_set],
        data_dir=data_dir,
        limit=limit,
        corruptions=COUNTED_CORRUPTIONS,
        severities=[severity],
    )
    clean = Suite([model], [clean_set], data_dir=data_dir, limit=limit)
    rows = []
    plain = pd.DataFrame()
    for switch in SWITCHES:
        parts = [predictions(suite, switch, device) for suite in (clean, corrupted)]
        found = pd.concat(parts, ignore_index=True)
        plain = found if switch == PLAIN else plain
        rows.append(row(switch, found, plain))
        click.echo(rows[-1])
        write_table(pd.DataFrame(rows), output, digits=4)
    click.echo(output)


if __name__ == "__main__":
    run_command(main)

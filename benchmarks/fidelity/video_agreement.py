"""Compare the flips of a model along live sequences with those along videos of the same sequences.

`python -m benchmarks.fidelity.video_agreement RUN_LIVE RUN_VIDEOS` takes two runs of one model on
the same photographs, the first on `imagenet-p-live`, the second on `imagenet-p` with the videos
that `python -m data_prep.make_imagenet_p` wrote. Differences are paired over the photographs.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks.fidelity.outcomes import outcomes
from benchmarks.rows import publish

OUTPUT = Path("results/fidelity/videos.csv")
RESAMPLES = 10_000


def flips_by_perturbation(run: Path) -> dict[str, np.ndarray]:
    """Return how often the first model of a run flips along each sequence, by perturbation."""
    found = outcomes(run, "perturbation").flips
    return {cell.name: flips for cell, flips in found.items() if not np.isnan(flips).any()}


def paired_interval(difference: np.ndarray) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of the mean of paired differences [N]."""
    random = np.random.default_rng(0)
    means = difference[random.integers(len(difference), size=(RESAMPLES, len(difference)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def row(name: str, live: np.ndarray, video: np.ndarray) -> dict[str, object]:
    """Return a row of the table: both flip probabilities and their paired difference."""
    low, high = paired_interval(video - live)
    return {
        "perturbation": name,
        "sequences": len(live),
        "live": live.mean(),
        "video": video.mean(),
        "difference": (video - live).mean(),
        "low": low,
        "high": high,
    }


@click.command()
@click.argument("live_run", type=click.Path(path_type=Path))
@click.argument("video_run", type=click.Path(path_type=Path))
def main(live_run: Path, video_run: Path) -> None:
    """Compare two runs perturbation by perturbation, and write a row for each."""
    live, video = flips_by_perturbation(live_run), flips_by_perturbation(video_run)
    names = [name for name in live if name in video]
    if not names or any(len(live[name]) != len(video[name]) for name in names):
        raise click.UsageError(f"{live_run} and {video_run} have no sequences in common")
    rows = [row(name, live[name], video[name]) for name in names]
    means = (np.mean([flips[name] for name in names], axis=0) for flips in (live, video))
    table = pd.DataFrame([*rows, row("mean", *means)])
    publish(table, OUTPUT, digits=4)


if __name__ == "__main__":
    main()

"""The command `stability`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_aa.cli.options import console, say


@click.command()
@click.argument("video", type=click.Path(path_type=Path))
@click.option(
    "--model", "-m", "models", multiple=True, required=True, help="Model to measure (repeatable)."
)
@click.option("--limit", default=1000, show_default=True, help="Measure at most this many frames.")
@click.option("--every", default=1, show_default=True, help="Measure every N-th frame only.")
@click.option("--batch-size", "-b", default=256, show_default=True, help="Crops per forward pass.")
@click.option("--device", help="Torch device; a GPU by default, if there is one.")
@click.option(
    *("--output-dir", "-o"),
    type=click.Path(path_type=Path),
    required=True,
    help="Directory of the tables and the plot.",
)
def stability(video: Path, models: tuple[str, ...], output_dir: Path, **options: Any) -> None:
    """Measure how stable predictions are along a VIDEO.

    No labels are needed. Every frame is predicted as it is and shifted by one pixel in four
    directions. The extra video is needed.
    """
    from robustbench_aa.report.terminal import render_table
    from robustbench_aa.stability import measure_stability

    found = measure_stability(models, video, **options)
    console().print(render_table(found.summary, str(video), ("model",)))
    if found.cut:
        say(f"{video} has more frames; these are the first {options['limit']} of those chosen")
    for path in found.write(output_dir):
        click.echo(path)

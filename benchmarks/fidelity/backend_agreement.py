"""Compare the errors under our corruptions with those under the imagecorruptions package's.

`python -m benchmarks.fidelity.backend_agreement RUN_TORCH RUN_PACKAGE` takes two runs of one model
on the same photographs, the second with `--corruption-backend imagecorruptions`. The two backends
draw different noise, so errors also differ by sampling. Differences are paired over the
photographs, both for a cell and for a corruption, whose severities share the photographs.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks.fidelity.outcomes import outcomes
from benchmarks.rows import write_table

OUTPUT = Path("results/fidelity/backends.csv")


def wrong_by_cell(run: Path) -> dict[tuple[str, int], np.ndarray]:
    """Return which images the first model of a run gets wrong, by corruption and severity."""
    found = outcomes(run, "corruption").wrong
    lost = [str(cell) for cell, wrong in found.items() if np.isnan(wrong).any()]
    if lost:
        raise click.UsageError(f"{run} lacks {lost[0]}; complete the run first")
    return {(cell.name, cell.severity or 0): wrong for cell, wrong in found.items()}


def paired(difference: np.ndarray) -> tuple[float, float]:
    """Return the mean of paired differences and its standard error."""
    return float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)


@click.command()
@click.argument("torch_run", type=click.Path(path_type=Path))
@click.argument("package_run", type=click.Path(path_type=Path))
def main(torch_run: Path, package_run: Path) -> None:
    """Compare two runs cell by cell, and write a row for each."""
    ours, theirs = wrong_by_cell(torch_run), wrong_by_cell(package_run)
    rows = []
    for corruption, severity in ours:
        key = corruption, severity
        difference, error = paired(ours[key] - theirs[key])
        rows.append(
            {
                "corruption": corruption,
                "severity": severity,
                "images": len(ours[key]),
                "error_torch": ours[key].mean(),
                "error_package": theirs[key].mean(),
                "difference": difference,
                "standard_error": error,
            }
        )
    table = pd.DataFrame(rows)
    write_table(table, OUTPUT, digits=4)
    corrupted = table[table["severity"] > 0]
    for name in dict.fromkeys(corrupted["corruption"]):
        keys = [key for key in ours if key[0] == name]
        mean, error = paired(np.mean([ours[key] - theirs[key] for key in keys], axis=0))
        click.echo(f"{name:<20}{100 * mean:+6.1f} ± {100 * error:.1f} points")
    for title, part in (
        ("all cells", corrupted),
        ("without elastic_transform", corrupted[corrupted.corruption != "elastic_transform"]),
    ):
        moved = part[part["standard_error"] > 0]
        square = ((moved["difference"] / moved["standard_error"]) ** 2).mean()
        click.echo(
            f"{title}: mean |difference| {100 * part['difference'].abs().mean():.2f} points, "
            f"mean difference {100 * part['difference'].mean():+.2f}, "
            f"mean squared z {square:.2f} (1 if sampling explains all)"
        )
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()

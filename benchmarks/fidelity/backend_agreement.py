"""Whether the torch corruptions cost a model what the package's do.

`python -m benchmarks.fidelity.backend_agreement RUN_TORCH RUN_PACKAGE` takes two runs of one model
on the same photographs, the second with `--corruption-backend imagecorruptions`. Their noise is
drawn again, so errors differ by sampling. The difference of a cell is paired over the photographs,
and so is that of a corruption, whose severities share them.
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pandas as pd

from robustbench_aa.store.shards import Store

OUTPUT = Path("results/fidelity/backends.csv")


def wrong_by_cell(run: Path) -> dict[tuple[str, int], np.ndarray]:
    """Which images the first model of a run got wrong, by corruption and severity."""
    store = Store.of_run(run)
    model = next(iter(store.manifest.models))
    found = {}
    for cell in store.cells("imagenet-c-live"):
        rows = store.read(model, cell, ["image", "label", "top1"])
        if rows is None:
            raise click.UsageError(f"{run} lacks {cell.distortion}; finish it first")
        rows = rows.sort_values("image")
        of = cell.distortion
        found[of.name, of.severity or 0] = (rows["top1"] != rows["label"]).to_numpy(float)
    return found


def paired(difference: np.ndarray) -> tuple[float, float]:
    """The mean of paired differences and its standard error."""
    return float(difference.mean()), float(difference.std(ddof=1) / len(difference) ** 0.5)


@click.command()
@click.argument("torch_run", type=click.Path(path_type=Path))
@click.argument("package_run", type=click.Path(path_type=Path))
def main(torch_run: Path, package_run: Path) -> None:
    """Compares two runs cell by cell and writes a row for each."""
    ours, theirs = wrong_by_cell(torch_run), wrong_by_cell(package_run)
    rows = []
    for corruption, severity in ours:
        key = corruption, severity
        difference, error = paired(ours[key] - theirs[key])
        told = {"corruption": corruption, "severity": severity, "images": len(ours[key])}
        errors = {"error_torch": ours[key].mean(), "error_package": theirs[key].mean()}
        rows.append(told | errors | {"difference": difference, "standard_error": error})
    table = pd.DataFrame(rows)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(OUTPUT, index=False, float_format="%.4f")
    corrupted = table[table["severity"] > 0]
    for name in dict.fromkeys(corrupted["corruption"]):
        of = [key for key in ours if key[0] == name]
        mean, error = paired(np.mean([ours[key] - theirs[key] for key in of], axis=0))
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
            f"mean squared z {square:.2f} (1 if sampling is all)"
        )
    click.echo(OUTPUT)


if __name__ == "__main__":
    main()

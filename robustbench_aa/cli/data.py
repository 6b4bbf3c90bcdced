"""The commands `datasets`, `verify` and `preview`."""

from __future__ import annotations

from pathlib import Path

import click

from robustbench_aa.cli.options import console
from robustbench_aa.errors import one_line


@click.command()
def datasets() -> None:
    """Lists the data sets that can be named."""
    from robustbench_aa.datasets import DATASETS, open_dataset
    from robustbench_aa.types import kind

    for name in DATASETS:
        if not name.startswith("digits"):
            click.echo(f"{name:<16}files in --data-dir")
            continue
        of = open_dataset(name)
        measures, count = kind(of.distortions), len(of.distortions)
        click.echo(f"{name:<16}{of.images:>7} images of {of.size} px  {measures}, {count} cells")


@click.command()
@click.option("--dataset", "-d", required=True, help="One that is files.")
@click.option("--data-dir", required=True, help="Where they are.")
@click.option("--sample", type=int, help="Decode this many pictures of each cell; all by default.")
def verify(dataset: str, data_dir: str, sample: int | None) -> int:
    """Tells whether a data set is complete and can be read."""
    from rich.progress import Progress

    from robustbench_aa.datasets.verify import verify as verify_files
    from robustbench_aa.report.terminal import plain_table

    display = console(stderr=True)
    with Progress(console=display, disable=not display.is_terminal) as bar:
        table, problems = verify_files(
            dataset, Path(data_dir), sample, lambda cells: bar.track(cells, description="")
        )
    console().print(plain_table(table, f"{dataset} in {data_dir}"))
    for problem in problems:
        click.echo(f"wrong: {one_line(problem)}")
    if not problems:
        click.echo("nothing is wrong")
    return 1 if problems else 0


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--output", "-o", default="preview.png", show_default=True, type=Path)
@click.option("--seed", default=0, show_default=True, help="Of the corruptions' randomness.")
def preview(image: Path, output: Path, seed: int) -> None:
    """Draws a contact sheet: IMAGE under every corruption at every severity."""
    from robustbench_aa.preview import write_contact_sheet

    write_contact_sheet(image, output, seed)
    click.echo(output)

"""The commands `models`, `antialias` and `features`."""

from __future__ import annotations

import fnmatch
from pathlib import Path
from typing import Any

import click

from robustbench_aa.cli.options import console
from robustbench_aa.errors import UnknownName, UsageError


@click.command()
@click.argument("pattern", default="*")
def models(pattern: str) -> None:
    """Lists the models that can be named, or those that match a PATTERN: 'torchvision:resnet*'."""
    from robustbench_aa.models import SOURCES, known_models

    known = [name for source in SOURCES for name in known_models(source)]
    matching = fnmatch.filter(known, pattern)
    if not matching:
        raise UnknownName("model", pattern, known)
    click.echo("\n".join(matching))


@click.command()
@click.argument("model")
@click.option("--filter-size", default=4, show_default=True, help="Of every blur, 1 to 7.")
@click.option("--first-conv", is_flag=True, help="Convert a first strided convolution too.")
@click.option("--max-pool-kernel", type=int, help="A new kernel size; 2 in published ResNets.")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path))
def antialias(model: str, output: Path, **how: Any) -> None:
    """Writes the weights of MODEL in its anti-aliased form, and says what was replaced."""
    from robustbench_aa.antialiasing import antialias, replacements
    from robustbench_aa.models import load
    from robustbench_aa.models.checkpoint import write_converted

    try:
        smooth = antialias(load(model), **how)
    except ValueError as error:
        raise UsageError(str(error)) from error
    write_converted(smooth.module, output, how)
    for replacement in replacements(smooth.module):
        click.echo(replacement)
    click.echo(output)


@click.command()
@click.option("--model", "-m", "models", multiple=True, required=True, help="May be repeated.")
@click.option("--dataset", "-d", required=True, help="Whose clean images are shifted.")
@click.option("--data-dir", help="Of a data set that is files.")
@click.option("--layers", multiple=True, help="Modules, or patterns of their names; all stages.")
@click.option("--max-shift", type=int, help="The largest offset; 31 px by default.")
@click.option("--limit", default=8, show_default=True, help="At most this many images.")
@click.option("--batch-size", "-b", default=256, show_default=True, help="Images a forward pass.")
@click.option("--device", help="A torch device; a GPU if there is one by default.")
@click.option("--output-dir", "-o", required=True, help="A folder, or its URL.")
def features(models: tuple[str, ...], dataset: str, output_dir: str, **how: Any) -> None:
    """Shows where MODELs lose shift-equivariance: internal feature distance, layer by layer."""
    from robustbench_aa.datasets import Request
    from robustbench_aa.features import measure_features, write_features
    from robustbench_aa.store.storage import on_disk, open_directory
    from robustbench_aa.support.progress import progress

    folder = open_directory(output_dir)
    request = Request(limit=how.pop("limit"), data_dir=how.pop("data_dir"))
    display = console(stderr=True)
    maps = measure_features(
        models, dataset, request, show=lambda total: progress(total, display, "images"), **how
    )
    with on_disk(folder) as here:
        written = write_features(maps, here)
    for path in written:
        click.echo(folder / path.relative_to(here))

"""The commands `models`, `antialias` and `features`."""

from __future__ import annotations

import fnmatch
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from robustbench_aa.cli.options import console
from robustbench_aa.errors import UnknownName, UsageError


@click.command()
@click.argument("pattern", default="*")
def models(pattern: str) -> None:
    """List the models, or those that match a PATTERN.

    An example of a PATTERN is 'torchvision:resnet*'. A conversion may follow every name, such as
    '+lpf4' or '+aps-circular'.
    """
    from robustbench_aa.models import SOURCES, known_models
    from robustbench_aa.support.optional import extra

    known = [name for source in SOURCES for name in known_models(source)]
    matching = fnmatch.filter(known, pattern)
    for source, package in {"timm": "timm", "open-clip": "open_clip"}.items():
        if fnmatch.fnmatch(f"{source}:", pattern) and not find_spec(package):
            if not matching:
                extra(package, source)
            click.echo(
                f"models of {source} are not listed; pip install 'robustbench-aa[{source}]'",
                err=True,
            )
    if not matching:
        raise UnknownName("model", pattern, known)
    click.echo("\n".join(matching))


@click.command()
@click.argument("model")
@click.option(
    "--method",
    type=click.Choice(["blur", "aps", "lps", "flc", "asap", "ddac"]),
    default="blur",
    show_default=True,
    help="Method of downsampling.",
)
@click.option(
    "--filter-size",
    type=int,
    help="Filter size; 4 for blur, 3 for ddac, and no filter for the others by default.",
)
@click.option(
    "--first-conv/--no-first-conv",
    default=None,
    help="Also convert a first strided convolution; by default only for aps and lps.",
)
@click.option(
    "--padding-mode",
    type=click.Choice(["reflect", "replicate", "zero", "circular"]),
    default="reflect",
    show_default=True,
    help="Padding of the filters; circular makes every padding of the network circular.",
)
@click.option(
    "--max-pool-kernel",
    type=int,
    help="Kernel size for max-pools, such as 2 in published ResNets; their own by default.",
)
@click.option(
    *("--output", "-o"),
    required=True,
    type=click.Path(path_type=Path),
    help="File to write, .safetensors.",
)
def antialias(model: str, output: Path, **options: Any) -> None:
    """Write the weights of a MODEL in its anti-aliased form.

    The replaced layers are listed. The weights stay the same, so most conversions cost
    accuracy until the model is fine-tuned.
    """
    from robustbench_aa.antialiasing import antialias, replacements
    from robustbench_aa.models import load
    from robustbench_aa.models.checkpoint import write_converted

    try:
        smooth = antialias(load(model), **options)
    except ValueError as error:
        raise UsageError(str(error)) from error
    write_converted(smooth.module, output)
    for replacement in replacements(smooth.module):
        click.echo(replacement)
    click.echo(
        f"{smooth.name} has the weights of {model}: most conversions cost accuracy until the "
        "model is fine-tuned"
    )
    click.echo(output)


@click.command()
@click.option(
    "--model", "-m", "models", multiple=True, required=True, help="Model to measure (repeatable)."
)
@click.option("--dataset", "-d", required=True, help="Data set whose clean images are shifted.")
@click.option("--data-dir", help="Folder of the data set's files.")
@click.option(
    "--layers",
    multiple=True,
    help="Layer to measure, by name or pattern (repeatable); all stages by default.",
)
@click.option("--max-shift", type=int, help="Largest offset in pixels; 31 by default.")
@click.option("--limit", default=8, show_default=True, help="Measure at most this many images.")
@click.option("--batch-size", "-b", default=256, show_default=True, help="Images per forward pass.")
@click.option("--device", help="Torch device; a GPU by default, if there is one.")
@click.option("--output-dir", "-o", required=True, help="Directory or URL of the output.")
def features(models: tuple[str, ...], dataset: str, output_dir: str, **options: Any) -> None:
    """Measure where in a network shift-equivariance is lost.

    The metric is the internal feature distance of each layer under circular shifts.
    """
    from robustbench_aa.datasets import Request
    from robustbench_aa.features import measure_features, write_features
    from robustbench_aa.store.feature_maps import features_folder
    from robustbench_aa.store.storage import exists
    from robustbench_aa.support.progress import progress

    folder = features_folder(output_dir)
    if exists(folder) and not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; choose another --output-dir")
    request = Request(limit=options.pop("limit"), data_dir=options.pop("data_dir"))
    display = console(stderr=True)
    maps = measure_features(
        models, dataset, request, show=lambda total: progress(total, display, "images"), **options
    )
    for path in write_features(maps, folder):
        click.echo(path)

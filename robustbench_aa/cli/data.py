"""The commands `datasets`, `download`, `make`, `verify` and `preview`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from robustbench_aa.cli.options import console
from robustbench_aa.errors import UsageError, one_line


@click.command()
def datasets() -> None:
    """List the data sets."""
    from rich.table import Table

    from robustbench_aa.datasets import DATASETS, open_dataset
    from robustbench_aa.types import kind

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    for name, entry in DATASETS.items():
        if entry.embedded:
            dataset = open_dataset(name)
            place = f"{dataset.images} images of {dataset.size} px"
            summary = f"{kind(dataset.distortions)}, {len(dataset.distortions)} cells"
        else:
            place, summary = f"{entry.form} in --data-dir or {entry.variable}", entry.summary
        table.add_row(name, place, summary)
    console().print(table)


@click.command()
@click.argument("dataset")
@click.option(
    "--family", "families", multiple=True, help="Download only this archive (repeatable)."
)
@click.option(
    *("--output-dir", "--to", "to"),
    type=click.Path(path_type=Path),
    help="Folder to fill; by default the folder in the data set's environment variable, or "
    "data/DATASET.",
)
def download(dataset: str, families: tuple[str, ...], to: Path | None) -> None:
    """Download a DATASET and unpack it, or download a list of images.

    A list is robustbench-5k. For a data set that is not public, the command says where to request
    it. The same command resumes an interrupted download and skips archives that are unpacked.
    """
    from robustbench_aa.datasets.archives import default_folder, download_dataset

    to = to or default_folder(dataset)
    for family in download_dataset(dataset, to, families):
        click.echo(f"{dataset} {family} is in {to}")


@click.group()
def make() -> None:
    """Make ImageNet-C or ImageNet-P from photographs."""


_source = click.option(
    "--source",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of clean photographs, in class folders.",
)
_to = click.option(
    *("--output-dir", "--to", "to"),
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to fill.",
)
_device = click.option("--device", help="Torch device; a GPU by default, if there is one.")


@make.command("imagenet-c")
@_source
@_to
@click.option(
    *("--corruption", "corruptions"),
    multiple=True,
    help="Make only this corruption (repeatable).",
)
@click.option(
    *("--severity", "severities"),
    multiple=True,
    type=int,
    help="Make only this severity, 1 to 5 (repeatable).",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the corruptions' randomness.")
@click.option("--batch-size", "-b", default=64, show_default=True, help="Images per batch.")
@_device
def make_imagenet_c(to: Path, **options: Any) -> None:
    """Corrupt photographs and write them in the layout of ImageNet-C.

    The files are CORRUPTION/SEVERITY/CLASS/PICTURE, JPEG of 224 px and quality 85. The same command
    writes the files that are missing.
    """
    from robustbench_aa.datasets import make_imagenet_c as maker

    written, cells = maker.make_imagenet_c(to=to, **options)
    click.echo(f"{written:,} pictures written, {cells} cells are in {to}")


@make.command("imagenet-p")
@_source
@_to
@click.option(
    *("--perturbation", "perturbations"),
    multiple=True,
    help="Make only this perturbation (repeatable).",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the perturbations' randomness.")
@click.option("--limit", type=int, help="Use at most this many photographs, evenly spread.")
@_device
def make_imagenet_p(to: Path, **options: Any) -> None:
    """Perturb photographs and write them in the layout of ImageNet-P.

    The files are PERTURBATION/CLASS/PICTURE.mp4, H.264 like the released ones. The same command
    writes the files that are missing. It needs the extra `video`.
    """
    from robustbench_aa.datasets import make_imagenet_p as maker

    written, cells = maker.make_imagenet_p(to=to, **options)
    click.echo(f"{written:,} sequences written, {cells} perturbations are in {to}")


@click.command()
@click.argument(
    "submission", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--dataset", "-d", help="Data set whose files are checked.")
@click.option("--data-dir", help="Folder of its files.")
@click.option("--sample", type=int, help="Decode this many images of each cell; all by default.")
@click.option(
    "--deep", metavar="RUN", help="Compare all images with those that a run was made from."
)
@click.option("--images", metavar="FILE", help="List of the images that the run measured.")
@click.option(
    *("--model", "-m", "models"),
    multiple=True,
    help="Model of the SUBMISSION to evaluate again on a random shard (repeatable).",
)
@click.option(
    "--seed",
    type=int,
    help="Seed of the choice of a shard; random by default.",
)
@click.option("--device", help="Torch device of the evaluation; a GPU by default, if there is one.")
def verify(
    submission: Path | None,
    dataset: str | None,
    data_dir: str | None,
    sample: int | None,
    deep: str | None,
    images: str | None,
    **options: Any,
) -> int:
    """Check the files of a data set, or a SUBMISSION.

    The leaderboard of a submission is computed again from its predictions. With --model, a random
    shard is evaluated again and compared; --dataset, --data-dir and --images are then of its data.
    """
    if submission is not None:
        if (sample, deep) != (None, None):
            raise UsageError("--sample and --deep are for data sets; leave them out")
        options |= {"dataset": dataset, "data_dir": data_dir, "images": images}
        return _verify_submission(submission, **options)
    if dataset is None or data_dir is None:
        raise UsageError("verify needs a SUBMISSION, or --dataset and --data-dir")
    for name, value in options.items():
        if value not in (None, ()):
            raise UsageError(f"--{name.removesuffix('s')} is for a SUBMISSION; leave it out")
    return _verify_dataset(dataset, data_dir, sample, deep, images)


def _verify_submission(
    file: Path,
    *,
    models: tuple[str, ...],
    dataset: str | None,
    data_dir: str | None,
    images: str | None,
    **options: Any,
) -> int:
    """Check a submission, print the result and return the exit status."""
    from robustbench_aa.evaluation.spot_check import spot_check
    from robustbench_aa.export.submission import checked_submission
    from robustbench_aa.report.terminal import render_table

    if not models and (dataset or data_dir or images):
        raise UsageError(
            "--dataset, --data-dir and --images are for an evaluation; name a --model as well"
        )
    with checked_submission(file) as checked:
        problems = [*checked.problems]
        click.echo(f"{file}: {checked.files} files checked, the leaderboard was computed again")
        if models and checked.run is not None and not problems:
            place = checked.run.directory
            table, found = spot_check(place, models, dataset, data_dir, images, **options)
            problems += [problem.replace(f"{place}/", "") for problem in found]
            console().print(render_table(table, "evaluated again"))
        elif models:
            click.echo("nothing was evaluated again, because of the problems below")
        else:
            click.echo("nothing was evaluated again; name a model of it by --model")
    return _print_problems(problems)


def _print_problems(problems: list[str]) -> int:
    for problem in problems:
        click.echo(f"problem: {one_line(problem)}")
    if not problems:
        click.echo("no problems found")
    return 1 if problems else 0


def _verify_dataset(
    dataset: str, data_dir: str, sample: int | None, deep: str | None, images: str | None
) -> int:
    """Check the files of a data set, print the result and return the exit status."""
    from rich.progress import Progress

    from robustbench_aa.datasets import verify_dataset
    from robustbench_aa.evaluation.sources import compare_sources
    from robustbench_aa.report.terminal import render_table

    if deep is not None and sample is not None:
        raise UsageError("--deep reads all pictures; leave out --sample")
    if images is not None and deep is None:
        raise UsageError("--images names the images of a run; give the run by --deep")
    display = console(stderr=True)
    with Progress(console=display, disable=not display.is_terminal) as bar:
        if deep is None:
            table, problems = verify_dataset(
                dataset, Path(data_dir), sample, lambda cells: bar.track(cells, description="")
            )
        else:
            table, problems = compare_sources(
                deep, dataset, data_dir, lambda cells: bar.track(cells, description=""), images
            )
    console().print(render_table(table, f"{dataset} in {data_dir}"))
    return _print_problems(problems)


@click.command()
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    *("--output", "-o"),
    default="preview.png",
    show_default=True,
    type=Path,
    help="Image file to write.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of the corruptions' randomness.")
def preview(image: Path, output: Path, seed: int) -> None:
    """Draw an IMAGE under every corruption at every severity."""
    from robustbench_aa.preview import write_contact_sheet

    write_contact_sheet(image, output, seed)
    click.echo(output)

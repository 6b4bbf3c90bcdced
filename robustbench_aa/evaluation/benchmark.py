"""A benchmark in one call of Python: evaluate models on data sets and write the report."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import Openable
from robustbench_aa.errors import UsageError
from robustbench_aa.evaluation.inference import Inference
from robustbench_aa.evaluation.session import PLAIN, prepare
from robustbench_aa.models.plain_module import as_classifier
from robustbench_aa.run import Run
from robustbench_aa.suite import Selection, Suite
from robustbench_aa.support.checks import as_list
from robustbench_aa.support.progress import progress_in_python


def benchmark(
    models: Sequence[str | Classifier | nn.Module] | Suite,
    datasets: Sequence[str | Selection | Openable] = (),
    output_dir: str | os.PathLike[str] | None = None,
    *,
    baseline: str | Classifier | None = None,
    seed: int = 0,
    limit: int | None = None,
    images: str | os.PathLike[str] | None = None,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = (),
    perturbations: Sequence[str] = (),
    protocols: Sequence[str] = (),
    data_dir: str | os.PathLike[str] | None = None,
    inference: Inference = PLAIN,
    workers: int | None = None,
    device: str | None = None,
    engine: str = "local",
    progress: bool | None = None,
) -> Run:
    """Evaluate models on data sets and write the report; the same call again resumes.

    The models' modules (mode, device, memory format) and torch's settings are afterwards as they
    were before.

    >>> import tempfile
    >>> import robustbench_aa as rb
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = rb.benchmark(["digits:resnet@lpf3-seed0"], ["digits"], folder, limit=40)
    ...     print(run.leaderboard().loc[0, ["model", "clean_error", "images"]].to_string())
    model          digits:resnet@lpf3-seed0
    clean_error                         0.0
    images                               40

    Args:
        models: Specifications such as `digits:resnet@lpf3`, classifiers, or modules with a
            `default_cfg`, like timm's. A suite takes the place of models, data sets and all
            arguments up to `data_dir`.
        datasets: Names of data sets, data sets as objects, or selections of their distortions
            and images.
        output_dir: Directory of the run, or its URL in an object storage. None means
            `runs/<name of the suite>`.
        baseline: The model that CE is relative to, or its name.
        seed: Seed of the distortions.
        limit: Evaluate at most this many images of each data set.
        images: File that lists the images to evaluate, as `class/name` on each line.
        corruptions: Evaluate only these corruptions.
        severities: Evaluate only these severities, 1 to 5.
        perturbations: Evaluate only these perturbations.
        protocols: Evaluate only these shift protocols.
        data_dir: Folder of data sets that are files. None means their environment variables.
        inference: How frames go through the models: batch size, mixed precision, compilation.
        workers: Number of threads that decode pictures. None means one for each core.
        device: A torch device. None means a GPU if there is one, otherwise the CPU.
        engine: Where the evaluation runs, `local` or `ray`.
        progress: Whether to show the progress on standard error. None means on a terminal and in
            a notebook.

    Returns:
        The run. If some cells failed, `failures` has them, and a `RuntimeWarning` says so.

    Raises:
        UsageError: The request cannot be met; no prediction has been written.
    """
    values = {
        "baseline": baseline.name if isinstance(baseline, Classifier) else baseline,
        "seed": seed,
        "limit": limit,
        "images": None if images is None else os.fspath(images),
        "corruptions": corruptions,
        "severities": severities,
        "perturbations": perturbations,
        "protocols": protocols,
        "data_dir": None if data_dir is None else os.fspath(data_dir),
    }
    suite = models if isinstance(models, Suite) else _suite(models, datasets, values)
    if suite is models and (datasets or any(values.values())):
        given = [name for name, value in {"datasets": datasets, **values}.items() if value]
        raise UsageError(f"{' and '.join(given)} of a suite are given in the suite; leave them out")
    if output_dir is None:
        if suite.name is None:
            raise UsageError("a run needs a folder; give output_dir")
        output_dir = f"runs/{suite.name}"
    session = prepare(suite, output_dir, device, workers=workers)
    with progress_in_python(sum(item.passes for item in session.work), progress) as advance:
        run = session.run(inference, engine, advance)
    run.report()
    if run.failures:
        text = f"{len(run.failures)} cells failed, see Run.failures; the first: {run.failures[0]}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return run


def _suite(
    models: Sequence[str | Classifier | nn.Module],
    datasets: Sequence[str | Selection | Openable],
    values: Mapping[str, Any],
) -> Suite:
    """Return a suite of models that have been checked."""
    listed = [
        model if isinstance(model, str) else as_classifier(model)
        for model in as_list("models", models, nn.Module)
    ]
    return Suite(listed, as_list("datasets", datasets), **values)

"""A benchmark in one call of Python: evaluate models on data sets and write the report."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

from torch import nn

from robustbench_aa.datasets import Openable
from robustbench_aa.evaluation.inference import Inference
from robustbench_aa.evaluation.session import PLAIN, prepare
from robustbench_aa.models.plain_module import as_classifier
from robustbench_aa.run import Run
from robustbench_aa.suite import Selection, Suite
from robustbench_aa.support.checks import as_list
from robustbench_aa.support.progress import progress_in_python
from robustbench_aa.types import Classifier


def benchmark(
    models: Sequence[str | Classifier | nn.Module],
    datasets: Sequence[str | Selection | Openable],
    output_dir: str | os.PathLike[str],
    *,
    baseline: str | Classifier | None = None,
    seed: int = 0,
    limit: int | None = None,
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
            `default_cfg`, as those of timm.
        datasets: Names of data sets, data sets as objects, or selections of their distortions
            and images.
        output_dir: Directory of the run, or its URL in an object storage.
        baseline: The model that CE is relative to, or its name.
        seed: Seed of the distortions.
        limit: Evaluate at most this many images of each data set.
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
        UsageError: The request cannot be met; nothing has been written.
    """
    suite = Suite(
        [_as_model(model) for model in as_list("models", models, nn.Module)],
        as_list("datasets", datasets),
        baseline=baseline.name if isinstance(baseline, Classifier) else baseline,
        seed=seed,
        limit=limit,
        corruptions=corruptions,
        severities=severities,
        perturbations=perturbations,
        protocols=protocols,
        data_dir=None if data_dir is None else os.fspath(data_dir),
    )
    session = prepare(suite, output_dir, device, workers=workers)
    with progress_in_python(sum(item.passes for item in session.work), progress) as advance:
        run = session.run(inference, engine, advance)
    run.report()
    if run.failures:
        text = f"{len(run.failures)} cells failed, see Run.failures; the first: {run.failures[0]}"
        warnings.warn(text, RuntimeWarning, stacklevel=2)
    return run


def _as_model(model: str | Classifier | nn.Module) -> str | Classifier:
    return model if isinstance(model, str) else as_classifier(model)

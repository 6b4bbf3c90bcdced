"""A session: a suite made ready to be carried out in a directory."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain

import torch

from robustbench_aa.datasets import Dataset, Request, open_dataset
from robustbench_aa.datasets.pictures import Geometry, cores
from robustbench_aa.distortions import BACKENDS
from robustbench_aa.distortions.severities import SEVERITIES, check_severity
from robustbench_aa.errors import SuiteError, UnknownName, UsageError, cause
from robustbench_aa.evaluation.engines import ENGINES
from robustbench_aa.evaluation.inference import Inference, compute_in_full
from robustbench_aa.evaluation.loop import Progress, Work, plan
from robustbench_aa.models import expand, load
from robustbench_aa.run import Run
from robustbench_aa.store.manifest import Manifest, dataset_identity, model_identity
from robustbench_aa.store.schema import check_form
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import locked, open_directory
from robustbench_aa.store.thumbnails import write_samples
from robustbench_aa.suite import Suite
from robustbench_aa.support.stage_times import profiled
from robustbench_aa.types import Classifier, Distortion, groups, kind

PLAIN = Inference()


@dataclass(frozen=True)
class Session:
    """A suite made ready for a directory: checked, loaded, and nothing written yet.

    Attributes:
        store: of the run to be.
        classifiers: by name.
        datasets: by name.
        cells: what the suite asks for.
        work: what of it is not in the store.
        device: where it will run.
    """

    store: Store
    classifiers: Mapping[str, Classifier]
    datasets: Mapping[str, Dataset]
    cells: Sequence[Cell]
    work: Sequence[Work]
    device: str

    def run(
        self,
        inference: Inference = PLAIN,
        engine: str = "local",
        progress: Progress = lambda cell, frames: None,
        profile: bool = False,
    ) -> Run:
        """Evaluates what is missing; what an earlier run committed is not repeated.

        Args:
            profile: whether `run.json` is to tell what the time went to.

        Raises:
            UnknownName: no such engine.
            RunError: the directory cannot be written.
        """
        evaluate = ENGINES[engine]
        compute_in_full()
        directory, manifest = self.store.directory, self.store.manifest
        with locked(directory):
            told = manifest.made_here(self.datasets, self.device, inference.told())
            store = Store.continued(directory, told)  # another run may have ended meanwhile
            store.write_manifest()
            with profiled() if profile else nullcontext() as measured:
                things = (self.work, self.datasets, self.classifiers, store, inference)
                failures = evaluate(*things, self.device, progress)
            if measured:
                store.manifest = dataclasses.replace(store.manifest, profile=measured.seconds)
                store.write_manifest()
            write_samples(directory, self.cells, self.datasets)
        return Run(directory, failures)


def benchmark(
    models: Sequence[str | Classifier],
    datasets: Sequence[str],
    output_dir: str | os.PathLike[str],
    *,
    baseline: str | None = None,
    seed: int = 0,
    limit: int | None = None,
    data_dir: str | None = None,
    inference: Inference = PLAIN,
    workers: int | None = None,
    device: str | None = None,
) -> Run:
    """Evaluates models on data sets and writes the report; the same call again resumes.

    Args:
        models: specifications such as `digits:resnet@lpf3`, or classifiers.
        datasets: names of data sets.
        output_dir: of the run.
        baseline: the model that CE is relative to.
        seed: of the distortions' randomness.
        limit: measure at most this many images of each data set.
        data_dir: the folder of data sets that are files; None for their environment variables.
        inference: how frames go through the models: their batch size, mixed precision, compilation.
        workers: threads that decode pictures; None for one a core.
        device: a torch device; None takes a GPU if there is one.

    Raises:
        UsageError: the request cannot be carried out as it stands; nothing has been written.
    """
    suite = Suite(models, datasets, baseline=baseline, seed=seed, limit=limit, data_dir=data_dir)
    run = prepare(suite, output_dir, device, workers=workers).run(inference)
    run.report()
    return run


def prepare(
    suite: Suite,
    output_dir: str | os.PathLike[str],
    device: str | None = None,
    command: str | None = None,
    workers: int | None = None,
) -> Session:
    """Loads and checks all that a suite names, and finds what is still to be done.

    Args:
        command: the command line that asks for it, to be kept in `run.json`.
        workers: threads that decode pictures; None for one a core.

    Raises:
        UsageError: in one of its forms, naming what does not exist, fit or go together.
    """
    device = _checked_device(device)
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers} are too few; use at least 1")
    if suite.corruption_backend not in BACKENDS:
        raise UnknownName("corruption backend", suite.corruption_backend, BACKENDS)
    request = Request(
        limit=suite.limit,
        seed=suite.seed,
        data_dir=suite.data_dir,
        classes=suite.classes,
        backend=suite.corruption_backend,
        stored_jpeg=suite.stored_jpeg,
        workers=workers or cores(),
    )
    datasets = {name: open_dataset(name, request) for name in suite.datasets}
    asked = {name: _asked(suite, dataset) for name, dataset in datasets.items()}
    classifiers = _load_models(suite.models)
    if suite.own_preprocessing:
        request = dataclasses.replace(request, geometry=_own_geometry(classifiers.values()))
        datasets = {name: open_dataset(name, request) for name in suite.datasets}
    for classifier in classifiers.values():
        for dataset in datasets.values():
            _check_fit(classifier, dataset)
    known = groups(classifiers)
    if suite.baseline is not None and suite.baseline not in known:
        raise UnknownName("baseline (a model of the suite)", suite.baseline, known)
    manifest = Manifest(
        suite=suite.name,
        baseline=suite.baseline,
        seed=suite.seed,
        shard_size=suite.shard_size,
        models={name: model_identity(of) for name, of in classifiers.items()},
        datasets={name: dataset_identity(of) for name, of in datasets.items()},
        environment={},
        keep_ranking=suite.keep_ranking,
        command=command,
        subset=bool(suite.corruptions or suite.severities or suite.perturbations),
    )
    try:
        check_form(json.loads(manifest.to_json()))
    except ValueError as error:
        raise UsageError(f"no run.json can be made of this: {error}") from error
    store = Store.continued(open_directory(output_dir), manifest)
    store.check_kinds()
    cells = {
        name: [cell for cell in store.cells(name) if cell.distortion in asked[name]]
        for name in datasets
    }
    work = [
        item
        for name, dataset in datasets.items()
        for item in plan(classifiers, cells[name], store, dataset)
    ]
    return Session(store, classifiers, datasets, [*chain(*cells.values())], work, device)


def _load_models(models: Iterable[str | Classifier]) -> dict[str, Classifier]:
    classifiers: dict[str, Classifier] = {}
    for model in models:
        for classifier in map(load, expand(model)) if isinstance(model, str) else [model]:
            if classifier.name in classifiers:
                raise SuiteError(f"model {classifier.name} is named twice; leave one out")
            classifiers[classifier.name] = classifier
    return classifiers


def _own_geometry(classifiers: Iterable[Classifier]) -> Geometry:
    """How the models' own preprocessing resizes and crops; one way, since frames are shared."""
    found = {}
    for classifier in classifiers:
        how = classifier.preprocessing
        if how.resize is None:
            raise UsageError(
                f"model {classifier.name} does not say how its pictures are resized; "
                "leave out --own-preprocessing"
            )
        found[Geometry(classifier.input_size, how.resize, how.interpolation)] = classifier.name
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        raise UsageError(
            f"{first} asks for {one}, {second} for {other}; give them an --output-dir each or "
            "leave out --own-preprocessing"
        )
    return next(iter(found))


def _check_fit(classifier: Classifier, dataset: Dataset) -> None:
    resized = dataset.geometry.startswith("Resize")
    for what, ours, theirs, way_out in (
        (
            "images of {} px",
            classifier.input_size,
            dataset.size,
            " or use --own-preprocessing" if resized else "",
        ),
        ("{} classes", classifier.classes, dataset.classes, ""),
    ):
        if ours != theirs:
            raise UsageError(
                f"model {classifier.name} is for {what.format(ours)}, data set {dataset.name} has "
                f"{what.format(theirs)}; leave one of them out{way_out}"
            )


def _asked(suite: Suite, dataset: Dataset) -> list[Distortion]:
    """The distortions of a data set that the suite's corruptions and severities ask for."""
    asked = list(dataset.distortions)
    if suite.perturbations or kind(asked) == "perturbation":
        asked = _perturbations(suite, dataset)
    if suite.corruptions or suite.severities:
        corruptions = dict.fromkeys(of.name for of in asked if of.severity)
        if not corruptions:
            raise UsageError(
                f"data set {dataset.name} has no corruptions to choose from; leave it out"
            )
        for name in suite.corruptions:
            if name not in corruptions:
                raise UnknownName(f"corruption of {dataset.name}", name, corruptions)
        for severity in suite.severities:
            check_severity(severity)
        asked = [
            of
            for of in asked
            if of.severity in (suite.severities or SEVERITIES)
            and of.name in (suite.corruptions or corruptions)
        ]
    missing = [of for of in asked if of in dataset.missing]
    if missing:
        others = f" nor {len(missing) - 1} more" if len(missing) > 1 else ""
        flag = "--perturbation" if kind(asked) == "perturbation" else "--corruption"
        raise UsageError(
            f"{dataset.name} has no {dataset.missing[missing[0]]}{others}; fetch what is missing "
            f"or name what is there by {flag}"
        )
    return asked


def _perturbations(suite: Suite, dataset: Dataset) -> list[Distortion]:
    """The perturbations that the suite names, or those that a mean flip rate counts."""
    known = {of.name: of for of in dataset.distortions if of.family.startswith("perturbation")}
    if not known:
        raise UsageError(
            f"data set {dataset.name} has no perturbations to choose from; leave it out"
        )
    for name in suite.perturbations:
        if name not in known:
            raise UnknownName(f"perturbation of {dataset.name}", name, known)
    if suite.perturbations:
        return [of for of in known.values() if of.name in suite.perturbations]
    return [of for of in known.values() if not of.held_out]


def _checked_device(device: str | None) -> str:
    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device {device!r} cannot be used ({cause(error)}); try cpu") from error
    return device

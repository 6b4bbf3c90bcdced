"""A session: one suite, checked and loaded, that is evaluated into one directory."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import Dataset, Request, open_dataset
from robustbench_aa.datasets.image_lists import read_image_list
from robustbench_aa.datasets.pictures import Geometry, cores
from robustbench_aa.distortions import BACKENDS
from robustbench_aa.distortions.corruptions import CORRUPTIONS
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.evaluation.engines import ENGINES
from robustbench_aa.evaluation.identity import dataset_identity, model_identity, with_provenance
from robustbench_aa.evaluation.inference import Inference
from robustbench_aa.evaluation.loop import Work, plan
from robustbench_aa.evaluation.selection import chosen, default
from robustbench_aa.models import load_all
from robustbench_aa.run import Run
from robustbench_aa.store.kinds import check_kinds
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.schema import check_run
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import locked, open_directory, unwritable, write_whole
from robustbench_aa.store.thumbnails import write_samples
from robustbench_aa.suite import Selection, Suite
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.process import full_float32, thread_count
from robustbench_aa.support.stage_times import Profile, profiled
from robustbench_aa.support.training_seeds import groups
from robustbench_aa.types import NO_LABELS, Distortion, Shard

PLAIN = Inference()
TRACE = "profile.json"
"""The file of a run that shows when each stage of a profiled session ran."""
_log = logging.getLogger(__name__)
Progress = Callable[[Cell, int], None]
"""Called after every forward pass with its cell and the number of frames in it."""


def no_progress(cell: Cell, frames: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class Session:
    """A suite that is ready for evaluation: checked, loaded, and nothing written yet.

    Attributes:
        store: Prediction files of the run.
        classifiers: The models, by name.
        datasets: The data sets, by name.
        cells: All cells that the suite asks for.
        work: What is missing of them in the store.
        device: A torch device, such as `cpu` or `cuda:1`.
        inference: How frames go through the models.
        progress: Called after every forward pass.
    """

    store: Store
    classifiers: Mapping[str, Classifier]
    datasets: Mapping[str, Dataset]
    cells: Sequence[Cell]
    work: Sequence[Work]
    device: str
    inference: Inference = PLAIN
    progress: Progress = no_progress

    def pending(self) -> dict[str, Classifier]:
        """Return the models that have work left, by name."""
        names = {name for item in self.work for name in item.pending}
        return {name: model for name, model in self.classifiers.items() if name in names}

    def run(
        self,
        inference: Inference = PLAIN,
        engine: str = "local",
        progress: Progress = no_progress,
        profile: bool = False,
    ) -> Run:
        """Evaluate what is missing; predictions of an earlier session are not repeated.

        The models and the settings of the process are restored afterwards.

        Args:
            inference: How frames go through the models.
            engine: Where the evaluation runs, `local` or `ray`.
            progress: Called after every forward pass.
            profile: Whether to measure how long each stage takes and write it to `run.json`, and
                when each stage ran to `profile.json`, a trace that Perfetto opens.

        Raises:
            UnknownName: There is no such engine.
            RunError: The directory cannot be written.
        """
        evaluate = ENGINES[engine]
        session = dataclasses.replace(self, inference=inference, progress=progress)
        store = self.store
        with full_float32(), thread_count(inference.threads), locked(store.directory):
            store.manifest = with_provenance(
                store.manifest, self.datasets, self.device, inference.provenance()
            )
            store.join_earlier()  # another session may have ended meanwhile
            store.write_manifest()
            with profiled() if profile else nullcontext() as measured:
                failures = evaluate(session)
            if measured:
                store.manifest = dataclasses.replace(store.manifest, profile=measured.seconds)
                store.write_manifest()
                _write_trace(store.directory / TRACE, measured)
            write_samples(store.directory, self.cells, self._first_frames)
        return Run(store.directory, failures)

    def _first_frames(self, cell: Cell) -> np.ndarray:
        """Return the frames of a cell's first image, [F, H, W, 3] uint8."""
        dataset, first = self.datasets[cell.dataset], Shard(0, 1)
        batch = next(iter(dataset.read(cell.distortion, first, 1, torch.device("cpu"))))
        return batch.frames[0].permute(0, 2, 3, 1).numpy()


def prepare(
    suite: Suite,
    output_dir: str | os.PathLike[str],
    device: str | None = None,
    command: str | None = None,
    workers: int | None = None,
) -> Session:
    """Load and check everything that a suite names, and find the work that is left.

    Args:
        suite: What to evaluate.
        output_dir: Directory of the run, or its URL in an object storage.
        device: A torch device. None means a GPU if there is one, otherwise the CPU.
        command: The command line of the user, which `run.json` records.
        workers: Number of threads that decode pictures. None means one for each core.

    Raises:
        UsageError: Something does not exist or does not fit together; nothing has been written.
    """
    device = choose_device(device)
    if workers is not None and workers < 1:
        raise UsageError(f"workers {workers} are too few; use at least 1")
    if suite.corruption_backend not in BACKENDS:
        raise UnknownName("corruption backend", suite.corruption_backend, BACKENDS)
    request = Request(
        limit=suite.limit,
        seed=suite.seed,
        data_dir=suite.data_dir,
        classes=suite.classes,
        unlabelled=suite.unlabelled,
        backend=suite.corruption_backend,
        stored_jpeg=suite.stored_jpeg,
        workers=workers or cores(),
    )
    datasets = _open_datasets(suite, request)
    asked = chosen(suite, datasets)
    classifiers, specifications = load_all(suite.models)
    if suite.own_preprocessing:
        request = dataclasses.replace(request, geometry=_own_geometry(classifiers.values()))
        datasets = _open_datasets(suite, request)
    for classifier in classifiers.values():
        for corruption in classifier.trained_on:
            if corruption not in CORRUPTIONS:
                noun = f"corruption in trained_on of {classifier.name}"
                raise UnknownName(noun, corruption, CORRUPTIONS)
        for dataset in datasets.values():
            _check_fit(classifier, dataset)
    names = groups(classifiers)
    if suite.baseline is not None and suite.baseline not in names:
        raise UnknownName("baseline (a model of the suite)", suite.baseline, names)
    manifest = _manifest(suite, classifiers, specifications, datasets, asked, command)
    store = Store(open_directory(output_dir), manifest)
    store.join_earlier()
    check_kinds(store.manifest)
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


def _write_trace(file: Path, profile: Profile) -> None:
    try:
        write_whole(file, lambda beside: beside.write_text(profile.trace(), encoding="utf-8"))
    except OSError as error:
        raise unwritable(file.parent, error) from error
    if profile.left_out:
        _log.warning("%s has no room for the last %d stages", file, profile.left_out)


def _open_datasets(suite: Suite, request: Request) -> dict[str, Dataset]:
    """Open a suite's data sets, each with its own limit and list, and return them by name.

    Raises:
        UsageError: a data set cannot be opened, or not by a list.
    """
    opened = {}
    for entry, one in zip(suite.datasets, suite.selections(), strict=True):
        path = one.images or suite.images
        part = dataclasses.replace(
            request,
            limit=one.limit or suite.limit,
            images=read_image_list(path) if path else None,
        )
        dataset = open_dataset(
            entry.dataset or entry.name if isinstance(entry, Selection) else entry, part
        )
        if getattr(dataset, "listed", "") != part.listed:
            raise UsageError(
                f"data set {dataset.name} has no images by name, so {path} cannot choose among "
                "them; give a list to the other data sets alone"
            )
        if suite.unlabelled and dataset.labels.rule != NO_LABELS:
            raise UsageError(f"data set {dataset.name} has labels; leave out --unlabelled")
        opened[dataset.name] = dataset
    return opened


def _manifest(
    suite: Suite,
    classifiers: Mapping[str, Classifier],
    specifications: Mapping[str, str],
    datasets: Mapping[str, Dataset],
    asked: Mapping[str, Sequence[Distortion]],
    command: str | None,
) -> Manifest:
    """Return what `run.json` will contain, except for the environment."""
    manifest = Manifest(
        suite=suite.name,
        baseline=suite.baseline,
        seed=suite.seed,
        shard_size=suite.shard_size,
        models={name: model_identity(model) for name, model in classifiers.items()},
        datasets={name: dataset_identity(data) for name, data in datasets.items()},
        environment={},
        keep_ranking=suite.keep_ranking,
        command=command,
        selected={
            name: [str(distortion) for distortion in asked[name]]
            for name, dataset in datasets.items()
            if asked[name] != default(dataset)
        },
        limits={
            one.name: datasets[one.name].images
            for one in suite.selections()
            if datasets[one.name].images == (one.limit or suite.limit)
        },
        specifications=dict(specifications),
    )
    try:
        check_run(json.loads(manifest.to_json()))
    except ValueError as error:
        raise UsageError(f"no run.json can be made of this: {error}") from error
    return manifest


def _own_geometry(classifiers: Iterable[Classifier]) -> Geometry:
    """Return how all models' own preprocessing resizes and crops; they must agree."""
    found = {}
    for classifier in classifiers:
        preprocessing = classifier.preprocessing
        if preprocessing.resize is None:
            raise UsageError(
                f"model {classifier.name} does not say how its pictures are resized, or does "
                "not keep their shape; leave out --own-preprocessing"
            )
        geometry = Geometry(
            classifier.input_size, preprocessing.resize, preprocessing.interpolation
        )
        found[geometry] = classifier.name
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        raise UsageError(
            f"{first} asks for {one}, {second} for {other}; give them an --output-dir each or "
            "leave out --own-preprocessing"
        )
    return next(iter(found))


def _check_fit(classifier: Classifier, dataset: Dataset) -> None:
    resized = dataset.geometry.startswith("Resize")
    for noun, ours, theirs, advice in (
        (
            "images of {} px",
            classifier.input_size,
            dataset.size,
            " or use --own-preprocessing" if resized else "",
        ),
        ("{} classes", classifier.classes, dataset.classes, ""),
    ):
        if theirs and ours != theirs:  # images without labels have no classes
            raise UsageError(
                f"model {classifier.name} is for {noun.format(ours)}, data set {dataset.name} has "
                f"{noun.format(theirs)}; leave one of them out{advice}"
            )

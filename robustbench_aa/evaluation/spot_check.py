"""A spot check: a random shard of somebody's run is evaluated again and compared."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import Dataset, Request, open_dataset
from robustbench_aa.datasets.pictures import Geometry
from robustbench_aa.distortions import BACKENDS
from robustbench_aa.errors import UsageError
from robustbench_aa.evaluation.identity import dataset_identity, model_identity
from robustbench_aa.evaluation.loop import Work
from robustbench_aa.evaluation.session import Session
from robustbench_aa.evaluation.sources import request_of
from robustbench_aa.models import load_all
from robustbench_aa.store.manifest import RECORDED, Identity
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.support.devices import choose_device
from robustbench_aa.types import Shard

OTHER_CLASSES = 0.01
"""The share of predictions whose class another machine may change by rounding."""
OTHER_PROBABILITY = 0.01
"""The largest mean difference of the probability of the top class, for the same reason."""


class Place(NamedTuple):
    """The predictions that are made again."""

    model: str
    cell: Cell
    shard: Shard


def spot_check(
    directory: Path,
    models: Sequence[str],
    dataset: str | None = None,
    data_dir: str | None = None,
    images: str | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Evaluate a random shard of a run again and compare the predictions.

    Models are recognised by their weights, architecture and preprocessing, not by their names. The
    specifications in a run are never loaded, since loading may run code.

    Args:
        directory: directory of the run.
        models: specifications of models of the run.
        dataset: the data set of the shard; any by default.
        data_dir: folder of its files.
        images: the list of its images, if the run measured one.
        seed: seed of the choice; None for another choice each time.
        device: a torch device; a GPU by default, if there is one.

    Returns:
        A table with one row, and the problems, one line each. At most 1% of the predictions may
        have another class, and the probability of the top class may differ by 0.01 on average.

    Raises:
        UsageError: a model is none of the run's, the run has no predictions of it, or the data set
            is not the one that the run was made from.
    """
    store = Store.of_run(directory)
    classifiers = _recognised(store, models)
    chosen = random.Random(seed).choice(_places(store, classifiers, dataset))
    classifier = classifiers[chosen.model]
    request = request_of(store.manifest, chosen.cell.dataset, data_dir, images)
    data = _opened(store, chosen.cell.dataset, classifier, request)
    with TemporaryDirectory() as folder:
        again = Store(Path(folder), dataclasses.replace(store.manifest, suite=None, command=None))
        session = Session(
            again,
            {chosen.model: classifier},
            {data.name: data},
            [chosen.cell],
            [Work(chosen.cell, chosen.shard, (chosen.model,))],
            choose_device(device),
        )
        failures = session.run().failures
        if failures:
            return pd.DataFrame(), [str(failure) for failure in failures]
        return _compared(store, again, chosen)


def _recognised(store: Store, models: Sequence[str]) -> dict[str, Classifier]:
    """Return the given models by their names in a run."""
    held = {name: _compared_part(one) for name, one in store.manifest.models.items()}
    found = {}
    for classifier in load_all(models)[0].values():
        identity = _compared_part(model_identity(classifier))
        names = [name for name, one in held.items() if one == identity]
        if not names:
            near = held.get(classifier.name, {})
            differ = [key for key in identity if near and near.get(key) != identity[key]]
            why = f"; it has another {', '.join(differ)}" if differ else ""
            raise UsageError(
                f"{classifier.name} is none of the models of the run, {', '.join(held)}{why}"
            )
        found[names[0]] = dataclasses.replace(classifier, name=names[0])
    return found


def _compared_part(identity: Identity) -> Identity:
    return {key: value for key, value in identity.items() if key not in RECORDED}


def _places(store: Store, models: dict[str, Classifier], dataset: str | None) -> list[Place]:
    """Return the predictions of models that a run has."""
    names = [name for name in store.manifest.datasets if dataset in (None, name)]
    places = [
        Place(model, cell, shard)
        for model, name in product(models, names)
        for cell in store.cells(name)
        for shard in store.shards(name)
        if store.path(model, cell, shard).is_file()
    ]
    if not places:
        on = f" on {dataset}" if dataset else ""
        raise UsageError(f"the run has no predictions of {', '.join(models)}{on}; name others")
    return places


def _opened(store: Store, name: str, classifier: Classifier, first: Request) -> Dataset:
    """Open the data set that a run was made from, under the settings that give its identity."""
    described = store.manifest.datasets[name]
    if first.classes is not None:
        first = dataclasses.replace(first, classes=described["classes"])
    differ: list[str] = []
    for request in _requests(first, classifier):
        dataset = open_dataset(name, request)
        identity = dataset_identity(dataset)
        changed = [key for key in described if described[key] != identity.get(key)]
        if not changed:
            return dataset
        differ = differ or changed
    raise UsageError(
        f"the data set {name} is not the one that the run was made from, it has another "
        f"{', '.join(differ)}; check --data-dir, or name another one by --dataset"
    )


def _requests(first: Request, classifier: Classifier) -> Iterator[Request]:
    """Yield requests with the settings that a run may have been made with, the usual ones first."""
    how = classifier.preprocessing
    own = Geometry(classifier.input_size, how.resize, how.interpolation) if how.resize else None
    for geometry, jpeg, backend in product(dict.fromkeys([None, own]), (True, False), BACKENDS):
        yield dataclasses.replace(first, geometry=geometry, stored_jpeg=jpeg, backend=backend)


def _compared(store: Store, again: Store, place: Place) -> tuple[pd.DataFrame, list[str]]:
    here, there = again.read_shard(*place), store.read_shard(*place)
    if here is None or there is None:
        raise UsageError(f"{store.path(*place)} is missing; check the run")
    where = f"{place.model} on {place.cell}, images {place.shard}"
    problems = []
    made_from = [one.origin(*place) or {} for one in (store, again)]
    digests = [one.get("sources_sha256", "") for one in made_from]
    if all(digests) and digests[0] != digests[1]:
        problems.append(f"{where}: the predictions were made from other pictures")
    same = _column(here, "top1") == _column(there, "top1")
    # where several labels are right, the label of an image depends on its prediction
    if (_column(here, "label") != _column(there, "label"))[same].any():
        problems.append(f"{where}: the labels differ")
    other = int((~same).sum())
    probabilities = [_column(table, "top1_probability") for table in (here, there)]
    difference = float(np.abs(probabilities[0] - probabilities[1]).mean())
    if other > OTHER_CLASSES * len(here):
        problems.append(f"{where}: {other} of {len(here)} predictions have another class")
    elif difference > OTHER_PROBABILITY:
        problems.append(f"{where}: probabilities differ by {difference:.4f} on average")
    row = {
        "model": place.model,
        "cell": str(place.cell),
        "shard": str(place.shard),
        "predictions": len(here),
        "other_class": other,
        "probability_difference": difference,
    }
    return pd.DataFrame([row]), problems


def _column(table: pa.Table, name: str) -> np.ndarray:
    values: np.ndarray = table[name].to_numpy()
    return values

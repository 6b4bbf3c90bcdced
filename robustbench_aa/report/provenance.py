"""Where a run's predictions come from: what they were made with, what differs, what is missing.

All of it is read from the footers of the prediction files, whose rows are not touched: every shard
may have been made in another session, on another machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from robustbench_aa.errors import RunError
from robustbench_aa.metrics.per_image import Model
from robustbench_aa.store.predictions import Content
from robustbench_aa.store.shards import Store
from robustbench_aa.store.storage import each
from robustbench_aa.types import Distortion

WATCHED = (
    *("device", "torch", "libjpeg", "libavcodec", "amp_dtype"),
    *("float32_matmul_precision", "matmul_tf32", "cudnn_tf32", "decoded_sha256"),
)
"""What moves predictions without being part of a model's or a data set's identity."""
PLACE = ("model", "dataset", "cell", "shard", "file")
"""What says which predictions a row of origins is of."""
UNKNOWN = "not recorded"
"""What files of an earlier version say of what they did not record."""
LISTED = 5
"""How many models a warning lists of each value."""


def read_origins(store: Store) -> pd.DataFrame:
    """A row a prediction file: its `model`, its `dataset` and all that it was made with."""
    places = [
        (model, cell, shard)
        for model in store.manifest.models
        for dataset in store.manifest.datasets
        for cell in store.cells(dataset)
        for shard in store.shards(dataset)
    ]
    told = each(store.directory, lambda place: store.origin(*place), places)
    rows = [
        origin
        | {"model": model, "dataset": cell.dataset}
        | {"cell": str(cell.distortion), "shard": str(shard)}
        | {"file": str(store.path(model, cell, shard))}
        for (model, cell, shard), origin in zip(places, told, strict=True)
        if origin is not None
    ]
    origins = pd.DataFrame(rows)
    columns = dict.fromkeys([*PLACE, *origins, *WATCHED, *Content._fields, "command"])
    return origins.reindex(columns=[*columns]).astype(object).fillna(UNKNOWN)


def provenance(store: Store, origins: pd.DataFrame) -> pd.DataFrame:
    """What figures come from: `of` (`run`, a data set or a model), `what`, `value`.

    What the predictions were made with has a row for each of its values. Where these are several,
    those of each model follow with the model. What is empty has no row.
    """
    manifest = store.manifest
    asked = ("suite", "baseline", "seed", "shard_size", "keep_ranking", "command")
    rows = [("run", what, getattr(manifest, what)) for what in asked]
    apart = {*PLACE, *Content._fields, "decoded_sha256"}
    made_with = [str(of) for of in origins if of not in apart]
    rows += [("run", what, value) for what in made_with for value in origins[what].unique()]
    rows += [("profile", of, f"{seconds:.1f} s") for of, seconds in manifest.profile.items()]
    for dataset, identity in manifest.datasets.items():
        rows += [(dataset, what, identity[what]) for what in identity if what != "distortions"]
        decoded = origins.loc[origins["dataset"] == dataset, "decoded_sha256"].unique()
        rows += [(dataset, "decoded_sha256", value) for value in decoded]
    mixed = [what for what in made_with if len(origins[what].unique()) > 1]
    for model, identity in manifest.models.items():
        rows += [(model, what, value) for what, value in identity.items()]
        own = origins[origins["model"] == model]
        rows += [(model, what, value) for what in mixed for value in own[what].unique()]
    table = pd.DataFrame([(of, what, _text(value)) for of, what, value in rows])
    table.columns = pd.Index(["subject", "property", "value"])
    return table[table["value"] != ""].drop_duplicates(ignore_index=True)


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def missing(store: Store, models: Iterable[Model]) -> pd.DataFrame:
    """The networks and distortions that leave a row of the leaderboard incomplete.

    Columns: `model`, `dataset`, `distortion`, how many `shards` there should be, how many are
    `missing`, and the images of the first of those. A damaged file is missing.
    """
    rows = []
    for model, dataset, lacking in _lacking(store, models):
        shards = store.shards(dataset)
        for cell in store.cells(dataset):
            if cell.distortion not in lacking:
                continue
            lost = [shard for shard in shards if store.origin(model, cell, shard) is None]
            # a file whose footer is whole may still be damaged
            lost = lost or [shard for shard in shards if not store.has(model, cell, shard)]
            if lost:  # another session may have added them by now
                told = {"model": model, "dataset": dataset, "distortion": str(cell.distortion)}
                counts = {"shards": len(shards), "missing": len(lost)}
                rows.append(told | counts | {"first_missing": str(lost[0])})
    return pd.DataFrame(rows)


def _lacking(store: Store, models: Iterable[Model]) -> Iterator[tuple[str, str, list[Distortion]]]:
    kinds = store.kinds()
    for model in models:
        for network, by_kind in model.seeds.items():
            for kind, outcomes in by_kind.items():
                yield network, kinds[kind], outcomes.lacking


def check_sources(origins: pd.DataFrame) -> None:
    """Refuse predictions that stand in one cell and were made from different pictures.

    Raises:
        RunError: there are such; names two files, and what to do.
    """
    known = origins[~origins["sources_sha256"].isin(["", UNKNOWN])]
    for (dataset, cell, shard), files in known.groupby(["dataset", "cell", "shard"], sort=False):
        different = files.drop_duplicates("sources_sha256")
        if len(different) > 1:
            one, two = different[["model", "file"]].to_numpy()[:2]
            raise RunError(
                f"{one[0]} and {two[0]} were evaluated on different pictures under {dataset} "
                f"{cell}, images {shard}: the files of the data set have changed in between; "
                f"delete {one[1]} or {two[1]}, whichever is older, with others of its age, and "
                "evaluate again"
            )


def other_frames(origins: pd.DataFrame) -> list[str]:
    """Return a sentence where models saw different frames of the same pictures.

    Another processor, torch or decoder rounds some values differently.
    """
    known = origins[~origins["frames_sha256"].isin(["", UNKNOWN])]
    places = known.groupby(["dataset", "cell", "shard"], sort=False)["frames_sha256"].nunique()
    apart = places[places > 1]
    if apart.empty:
        return []
    cells = dict.fromkeys(f"{dataset} {cell}" for dataset, cell, _ in apart.index)
    shown = ", ".join([*cells][:LISTED])
    more = f" and {len(cells) - LISTED} more" if len(cells) > LISTED else ""
    return [
        f"models saw frames that differ in rounding, though their pictures are the same, under "
        f"{shown}{more}; evaluate all models on one machine to compare single predictions"
    ]


def partial_classes(datasets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a sentence for every data set that has images of some of its classes only."""
    return [
        f"{name} has images of {of['labels']['present']} of its {of['classes']} classes; a "
        "prediction may be any of all of them"
        for name, of in datasets.items()
        if of["labels"]["present"] < of["classes"]
    ]


def mixtures(origins: pd.DataFrame) -> list[str]:
    """A sentence for everything watched in which predictions of one leaderboard differ.

    It says which models have what, and the way out.
    """
    of_kind = origins.assign(device=origins["device"].str.split(":").str[0])
    columns = [(what, of_kind, what) for what in WATCHED if what != "decoded_sha256"]
    for dataset, part in of_kind.groupby("dataset", sort=False):
        columns.append((f"decoded_sha256 of {dataset}", part, "decoded_sha256"))
    return [
        _mixture(noun, part["model"], part[what])
        for noun, part, what in columns
        if len(part[what].unique()) > 1
    ]


def _mixture(noun: str, models: pd.Series, values: pd.Series) -> str:
    files = values.groupby(values, sort=False).size()
    most = files.idxmax()
    having = [f"{_short(value)} ({_listed(models[values == value])})" for value in files.index]
    return (
        f"{noun} differs between predictions: {', '.join(having)}; delete those of "
        f"{_listed(models[values != most])} and evaluate them again where it is {_short(most)}"
    )


def _short(value: Any) -> str:
    """A value in a sentence; of a hash its beginning."""
    return (str(value)[:12] if len(str(value)) == 64 else str(value)) or "empty"


def _listed(models: pd.Series) -> str:
    names = [*models.unique()]
    others = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*names[:LISTED], *others])

"""Provenance of a run: how its predictions were made, where that differs, and which are missing.

It is read from the footers of the prediction files, without their rows. Every shard may have been
made in another session or on another machine.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pandas as pd

from robustbench_aa.errors import RunError
from robustbench_aa.metrics.per_image import Model
from robustbench_aa.store.kinds import kinds_of
from robustbench_aa.store.predictions import Content
from robustbench_aa.store.shards import Store
from robustbench_aa.store.storage import each
from robustbench_aa.types import Distortion, format_cells

WATCHED = (
    *("device", "torch", "libjpeg", "libavcodec", "amp_dtype"),
    *("float32_matmul_precision", "matmul_tf32", "cudnn_tf32", "decoded_sha256"),
)
"""Properties that change predictions but belong to the identity of no model or data set."""
PLACE = ("model", "dataset", "cell", "shard", "file")
"""The columns of origins that identify a prediction file."""
UNKNOWN = "not recorded"
"""The value of a property that the version that wrote the file did not record."""
LISTED = 5
"""The largest number of names that a warning lists."""


def read_origins(store: Store) -> pd.DataFrame:
    """Read how each prediction file was made: one row per file, one column per property."""
    places = [
        (model, cell, shard)
        for model in store.manifest.models
        for dataset in store.manifest.datasets
        for cell in store.cells(dataset)
        for shard in store.shards(dataset)
    ]
    read = each(store.directory, lambda place: store.origin(*place), places)
    rows = [
        origin
        | {"model": model, "dataset": cell.dataset}
        | {"cell": str(cell.distortion), "shard": str(shard)}
        | {"file": str(store.path(model, cell, shard))}
        for (model, cell, shard), origin in zip(places, read, strict=True)
        if origin is not None
    ]
    origins = pd.DataFrame(rows)
    columns = dict.fromkeys([*PLACE, *origins, *WATCHED, *Content._fields, "command"])
    return origins.reindex(columns=[*columns]).astype(object).fillna(UNKNOWN)


def provenance(store: Store, origins: pd.DataFrame) -> pd.DataFrame:
    """Return the provenance of a run as rows of `subject`, `property` and `value`.

    A subject is `run`, `profile`, a data set or a model. A property with several values has a row
    for each, and also rows for each model. Empty values have no row.
    """
    manifest = store.manifest
    settings = ("suite", "baseline", "seed", "shard_size", "keep_ranking", "command")
    rows = [("run", key, getattr(manifest, key)) for key in settings]
    others = {*PLACE, *Content._fields, "decoded_sha256"}
    recorded = [str(column) for column in origins if column not in others]
    rows += [("run", key, value) for key in recorded for value in origins[key].unique()]
    rows += [("profile", key, f"{seconds:.1f} s") for key, seconds in manifest.profile.items()]
    rows += [(dataset, "limit", limit) for dataset, limit in manifest.limits.items()]
    for dataset, cells in manifest.selected.items():
        rows.append((dataset, "selected", ", ".join(cells)))
    for dataset, identity in manifest.datasets.items():
        rows += [(dataset, key, identity[key]) for key in identity if key != "distortions"]
        decoded = origins.loc[origins["dataset"] == dataset, "decoded_sha256"].unique()
        rows += [(dataset, "decoded_sha256", value) for value in decoded]
    mixed = [key for key in recorded if len(origins[key].unique()) > 1]
    rows += [(model, "specification", text) for model, text in manifest.specifications.items()]
    for model, identity in manifest.models.items():
        rows += [(model, key, value) for key, value in identity.items()]
        own = origins[origins["model"] == model]
        rows += [(model, key, value) for key in mixed for value in own[key].unique()]
    rows += [
        (model, "run", str(held.directory))
        for model, members in store.members.items()
        for held, _ in members
    ]
    table = pd.DataFrame([(subject, key, _text(value)) for subject, key, value in rows])
    table.columns = pd.Index(["subject", "property", "value"])
    return table[table["value"] != ""].drop_duplicates(ignore_index=True)


def _text(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def missing(store: Store, models: Iterable[Model]) -> pd.DataFrame:
    """Return the networks and distortions that make a row of the leaderboard incomplete.

    Returns:
        A table with the columns `model`, `dataset`, `distortion`, `shards` (number of shards),
        `missing` (number of missing ones) and `first_missing` (its images). A damaged file counts
        as missing.
    """
    rows = []
    for model, dataset, incomplete in _incomplete(store, models):
        shards = store.shards(dataset)
        for cell in store.cells(dataset):
            if cell.distortion not in incomplete:
                continue
            lost = [shard for shard in shards if store.origin(model, cell, shard) is None]
            # a file with an intact footer may still be damaged
            lost = lost or [shard for shard in shards if not store.has(model, cell, shard)]
            if lost:  # another session may have added them in the meantime
                row = {"model": model, "dataset": dataset, "distortion": str(cell.distortion)}
                counts = {"shards": len(shards), "missing": len(lost)}
                rows.append(row | counts | {"first_missing": str(lost[0])})
    return pd.DataFrame(rows)


def _incomplete(
    store: Store, models: Iterable[Model]
) -> Iterator[tuple[str, str, list[Distortion]]]:
    """Yield each network, data set and the counted distortions that lack predictions."""
    kinds = kinds_of(store.manifest)
    for model in models:
        for network, by_kind in model.seeds.items():
            for kind, outcomes in by_kind.items():
                yield network, kinds[kind], outcomes.missing


def check_sources(origins: pd.DataFrame) -> None:
    """Refuse predictions of one cell that were made from different images.

    Raises:
        RunError: models were evaluated on different images. The message names two files.
    """
    known = origins[~origins["sources_sha256"].isin(["", UNKNOWN])]
    for (dataset, cell, shard), files in known.groupby(["dataset", "cell", "shard"], sort=False):
        different = files.drop_duplicates("sources_sha256")
        if len(different) > 1:
            one, two = different[["model", "file"]].to_numpy()[:2]
            raise RunError(
                f"{one[0]} and {two[0]} were evaluated on different pictures under {dataset} "
                f"{cell}, images {shard}: the files of the data set have changed in between; "
                f"delete {one[1]} or {two[1]}, whichever is older, and all predictions of the same "
                "age, and evaluate again"
            )


def other_frames(origins: pd.DataFrame) -> list[str]:
    """Return a warning if models saw different frames of the same images.

    Another processor, another version of torch or another decoder may round values differently.
    """
    known = origins[~origins["frames_sha256"].isin(["", UNKNOWN])]
    places = known.groupby(["dataset", "cell", "shard"], sort=False)["frames_sha256"].nunique()
    different = places[places > 1]
    if different.empty:
        return []
    cells = dict.fromkeys(f"{dataset} {cell}" for dataset, cell, _ in different.index)
    shown = ", ".join([*cells][:LISTED])
    more = f" and {len(cells) - LISTED} more" if len(cells) > LISTED else ""
    return [
        f"models saw frames of the same pictures that differ by rounding, under {shown}{more}; "
        "evaluate all models on one machine to compare single predictions"
    ]


def conversion(store: Store, model: Model) -> str:
    """Return how a model was converted, and whether it was fine-tuned; empty if it was not."""
    identity = store.manifest.models[next(iter(model.seeds))]
    if "conversion" not in identity:
        return ""
    return f"{identity['conversion']}, {'' if identity.get('fine_tuned') else 'not '}fine-tuned"


def converted(models: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a warning for models that were converted to another downsampling without training."""
    names = [name for name, identity in models.items() if identity.get("fine_tuned") is False]
    if not names:
        return []
    return [
        f"{_listed(pd.Series(names))}: converted but not fine-tuned, with the weights of the plain "
        "network, which costs accuracy; fine-tune before comparing accuracies"
    ]


def partial_classes(datasets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a warning for every data set with images of only some of its classes."""
    return [
        f"{name} has images of only {dataset['labels']['present']} of its {dataset['classes']} "
        "classes, but models may predict any of them"
        for name, dataset in datasets.items()
        if lacks_classes(dataset)
    ]


def lacks_classes(dataset: Mapping[str, Any]) -> bool:
    """Return whether models may predict classes of a data set that have no images."""
    compared = (dataset.get("scoring") or {}).get("classes")
    classes: int = compared or dataset["classes"]
    return bool(dataset["labels"]["present"] < classes)


def subset_notes(subset: pd.DataFrame) -> list[str]:
    """Return the distortions that each mean over a subset counts, as a note for each metric."""
    if subset.empty:
        return []
    return [
        f"{metric}: {_cells(rows)} ({rows['dataset'].iloc[0]})"
        for metric, rows in subset.groupby("metric", sort=False)
    ]


def _cells(rows: pd.DataFrame) -> str:
    pairs = zip(rows["distortion"], rows["severity"], strict=True)
    return format_cells(Distortion("", name, int(severity) or None) for name, severity in pairs)


def label_notes(store: Store) -> list[str]:
    """Return a note for every data set without labels."""
    return [
        f"{name} has no labels, so that errors and accuracies are left out"
        for name in store.manifest.datasets
        if not store.is_labelled(name)
    ]


def scoring_notes(datasets: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return a note on each data set with columns of its own."""
    notes = []
    for name, dataset in datasets.items():
        if scoring := dataset.get("scoring"):
            count = scoring["left_out"]
            left_out = f"; left out: {count:,} images without a label" if count else ""
            notes.append(f"{scoring['column']}: {scoring['rule']} ({name}){left_out}")
    return notes


def limit_notes(store: Store) -> list[str]:
    """Return notes on data sets of which the run uses a limited number or a list of images."""
    limits = [f"{limit} images of {name}" for name, limit in store.manifest.limits.items()]
    lists = [
        f"{entry['images']} images of {name} by the list {entry['image_list_sha256'][:12]}"
        for name, entry in store.manifest.datasets.items()
        if entry.get("image_list_sha256")
    ]
    notes = {"limit": limits, "image lists": lists}
    return [f"{name}: {', '.join(texts)}" for name, texts in notes.items() if texts]


def mixtures(origins: pd.DataFrame) -> list[str]:
    """Return a warning for every watched property in which predictions differ.

    The warning names the models with each value and how to make the predictions uniform.
    """
    # cuda:0 and cuda:1 are the same kind of device
    uniform = origins.assign(device=origins["device"].str.split(":").str[0])
    columns = [(key, uniform, key) for key in WATCHED if key != "decoded_sha256"]
    for dataset, part in uniform.groupby("dataset", sort=False):
        columns.append((f"decoded_sha256 of {dataset}", part, "decoded_sha256"))
    return [
        _mixture(title, part["model"], part[key])
        for title, part, key in columns
        if len(part[key].unique()) > 1
    ]


def _mixture(title: str, models: pd.Series, values: pd.Series) -> str:
    files = values.groupby(values, sort=False).size()
    most = files.idxmax()
    groups = [f"{_short(value)} ({_listed(models[values == value])})" for value in files.index]
    return (
        f"{title} differs between predictions: {', '.join(groups)}; delete those of "
        f"{_listed(models[values != most])} and evaluate them again where it is {_short(most)}"
    )


def _short(value: Any) -> str:
    """Return a value for a sentence; a hash is shortened."""
    return (str(value)[:12] if len(str(value)) == 64 else str(value)) or "empty"


def _listed(models: pd.Series) -> str:
    names = [*models.unique()]
    others = [f"{len(names) - LISTED} more"] if len(names) > LISTED else []
    return ", ".join([*names[:LISTED], *others])

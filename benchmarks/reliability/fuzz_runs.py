"""The targets of `benchmarks/reliability/fuzz.py` that are runs, or files of runs."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from benchmarks.reliability.damage import damaged, twisted
from robustbench_aa.errors import DamagedShard
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.run import Run, merge_runs
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.predictions import FOOTER
from robustbench_aa.store.shards import Store
from robustbench_aa.suite import Suite
from robustbench_aa.types import CLEAN, Shard

MODELS = ("digits:resnet@baseline-seed0", "digits:resnet@lpf3-seed0")
Try = Callable[[np.random.Generator], None]
"""Makes a case and tries it."""


def _run(folder: Path) -> Run:
    """Return a target's own copy of a small run."""
    return Run(shutil.copytree(_evaluated(folder.parent / f"run-{os.getpid()}"), folder / "run"))


@cache
def _evaluated(folder: Path) -> Path:
    """Evaluate two models on clean digits, under shifts and under one corruption."""
    suite = Suite(MODELS, ["digits", "digits-shift"], limit=6, shard_size=4)
    prepare(suite, folder, "cpu").run()
    suite = Suite(MODELS, ["digits-c"], limit=6, shard_size=4, corruptions=["fog"])
    prepare(suite, folder, "cpu").run()
    return folder


def manifests(folder: Path) -> Try:
    """Damage the bytes of `run.json`, or its entries."""
    file = _run(folder).directory / "run.json"
    text = file.read_bytes()

    def attempt(random: np.random.Generator) -> None:
        file.write_bytes(_other_manifest(text, random))
        store = Store.of_run(file.parent)
        assert Manifest.read(file.parent) == store.manifest
        _check_paths(store)

    return attempt


def _other_manifest(text: bytes, random: np.random.Generator) -> bytes:
    if random.random() < 0.2:
        return damaged(text, random)
    content = json.loads(text)
    for _ in range(random.integers(1, 3)):
        content = twisted(content, random)
    return json.dumps(content).encode()


def _check_paths(store: Store) -> None:
    """Check that every prediction file lies inside the run, each under another name."""
    root = (store.directory / "predictions").resolve()
    places = [
        store.path(model, cell, store.shards(dataset)[0]).resolve()
        for model in store.manifest.models
        for dataset in store.manifest.datasets
        for cell in store.cells(dataset)
    ]
    assert all(place.is_relative_to(root) for place in places), "a path leaves the run"
    assert len(set(places)) == len(places), "two cells share a path"


def reports(folder: Path) -> Try:
    """Compute all tables of a run with a damaged `run.json` or prediction file."""
    run = _run(folder)
    file = run.directory / "run.json"
    text = file.read_bytes()
    predictions = sorted(run.directory.rglob("*.parquet"))

    def attempt(random: np.random.Generator) -> None:
        chosen = predictions[random.integers(len(predictions))]
        content = chosen.read_bytes()
        try:
            if random.random() < 0.2:
                chosen.write_bytes(damaged(content, random))
            else:
                file.write_bytes(_other_manifest(text, random))
            Run(run.directory).tables()
        finally:
            chosen.write_bytes(content)
            file.write_bytes(text)

    return attempt


def predictions(folder: Path) -> Try:
    """Damage prediction files: a file is refused, or its predictions are unchanged."""
    store = Store.of_run(_run(folder).directory)
    (cell,) = (cell for cell in store.cells("digits") if cell.distortion == CLEAN)
    place = (MODELS[0], cell, Shard(0, 4))
    file = store.path(*place)
    content, sound = file.read_bytes(), store.read_shard(*place)

    def attempt(random: np.random.Generator) -> None:
        file.write_bytes(damaged(content, random))
        store.origin(*place)
        found = store.read_shard(*place)
        if found is None:
            raise DamagedShard("no file")
        assert found.equals(sound), "other predictions"

    return attempt


def footers(folder: Path) -> Try:
    """Edit the footers of prediction files, or exchange two of them.

    No value of a table may change: its cell becomes empty, which counts as refused, or the report
    refuses.
    """
    run = _run(folder)
    files = sorted(run.directory.rglob("*.parquet"))
    contents = {file: file.read_bytes() for file in files}
    expected = _values(run)

    def attempt(random: np.random.Generator) -> None:
        one, two = (files[place] for place in random.choice(len(files), 2, replace=False))
        try:
            if random.random() < 0.3:
                one.write_bytes(contents[two])
                two.write_bytes(contents[one])
            else:
                _edit_footer(one, two, random)
            if _check_values(_values(Run(run.directory)), expected):
                raise DamagedShard(f"{one} was left out")
        finally:
            for file in (one, two):
                file.write_bytes(contents[file])

    return attempt


def _edit_footer(file: Path, other: Path, random: np.random.Generator) -> None:
    """Change an entry of a footer, or take it from another file."""
    table = pq.read_table(file)
    footer = json.loads(table.schema.metadata[FOOTER])
    others = json.loads(pq.read_schema(other).metadata[FOOTER])
    if random.random() < 0.5:
        key = list(footer)[random.integers(len(footer))]
        footer[key] = others[key]
    else:
        footer = twisted(footer, random)
    text = json.dumps(footer).encode()
    if random.random() < 0.1:
        text = damaged(text, random)
    pq.write_table(table.replace_schema_metadata({FOOTER: text}), file, write_page_checksum=True)


def _values(run: Run) -> list[pd.DataFrame]:
    tables = run.tables()
    found = (tables.corruptions, tables.consistency)
    return [table.select_dtypes("number") for table in found if table is not None]


def _check_values(found: list[pd.DataFrame], expected: list[pd.DataFrame]) -> bool:
    """Check that no value is another, and return whether one is missing."""
    missing = False
    for table, sound in zip(found, expected, strict=True):
        assert table.shape == sound.shape, "another table"
        same = (table == sound.to_numpy()) | table.isna() | sound.isna().to_numpy()
        assert same.all(axis=None), "other values"
        missing |= bool((table.isna() & sound.notna().to_numpy()).any(axis=None))
    return missing


def merges(folder: Path) -> Try:
    """Merge a run with a damaged copy of itself."""
    sound = _run(folder)
    other = folder / "other"
    shutil.copytree(sound.directory, other)
    manifest = (other / "run.json").read_bytes()
    expected = _values(sound)
    files = sorted(other.rglob("*.parquet"))

    def attempt(random: np.random.Generator) -> None:
        file = files[random.integers(len(files))]
        content = file.read_bytes()
        merged = folder / "merged"
        shutil.rmtree(merged, ignore_errors=True)
        try:
            if random.random() < 0.5:
                file.write_bytes(damaged(content, random))
            else:
                (other / "run.json").write_bytes(_other_manifest(manifest, random))
            runs = [sound.directory, other] if random.random() < 0.5 else [other, sound.directory]
            made = merge_runs(runs, merged)
            _check_paths(Store.of_run(made.directory))
            if made.leaderboard().shape == sound.leaderboard().shape:
                _check_values(_values(made), expected)
        finally:
            file.write_bytes(content)
            (other / "run.json").write_bytes(manifest)

    return attempt

"""The column of shifts that later versions added to prediction files."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustbench_aa.metrics.per_image import read_models
from robustbench_aa.run import Run
from robustbench_aa.store.predictions import UNSHIFTED_PROBABILITY
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.types import Distortion
from tests.forged import forge

CIRCULAR, CROPS = Distortion("shift", "circular"), Distortion("shift", "crops")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return forge(tmp_path / "run", ["a"], ["imagenet-shift"], images=4)


def files(run: Path, protocol: str = "circular") -> list[Path]:
    return sorted(run.glob(f"predictions/a/imagenet-shift/shift/{protocol}/*.parquet"))


def cell_of(store: Store, distortion: Distortion) -> Cell:
    (cell,) = (cell for cell in store.cells("imagenet-shift") if cell.distortion == distortion)
    return cell


def rewritten(file: Path, values: np.ndarray | None) -> None:
    """Writes a file with other values in the column, or without it."""
    table = pq.read_table(file)
    place = table.column_names.index(UNSHIFTED_PROBABILITY)
    kept = table.remove_column(place)
    if values is not None:
        kept = table.set_column(place, UNSHIFTED_PROBABILITY, pa.array(values, pa.float32()))
    pq.write_table(
        kept.replace_schema_metadata(table.schema.metadata), file, write_page_checksum=True
    )


def test_protocols_with_an_unshifted_frame_have_the_column(run: Path) -> None:
    for protocol, has in (("circular", True), ("diagonal", True), ("crops", False)):
        names = pq.read_schema(files(run, protocol)[0]).names
        assert (UNSHIFTED_PROBABILITY in names) == has


def test_files_of_an_earlier_version_lack_only_the_change_of_probability(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = read_models(Store.of_run(run))["a"].mean["shift"]
    for file in files(run):
        rewritten(file, None)
    after = read_models(Store.of_run(run))["a"].mean["shift"]
    assert not caplog.text
    assert after.complete
    for metric in ("wrong", "consistency", "accuracy_worst", "fooled", "accuracy_drop"):
        expected = getattr(before, metric)[CIRCULAR]
        np.testing.assert_array_equal(getattr(after, metric)[CIRCULAR], expected)
    assert np.isnan(after.probability_change[CIRCULAR]).all()
    table = Run(run).tables().consistency.set_index("protocol")
    assert np.isnan(table.loc["circular", "probability_change"])
    assert np.isnan(table.loc["circular", "probability_change_high"])
    assert table.loc["diagonal", "probability_change"] > 0


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan, np.inf])
def test_an_impossible_probability_makes_a_file_a_damaged_one(
    run: Path, value: float, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    file, store = files(run)[0], Store.of_run(run)
    cell = cell_of(store, CIRCULAR)
    shard = store.shards("imagenet-shift")[0]
    assert store.has("a", cell, shard)
    values = pq.read_table(file)[UNSHIFTED_PROBABILITY].to_numpy().copy()
    values[7] = value
    rewritten(file, values)
    assert not store.has("a", cell, shard)
    assert f"{file} has probabilities outside 0 to 1" in caplog.text


def test_the_column_is_not_accepted_where_no_frame_is_unshifted(run: Path) -> None:
    store = Store.of_run(run)
    cell = cell_of(store, CROPS)
    (file,) = files(run, "crops")
    table = pq.read_table(file)
    more = table.append_column(UNSHIFTED_PROBABILITY, pa.array(np.zeros(len(table), np.float32)))
    pq.write_table(more, file, write_page_checksum=True)
    assert not store.has("a", cell, store.shards("imagenet-shift")[0])


def test_shards_of_both_versions_make_one_cell(tmp_path: Path) -> None:
    """As in a run that was begun before the column existed."""
    run = forge(tmp_path / "run", ["a"], ["imagenet-shift"], images=8)  # two files
    old, _ = files(run)
    rewritten(old, None)
    store = Store.of_run(run)
    found = store.read("a", cell_of(store, CIRCULAR), ["image", UNSHIFTED_PROBABILITY])
    assert found is not None
    known = found.groupby("image")[UNSHIFTED_PROBABILITY].apply(lambda column: column.notna().all())
    assert sorted(known) == [False] * 5 + [True] * 3

from __future__ import annotations

import dataclasses
import errno
import logging
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from robustbench_aa.errors import RunError, StoreError
from robustbench_aa.store import predictions, storage
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.predictions import SCHEMA
from robustbench_aa.store.seal import is_intact
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import locked
from robustbench_aa.types import Distortion, Shard

NOISE = Distortion("corruption", "gaussian_noise", 3)
CELL = Cell("digits-c", NOISE, 2)
SHARDS = [Shard(0, 3), Shard(3, 5)]
LABELS = {"labels": {"rule": "stored", "present": 10}}
MODEL = "file:net@/weights/a.pth"


def manifest(**changes: object) -> Manifest:
    entry = {**dataclasses.asdict(NOISE), "frames": 2}
    given = {
        "suite": None,
        "baseline": None,
        "seed": 0,
        "shard_size": 3,
        "models": {MODEL: {"weights_sha256": "aa", "classes": 10}},
        "datasets": {"digits-c": {"sha256": "dd", "images": 5, "distortions": [entry], **LABELS}},
        "environment": {"torch": "2"},
    }
    return Manifest(**(given | changes))  # type: ignore[arg-type]


def rows(shard: Shard) -> dict[str, np.ndarray]:
    count = (shard.stop - shard.start) * 2
    columns = {name: np.zeros(count) for name in SCHEMA.names}
    columns["image"] = np.repeat(np.arange(*shard), 2)
    columns["frame"] = np.tile([0, 1], count // 2)
    return {
        name: column.astype(SCHEMA.field(name).type.to_pandas_dtype())
        for name, column in columns.items()
    }


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "run", manifest())
    store.write_manifest()
    for shard in SHARDS:
        store.commit(MODEL, CELL, shard, rows(shard))
    return store


def test_committed_predictions_can_be_read(store: Store) -> None:
    frame = store.read(MODEL, CELL, ["image", "frame"])
    assert frame is not None
    assert frame["image"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert store.has(MODEL, CELL, SHARDS[1])
    assert not list(store.directory.rglob("*.tmp"))


def test_any_model_name_is_one_folder_of_its_own(store: Store) -> None:
    names = [MODEL, "..", ".", "a/b", "a%2Fb", "digits:resnet@lpf3"]
    folders = [store.path(name, CELL, SHARDS[0]).parents[3] for name in names]
    assert {folder.parent for folder in folders} == {store.directory / "predictions"}
    assert len({folder.resolve() for folder in folders}) == len(names)


def test_a_cell_with_a_missing_shard_counts_as_missing(store: Store) -> None:
    store.path(MODEL, CELL, SHARDS[1]).unlink()
    assert store.read(MODEL, CELL, ["image"]) is None
    assert not store.has(MODEL, CELL, SHARDS[1])


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -100])
def test_a_truncated_file_is_named_and_counts_as_missing(
    store: Store, cut: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = store.path(MODEL, CELL, SHARDS[0])
    path.write_bytes(path.read_bytes()[:cut])
    assert not store.has(MODEL, CELL, SHARDS[0])
    assert store.read(MODEL, CELL, ["image"]) is None
    assert f"damaged prediction file {path}" in caplog.text


def test_no_flipped_byte_goes_unnoticed_where_it_matters(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """For each flipped byte the file is refused, or its predictions are unchanged."""
    caplog.set_level(logging.CRITICAL)
    path = store.path(MODEL, CELL, SHARDS[0])
    whole = path.read_bytes()
    before = store.read(MODEL, CELL, SCHEMA.names)
    assert before is not None
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        after = store.read(MODEL, CELL, SCHEMA.names)
        refused += after is None
        assert after is None or after.equals(before), f"byte {place}"
    assert refused > len(whole) / 4


def test_a_flipped_byte_of_a_footer_raises_nothing_else(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The footer exists twice; the checked copy is also the returned one."""
    caplog.set_level(logging.CRITICAL)
    place = MODEL, CELL, SHARDS[0]
    path = store.path(*place)
    whole, before = path.read_bytes(), store.content(*place)
    for byte in range(len(whole)):
        path.write_bytes(whole[:byte] + bytes([whole[byte] ^ 0xFF]) + whole[byte + 1 :])
        assert store.content(*place) in (None, before), f"byte {byte}"
        store.origin(*place)


def test_every_flipped_byte_breaks_the_seal(store: Store) -> None:
    whole = store.path(MODEL, CELL, SHARDS[0]).read_bytes()
    assert is_intact(whole)
    for place in range(len(whole)):
        assert not is_intact(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]), place
    assert not is_intact(whole[:-1])
    assert not is_intact(b"")


def test_predictions_are_decoded_again_only_where_the_seal_is_broken(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A continued run of thousands of files would wait for it."""
    path, place = store.path(MODEL, CELL, SHARDS[0]), (MODEL, CELL, SHARDS[0])
    table, decoded = pq.read_table(path), []
    monkeypatch.setattr(predictions, "problem_of", lambda *_: decoded.append(1))
    assert store.has(*place)
    assert not decoded
    pq.write_table(table, path, write_page_checksum=True)  # as an earlier version did
    assert store.has(*place)
    assert decoded


def test_a_sealed_file_of_impossible_predictions_is_in_no_table(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.commit(MODEL, CELL, SHARDS[0], rows(SHARDS[0]) | {"top1": np.full(6, 10)})
    assert store.read(MODEL, CELL, ["top1"]) is None
    assert "has classes outside 0 to 9" in caplog.text


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 1},
        {"models": {MODEL: {"weights_sha256": "bb", "classes": 10}}},
        {"datasets": {"digits-c": {**manifest().datasets["digits-c"], "sha256": "ee"}}},
        {"schema": 1},
    ],
    ids=["seed", "weights", "data", "schema"],
)
def test_a_file_of_another_run_is_never_mixed_in(
    store: Store, other: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Store(store.directory, manifest(**other))
    assert not stranger.has(MODEL, CELL, SHARDS[0])
    assert "belongs to another run" in caplog.text


def test_a_commit_that_breaks_off_leaves_nothing_under_the_name(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.path(MODEL, CELL, SHARDS[0])
    path.unlink()

    def power_cut(_path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage, "flush", power_cut)
    with pytest.raises(KeyboardInterrupt):
        store.commit(MODEL, CELL, SHARDS[0], rows(SHARDS[0]))
    assert not path.exists()
    monkeypatch.undo()
    store.commit(MODEL, CELL, SHARDS[0], rows(SHARDS[0]))
    assert store.has(MODEL, CELL, SHARDS[0])
    assert not list(store.directory.rglob("*.tmp"))


def test_a_directory_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run in .*nowhere"):
        Store.of_run(tmp_path / "nowhere")


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(RunError, match=r"cannot write to .*; choose another --output-dir"):
            Store(place, manifest()).write_manifest()


def test_a_full_disk_leaves_nothing_behind_and_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = store.path(MODEL, CELL, SHARDS[1])
    lost.unlink()

    def half(path: Path, content: bytes) -> None:
        path.write_text("PAR1")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(StoreError) as found:
            store.commit(MODEL, CELL, SHARDS[1], rows(SHARDS[1]))
    assert str(found.value).startswith(f"cannot write {lost} (No space left on device); fix this")
    assert found.value.exit_status == 1
    assert not store.has(MODEL, CELL, SHARDS[1])
    assert not list(store.directory.rglob("*.tmp"))
    store.commit(MODEL, CELL, SHARDS[1], rows(SHARDS[1]))
    assert store.has(MODEL, CELL, SHARDS[1])


def test_one_process_writes_at_a_time(store: Store) -> None:
    other = Store(store.directory, manifest())
    refused = pytest.raises(RunError, match="another process is at work on")
    with locked(store.directory), refused, locked(other.directory):
        pass
    with locked(other.directory):
        pass


def test_file_times_have_no_effect(store: Store) -> None:
    for moment in (0, 2**32):
        for file in store.directory.rglob("*.parquet"):
            os.utime(file, (moment, moment))
        assert store.has(MODEL, CELL, SHARDS[0])


@pytest.mark.parametrize("error", [errno.EIO, errno.EMFILE, errno.EACCES])
def test_a_temporary_read_error_is_not_damage(
    store: Store, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """Otherwise a temporary fault would make a table incomplete or repeat a shard."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(Path, "read_bytes", fail)
    message = r"cannot read .*0-3\.parquet \(.+\); fix this, then run the same command again"
    for ask in (store.read_shard, store.content, store.origin):
        with pytest.raises(StoreError, match=message):
            ask(MODEL, CELL, SHARDS[0])
    with pytest.raises(StoreError, match=message):
        store.read(MODEL, CELL, ["image"])
    monkeypatch.undo()
    monkeypatch.setattr(Path, "is_file", fail)
    with pytest.raises(StoreError, match=message):
        store.content(MODEL, CELL, SHARDS[0])

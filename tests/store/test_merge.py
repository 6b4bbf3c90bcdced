"""Runs that were made apart, put together again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import robustbench_aa as rb
from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import open_dataset
from robustbench_aa.errors import RunError, SuiteError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.run import Run, merge_runs
from robustbench_aa.store import merge as merge_module
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.shards import Store
from robustbench_aa.suite import Suite
from tests.conftest import made_elsewhere, make_classifier, tree

NETWORK = "digits:resnet@lpf3-seed0"
A, B = make_classifier("a"), make_classifier("b", seed=1)
DATASETS = ("digits-c", "digits-shift")


def evaluate(
    folder: Path,
    models: Sequence[str | Classifier] = (A,),
    datasets: Sequence[str] = ("digits",),
    **suite: object,
) -> Path:
    given = {"limit": 20, "shard_size": 10} | suite
    prepare(Suite(models, datasets, **given), folder, "cpu").run()  # type: ignore[arg-type]
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = evaluate(tmp_path_factory.mktemp("whole"), [A, NETWORK], DATASETS, baseline="a")
    Run(place).report()
    return place


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Runs with one model each of the whole run."""
    one, two = (tmp_path_factory.mktemp(name) for name in ("one", "two"))
    evaluate(one, [A], DATASETS, baseline="a", name="first")
    return [one, evaluate(two, [NETWORK], DATASETS, name="second")]


def assert_same(merged: Run, whole: Path) -> None:
    assert tree(merged.directory / "predictions") == tree(whole / "predictions")
    merged.report()
    ours, theirs = (tree(folder / "report") for folder in (merged.directory, whole))
    assert "leaderboard.csv" in ours
    assert "missing.csv" not in ours
    for report in (ours, theirs):
        assert report.pop("index.html")  # it is titled by its directory and shows the samples
    assert ours == theirs  # the provenance too: it is the same machine
    assert merged.tables().warnings == []


def test_runs_split_by_model_are_joined(whole: Path, halves: list[Path], tmp_path: Path) -> None:
    before = [tree(half) for half in halves]
    merged = rb.merge_runs(halves, tmp_path / "merged")
    assert_same(merged, whole)
    assert [tree(half) for half in halves] == before
    manifest = Manifest.read(tmp_path / "merged")
    assert manifest is not None
    assert (manifest.suite, manifest.baseline) == (None, "a")


def test_runs_split_by_corruption_are_joined(whole: Path, tmp_path: Path) -> None:
    cells = open_dataset("digits-c").distortions
    names = list(dict.fromkeys(cell.name for cell in cells if cell.severity))
    for place, folder in enumerate(("one", "two", "three")):
        chosen = {"corruptions": names[place::3], "baseline": "a"}
        evaluate(tmp_path / folder, [A, NETWORK], ["digits-c"], **chosen)
    evaluate(tmp_path / "three", [A, NETWORK], ["digits-shift"])
    merged = merge_runs([tmp_path / name for name in ("one", "two", "three")], tmp_path / "merged")
    # nobody asked for clean images: the merged run goes on like any other
    assert merged.tables().missing.empty
    assert "clean_error" not in merged.leaderboard()
    assert merged.leaderboard()["mean_error"].notna().all()
    session = prepare(
        Suite([A, NETWORK], DATASETS, limit=20, shard_size=10), merged.directory, "cpu"
    )
    assert {str(item.cell) for item in session.work} == {"digits-c clean"}
    assert_same(session.run(), whole)


def test_a_run_takes_up_others_and_an_interrupted_merge_continues(
    whole: Path, halves: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shutil.copytree(halves[0], tmp_path / "one"), halves[1]
    kept = {path: path.stat().st_mtime_ns for path in one.rglob("*.parquet")}
    adopt, left = merge_module.Store.adopt, iter(range(7))

    def breaking(*arguments: object) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        adopt(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(merge_module.Store, "adopt", breaking)
    with pytest.raises(KeyboardInterrupt):
        merge_runs([two], one)
    monkeypatch.undo()
    assert len([*one.rglob("*.parquet")]) == len(kept) + 7
    assert_same(merge_runs([one, two], one), whole)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_the_same_predictions_may_be_in_both_and_the_first_file_stays(tmp_path: Path) -> None:
    one, two = (evaluate(tmp_path / name, [A, B]) for name in ("one", "two"))
    made_elsewhere(two, libjpeg="libjpeg 9")
    merged = merge_runs([one, two], tmp_path / "merged")
    assert tree(merged.directory / "predictions") == tree(one / "predictions")
    assert merged.tables().warnings == []


def test_predictions_of_another_environment_cause_a_warning(tmp_path: Path) -> None:
    one, two = evaluate(tmp_path / "one", [A]), evaluate(tmp_path / "two", [B])
    made_elsewhere(two, cudnn_tf32="True")
    (warning,) = merge_runs([one, two], tmp_path / "merged").tables().warnings
    assert warning == (
        "cudnn_tf32 differs between predictions: False (a), True (b); delete those of b and "
        "evaluate them again where it is False"
    )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, "was made with seed 0, not 1"),
        ({"shard_size": 9}, "was made with shards of 10 images, not 9"),
        ({"keep_ranking": True}, "was made without --keep-ranking"),
        ({"limit": 19}, "holds predictions of digits with another sha256, images"),
        (
            {"models": [make_classifier("a", seed=5)]},
            "holds predictions of a with another weights_sha256",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_runs_that_contradict_each_other_are_refused(
    tmp_path: Path, other: dict[str, object], message: str
) -> None:
    parts = [evaluate(tmp_path / "a", [B]), evaluate(tmp_path / "b")]
    parts.append(evaluate(tmp_path / "c", **other))  # type: ignore[arg-type]
    if "models" in other:  # the first has no model of that name
        parts = parts[1:] + parts[:1]
    match = rf"{parts[0]} and .*{other and 'c'} cannot be merged: the first {message}.*; leave one"
    with pytest.raises(RunError, match=match):
        merge_runs(parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_two_data_sets_of_a_kind_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [evaluate(tmp_path / "a", limit=3), evaluate(tmp_path / "b", limit=3)]
    manifest = Manifest.read(parts[1])
    assert manifest is not None
    renamed = {"more-digits": manifest.datasets["digits"]}
    (parts[1] / "run.json").write_text(
        dataclasses.replace(manifest, datasets=renamed, limits={}).to_json()
    )
    with pytest.raises(SuiteError, match="digits and more-digits both measure clean"):
        merge_runs(parts, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_other_predictions_under_the_same_name_are_refused(tmp_path: Path) -> None:
    one, two = evaluate(tmp_path / "one"), evaluate(tmp_path / "two")
    file = two / "predictions/a/digits/clean/10-20.parquet"
    table = pq.read_table(file)
    changed = table.column("top1_probability").to_numpy().copy()
    changed[3] = 0.123
    place = table.schema.get_field_index("top1_probability")
    field = table.schema.field(place)
    table = table.set_column(place, field, [changed])
    pq.write_table(table, file, write_page_checksum=True)
    first = one / file.relative_to(two)
    with pytest.raises(RunError, match=f"{first} and {file} hold different predictions; delete"):
        merge_runs([one, two], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_damaged_file_is_refused_by_name(tmp_path: Path) -> None:
    one, two = evaluate(tmp_path / "one", [A]), evaluate(tmp_path / "two", [B])
    file = two / "predictions/b/digits/clean/10-20.parquet"
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(RunError, match=f"damaged prediction file {file}; delete the file, or"):
        merge_runs([one, two], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    run = evaluate(tmp_path / "run", limit=3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    before = tree(tmp_path)
    for output, message in (
        ("full", "full is not empty and holds no run"),
        ("full/file", "cannot"),
    ):
        with pytest.raises(RunError, match=message):
            merge_runs([run], tmp_path / output)
    with pytest.raises(RunError, match=r"no run in .*nowhere"):
        merge_runs([run, tmp_path / "nowhere"], tmp_path / "merged")
    assert tree(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert merge_runs([run], tmp_path / "empty").leaderboard()["complete"].all()


def test_a_merge_that_was_stopped_before_its_run_json_goes_on(
    whole: Path, halves: list[Path], tmp_path: Path
) -> None:
    (tmp_path / ".lock").write_text("")
    (tmp_path / "run.json.tmp").write_text("{")
    assert_same(merge_runs(halves, tmp_path), whole)


def test_predictions_written_while_a_merge_waits_are_kept(
    halves: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merge reads the run again after it has the lock."""
    output = tmp_path / "run"
    shutil.copytree(halves[0], output)
    first = Store.of_run(output).manifest.models
    lock = merge_module.locked

    @contextmanager
    def after_an_evaluation(directory: Path) -> Iterator[None]:
        with lock(directory):
            suite = Suite([make_classifier("late")], ["digits-c"], limit=20, shard_size=10)
            store = prepare(suite, output, "cpu").store
            store.write_manifest()
            yield

    monkeypatch.setattr(merge_module, "locked", after_an_evaluation)
    merge_runs([halves[1]], output)
    models = Store.of_run(output).manifest.models
    assert "late" in models
    assert set(first) <= set(models)

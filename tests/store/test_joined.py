"""Runs that were made apart, read as one."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

import robustbench_aa as rb
from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import RunError, UsageError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.joint_run import JointRun
from robustbench_aa.run import Run, merge_runs
from robustbench_aa.suite import Suite
from tests.conftest import make_classifier, tree

A, B, C = (make_classifier(name, seed) for seed, name in enumerate("abc"))


def evaluate(folder: Path, models: Sequence[Classifier], *datasets: Any, **suite: object) -> Path:
    given = {"limit": 12, "shard_size": 6} | suite
    prepare(Suite(models, datasets or ["digits"], **given), folder, "cpu").run()  # type: ignore[arg-type]
    return folder


def named(classifier: Classifier, name: str) -> Classifier:
    return make_classifier(name, "abc".index(classifier.name))


def report(tmp_path: Path, *runs: Path, **options: str) -> JointRun:
    joint = JointRun(runs, tmp_path / "joint")
    joint.tables(**options)
    return joint


def test_runs_are_compared_as_if_they_had_been_made_together(tmp_path: Path) -> None:
    part = {"corruptions": ["fog", "clean"], "severities": [3]}
    one = evaluate(tmp_path / "one", [A], "digits-c", **part)
    two = evaluate(tmp_path / "two", [B, C], "digits-c", **part, baseline="b")
    whole = Run(evaluate(tmp_path / "whole", [A, B, C], "digits-c", **part, baseline="b"))
    before = tree(tmp_path)
    joint = report(tmp_path, one, two)
    assert joint.leaderboard().equals(whole.leaderboard())
    for table in ("intervals", "normalised", "relative", "corruptions"):
        assert joint.table(table).equals(whole.table(table)), table
    assert joint.compare("a", "c").equals(whole.compare("a", "c"))
    assert tree(tmp_path) == before
    merged = merge_runs([one, two], tmp_path / "merged")
    assert joint.leaderboard().equals(merged.leaderboard("b"))


def test_the_report_is_written_into_the_folder_alone(tmp_path: Path) -> None:
    runs = [evaluate(tmp_path / model.name, [model]) for model in (A, B)]
    before = [tree(run) for run in runs]
    joint = JointRun(runs, tmp_path / "joint")
    written = joint.report(latex=True)
    assert [tree(run) for run in runs] == before
    names = {path.relative_to(tmp_path / "joint").as_posix() for path in written}
    assert {"index.html", "leaderboard.csv", "leaderboard.tex", "provenance.csv"} <= names
    page = (tmp_path / "joint" / "index.html").read_text()
    assert "a and b" in page
    assert "data:image/webp" in page  # thumbnails
    provenance = pd.read_csv(tmp_path / "joint" / "provenance.csv")
    runs_of = provenance[provenance["property"] == "run"].set_index("subject")["value"]
    assert runs_of.to_dict() == {"a": str(runs[0]), "b": str(runs[1])}


def test_different_models_of_one_name_get_the_names_of_their_runs(tmp_path: Path) -> None:
    one = evaluate(tmp_path / "one", [named(A, "mine"), C], baseline="mine")
    two = evaluate(tmp_path / "two", [named(B, "mine")])
    joint = report(tmp_path, one, two)
    assert {*joint.leaderboard()["model"]} == {"mine (one)", "mine (two)", "c"}
    errors = joint.leaderboard().set_index("model")["clean_error"]
    assert errors["mine (two)"] == Run(two).leaderboard()["clean_error"][0]
    tables = joint.tables()
    assert tables.baseline == "mine (one)"
    assert "mine is another model in one and two; its name has the run in parentheses" in (
        tables.notes
    )


def test_runs_whose_folders_have_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    one = evaluate(tmp_path / "x" / "run", [named(A, "mine")])
    two = evaluate(tmp_path / "y" / "run", [named(B, "mine")])
    assert {*report(tmp_path, one, two).leaderboard()["model"]} == {
        f"mine ({one})",
        f"mine ({two})",
    }


def test_a_model_in_two_runs_is_counted_once(tmp_path: Path) -> None:
    one = evaluate(tmp_path / "one", [A, B])
    two = evaluate(tmp_path / "two", [B, named(A, "mine"), C])
    joint = report(tmp_path, one, two)
    assert joint.leaderboard()["model"].to_list() == (
        Run(evaluate(tmp_path / "whole", [A, B, C])).leaderboard()["model"].to_list()
    )
    assert [*joint.tables().notes[1:]] == [
        "b of one is also in two; it is counted once",
        "a of one is also in two, where it is called mine; it is counted once",
    ]


def test_a_shared_model_and_a_different_one_of_its_name_are_told_apart(tmp_path: Path) -> None:
    runs = [
        evaluate(tmp_path / "one", [named(A, "x")]),
        evaluate(tmp_path / "two", [named(B, "x")]),
        evaluate(tmp_path / "three", [named(A, "x")]),
    ]
    joint = report(tmp_path, *runs)
    assert {*joint.leaderboard()["model"]} == {"x (one)", "x (two)"}


def test_what_a_run_lacks_is_read_from_the_next_one(tmp_path: Path) -> None:
    one = evaluate(tmp_path / "one", [A, B])
    shutil.copytree(one, tmp_path / "two")
    whole = Run(one).leaderboard()
    for run, shard in (("one", "0-6"), ("two", "6-12")):
        next((tmp_path / run / "predictions" / "a").rglob(f"{shard}.parquet")).unlink()
    assert not Run(one).leaderboard().set_index("model").loc["a", "complete"]
    assert report(tmp_path, one, tmp_path / "two").leaderboard().equals(whole)


def test_data_sets_of_several_kinds_are_joined(tmp_path: Path) -> None:
    one = evaluate(tmp_path / "one", [A], "digits")
    two = evaluate(tmp_path / "two", [A], "digits-shift")
    row = report(tmp_path, one, two).leaderboard().loc[0]
    assert row["complete"]
    assert row["clean_error"] == Run(one).leaderboard().loc[0, "clean_error"]
    assert row["consistency_circular"] == Run(two).leaderboard().loc[0, "consistency_circular"]


def test_training_seeds_from_several_runs_are_one_model(tmp_path: Path) -> None:
    seeds = [named(A, "net-seed0"), named(B, "net-seed1")]
    runs = [evaluate(tmp_path / name, [seed]) for name, seed in zip("xy", seeds, strict=True)]
    board = report(tmp_path, *runs).leaderboard()
    whole = Run(evaluate(tmp_path / "whole", seeds)).leaderboard()
    assert board.equals(whole)
    assert board.loc[0, ["model", "seeds"]].to_list() == ["net", 2]


def test_training_seeds_of_different_models_stay_together(tmp_path: Path) -> None:
    one = evaluate(tmp_path / "one", [named(A, "net-seed0"), named(B, "net-seed1")])
    two = evaluate(tmp_path / "two", [named(A, "net-seed0"), named(C, "net-seed1")], baseline="net")
    joint = report(tmp_path, one, two)
    board = joint.leaderboard().set_index("model")
    assert {*board.index} == {"net (one)", "net (two)"}
    for run in (one, two):
        expected = Run(run).leaderboard().loc[0]
        assert board.loc[f"net ({run.name})", "clean_error"] == expected["clean_error"]
        assert board.loc[f"net ({run.name})", "seeds"] == 2
    assert joint.tables().baseline == "net (two)"


@pytest.mark.parametrize(
    ("datasets", "changes", "message"),
    [
        (["digits"], {"limit": 10}, "one holds predictions of digits with another sha256, images"),
        (["digits"], {"seed": 1}, "one was made with seed 0, not 1"),
        (["digits"], {"shard_size": 4}, "one was made with shards of 6 images, not 4"),
    ],
)
def test_runs_of_different_data_are_refused_and_the_difference_is_named(
    tmp_path: Path, datasets: list[str], changes: dict[str, object], message: str
) -> None:
    one = evaluate(tmp_path / "one", [A])
    two = evaluate(tmp_path / "two", [B], *datasets, **changes)
    with pytest.raises(RunError, match=f"one and two cannot be compared: .*{message}"):
        report(tmp_path, one, two)


def test_runs_with_two_data_sets_of_one_kind_are_refused(tmp_path: Path) -> None:
    images = torch.zeros(12, 3, 32, 32, dtype=torch.uint8)
    arrays = rb.ImageArrays(images, [*range(10), 0, 1], "grey")
    one, two = evaluate(tmp_path / "one", [A]), evaluate(tmp_path / "two", [B], arrays)
    with pytest.raises(RunError, match=r"one and two cannot be compared: .*grey.*; report on them"):
        report(tmp_path, one, two)


def test_folders_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    one = evaluate(tmp_path / "one", [A])
    with pytest.raises(UsageError, match="holds a run; choose another --output-dir"):
        JointRun([one], one)
    with pytest.raises(UsageError, match="named twice; leave one out"):
        JointRun([one, tmp_path / "x" / ".." / "one"], tmp_path / "joint")
    with pytest.raises(RunError, match="no run in"):
        JointRun([one, tmp_path / "lost"], tmp_path / "joint")

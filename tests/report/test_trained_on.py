"""Corruptions that models were trained on are marked, and left out of a second mean."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

import robustbench_aa as rb
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.report.terminal import dataset_table
from robustbench_aa.types import COUNTED_CORRUPTIONS
from tests.conftest import make_classifier

OTHERS = [name for name in COUNTED_CORRUPTIONS if name not in ("fog", "snow")]


def images() -> rb.ImageArrays:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    return rb.ImageArrays(pixels, range(6), "noise", "imagenet-c", classes=10)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> rb.Run:
    plain = make_classifier("plain")
    models = [
        dataclasses.replace(plain, name="one", trained_on=["fog"]),
        dataclasses.replace(make_classifier("two", 1), trained_on=["snow", "fog"]),
        plain,
    ]
    return rb.benchmark(models, [images()], tmp_path_factory.mktemp("trained") / "run")


def test_the_second_mean_leaves_out_what_any_model_was_trained_on(run: rb.Run) -> None:
    board = run.leaderboard().set_index("model")
    errors = run.table("corruptions")
    by_name = errors.groupby(["model", "corruption"])["error"].mean()
    for model in board.index:
        assert board.loc[model, "mean_error_unseen"] == pytest.approx(by_name[model][OTHERS].mean())
        whole = by_name[model][[*COUNTED_CORRUPTIONS]].mean()
        assert board.loc[model, "mean_error"] == pytest.approx(whole)
    assert board["trained_on"].to_dict() == {"one": "fog", "two": "snow, fog", "plain": ""}
    assert "mean_error_unseen" in run.compare("one", "two")["metric"].tolist()
    assert "mean_error_unseen" in run.table("intervals")["metric"].tolist()


def test_tables_mark_what_a_model_was_trained_on(run: rb.Run) -> None:
    errors = run.table("corruptions")
    marked = errors[errors["trained_on"]]
    assert {*zip(marked["model"], marked["corruption"], strict=True)} == {
        *(("one", "fog"), ("two", "fog"), ("two", "snow"))
    }
    table = dataset_table(run.tables(), "noise")
    assert table is not None
    fog = table.columns["corruption"].index("fog")
    assert [table.columns[name][fog][-1] == "*" for name in ("one", "two", "plain")] == [
        *(True, True, False)
    ]
    assert run.tables().notes[:2] == ["one was trained on fog", "two was trained on snow, fog"]
    relative = run.table("normalised", baseline="plain")
    assert relative.loc[relative["model"] == "plain", "trained_on"].sum() == 0
    assert relative.loc[relative["model"] == "one", "trained_on"].sum() > 0


def test_the_declaration_is_recorded_but_not_compared(run: rb.Run, tmp_path: Path) -> None:
    recorded = json.loads((run.directory / "run.json").read_text())["models"]
    assert recorded["two"]["trained_on"] == ["snow", "fog"]
    assert "trained_on" not in recorded["plain"]
    rb.benchmark([make_classifier("plain")], [images()], tmp_path / "run", limit=2)
    later = dataclasses.replace(make_classifier("plain"), trained_on=["fog"])
    again = rb.benchmark([later], [images()], tmp_path / "run", limit=2)
    assert "mean_error_unseen" in again.leaderboard()


def test_no_declaration_changes_no_table(tmp_path: Path) -> None:
    run = rb.benchmark([make_classifier("plain")], [images()], tmp_path / "run", limit=2)
    assert "mean_error_unseen" not in run.leaderboard()
    for table in (run.leaderboard(), run.table("corruptions")):
        assert "trained_on" not in table


def test_a_wrong_declaration_is_refused(tmp_path: Path) -> None:
    plain = make_classifier("plain")
    with pytest.raises(UsageError, match=r"must be a list; give \['fog'\]"):
        dataclasses.replace(plain, trained_on="fog")
    wrong = dataclasses.replace(plain, trained_on=["fogg"])
    with pytest.raises(UnknownName, match=r"trained_on of plain 'fogg'; did you mean fog"):
        rb.benchmark([wrong], [images()], tmp_path / "run")

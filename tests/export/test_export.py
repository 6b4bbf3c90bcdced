"""The tables that exports write, read back by other libraries."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml
from huggingface_hub.repocard_data import ModelCardData, model_index_to_eval_results

from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.export import FORMATS, export
from robustbench_aa.run import Run
from robustbench_aa.suite import Suite
from tests.conftest import make_classifier
from tests.forged import forge

MODELS = [make_classifier("a|b_c"), make_classifier("timm:b", seed=1)]
TIMM = ["model", "img_size", "top1", "top1_err", "top5", "top5_err", "param_count"]
TIMM += ["crop_pct", "interpolation"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    suite = Suite(MODELS, ["digits-c", "digits-shift"], limit=20, severities=[3])
    return prepare(suite, tmp_path_factory.mktemp("run"), "cpu").run()


def exported(run: Run, folder: Path, name: str, **options: object) -> str:
    export(run, folder / "file", name, **options)
    return (folder / "file").read_text(encoding="utf-8")


def test_timms_columns_hold_the_accuracies(run: Run, tmp_path: Path) -> None:
    text = exported(run, tmp_path, "timm-csv", distortion="fog/3")
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(text))}
    assert list(rows["b"]) == TIMM
    errors = run.table("corruptions").set_index(["model", "corruption", "severity"])["error"]
    for name, model in (("a|b_c", "a|b_c"), ("b", "timm:b")):
        error = errors[model, "fog", 3]
        row = rows[name]
        assert float(row["top1_err"]) == pytest.approx(100 * error, abs=5e-4)
        assert float(row["top1"]) == pytest.approx(100 - 100 * error, abs=5e-4)
        assert float(row["top1"]) <= float(row["top5"]) == 100 - float(row["top5_err"])
        assert (row["img_size"], row["param_count"]) == ("32", "0.03")
        assert (row["crop_pct"], row["interpolation"]) == ("", "")


def test_timms_rows_are_sorted_as_timm_sorts_them(tmp_path: Path) -> None:
    run = Run(forge(tmp_path / "run", ["a", "b", "c", "d"], ["image-folder"]))
    table = pd.read_csv(io.StringIO(exported(run, tmp_path, "timm-csv")))
    best = table.sort_values(["top1", "top5", "model"], ascending=[False, False, True])
    assert table["model"].to_list() == best["model"].to_list()
    assert set(table["crop_pct"]) == {0.875}
    assert set(table["interpolation"]) == {"bilinear"}


@pytest.mark.parametrize(
    ("rule", "known"), [("one label among the 200 classes", True), ("any of several labels", False)]
)
def test_top5_needs_one_label_for_each_image(tmp_path: Path, rule: str, known: bool) -> None:
    scoring = {"column": "own_set", "rule": rule, "classes": None, "left_out": 0}
    run = Run(forge(tmp_path / "run", ["a"], ["image-folder"], scoring=scoring))
    (row,) = csv.DictReader(io.StringIO(exported(run, tmp_path, "timm-csv")))
    assert row["top1"]
    assert bool(row["top5"]) is bool(row["top5_err"]) is known
    (entry,) = yaml.safe_load(exported(run, tmp_path, "hf-eval-results"))["model-index"]
    (result,) = entry["results"]
    assert result["dataset"]["type"] == "image-folder"
    assert [one["type"] for one in result["metrics"]] == ["error_own_set"]


def test_a_models_card_holds_the_leaderboard(run: Run, tmp_path: Path) -> None:
    text = exported(run, tmp_path, "hf-eval-results")
    index = yaml.safe_load(text)["model-index"]
    board = run.tables().leaderboard.set_index("model")
    assert [entry["name"] for entry in index] == [*board.index]
    for entry in index:
        name, results = model_index_to_eval_results([entry])
        found = {one.metric_type: one for one in results}
        assert {"mean_error_subset", "consistency_circular", "ece_subset"} <= found.keys()
        for metric, one in found.items():
            assert one.metric_value == pytest.approx(board.loc[name, metric], abs=1e-6)
        assert found["mean_error_subset"].dataset_type == "digits-c"
        assert found["ece_subset"].dataset_type == "digits-c"
        assert found["consistency_circular"].dataset_type == "digits-shift"
        bounds = found["mean_error_subset"].metric_args
        assert bounds["low"] == pytest.approx(board.loc[name, "mean_error_subset_low"], abs=1e-6)
    card = ModelCardData(**{"model-index": index[:1]}, ignore_metadata_errors=False)
    assert card.model_name == index[0]["name"]


def test_a_card_can_be_of_one_model(run: Run, tmp_path: Path) -> None:
    text = exported(run, tmp_path, "hf-eval-results", models=["timm:b"], baseline="a|b_c")
    (entry,) = yaml.safe_load(text)["model-index"]
    metrics = [one["type"] for result in entry["results"] for one in result["metrics"]]
    assert entry["name"] == "timm:b"
    assert "mce_subset_a|b_c" in metrics


def test_markdown_has_the_values_of_the_leaderboard(run: Run, tmp_path: Path) -> None:
    text = exported(run, tmp_path, "markdown")
    header, rule, *rows = text.splitlines()
    columns = [cell.strip().replace("\\", "") for cell in header.strip("|").split(" | ")]
    assert len(rule.strip("|").split("|")) == len(columns)
    board = run.leaderboard()
    for row, (_, expected) in zip(rows, board.iterrows(), strict=True):
        cells = re.split(r"(?<!\\)\|", row.strip("|"))
        found = dict(zip(columns, (cell.strip() for cell in cells), strict=True))
        assert found["model"].replace("\\", "") == expected["model"]
        error = expected["mean_error_subset"]
        assert math.isclose(float(found["mean_error_subset"]), error, abs_tol=5e-5)


def test_latex_has_the_values_of_the_leaderboard_in_percent(run: Run, tmp_path: Path) -> None:
    lines = exported(run, tmp_path, "latex").splitlines()
    columns = lines[2].removesuffix(r" \\").split(" & ")
    rows = [line.removesuffix(r" \\").split(" & ") for line in lines[4:-2]]
    board = run.leaderboard().set_index("model")
    names = {"a|b_c": r"a\textbar{}b\_c", "timm:b": "timm:b"}
    assert [row[0] for row in rows] == [names[name] for name in board.index]
    for row, (_, expected) in zip(rows, board.iterrows(), strict=True):
        text = row[columns.index(r"mean error subset [\%]")]
        value = re.sub(r"\\textbf{(.*)}", r"\1", text)
        assert float(value) == pytest.approx(100 * expected["mean_error_subset"], abs=0.05)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pdf", {}, "unknown format 'pdf'"),
        ("timm-csv", {"baseline": "a"}, "format timm-csv has no --baseline; leave it out"),
        ("latex", {"models": ["a"]}, "format latex has no --model; leave it out"),
        ("timm-csv", {"models": ["b"]}, r"unknown model of the run 'b'; known: a\|b_c, timm:b"),
        ("timm-csv", {"dataset": "digits"}, "unknown data set of the run 'digits'"),
        (
            "timm-csv",
            {"distortion": "fog"},
            "distortion of the run 'fog'; did you mean fog/5 or fog/4 or fog/3",
        ),
        ("timm-csv", {"distortion": "shift/circular"}, "has 81 frames of each image"),
        ("timm-csv", {}, r"lacks predictions of digits-c clean; .* --model"),
        (
            "hf-eval-results",
            {"models": ["b"]},
            r"unknown model of the run 'b'; known: a\|b_c, timm:b",
        ),
        ("markdown", {"baseline": "c"}, "unknown baseline"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(
    run: Run, tmp_path: Path, name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises((UnknownName, UsageError), match=message):
        export(run, tmp_path / "file", name, **options)
    assert not (tmp_path / "file").exists()


def test_incomplete_models_are_refused(tmp_path: Path) -> None:
    run = prepare(Suite(MODELS, ["digits"], limit=4), tmp_path / "run", "cpu").run()
    next((tmp_path / "run").rglob("*.parquet")).unlink()
    with pytest.raises(UsageError, match=r"a\|b_c lacks predictions; .* --model"):
        export(Run(run.directory), tmp_path / "file", "hf-eval-results")


def test_the_command_line_lists_every_format() -> None:
    from robustbench_aa.cli.report import export as command

    (option,) = [one for one in command.params if one.name == "name"]
    assert [*option.type.choices] == [*FORMATS]  # type: ignore[attr-defined]

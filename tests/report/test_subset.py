"""Metrics over a chosen part of a data set, and runs that grow."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robustbench_aa.evaluation.session import prepare
from robustbench_aa.metrics.bootstrap import mean_interval
from robustbench_aa.report.plots import draw_plots
from robustbench_aa.run import Run
from robustbench_aa.suite import Suite
from tests.conftest import make_classifier

A, B = make_classifier("a"), make_classifier("b", seed=1)
IMAGES = 30


def evaluate(folder: Path, models: Sequence[Any], datasets: Sequence[Any], **values: Any) -> Run:
    suite = Suite(models, datasets, **{"limit": IMAGES, **values})
    return prepare(suite, folder, "cpu").run()


def wrong(folder: Path, model: str, cell: str) -> np.ndarray:
    """Which images a model gets wrong, from its prediction file alone."""
    (file,) = (folder / "predictions" / model / "digits-c" / cell).glob("*.parquet")
    rows = pd.read_parquet(file).sort_values("image")
    return (rows["top1"] != rows["label"]).to_numpy(float)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of two models on fog at severities 3 and 5, snow at 3, clean, and tilt."""
    place = tmp_path_factory.mktemp("run")
    datasets = ["digits-c", "digits-p"]
    names = ["fog", "snow", "clean"]
    evaluate(place, [A, B], datasets, corruptions=names, severities=[3], perturbations=["tilt"])
    evaluate(place, [A, B], ["digits-c"], corruptions=["fog"], severities=[5], baseline="b")
    Run(place).report()
    return place


def test_a_subset_has_a_mean_of_its_own_and_no_published_one(folder: Path) -> None:
    board = pd.read_csv(folder / "report" / "leaderboard.csv").set_index("model")
    means = {}
    for model in ("a", "b"):
        fog = (wrong(folder, model, "fog/3") + wrong(folder, model, "fog/5")) / 2
        by_image = (fog + wrong(folder, model, "snow/3")) / 2
        means[model] = by_image.mean()
        row = board.loc[model]
        assert row["mean_error_subset"] == pytest.approx(by_image.mean(), abs=1e-6)
        bounds = [row["mean_error_subset_low"], row["mean_error_subset_high"]]
        assert bounds == pytest.approx(mean_interval(by_image), abs=1e-6)
        assert row["clean_error"] == pytest.approx(wrong(folder, model, "clean").mean())
        assert row["complete"]
    assert board["rank"].to_dict() == {
        model: 1 + sum(other < means[model] for other in means.values()) for model in means
    }
    published = {"mean_error", "holdout_error", "mce_b", "mean_flip_probability", "mfr_b", "ece"}
    assert not published & set(board)
    assert {"mean_flip_probability_subset", "ece_subset"} < set(board)


def test_a_subset_is_listed_cell_by_cell(folder: Path) -> None:
    table = pd.read_csv(folder / "report" / "subset.csv")
    assert list(table) == ["metric", "dataset", "distortion", "severity"]
    assert table.to_numpy().tolist() == [
        ["mean_error_subset", "digits-c", "snow", 3],
        ["mean_error_subset", "digits-c", "fog", 3],
        ["mean_error_subset", "digits-c", "fog", 5],
        ["mean_flip_probability_subset", "digits-p", "tilt", 0],
    ]
    tables = Run(folder).tables()
    assert tables.notes == [
        "mean_error_subset: snow 3; fog 3, 5 (digits-c)",
        "mean_flip_probability_subset: tilt (digits-p)",
        f"limit: {IMAGES} images of digits-c, {IMAGES} images of digits-p",
    ]
    corruptions = tables.corruptions
    assert set(corruptions["corruption"]) == {"clean", "snow", "fog"}
    assert corruptions["error"].notna().all()
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert all(note in page for note in tables.notes)
    assert "Not complete." not in page


def test_a_mean_over_a_subset_is_relative_only_to_models_of_the_run(folder: Path) -> None:
    board = Run(folder).leaderboard(baseline="b").set_index("model")

    def errors(model: str) -> np.ndarray:
        cells = [["fog/3", "fog/5"], ["snow/3"]]
        return np.array([sum(wrong(folder, model, one).mean() for one in same) for same in cells])

    expected = 100 * (errors("a") / errors("b")).mean()
    assert board.loc["a", "mce_subset_b"] == pytest.approx(expected)
    assert board.loc["b", "mce_subset_b"] == pytest.approx(100)
    intervals = Run(folder).tables("b").intervals.set_index(["model", "metric"])
    row = intervals.loc[("a", "mce_subset_b")]
    assert row["low"] < row["value"] < row["high"]


def test_a_subset_is_compared_in_pairs(folder: Path) -> None:
    table = Run(folder).compare("a", "b").set_index(["metric", "distortion"])
    board = Run(folder).leaderboard().set_index("model")
    row = table.loc[("mean_error_subset", "")]
    difference = board.loc["a", "mean_error_subset"] - board.loc["b", "mean_error_subset"]
    assert row["difference"] == pytest.approx(difference)
    assert row["low"] <= row["difference"] <= row["high"]
    # a mean over some severities is not called like that over all five
    assert set(table.loc["error"].index) == {"fog 3, 5", "snow 3"}
    assert set(table.loc["flip_probability"].index) == {"tilt"}


def test_plots_average_only_over_severities_that_all_corruptions_have(folder: Path) -> None:
    evaluate(folder, [A, B], ["digits-shift"])
    tables = Run(folder).tables()
    plots = draw_plots(tables)
    assert {"ranking", "corruptions", "overview", "calibration"} <= set(plots)
    axes = plots["overview"].figure.axes[0]
    (line,) = [one for one in axes.lines if one.get_label() == "a"]
    assert line.get_xdata().tolist() == [0, 3]  # type: ignore[union-attr]
    mean = 100 * (wrong(folder, "a", "fog/3") + wrong(folder, "a", "snow/3")).mean() / 2
    assert line.get_ydata()[1] == pytest.approx(mean)  # type: ignore[index]
    assert sorted(set(tables.calibration["severity"])) == [0, 3]


def test_models_of_other_cells_have_no_common_mean_until_they_have_all(tmp_path: Path) -> None:
    evaluate(tmp_path, [A], ["digits-c"], corruptions=["fog"], severities=[3])
    run = evaluate(tmp_path, [B], ["digits-c"], corruptions=["snow"], severities=[3])
    board = run.leaderboard().set_index("model")
    assert board["mean_error_subset"].isna().all()
    assert not board["complete"].any()
    lacking = run.tables().missing
    assert lacking[["model", "distortion"]].to_numpy().tolist() == [["a", "snow/3"], ["b", "fog/3"]]
    run = evaluate(tmp_path, [A], ["digits-c"], corruptions=["snow"], severities=[3])
    board = run.leaderboard().set_index("model")
    assert board["complete"].to_dict() == {"a": True, "b": False}
    both = [wrong(tmp_path, "a", cell).mean() for cell in ("fog/3", "snow/3")]
    assert board.loc["a", "mean_error_subset"] == pytest.approx(np.mean(both))
    assert np.isnan(board.loc["b", "mean_error_subset"])
    assert pd.isna(board.loc["b", "rank"])


def test_the_page_asks_for_what_the_models_lack(tmp_path: Path) -> None:
    for model, cells in ((A, ["fog", "clean"]), (B, ["snow"])):
        suite = Suite([model], ["digits-c"], corruptions=cells, severities=[3], limit=3)
        command = f"robustbench-aa evaluate -m {model.name} --corruption snow --severity=3"
        prepare(suite, tmp_path, "cpu", command).run().report()
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert (
        "robustbench-aa evaluate -m b --corruption clean --corruption snow --corruption fog "
        "--severity 3</code>"
    ) in page


def test_a_subset_may_grow_to_the_whole_set(tmp_path: Path) -> None:
    evaluate(tmp_path, [A], ["digits-p"], perturbations=["tilt"], limit=3, name="small")
    assert json.loads((tmp_path / "run.json").read_text())["selected"] == {"digits-p": ["tilt"]}
    run = evaluate(tmp_path, [A, B], ["digits-p", "digits"], limit=3, name="large")
    manifest = json.loads((tmp_path / "run.json").read_text())
    assert manifest["selected"] == {}
    assert manifest["suite"] == "small + large"
    board = run.leaderboard()
    assert "mean_flip_probability_subset" not in board
    assert board["mean_flip_probability"].notna().all()
    assert board["complete"].all()
    assert run.tables().subset.empty
    # a later part of a whole set does not make it a subset
    run = evaluate(tmp_path, [A], ["digits-p"], perturbations=["tilt"], limit=3)
    assert run.leaderboard()["mean_flip_probability"].notna().all()
    run.report()
    page = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert '<p class="title">small + large</p>' in page


def test_the_published_corruptions_alone_are_a_whole_set(tmp_path: Path) -> None:
    counted = [
        *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur"),
        *("motion_blur", "zoom_blur", "snow", "frost", "fog", "brightness", "contrast"),
        *("elastic_transform", "pixelate", "jpeg_compression"),
    ]
    run = evaluate(tmp_path, [A], ["digits-c"], corruptions=counted, limit=3)
    (row,) = run.leaderboard().to_dict("records")
    assert row["mean_error"] == pytest.approx(
        np.mean([wrong(tmp_path, "a", f"{name}/{s}") for name in counted for s in range(1, 6)])
    )
    assert row["complete"]
    assert not {"mean_error_subset", "holdout_error", "clean_error"} & set(row)
    one_severity = evaluate(
        tmp_path / "other", [A], ["digits-c"], corruptions=counted, severities=[3], limit=3
    )
    assert "mean_error" not in one_severity.leaderboard()


def test_hold_outs_count_in_the_subset_that_names_them(tmp_path: Path) -> None:
    names = ["spatter", "fog"]
    run = evaluate(tmp_path, [A], ["digits-c"], corruptions=names, severities=[1], limit=5)
    expected = np.mean([wrong(tmp_path, "a", f"{name}/1") for name in names])
    assert run.leaderboard()["mean_error_subset"].item() == pytest.approx(expected)


def test_clean_images_alone_rank_by_their_error(tmp_path: Path) -> None:
    run = evaluate(tmp_path, [A, B], ["digits-c"], corruptions=["clean"])
    board = run.leaderboard()
    assert board["rank"].notna().all()
    assert board["clean_error"].is_monotonic_increasing
    assert board["complete"].all()
    run.report()


def test_a_run_without_any_ranking_metric_has_a_report_without_ranks(tmp_path: Path) -> None:
    """The diagonal has no consistency."""
    from tests.forged import forge

    forge(tmp_path, ["one"], ["imagenet-shift"], images=4)
    manifest = json.loads((tmp_path / "run.json").read_text())
    manifest["selected"] = {"imagenet-shift": ["shift/diagonal"]}
    (tmp_path / "run.json").write_text(json.dumps(manifest))
    for protocol in ("crops", "circular"):
        for file in (tmp_path / "predictions").rglob(f"{protocol}/*.parquet"):
            file.unlink()
    run = Run(tmp_path)
    run.report()
    assert run.leaderboard()["rank"].isna().all()
    assert run.leaderboard()["complete"].all()
    assert run.tables().consistency["protocol"].tolist() == ["diagonal"]
    assert not run.tables().diagonal.empty

"""Every metric, computed again from the prediction files by a few independent lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UnknownName
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.report.leaderboard import ranking_column
from robustbench_aa.run import Run
from robustbench_aa.suite import Suite
from tests.conftest import PLAIN, make_classifier

HELD_OUT = ["speckle_noise", "gaussian_blur", "spatter", "saturate"]
COUNTED = [
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
]
PERTURBED = [
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "spatter", "brightness"),
    *("translate", "rotate", "tilt", "scale"),
]
IMAGES = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = [make_classifier("base", seed=9)]
    models += [make_classifier(f"mine-seed{seed}", seed=seed) for seed in range(3)]
    suite = Suite(
        [*models, "digits:resnet@lpf3-seed0"],
        ["digits-c", "digits-p", "digits-shift"],
        baseline="base",
        limit=IMAGES,
        shard_size=15,
    )
    place = tmp_path_factory.mktemp("run")
    prepare(suite, place, "cpu").run().report()
    return place


def predictions(folder: Path, model: str, cell: str) -> pd.DataFrame:
    dataset = "digits-shift" if cell.startswith("shift") else "digits-c"
    if "/" not in cell and cell != "clean":
        dataset = "digits-p"
    files = (folder / "predictions" / model / dataset / cell).glob("*.parquet")
    return pd.concat([pd.read_parquet(file) for file in files]).sort_values(["image", "frame"])


def error(folder: Path, model: str, cell: str) -> float:
    rows = predictions(folder, model, cell)
    assert len(rows) == IMAGES
    return float((rows["top1"] != rows["label"]).mean())


def errors(folder: Path, model: str, corruptions: Sequence[str] = COUNTED) -> np.ndarray:
    return np.array([[error(folder, model, f"{c}/{s}") for s in range(1, 6)] for c in corruptions])


def ece(folder: Path, model: str, cell: str) -> float:
    rows = predictions(folder, model, cell)
    bins = pd.cut(rows["top1_probability"], np.arange(16) / 15, include_lowest=True)
    right = rows["top1"] == rows["label"]
    gaps = (right - rows["top1_probability"]).groupby(bins, observed=True).sum()
    return float(gaps.abs().sum() / len(rows))


def flips(folder: Path, model: str, perturbation: str) -> tuple[float, float]:
    """The flip probability and the top-5 distance, frame by frame."""
    rows = predictions(folder, model, perturbation)
    flipped, moved = [], []
    for _, sequence in rows.groupby("image"):
        lists = sequence[[f"top{rank}" for rank in range(1, 6)]].to_numpy().tolist()
        for place in range(1, len(lists)):
            before = lists[0 if "noise" in perturbation else place - 1]
            after = lists[place]
            flipped.append(before[0] != after[0])
            places = [after.index(label) if label in after else 5 for label in before]
            moved.append(sum(abs(new - old) for old, new in enumerate(places)))
    return float(np.mean(flipped)), float(np.mean(moved))


SEEDS = [f"mine-seed{seed}" for seed in range(3)]


def test_the_leaderboard_agrees_with_the_predictions(folder: Path) -> None:
    board = pd.read_csv(folder / "report" / "leaderboard.csv").set_index("model")
    seeds = pd.read_csv(folder / "report" / "seeds.csv").set_index("model")
    base, base_clean = errors(folder, "base"), error(folder, "base", "clean")
    for name, row in [*board.drop(index="mine").iterrows(), *seeds.iterrows()]:
        own, clean = errors(folder, str(name)), error(folder, str(name), "clean")
        expected = {
            "clean_error": clean,
            "mean_error": own.mean(),
            "mce_base": 100 * (own.sum(1) / base.sum(1)).mean(),
            "holdout_error": errors(folder, str(name), HELD_OUT).mean(),
        }
        loss, base_loss = (own - clean).sum(1), (base - base_clean).sum(1)
        defined = (base_loss > 0).all()
        expected["relative_mce_base"] = 100 * (loss / base_loss).mean() if defined else np.nan
        shifts = predictions(folder, str(name), "shift/circular")["top1"].to_numpy()
        shifts = shifts.reshape(IMAGES, 81)
        expected["consistency_circular"] = (shifts[:, :, None] == shifts[:, None, :]).mean()
        label = predictions(folder, str(name), "shift/circular")["label"].to_numpy()
        expected["accuracy_worst_circular"] = (shifts == label.reshape(shifts.shape)).all(1).mean()
        by_step = shifts.reshape(IMAGES, 9, 9)
        one_step = by_step[:, 3:6, 3:6] != by_step[:, 4:5, 4:5]
        expected["fooled_circular"] = one_step.any(axis=(1, 2)).mean()
        rates = np.array([flips(folder, str(name), perturbation) for perturbation in PERTURBED])
        base_rates = np.array([flips(folder, "base", perturbation) for perturbation in PERTURBED])
        expected["mean_flip_probability"] = rates[:, 0].mean()
        defined = (base_rates[:, 0] > 0).all()
        expected["mfr_base"] = 100 * (rates[:, 0] / base_rates[:, 0]).mean() if defined else np.nan
        expected["mt5d_base"] = 100 * (rates[:, 1] / base_rates[:, 1]).mean()
        for metric, value in expected.items():
            assert row[metric] == pytest.approx(value, abs=1e-5, nan_ok=True), (name, metric)
        assert row["images"] == IMAGES
        assert row["complete"]
    assert board.loc["base", "mce_base"] == 100
    for metric in ("clean_error", "mean_error", "mce_base", "consistency_circular"):
        assert board.loc["mine", metric] == pytest.approx(seeds[metric].mean(), abs=1e-5)
        assert board.loc["mine", f"{metric}_std"] == pytest.approx(seeds[metric].std(), abs=1e-5)
    assert board["seeds"].to_dict() == {"mine": 3, "base": 1, "digits:resnet@lpf3-seed0": 1}
    assert np.isnan(board.loc["base", "mean_error_std"])


def test_the_columns_of_the_contract_come_first_and_in_its_order(folder: Path) -> None:
    board = pd.read_csv(folder / "report" / "leaderboard.csv")
    assert list(board)[:20] == [
        *("rank", "model", "params_m", "images", "clean_error", "mean_error", "mean_error_low"),
        *("mean_error_high", "mce_base", "relative_mce_base", "holdout_error"),
        *("mean_flip_probability", "mfr_base", "mt5d_base"),
        *("consistency_circular", "accuracy_worst_circular", "fooled_circular"),
        *("ece", "complete", "rank_group"),
    ]
    assert board["rank"].tolist() == [1, 2, 3]
    assert board["mean_error"].is_monotonic_increasing
    corruptions = pd.read_csv(folder / "report" / "corruptions.csv")
    assert list(corruptions)[:8] == [
        *("model", "dataset", "corruption", "severity", "images", "error", "error_low"),
        "error_high",
    ]
    assert len(corruptions) == 3 * 96


def test_every_cell_agrees_with_the_predictions(folder: Path) -> None:
    cells = pd.read_csv(folder / "report" / "corruptions.csv")
    for row in cells[cells["model"] == "mine"].to_dict("records"):
        cell = f"{row['corruption']}/{row['severity']}" if row["severity"] else "clean"
        found = [error(folder, seed, cell) for seed in SEEDS]
        assert row["error"] == pytest.approx(np.mean(found), abs=1e-5)
        assert row["error_std"] == pytest.approx(np.std(found, ddof=1), abs=1e-5)
        assert row["error_low"] <= row["error"] <= row["error_high"]


def test_every_perturbation_agrees_with_the_predictions(folder: Path) -> None:
    table = pd.read_csv(folder / "report" / "perturbations.csv")
    assert list(table)[:7] == [
        *("model", "dataset", "perturbation", "images", "flip_probability"),
        *("flip_probability_low", "flip_probability_high"),
    ]
    assert len(table) == 3 * 10
    for row in table[table["model"] == "mine"].to_dict("records"):
        found = np.array([flips(folder, seed, row["perturbation"]) for seed in SEEDS])
        values = [row["flip_probability"], row["top5_distance"]]
        assert values == pytest.approx(found.mean(axis=0), abs=1e-5)
        assert row["flip_probability_std"] == pytest.approx(found[:, 0].std(ddof=1), abs=1e-5)


def test_consistency_agrees_with_the_predictions(folder: Path) -> None:
    table = pd.read_csv(folder / "report" / "consistency.csv").set_index("model")
    rows = predictions(folder, "base", "shift/circular")
    right = (rows["top1"] == rows["label"]).mean()
    assert table.loc["base", "accuracy"] == pytest.approx(right, abs=1e-5)
    agreeing = []
    for _, shifts in rows.groupby("image"):
        if (shifts["top1"] == shifts["label"]).any():
            agreeing.append((shifts["top1"].value_counts(normalize=True) ** 2).sum())
    found = table.loc["base", "consistency_among_correct"]
    assert found == pytest.approx(np.mean(agreeing), abs=1e-5)
    board = pd.read_csv(folder / "report" / "leaderboard.csv").set_index("model")
    pd.testing.assert_series_equal(
        table["consistency"].sort_index(),
        board["consistency_circular"].sort_index(),
        check_names=False,
    )


def test_normalised_metrics_agree_with_the_predictions(folder: Path) -> None:
    table = pd.read_csv(folder / "report" / "normalised.csv").set_index(
        ["model", "metric", "distortion"]
    )
    assert set(table["baseline"]) == {"base"}
    name = "digits:resnet@lpf3-seed0"
    own, base = errors(folder, name), errors(folder, "base")
    clean, base_clean = error(folder, name, "clean"), error(folder, "base", "clean")
    loss, base_loss = (own - clean).sum(1), (base - base_clean).sum(1)
    for place, corruption in enumerate(COUNTED):
        ce = table.loc[(name, "ce", corruption)]
        assert ce["value"] == pytest.approx(100 * own[place].sum() / base[place].sum(), abs=1e-4)
        assert ce["low"] <= ce["value"] <= ce["high"]
        if base_loss[place] > 0:
            relative = table.loc[(name, "relative_ce", corruption), "value"]
            assert relative == pytest.approx(100 * loss[place] / base_loss[place], abs=1e-4)
    for perturbation in PERTURBED:
        ours, theirs = (np.array(flips(folder, model, perturbation)) for model in (name, "base"))
        rates = [table.loc[(name, metric, perturbation), "value"] for metric in ("fr", "t5d")]
        expected = 100 * ours / np.where(theirs > 0, theirs, np.nan)
        assert rates == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_intervals_contain_the_metrics_of_the_leaderboard(folder: Path) -> None:
    table = pd.read_csv(folder / "report" / "intervals.csv")
    board = pd.read_csv(folder / "report" / "leaderboard.csv").set_index("model")
    shifts = pd.read_csv(folder / "report" / "consistency.csv").set_index("model")
    for metric in ("accuracy_drop", "probability_change"):  # which the leaderboard leaves out
        board[f"{metric}_circular"] = shifts[metric]
    for row in table.to_dict("records"):
        shown = board.loc[row["model"], row["metric"]]
        assert row["value"] == pytest.approx(shown, abs=1e-6, nan_ok=True)
        if not np.isnan(row["low"]):
            assert row["low"] <= row["value"] <= row["high"]
    mean = table[table["metric"] == "mean_error"].set_index("model")
    assert mean["low"].to_dict() == board["mean_error_low"].to_dict()


def test_calibration_agrees_with_the_predictions(folder: Path) -> None:
    table = pd.read_csv(folder / "report" / "calibration.csv").set_index(["model", "severity"])
    assert len(table) == 3 * 6
    means = []
    for severity in range(6):
        names = [f"{c}/{severity}" for c in COUNTED] if severity else ["clean"]
        found = [np.mean([ece(folder, seed, name) for name in names]) for seed in SEEDS]
        assert table.loc[("mine", severity), "ece"] == pytest.approx(np.mean(found), abs=1e-5)
        assert table.loc[("mine", severity), "ece_std"] == pytest.approx(
            np.std(found, ddof=1), abs=1e-5
        )
        means.append(np.mean(found))
    board = pd.read_csv(folder / "report" / "leaderboard.csv").set_index("model")
    assert board.loc["mine", "ece"] == pytest.approx(np.mean(means[1:]), abs=1e-5)


def test_lost_predictions_empty_the_metrics_that_need_them(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run/predictions/mine-seed1/digits-c/haze").mkdir(parents=True)
    lost = tmp_path / "run/predictions/mine-seed1/digits-c/contrast/2/15-30.parquet"
    lost.unlink()
    board = Run(tmp_path / "run").leaderboard().set_index("model")
    assert board["complete"].to_dict() == {
        "mine": False,
        "base": True,
        "digits:resnet@lpf3-seed0": True,
    }
    emptied = ["mean_error", "mean_error_low", "mce_base", "rank", "mean_error_std", "ece"]
    assert board.loc["mine", emptied].isna().all()
    assert board.loc["mine", ["clean_error", "consistency_circular"]].notna().all()
    cells = Run(tmp_path / "run").tables().corruptions
    holes = cells[cells["error"].isna()]
    names = ["model", "corruption", "severity"]
    assert holes[names].to_numpy().tolist() == [["mine", "contrast", 2]]


def test_another_baseline_changes_only_normalised_metrics(folder: Path) -> None:
    run = Run(folder)
    ours, theirs = run.leaderboard(), run.leaderboard(baseline="mine")
    shared = [column for column in ours if column in theirs]
    pd.testing.assert_frame_equal(ours[shared], theirs[shared])
    assert theirs.set_index("model").loc["mine", "mce_mine"] == pytest.approx(100)
    with pytest.raises(UnknownName, match=r"unknown baseline .* 'mane'; did you mean mine"):
        run.leaderboard(baseline="mane")


def test_reports_are_reproducible_and_leave_nothing_stale(folder: Path) -> None:
    report = folder / "report"
    before = {path.name: path.read_bytes() for path in report.glob("*.csv")}
    written = Run(folder).report()
    assert {path.name: path.read_bytes() for path in report.glob("*.csv")} == before
    figures = [path.name for path in (report / "figures").iterdir()]
    assert sorted(path.name for path in written) == sorted([*before, *figures, "index.html"])
    assert {"overview.png", "overview.svg"} < set(figures)
    assert (report / "figures" / "overview.png").read_bytes().startswith(b"\x89PNG")


def test_photographs_are_measured_by_crops_and_their_classes_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "val" / "n01440764"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in "abc":
        small = Image.fromarray(random.integers(256, size=(5, 5, 3), dtype=np.uint8))
        small.resize((280, 260)).save(folder / f"{name}.png")
    torch.manual_seed(0)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten(), nn.Linear(192, 1000))
    model = Classifier(module, name="a", input_size=224, classes=1000, preprocessing=PLAIN)
    suite = Suite([model], ["imagenet-p-live", "imagenet-shift"], data_dir=str(tmp_path / "val"))
    run = prepare(suite, tmp_path / "run", "cpu").run()
    tables = run.tables()
    (row,) = tables.leaderboard.to_dict("records")
    # photographs of a single class of ImageNet are not comparable with published values
    assert not [column for column in row if column.endswith("_alexnet")]
    assert (row["classes"], row["classes_present"]) == (1000, 1)
    assert any("images of only 1 of its 1000 classes" in warning for warning in tables.warnings)
    crops = pd.concat(
        pd.read_parquet(f) for f in tmp_path.glob("run/predictions/a/imagenet-shift/shift/crops/*")
    )
    top1 = crops.sort_values(["image", "frame"])["top1"].to_numpy().reshape(3, 5, 2)
    assert row["consistency_crops"] == pytest.approx((top1[..., 0] == top1[..., 1]).mean())
    assert row["complete"]
    assert set(tables.consistency["protocol"]) == {"crops", "circular", "diagonal"}
    assert tables.diagonal["offset"].tolist() == list(range(33))
    assert tables.diagonal["label_probability"].between(0, 1).all()


def test_shifts_by_one_protocol_rank_models_by_its_consistency(tmp_path: Path) -> None:
    models = [make_classifier(name, seed=seed) for seed, name in enumerate("ab")]
    suite = Suite(models, ["digits-shift"], protocols=["neighbours", "diagonal"], limit=30)
    board = prepare(suite, tmp_path, "cpu").run().leaderboard()
    assert ranking_column(board) == "consistency_neighbours"
    assert board["consistency_neighbours"].is_monotonic_decreasing
    assert board["rank"].tolist()[0] == 1

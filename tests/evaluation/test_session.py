"""Requests that are refused before any work starts."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

import robustbench_aa as rb
from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import DATASETS, Dataset
from robustbench_aa.errors import RunError, SuiteError, UnknownName, UsageError
from robustbench_aa.evaluation.inference import Inference
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.run import Run
from robustbench_aa.store.shards import Store
from robustbench_aa.suite import Suite
from tests.conftest import PLAIN, Linear, make_classifier

A = make_classifier("a")


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        ({"models": ["digit:resnet"]}, r"unknown model source 'digit'; did you mean digits\?"),
        ({"models": ["resnet50"]}, r"'resnet50' is not of the form SOURCE:NAME\[@WEIGHTS\]"),
        ({"models": ["digits:vit"]}, r"unknown digits model 'vit'; known: resnet"),
        ({"models": ["digits:resnet@lpf4"]}, r"unknown weights of digits:resnet 'lpf4'; did you"),
        ({"models": ["digits:resnet@lost.pth"]}, r"no weights at lost\.pth"),
        ({"datasets": ["digits-d"]}, r"unknown data set 'digits-d'; did you mean digits"),
        ({"corruptions": ["gausian_noise"]}, r"did you mean gaussian_noise"),
        (
            {"corruptions": ["haze"]},
            r"unknown corruption of digits-c 'haze'; known: gaussian_noise,",
        ),
        ({"severities": [0]}, r"severity 0 does not exist; choose from 1 to 5"),
        ({"severities": [6]}, r"severity 6 does not exist; choose from 1 to 5"),
        ({"datasets": ["digits"], "severities": [1]}, r"digits has no corruptions to choose from"),
        ({"baseline": "b"}, r"unknown baseline \(a model of the suite\) 'b'; known: a"),
        ({"models": [make_classifier("a", classes=5)]}, r"a is for 5 classes, data set digits-c"),
        ({"models": [make_classifier("a", input_size=64)]}, r"a is for images of 64 px, data set"),
        ({"models": ["digits:resnet@lpf3", "digits:resnet@lpf3-seed1"]}, r"seed1 is named twice"),
    ],
)
def test_an_impossible_request_is_refused_in_one_line(
    tmp_path: Path, suite: dict[str, object], message: str
) -> None:
    given = {"models": [A], "datasets": ["digits-c"]} | suite
    with pytest.raises(UsageError, match=message) as error:
        prepare(Suite(**given), tmp_path / "run")  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta?"])
def test_a_device_that_is_not_there_is_refused(tmp_path: Path, device: str) -> None:
    with pytest.raises(UsageError, match=f"device '{device.rstrip('?')}.*' cannot be used"):
        prepare(Suite([A], ["digits"]), tmp_path / "run", device)


def test_a_batch_size_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch size 0 is too small"):
        prepare(Suite([A], ["digits"]), tmp_path / "run").run(Inference(0))
    assert not (tmp_path / "run").exists()


def test_an_unknown_engine_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown engine 'loca'; did you mean local"):
        prepare(Suite([A], ["digits"]), tmp_path / "run").run(engine="loca")
    assert not (tmp_path / "run").exists()


def test_two_data_sets_of_a_kind_need_a_run_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = DATASETS["digits-c"]
    again = dataclasses.replace(
        entry, name="digits-c-again", opener=lambda _, request: renamed(entry.open(request))
    )
    monkeypatch.setitem(DATASETS._objects, again.name, again)
    with pytest.raises(SuiteError, match="digits-c and digits-c-again both measure corruption"):
        prepare(Suite([A], ["digits-c", "digits-c-again"]), tmp_path)


def renamed(dataset: Dataset) -> Dataset:
    return dataclasses.replace(dataset, name="digits-c-again")  # type: ignore[type-var]


def test_a_selection_measures_only_the_selected_cells(tmp_path: Path) -> None:
    suite = Suite([A], ["digits-c"], corruptions=["contrast", "pixelate"], severities=[1, 5])
    cells = [str(cell.distortion) for cell in prepare(suite, tmp_path).cells]
    assert cells == ["contrast/1", "contrast/5", "pixelate/1", "pixelate/5"]


def test_a_run_of_a_part_has_no_published_metric(tmp_path: Path) -> None:
    suite = Suite([A], ["digits-c"], corruptions=["contrast"], limit=5)
    board = prepare(suite, tmp_path).run().leaderboard()
    assert board["complete"].tolist() == [True]
    assert board["rank"].tolist() == [1]
    assert board["mean_error_subset"].notna().all()
    assert not {"mean_error", "mean_error_low", "clean_error"} & set(board)


def test_an_interrupted_part_has_no_aggregate_and_says_so(tmp_path: Path) -> None:
    suite = Suite([A], ["digits-c"], corruptions=["contrast", "fog"], limit=5)
    run = prepare(suite, tmp_path).run()
    next((tmp_path / "predictions").rglob("fog/2/*.parquet")).unlink()
    board = Run(run.directory).leaderboard()
    assert board["complete"].tolist() == [False]
    assert board[["mean_error_subset", "mean_error_subset_low", "rank"]].isna().all(axis=None)


def test_evaluating_more_models_joins_them_to_the_run(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1)):
        suite = Suite([make_classifier(name, seed=seed)], ["digits"], limit=5)
        run = prepare(suite, tmp_path).run()
    assert sorted(run.leaderboard()["model"]) == ["a", "b"]


def test_other_weights_under_the_same_name_are_refused(tmp_path: Path) -> None:
    prepare(Suite([A], ["digits"], limit=5), tmp_path).run()
    with pytest.raises(UsageError, match="holds predictions of a with another weights_sha256"):
        prepare(Suite([make_classifier("a", seed=1)], ["digits"], limit=5), tmp_path)
    with pytest.raises(UsageError, match="holds predictions of digits with another sha256"):
        prepare(Suite([A], ["digits"], limit=6), tmp_path)
    with pytest.raises(UsageError, match="was made with seed 0, not 1"):
        prepare(Suite([A], ["digits"], limit=5, seed=1), tmp_path)


def test_the_five_lines_of_the_readme_work(tmp_path: Path) -> None:
    module = A.module
    how = rb.Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    model = rb.Classifier(module, name="mine", input_size=32, classes=10, preprocessing=how)
    models = [model, "digits:resnet@lpf3"]
    run = rb.benchmark(models, ["digits-c", "digits-shift"], tmp_path, limit=20)
    board = run.leaderboard()
    assert board["model"].tolist() == ["digits:resnet@lpf3", "mine"]
    assert board["complete"].all()
    assert (tmp_path / "report" / "leaderboard.csv").exists()


@pytest.fixture
def photographs_folder(tmp_path: Path) -> str:
    folder = tmp_path / "val" / "0"
    folder.mkdir(parents=True)
    Image.new("RGB", (60, 50), "red").save(folder / "a.png")
    return str(tmp_path / "val")


def sized(name: str, size: int, resize: int | None, interpolation: str = "bilinear") -> Classifier:
    how = dataclasses.replace(PLAIN, resize=resize, interpolation=interpolation)
    return make_classifier(name, classes=1, input_size=size, preprocessing=how)


def test_photographs_are_seen_as_the_models_ask_for(
    photographs_folder: str, tmp_path: Path
) -> None:
    own = {"data_dir": photographs_folder, "own_preprocessing": True}
    suite = Suite([sized("a", 32, 40), sized("b", 32, 40)], ["image-folder"], **own)
    session = prepare(suite, tmp_path / "run", "cpu")
    assert session.datasets["image-folder"].geometry == "Resize 40 bilinear, CenterCrop 32"
    assert session.store.manifest.datasets["image-folder"]["geometry"].startswith("Resize 40")
    for models, message in (
        (
            [sized("a", 32, None)],
            "a does not say how its pictures are resized, or .*; leave out",
        ),
        ([A, sized("b", 32, 40)], "a does not say"),
        (
            [sized("a", 32, 40), sized("b", 32, 40, "bicubic")],
            "a asks for Resize 40 bilinear, CenterCrop 32, b for Resize 40 bicubic, CenterCrop 32;",
        ),
        ([sized("a", 64, 80), sized("b", 32, 80)], "a asks for .* CenterCrop 64, b for"),
    ):
        with pytest.raises(UsageError, match=message):
            prepare(Suite(models, ["image-folder"], **own), tmp_path / "run2")
    suite = Suite([sized("a", 32, 40)], ["image-folder"], data_dir=photographs_folder)
    with pytest.raises(UsageError, match=r"images of 224 px; leave one .* or use --own-prepro"):
        prepare(suite, tmp_path / "run2")


def test_corruptions_need_a_size_with_severities(photographs_folder: str, tmp_path: Path) -> None:
    own = {"data_dir": photographs_folder, "own_preprocessing": True}
    with pytest.raises(UsageError, match="no severities were published for 16-px images"):
        prepare(Suite([sized("a", 16, 20)], ["imagenet-c-live"], **own), tmp_path / "run")


def test_missing_cells_are_named_before_a_model_is_loaded(tmp_path: Path) -> None:
    for severity in (1, 2):
        folder = tmp_path / "c" / "fog" / str(severity) / "n01440764"
        folder.mkdir(parents=True)
        Image.new("RGB", (224, 224)).save(folder / "a.png")
    how = {"datasets": ["imagenet-c"], "data_dir": str(tmp_path / "c")}
    message = r"imagenet-c has no .*gaussian_noise/1 nor 72 more; fetch what is missing or name"
    with pytest.raises(UsageError, match=message):
        prepare(Suite(["file:nothing@there"], **how), tmp_path / "run")  # type: ignore[arg-type]
    model = make_classifier("a", classes=1000, input_size=224)
    with pytest.raises(UsageError, match=r"imagenet-c has no .*fog/3 nor 2 more"):
        prepare(Suite([model], corruptions=["fog"], **how), tmp_path / "run")  # type: ignore[arg-type]
    suite = Suite([model], corruptions=["fog"], severities=[1, 2], **how)  # type: ignore[arg-type]
    assert len(prepare(suite, tmp_path / "run", "cpu").work) == 2


def pictures(folder: Path, count: int = 4, size: int = 260) -> Path:
    (folder / "cat").mkdir(parents=True)
    for place in range(count):
        Image.new("RGB", (size, size), (place, 99, 0)).save(folder / "cat" / f"{place}.png")
    return folder


def test_two_kinds_of_images_do_not_share_a_leaderboard(tmp_path: Path) -> None:
    run = tmp_path / "run"
    prepare(Suite([A], ["digits-shift"], limit=2), run, "cpu").run()
    other = make_classifier("b", input_size=224, classes=1)
    suite = Suite([other], ["image-folder"], data_dir=str(pictures(tmp_path / "val")))
    message = r"digits-shift has digits of 10 classes and image-folder has photographs of 1 classes"
    with pytest.raises(SuiteError, match=f"{message}, which cannot share a leaderboard; give them"):
        prepare(suite, run, "cpu")
    assert "image-folder" not in (run / "run.json").read_text()


def test_a_run_goes_on_once_bad_pictures_are_gone(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "val")
    (folder / "cat" / "1.png").write_text("no picture")
    (folder / "cat" / "2.png").write_text("no picture")
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1))
    model = Classifier(module, name="b", input_size=224, classes=1, preprocessing=PLAIN)
    suite = Suite([model], ["image-folder"], data_dir=str(folder))
    (failure,) = prepare(suite, tmp_path / "run", "cpu").run().failures
    assert "1.png cannot be read" in failure.cause
    assert "2.png cannot be read" in failure.cause
    assert "robustbench-aa verify" in failure.cause
    for name in ("1.png", "2.png"):
        (folder / "cat" / name).unlink()
    run = prepare(suite, tmp_path / "run", "cpu").run()
    assert not run.failures
    assert run.leaderboard()["images"].item() == 2
    assert run.leaderboard()["complete"].item()
    (folder / "cat" / "3.png").unlink()
    with pytest.raises(RunError, match="holds predictions of image-folder with another sha256"):
        prepare(suite, tmp_path / "run", "cpu")


def test_tables_are_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = prepare(Suite([A], ["digits"], limit=3), tmp_path, "cpu").run()
    first = run.leaderboard()
    monkeypatch.setattr(Store, "read_shard", lambda *_: pytest.fail("read again"))
    assert run.leaderboard() is first
    assert run.tables() is run.tables()
    run.compare("a", "a")
    run.leaderboard("a")


def test_a_model_without_predictions_may_change(tmp_path: Path) -> None:
    suite = Suite([A, make_classifier("b")], ["digits"], limit=5)
    prepare(suite, tmp_path).run()
    shutil.rmtree(tmp_path / "predictions" / "b")
    changed = Suite([A, make_classifier("b", seed=1)], ["digits"], limit=5)
    session = prepare(changed, tmp_path)
    assert set(session.pending()) == {"b"}
    assert not session.run().failures
    with pytest.raises(UsageError, match="holds predictions of b with another weights_sha256"):
        prepare(suite, tmp_path)


def test_pictures_of_any_small_size_can_be_shifted(tmp_path: Path) -> None:
    for size in (8, 28):
        images = np.full((2, size, size, 3), 7, dtype=np.uint8)
        data = rb.ImageArrays(images, [0, 9], "mine", distortions="shift", classes=10)
        model = dataclasses.replace(make_classifier("a"), module=Linear(0, size), input_size=size)
        run = rb.benchmark(
            rb.Suite([model], [data], protocols=["diagonal", "neighbours", "circular"]),
            output_dir=tmp_path / str(size),
        )
        assert not run.failures
        assert run.leaderboard()["complete"].all()

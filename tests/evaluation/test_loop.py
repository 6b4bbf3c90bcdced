"""The loop on the real embedded data, with models that are quick and sensitive."""

from __future__ import annotations

import builtins
import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.distortions.corruptions import CORRUPTIONS
from robustbench_aa.errors import RunError
from robustbench_aa.evaluation import loop
from robustbench_aa.evaluation.inference import Inference, Predictor
from robustbench_aa.evaluation.loop import evaluate, plan, unfinished
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.store import thumbnails
from robustbench_aa.store.predictions import SCHEMA
from robustbench_aa.store.shards import Store
from robustbench_aa.suite import Suite
from robustbench_aa.types import CLEAN, Batch, Distortion, Shard
from tests.conftest import make_classifier

CPU = torch.device("cpu")
DATASETS = ["digits-c", "digits-shift"]


def carry_out(
    folder: Path, models: list[Classifier], batch_size: int = 256, **suite: object
) -> dict[str, pd.DataFrame]:
    """Return all predictions by model, data set and distortion."""
    given = {"datasets": DATASETS, "limit": 12} | suite
    session = prepare(Suite(models, **given), folder, "cpu")  # type: ignore[arg-type]
    run = session.run(Inference(batch_size))
    assert not run.failures
    return {
        f"{name} {cell.dataset} {cell.distortion}": frame
        for name in session.classifiers
        for cell in session.cells
        if (frame := session.store.read(name, cell, SCHEMA.names)) is not None
    }


def assert_same(left: dict[str, pd.DataFrame], right: dict[str, pd.DataFrame]) -> None:
    assert left.keys() == right.keys()
    exact = ["image", "frame", "label", "top1"]
    for key, frame in left.items():
        pd.testing.assert_frame_equal(frame[exact], right[key][exact])
        pd.testing.assert_frame_equal(frame, right[key], rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def embedded() -> list[Classifier]:
    from robustbench_aa import load

    return [load("digits:resnet@baseline"), load("digits:resnet@lpf3")]


@pytest.fixture(scope="module")
def reference(
    embedded: list[Classifier], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, pd.DataFrame]:
    return carry_out(tmp_path_factory.mktemp("reference"), embedded)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_predictions_do_not_depend_on_the_batch_size(
    tmp_path: Path, embedded: list[Classifier], reference: dict[str, pd.DataFrame], batch_size: int
) -> None:
    assert_same(carry_out(tmp_path, embedded, batch_size), reference)


@pytest.mark.parametrize("shard_size", [1, 5, 12])
def test_predictions_do_not_depend_on_the_shard_size(
    tmp_path: Path, embedded: list[Classifier], reference: dict[str, pd.DataFrame], shard_size: int
) -> None:
    assert_same(carry_out(tmp_path, embedded, shard_size=shard_size), reference)


def test_predictions_do_not_depend_on_other_models(
    tmp_path: Path, embedded: list[Classifier], reference: dict[str, pd.DataFrame]
) -> None:
    alone = carry_out(tmp_path, embedded[1:])
    assert_same(alone, {key: reference[key] for key in alone})
    assert len(alone) == len(reference) / 2


def test_predictions_do_not_depend_on_prefetching(
    tmp_path: Path,
    embedded: list[Classifier],
    reference: dict[str, pd.DataFrame],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "NOT_PREFETCHED", set())  # as beside a GPU
    assert_same(carry_out(tmp_path, embedded, 7), reference)


def test_a_row_agrees_with_the_logits() -> None:
    classifier = make_classifier("a")
    frames = torch.randint(256, (3, 2, 3, 32, 32), dtype=torch.uint8)
    batch = Batch(Distortion("shift", "x"), np.array([4, 8, 9]), np.array([1, 0, 7]), frames)
    rows = predict(classifier, batch, 4)
    assert rows["image"].tolist() == [4, 4, 8, 8, 9, 9]
    assert rows["frame"].tolist() == [0, 1, 0, 1, 0, 1]
    assert rows["label"].tolist() == [1, 1, 0, 0, 7, 7]
    logits = classifier.module(frames.flatten(0, 1).float() / 255).detach().double().numpy()
    order = np.argsort(-logits, axis=1)
    found = np.stack([rows[f"top{rank}"] for rank in range(1, 6)], axis=1)
    assert np.array_equal(found, order[:, :5])
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    each = np.arange(6)
    np.testing.assert_allclose(rows["top1_probability"], share[each, order[:, 0]], rtol=1e-4)
    np.testing.assert_allclose(rows["label_probability"], share[each, rows["label"]], rtol=1e-4)


def predict(classifier: Classifier, batch: Batch, batch_size: int) -> dict[str, np.ndarray]:
    return Predictor(classifier, Inference(batch_size)).predict(batch)


def one_image(level: int) -> Batch:
    frames = torch.full((1, 1, 3, 32, 32), level, dtype=torch.uint8)
    return Batch(CLEAN, np.array([0]), np.array([0]), frames)


def test_fewer_than_five_classes_leave_their_places_empty() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.mean((1, 2, 3)), x.mean((1, 2, 3)) + 1], dim=1)

    two = make_classifier("two", classes=2)
    two = Classifier(Two(), name="two", input_size=32, classes=2, preprocessing=two.preprocessing)
    frames = torch.zeros(1, 1, 3, 32, 32, dtype=torch.uint8)
    rows = predict(
        two, Batch(Distortion("clean", "clean"), np.array([0]), np.array([0]), frames), 1
    )
    assert [rows[f"top{rank}"].tolist() for rank in range(1, 6)] == [[1], [0], [-1], [-1], [-1]]


def test_pixels_reach_the_module_as_the_preprocessing_says() -> None:
    from robustbench_aa.preprocessing import Preprocessing

    seen = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros(len(x), 10)

    how = Preprocessing(mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    spy = Classifier(Spy(), name="spy", input_size=32, classes=10, preprocessing=how)
    predict(spy, one_image(255), 1)
    assert seen[0].dtype == torch.float32
    assert seen[0][0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]


class Broken(nn.Module):
    """A module that returns a given result, or raises a given error."""

    def __init__(self, result: object) -> None:
        super().__init__()
        self.result, self.calls = result, 0

    def forward(self, x: Tensor) -> object:
        self.calls += 1
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.mark.parametrize(
    ("result", "cause"),
    [
        (RuntimeError("no memory\nfor this"), "no memory"),
        (torch.zeros(12, 9), r"returned (12, 9) instead of logits of shape (12, 10)"),
        (torch.full((12, 10), torch.nan), "returned logits that are not finite"),
        ([1, 2], "returned list instead of logits"),
        (ValueError(), "ValueError"),
    ],
)
def test_a_failing_model_is_named_and_the_others_go_on(
    tmp_path: Path, result: object, cause: str
) -> None:
    broken = make_classifier("broken")
    object.__setattr__(broken, "module", Broken(result))
    good = make_classifier("good")
    session = prepare(Suite([broken, good], ["digits"], limit=12), tmp_path, "cpu")
    run = session.run()
    (failure,) = run.failures
    assert (failure.model, str(failure.distortion)) == ("broken", "clean")
    assert failure.cause.startswith(cause)
    board = run.leaderboard().set_index("model")
    assert board["complete"].to_dict() == {"broken": False, "good": True}
    assert np.isnan(board.loc["broken", "clean_error"])
    assert board.loc["good", "clean_error"] >= 0


def test_existing_predictions_are_not_computed_again(tmp_path: Path) -> None:
    models = [make_classifier("a"), make_classifier("b", seed=1)]
    suite = Suite(models, ["digits-c"], limit=12, shard_size=5)
    session = prepare(suite, tmp_path, "cpu")
    assert sum(item.passes for item in session.work) == 12 * 96 * 2
    session.run()
    lost = session.store.path("b", session.cells[7], Shard(5, 10))
    lost.unlink()
    again = prepare(suite, tmp_path, "cpu")
    (item,) = again.work
    assert (item.pending, item.shard, item.cell) == (("b",), Shard(5, 10), session.cells[7])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    again.run()
    assert lost.exists()
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_a_damaged_file_is_named_and_evaluated_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    suite = Suite([make_classifier("a")], ["digits-c"], limit=12)
    session = prepare(suite, tmp_path, "cpu")
    session.run()
    path = session.store.path("a", session.cells[3], Shard(0, 12))
    whole = pq.read_table(path)
    path.write_bytes(path.read_bytes()[:-7])
    again = prepare(suite, tmp_path, "cpu")
    assert f"damaged prediction file {path}" in caplog.text
    assert [item.cell for item in again.work] == [session.cells[3]]
    again.run()
    assert pq.read_table(path).equals(whole)


def test_shards_are_the_outer_loop_so_that_each_is_decoded_once(tmp_path: Path) -> None:
    session = prepare(Suite([make_classifier("a")], ["digits-c"], limit=12, shard_size=5), tmp_path)
    starts = [item.shard.start for item in session.work]
    assert starts == sorted(starts)


def test_a_data_set_with_too_few_frames_fails(tmp_path: Path) -> None:
    class Short:
        def read(self, *arguments: object) -> object:
            return iter(list(dataset.read(*arguments))[:-1])  # type: ignore[arg-type]

        def stamp(self, *_: object) -> str:
            return ""

    dataset = open_dataset("digits", Request(limit=12))
    session = prepare(Suite([make_classifier("a")], ["digits"], limit=12), tmp_path, "cpu")
    short = replace(session, datasets={"digits": Short()}, inference=Inference(5))  # type: ignore[dict-item]
    (failure,) = evaluate(short, {"a": Predictor(session.classifiers["a"], Inference())})
    assert (
        str(failure) == "a failed on digits clean, images 0-12: digits did not give 2 of 12 images"
    )
    assert not list(tmp_path.rglob("*.parquet"))


def test_progress_counts_every_frame_once(tmp_path: Path) -> None:
    session = prepare(Suite([make_classifier("a")], DATASETS, limit=3), tmp_path, "cpu")
    counts: list[int] = []
    session.run(Inference(2), progress=lambda cell, frames: counts.append(frames))
    assert sum(counts) == sum(item.passes for item in session.work) == 3 * 96 + 3 * 81


def test_a_plan_of_a_finished_run_is_empty(tmp_path: Path) -> None:
    session = prepare(Suite([make_classifier("a")], ["digits"], limit=3), tmp_path, "cpu")
    session.run()
    store = Store.of_run(tmp_path)
    assert plan(["a"], session.cells, store) == []


def test_whole_rankings_are_kept_when_asked_for(tmp_path: Path) -> None:
    models = [make_classifier("a")]
    suite = Suite(models, ["digits-p"], limit=3, perturbations=["tilt"], keep_ranking=True)
    run = prepare(suite, tmp_path, "cpu").run()
    files = list(tmp_path.rglob("*.parquet"))
    ranking = np.concatenate([np.stack(pd.read_parquet(f)["ranking"]) for f in files])
    assert (np.sort(ranking, axis=1) == np.arange(10)).all()
    assert (ranking[:, 0] == pd.read_parquet(files[0])["top1"]).all()
    sequences = ranking.reshape(3, 31, 10)
    total = 0.0
    earlier, later = (sequences[:, part].reshape(-1, 10) for part in (slice(-1), slice(1, None)))
    for before, after in zip(earlier, later, strict=True):
        for rank, label in enumerate(before):
            new_rank = int(np.flatnonzero(after == label)[0])
            total += abs(1 / (rank + 1) - 1 / (new_rank + 1)) / (rank + 1)
    table = run.tables().perturbations.set_index("perturbation")
    assert table.loc["tilt", "zipf_distance"] == pytest.approx(total / 90)
    plain = dataclasses.replace(suite, keep_ranking=False)
    with pytest.raises(RunError, match="was made with --keep-ranking"):
        prepare(plain, tmp_path)
    other = prepare(plain, tmp_path / "other", "cpu").run().tables().perturbations
    figures = ["flip_probability", "top5_distance"]
    pd.testing.assert_frame_equal(
        other.set_index("perturbation")[figures], table[figures], check_dtype=False
    )


EXCEPTIONS = [
    error
    for error in vars(builtins).values()
    if isinstance(error, type) and issubclass(error, Exception) and not issubclass(error, Warning)
    # these need arguments of their own
    if not issubclass(error, UnicodeError | BaseExceptionGroup)
]


@pytest.mark.parametrize("kind", EXCEPTIONS, ids=lambda error: error.__name__)
def test_any_exception_of_a_model_is_reported_and_the_others_continue(
    tmp_path: Path, kind: type[Exception]
) -> None:
    def forward(_: torch.Tensor) -> torch.Tensor:
        raise kind("a kernel failed")

    broken = make_classifier("broken")
    broken.module.forward = forward
    suite = Suite([broken, make_classifier("sound")], ["digits"], limit=3)
    run = prepare(suite, tmp_path, "cpu").run()
    (failure,) = run.failures
    assert failure.model == "broken"
    assert "a kernel failed" in failure.cause
    assert kind in (RuntimeError, ValueError) or kind.__name__ in failure.cause
    board = run.leaderboard().set_index("model")
    assert board["complete"].to_dict() == {"broken": False, "sound": True}


@pytest.mark.parametrize("kind", [KeyError, StopIteration, OSError, RuntimeError, MemoryError])
def test_any_exception_of_a_data_set_is_reported_and_other_cells_continue(
    tmp_path: Path, kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(images: torch.Tensor, _draws: object, *_: float) -> torch.Tensor:
        raise kind("no fog today")

    fog = replace(CORRUPTIONS["fog"], function=refusing)
    monkeypatch.setitem(CORRUPTIONS._objects, "fog", fog)
    suite = Suite([make_classifier("a")], ["digits-c"], limit=3, severities=[1])
    run = prepare(suite, tmp_path, "cpu").run()
    assert {str(failure.distortion) for failure in run.failures} == {"fog/1"}
    errors = run.tables().corruptions.query("severity == 1").set_index("corruption")["error"]
    assert errors[errors.isna()].index.tolist() == ["fog"]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_an_interruption_in_a_model_interrupts_the_run(
    tmp_path: Path, kind: type[BaseException]
) -> None:
    def forward(_: torch.Tensor) -> torch.Tensor:
        raise kind

    broken = make_classifier("broken")
    broken.module.forward = forward
    with pytest.raises(kind):
        prepare(Suite([broken], ["digits"], limit=3), tmp_path, "cpu").run()


def test_a_failing_thumbnail_does_not_affect_the_predictions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_: np.ndarray) -> bytes:
        raise OSError("no encoder for WEBP")

    monkeypatch.setattr(thumbnails, "_strip", refuse)
    run = prepare(Suite([make_classifier("a")], ["digits"], limit=3), tmp_path, "cpu").run()
    assert not run.failures
    assert "no encoder for WEBP" in caplog.text
    assert run.report()


def test_a_repeated_task_continues_at_its_first_missing_file(
    tmp_path: Path, embedded: list[Classifier]
) -> None:
    suite = Suite(embedded[:2], datasets=["digits-shift"], limit=4, shard_size=2)
    session = prepare(suite, tmp_path, "cpu")
    store, work = session.store, list(session.work)
    first, second = session.classifiers
    assert unfinished(work, store) == work
    session.run(Inference())
    assert unfinished(work, store) == []
    store.path(second, work[1].cell, work[1].shard).unlink()
    for item in work[2:]:
        for name in (first, second):
            store.path(name, item.cell, item.shard).unlink()
    assert unfinished(work, store) == [replace(work[1], pending=(second,)), *work[2:]]

"""All inference settings give the same predictions, also when memory runs out."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

import robustbench_aa as rb
from robustbench_aa.classifier import Classifier
from robustbench_aa.cli.main import commands
from robustbench_aa.datasets import Dataset, Request, open_dataset
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.evaluation.inference import Inference, Predictor
from robustbench_aa.evaluation.loop import evaluate
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.store.predictions import SCHEMA, UNSHIFTED_PROBABILITY
from robustbench_aa.suite import Suite
from robustbench_aa.support import stage_times
from robustbench_aa.support.process import one_core_each
from robustbench_aa.support.stage_times import STAGES
from robustbench_aa.types import CLEAN, Batch, Shard
from tests.conftest import make_classifier, threads

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> Batch:
    (batch,) = open_dataset("digits").read(CLEAN, Shard(0, 200), 200, CPU)
    return batch


@pytest.fixture(scope="module")
def plain(digits: Batch) -> dict[str, np.ndarray]:
    return Predictor(rb.load("digits:resnet@lpf3"), Inference()).predict(digits, True)


@pytest.mark.parametrize(
    "inference",
    [
        Inference(batch_size=1),
        Inference(batch_size=33),
        Inference(channels_last=True),
        pytest.param(
            Inference(compiled=True, batch_size=120),
            marks=pytest.mark.skipif(shutil.which("g++") is None, reason="torch needs a compiler"),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Skipping serialization")  # of the compiler of torch 2.6
def test_no_switch_changes_a_class(
    digits: Batch, plain: dict[str, np.ndarray], inference: Inference
) -> None:
    found = Predictor(rb.load("digits:resnet@lpf3"), inference).predict(digits, True)
    assert (found["top1"] == plain["top1"]).all()
    assert (plain["top1"] == plain["label"]).mean() > 0.9
    for column in ("top1_probability", "label_probability"):
        np.testing.assert_allclose(found[column], plain[column], atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_is_close_and_is_another_computation(
    digits: Batch, plain: dict[str, np.ndarray], dtype: str
) -> None:
    found = Predictor(rb.load("digits:resnet@lpf3"), Inference(amp_dtype=dtype)).predict(digits)
    assert (found["top1"] == plain["top1"]).mean() > 0.98
    distance = np.abs(found["label_probability"] - plain["label_probability"])
    assert 1e-6 < distance.max() < 0.2
    assert found["label_probability"].dtype == np.float32


def test_channels_last_reaches_the_module() -> None:
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros(len(x), 10)

    spy = make_classifier("spy")
    object.__setattr__(spy, "module", Spy())
    frames = torch.zeros(2, 1, 3, 32, 32, dtype=torch.uint8)
    batch = Batch(CLEAN, np.arange(2), np.zeros(2, np.int64), frames)
    Predictor(spy, Inference(channels_last=True)).predict(batch)
    Predictor(spy, Inference()).predict(batch)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert seen[1].is_contiguous()


def test_impossible_options_are_refused() -> None:
    with pytest.raises(UsageError, match="batch size 0 is too small"):
        Inference(batch_size=0)
    with pytest.raises(UnknownName, match="unknown amp dtype 'bfloat'; did you mean bfloat16"):
        Inference(amp_dtype="bfloat")


class Small(nn.Module):
    """A network on a device that holds a few frames."""

    def __init__(self, module: nn.Module, room: int, error: Exception) -> None:
        super().__init__()
        self.module, self.room, self.error = module, room, error
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Any:
        self.calls.append(len(x))
        if len(x) > self.room:
            raise self.error
        return self.module(x)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    MemoryError(),
]


def small(room: int, error: Exception) -> Classifier:
    classifier = make_classifier("small")
    object.__setattr__(classifier, "module", Small(classifier.module, room, error))
    return classifier


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_where_memory_runs_out_the_batch_is_halved_and_nothing_else_changes(
    tmp_path: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    suite = Suite([classifier := small(5, error)], ["digits-shift"], limit=3)
    session = prepare(suite, tmp_path / "small", "cpu")
    assert not session.run(Inference(64)).failures
    module = classifier.module
    assert isinstance(module, Small)
    assert len(caplog.messages) == 4  # 64 → 32 → 16 → 8 → 4
    assert caplog.messages[-1] == "small: out of memory with 8 frames; going on with 4"
    assert module.calls.count(4) > 50  # and it stays at four
    whole = prepare(Suite([make_classifier("small")], ["digits-shift"], limit=3), tmp_path / "all")
    assert not whole.run().failures
    (cell,) = session.cells
    found, expected = (
        each_session.store.read("small", cell, SCHEMA.names) for each_session in (session, whole)
    )
    assert found is not None
    assert expected is not None
    assert (found["top1"] == expected["top1"]).all()
    np.testing.assert_allclose(found["label_probability"], expected["label_probability"], rtol=1e-5)


def test_a_frame_that_does_not_fit_fails_by_name(tmp_path: Path) -> None:
    models = [small(0, OUT_OF_MEMORY[0]), make_classifier("good")]
    run = prepare(Suite(models, ["digits"], limit=3), tmp_path, "cpu").run()
    (failure,) = run.failures
    assert str(failure) == (
        "small failed on digits clean, images 0-3: CUDA out of memory. Tried to allocate 20.00 MiB"
    )


class Cramped:
    """A data set whose distortions need more memory than there is for many frames."""

    def __init__(self, dataset: Dataset, room: int) -> None:
        self.dataset, self.room = dataset, room

    def read(self, distortion: Any, shard: Shard, batch_size: int, device: Any) -> Any:
        for place, batch in enumerate(self.dataset.read(distortion, shard, batch_size, device)):
            if batch_size > self.room and place == 1:
                raise OUT_OF_MEMORY[0]
            yield batch

    def stamp(self, *place: Any) -> str:
        return self.dataset.stamp(*place)


@pytest.mark.parametrize("room", [4, 0])
def test_memory_that_runs_out_while_images_are_distorted(
    tmp_path: Path, room: int, caplog: pytest.LogCaptureFixture
) -> None:
    session = prepare(Suite([make_classifier("a")], ["digits"], limit=50), tmp_path, "cpu")
    predictors = {
        name: Predictor(classifier, Inference()) for name, classifier in session.classifiers.items()
    }
    dataset: Any = Cramped(open_dataset("digits", Request(limit=50)), room)
    cramped = replace(session, datasets={"digits": dataset}, inference=Inference(16))
    failures = evaluate(cramped, predictors)
    assert caplog.messages[0] == "digits clean: out of memory with 16 frames; going on with 8"
    rows = session.store.read("a", session.cells[0], SCHEMA.names)
    if room:
        assert not failures
        assert rows is not None
        assert rows["image"].tolist() == session.datasets["digits"].index.tolist()  # type: ignore[attr-defined]
    else:
        assert "out of memory" in failures[0].cause
        assert rows is None


def test_a_profile_has_the_time_of_each_stage(tmp_path: Path) -> None:
    result = CliRunner().invoke(
        commands,
        [
            *("evaluate", "-m", "digits:resnet@lpf3-seed0", "-d", "digits-c", "--limit", "20"),
            *("--corruption", "fog", "--profile", "--output-dir", str(tmp_path)),
        ],
    )
    assert result.exit_code == 0, result.output
    assert "waiting" in result.output
    assert "% of the time: try " in result.output
    trace = json.loads((tmp_path / "profile.json").read_text())
    assert trace["otherData"] == {"events_left_out": 0}
    assert {"decode", "distort", "forward", "commit"} <= {e["name"] for e in trace["traceEvents"]}
    seconds = json.loads((tmp_path / "run.json").read_text())["profile"]
    assert list(seconds) == [*STAGES, "wall"]
    assert 0 < seconds["distort"] < seconds["wall"]
    assert seconds["forward"] + seconds["waiting"] <= seconds["wall"]
    table = rb.Run(tmp_path).tables().provenance
    profile = table[table["subject"] == "profile"].set_index("property")["value"]
    assert profile["wall"] == f"{seconds['wall']:.1f} s"


def test_a_profile_that_would_be_empty_is_refused(tmp_path: Path) -> None:
    command = ["evaluate", "-m", "digits:resnet@lpf3-seed0", "-d", "digits", "--profile"]
    result = CliRunner().invoke(commands, [*command, "--engine=ray", f"--output-dir={tmp_path}"])
    assert isinstance(result.exception, UsageError), result.output
    assert "use --engine local" in str(result.exception)


def test_a_long_trace_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stage_times, "MOST_EVENTS", 2)
    suite = Suite(["digits:resnet@lpf3-seed0"], ["digits"], limit=20)
    prepare(suite, tmp_path).run(profile=True)
    assert "profile.json has no room for the last " in caplog.text


def test_the_options_are_recorded_and_a_mixture_is_reported(tmp_path: Path) -> None:
    command = [
        *("evaluate", "-d", "digits", "--limit", "20", "--output-dir", str(tmp_path)),
        *("--channels-last", "--workers", "1"),
    ]
    for model, more in (("lpf3-seed0", ["--amp"]), ("lpf3-seed1", [])):
        result = CliRunner().invoke(commands, [*command, "-m", f"digits:resnet@{model}", *more])
        assert result.exit_code == 0, result.output
    assert "amp_dtype differs between predictions: bfloat16 (digits:resnet@lpf3-seed0)" in (
        result.output
    )
    environment = json.loads((tmp_path / "run.json").read_text())["environment"]
    assert (environment["amp_dtype"], environment["channels_last"]) == ("none", "True")


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--amp-dtype", "half", "unknown amp dtype 'half'"),
        ("--workers", "0", "workers 0 are too few"),
        ("--batch-size", "-1", "batch size -1 is too small"),
    ],
)
def test_wrong_switches_are_refused_before_anything_is_written(
    tmp_path: Path, flag: str, value: str, message: str
) -> None:
    command = ["evaluate", "-m", "digits:resnet@lpf3", "-d", "digits", flag, value]
    found = CliRunner().invoke(commands, [*command, "--output-dir", str(tmp_path / "run")])
    assert isinstance(found.exception, UsageError)
    assert message in str(found.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("protocol", "still"), [("circular", 40), ("diagonal", 2), ("neighbours", 0), ("halfpixel", 0)]
)
def test_the_probability_of_the_unshifted_class_is_stored(protocol: str, still: int) -> None:
    dataset = open_dataset("digits-shift", Request(limit=6))
    shift = next(one for one in dataset.distortions if one.name == protocol)
    (batch,) = dataset.read(shift, Shard(0, 6), 1000, CPU)
    (clean,) = open_dataset("digits", Request(limit=6)).read(CLEAN, Shard(0, 6), 6, CPU)
    classifier = make_classifier("a", seed=3)
    found = Predictor(classifier, Inference(batch_size=7)).predict(batch)
    frames = batch.frames.shape[1]
    if protocol in ("circular", "halfpixel"):  # the others are crops of the enlarged digit
        assert torch.equal(batch.frames[:, still], clean.frames[:, 0])
    logits = classifier.module(batch.frames.flatten(0, 1).float() / 255).detach().double()
    probabilities = logits.softmax(dim=1).view(6, frames, 10)
    for image in range(6):
        expected = int(probabilities[image, still].argmax())
        np.testing.assert_allclose(
            found[UNSHIFTED_PROBABILITY].reshape(6, frames)[image],
            probabilities[image, :, expected],
            atol=1e-5,
        )
    assert (
        found[UNSHIFTED_PROBABILITY].reshape(6, frames)[:, still]
        == found["top1_probability"].reshape(6, frames)[:, still]
    ).all()


@pytest.mark.parametrize("protocol", ["crops", "circular32"])
def test_shifts_at_random_have_no_unshifted_class(protocol: str) -> None:
    dataset = open_dataset("digits-shift", Request(limit=2))
    shift = next(one for one in dataset.distortions if one.name == protocol)
    (batch,) = dataset.read(shift, Shard(0, 2), 1000, CPU)
    found = Predictor(make_classifier("a"), Inference()).predict(batch)
    assert UNSHIFTED_PROBABILITY not in found


class Exclusive(nn.Module):
    """A network that fails if two threads use it at once."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.network = make_classifier("a", input_size=size).module
        self.busy = False

    def forward(self, x: Tensor) -> Tensor:
        assert not self.busy
        assert torch.get_num_threads() == 1
        self.busy = True
        result: Tensor = self.network(x)
        self.busy = False
        return result


class Alone(Exclusive):
    """A network that cannot be copied."""

    def __deepcopy__(self, memo: object) -> Alone:
        raise TypeError("it holds a lock")


@pytest.mark.parametrize("images", [200, 40, 5])
def test_cores_that_share_the_frames_predict_the_same(digits: Batch, images: int) -> None:
    batch = replace(
        digits,
        index=digits.index[:images],
        label=digits.label[:images],
        frames=digits.frames[:images],
    )
    model = rb.load("digits:resnet@lpf3")
    expected = Predictor(model, Inference()).predict(batch, True)
    with threads(4), one_core_each() as cores:
        found = Predictor(model, Inference(), "cpu", cores).predict(batch, True)
    for column, values in expected.items():
        np.testing.assert_array_equal(found[column], values, err_msg=column)


def test_each_core_has_a_copy_of_the_module_and_the_number_of_threads_is_restored(
    digits: Batch,
) -> None:
    model = replace(make_classifier("a"), module=Exclusive(32))
    expected = Predictor(make_classifier("a"), Inference()).predict(digits)
    with threads(3):
        with one_core_each() as cores:
            predictor = Predictor(model, Inference(), "cpu", cores)
            for _ in range(5):
                found = predictor.predict(digits)
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as later:
            assert later.submit(torch.get_num_threads).result() == 3
    np.testing.assert_array_equal(found["top1"], expected["top1"])


def test_a_module_that_cannot_be_copied_is_used_by_one_thread(digits: Batch) -> None:
    model = replace(make_classifier("a"), module=Alone(32))
    with threads(1):
        expected = Predictor(model, Inference()).predict(digits)
    with threads(2), one_core_each() as cores:
        predictor = Predictor(model, Inference(), "cpu", cores)
        torch.set_num_threads(1)  # the network checks that it computes on one core
        found = predictor.predict(digits)
    np.testing.assert_array_equal(found["top1"], expected["top1"])


def test_an_error_on_one_core_is_raised_and_memory_that_ran_out_halves_the_batch(
    digits: Batch, caplog: pytest.LogCaptureFixture
) -> None:
    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = make_classifier("a").module

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 30:
                raise MemoryError
            result: Tensor = self.network(x)
            return result

    expected = Predictor(make_classifier("a"), Inference()).predict(digits)
    with threads(2), one_core_each() as cores:
        model = replace(make_classifier("a"), module=Small())
        found = Predictor(model, Inference(100), "cpu", cores).predict(digits)
    np.testing.assert_array_equal(found["top1"], expected["top1"])
    assert "out of memory with 100 frames; going on with 50" in caplog.text

"""One call in Python: what it takes, what it shows, and mistakes that it must not let pass."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import robustbench_aa as rb
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.evaluation.engines import local
from tests.conftest import Linear, make_classifier

A = make_classifier("a")


class Failing(Linear):
    """A network that fails on every image that is not black."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.any():
            raise ValueError("too bright")
        return super().forward(x)


class Ten(Linear):
    """A network that returns other numbers of logits for real images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, : 5 if x.any() else 10]


def test_a_subset_is_chosen_as_on_the_command_line(tmp_path: Path) -> None:
    run = rb.benchmark(
        [A], ["digits-c"], tmp_path, limit=3, corruptions=["fog", "snow"], severities=[2, 5]
    )
    measured = run.table("corruptions").dropna(subset="error")
    cells = zip(measured["corruption"], measured["severity"], strict=True)
    assert set(cells) == {(name, severity) for name in ("fog", "snow") for severity in (2, 5)}


def test_a_suite_takes_the_place_of_the_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = rb.Suite([A], [rb.load_dataset("digits")], name="mine", limit=4)
    monkeypatch.chdir(tmp_path)
    run = rb.benchmark(suite)
    assert run.directory == Path("runs/mine")
    assert run.leaderboard()["images"].tolist() == [4]
    assert rb.benchmark(suite, output_dir="elsewhere").directory == Path("elsewhere")
    with pytest.raises(UsageError, match="datasets and limit of a suite are given in the suite"):
        rb.benchmark(suite, ["digits-c"], limit=3)
    with pytest.raises(UsageError, match="a run needs a folder; give output_dir"):
        rb.benchmark([A], ["digits"])


def test_the_baseline_may_be_a_model(tmp_path: Path) -> None:
    run = rb.benchmark([A], [rb.load_dataset("digits-c")], tmp_path, limit=3, baseline=A)
    assert run.leaderboard()["mce_a"].tolist() == [100]


def test_a_module_that_describes_its_input_needs_no_wrapping(tmp_path: Path) -> None:
    module = Linear(0)
    module.default_cfg = {"input_size": (3, 32, 32), "mean": (0, 0, 0), "std": (1, 1, 1)}  # type: ignore[assignment]
    run = rb.benchmark([module, A], ["digits"], tmp_path, limit=20)
    board = run.leaderboard()
    assert set(board["model"]) == {"Linear", "a"}
    assert board["clean_error"].nunique() == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"models": "digits:resnet@lpf3"},
            r"models must be a list, not 'digits:resnet@lpf3'; put it",
        ),
        ({"models": A}, r"models must be a list, not one Classifier; put it into \[ \]"),
        ({"models": nn.Sequential(nn.Flatten())}, "models must be a list, not one Sequential"),
        (
            {"models": [nn.Flatten()]},
            "a plain Flatten does not say its input_size, mean, std; wrap",
        ),
        ({"models": [3]}, "3 is no model"),
        ({"models": [dataclasses.replace(A, classes=7)]}, "a has classes=7, .* returns 10 logits"),
        ({"models": [dataclasses.replace(A, input_size=30)]}, r"\(1, 3, 30, 30\) to logits \(mat1"),
        ({"datasets": "digits"}, r"datasets must be a list, not 'digits'; put it into \[ \]"),
        (
            {"datasets": rb.load_dataset("digits")},
            "datasets must be a list, not one DatasetEntry",
        ),
        ({"datasets": [Path("digits")]}, r"Path\('digits'\) is no data set; .*ImageFolder\(path\)"),
        ({"datasets": ["digits-c"], "corruptions": "fog"}, r"corruptions must .*; give \['fog'\]"),
        ({"datasets": ["digits-c"], "severities": 3}, r"severities must be .*; give \[3\]"),
        ({"engine": "loca"}, "unknown engine 'loca'; did you mean local"),
    ],
)
def test_a_mistake_is_told_in_a_line(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        rb.benchmark(
            **({"models": [A], "datasets": ["digits"], "output_dir": tmp_path / "run"} | given)
        )
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("network", "cause"),
    [(Failing, "too bright"), (Ten, r"returned \(3, 5\) instead of logits of shape \(3, 10\)")],
)
def test_a_failure_cannot_be_missed(tmp_path: Path, network: type[Linear], cause: str) -> None:
    failing = dataclasses.replace(A, module=network(1), name="failing", weights_sha256="")
    message = (
        f"1 cells failed, see Run.failures; the first: failing failed on digits clean.*{cause}"
    )
    with pytest.warns(RuntimeWarning, match=message):
        run = rb.benchmark([A, failing], ["digits"], tmp_path, limit=3)
    assert [failure.model for failure in run.failures] == ["failing"]
    assert run.leaderboard().set_index("model")["complete"].to_dict() == {
        "a": True,
        "failing": False,
    }


@pytest.mark.parametrize(
    ("terminal", "progress", "shown"),
    [
        (False, None, False),
        (True, None, True),
        (True, False, False),
        (False, True, True),
    ],
)
def test_progress_is_shown_on_a_terminal_or_if_wanted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    progress: bool | None,
    shown: bool,
) -> None:
    for variable in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    rb.benchmark([A], ["digits"], tmp_path, limit=3, progress=progress)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert bool(printed.err) == shown
    assert ("digits clean" in printed.err) == shown


def test_a_table_is_found_by_its_name(tmp_path: Path) -> None:
    run = rb.benchmark([A], ["digits"], tmp_path, limit=3)
    written = {path.stem for path in (tmp_path / "report").glob("*.csv")}
    for name in written:
        assert not run.table(name).empty
    assert run.table("intervals") is run.table("intervals")
    assert run.table("corruptions").empty
    with pytest.raises(UnknownName, match="unknown table 'interval'; did you mean intervals"):
        run.table("interval")
    with pytest.raises(UnknownName, match="unknown table 'warnings'"):
        run.table("warnings")


def test_a_network_that_was_trained_meanwhile_is_another(tmp_path: Path) -> None:
    model = dataclasses.replace(make_classifier("a"), name="mine")
    suite = rb.Suite([model], ["digits"], limit=3)
    rb.benchmark(suite, output_dir=tmp_path)
    with torch.no_grad():
        model.module.weight.mul_(2)
    message = "holds predictions of mine with another weights_sha256"
    with pytest.raises(UsageError, match=message):
        rb.benchmark(suite, output_dir=tmp_path)
    with pytest.raises(UsageError, match=message):
        rb.benchmark([model], ["digits"], tmp_path, limit=3)


def test_models_that_do_not_fit_into_memory_are_told_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(local, "Predictor", full)
    with pytest.raises(UsageError, match="a does not fit into the memory of cpu with 0 other"):
        rb.benchmark([A], ["digits"], tmp_path, limit=3)

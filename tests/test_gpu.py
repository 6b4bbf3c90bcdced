"""The runner of what is measured on a GPU, with steps that need none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu
from benchmarks.gpu import SKIPPED, TIMED_OUT, Step

DONE = ("-c", "print('=== 3 passed ===\\n\\nrows.csv')")
FAILS = ("-c", "raise KeyError('lost')")
HANGS = ("-c", "import time; print('begun'); time.sleep(600)")


def table(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "steps.csv").set_index("step")


def test_without_a_gpu_there_is_nothing_to_measure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    result = CliRunner().invoke(gpu.main, ["--output", str(tmp_path / "gpu")])
    assert (result.exit_code, result.output) == (0, "no GPU: nothing to measure\n")
    assert not (tmp_path / "gpu").exists()


def test_a_step_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    steps = [Step("fails", FAILS, 1), Step("done", DONE, 1)]
    assert not gpu.measure(steps, tmp_path, 600, "cpu")
    found = table(tmp_path)
    assert found["status"].tolist() == [1, 0]
    assert found["last_line"].tolist() == ["KeyError: 'lost'", "3 passed"]
    assert set(found["device"]) == {"cpu"}
    assert set(found["torch"]) == {torch.__version__}
    assert found["command"]["fails"] == """python -c 'raise KeyError('"'"'lost'"'"')'"""
    assert "Traceback" in (tmp_path / "fails.log").read_text()


def test_a_step_over_its_limit_is_killed_with_what_it_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "print(child.pid)\ntime.sleep(600)"
    )
    steps = [Step("hangs", ("-c", code), 1), Step("done", DONE, 99)]
    assert not gpu.measure(steps, tmp_path, 500, "cpu")
    found = table(tmp_path)
    assert found["status"].tolist() == [TIMED_OUT, "0"]
    child = Path(f"/proc/{found['last_line']['hangs']}/stat")
    # it is gone, or dead and not yet waited for by its new parent
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_the_table_is_written_after_each_step(tmp_path: Path) -> None:
    # the second step shows what there is when it begins
    code = f"print(open({str(tmp_path / 'steps.csv')!r}).read().splitlines()[-1][:4])"
    steps = [Step("done", DONE, 1), Step("looks", ("-c", code), 1)]
    assert gpu.measure(steps, tmp_path, 600, "cpu")
    assert table(tmp_path)["last_line"].tolist() == ["3 passed", "done"]


def test_what_the_time_does_not_suffice_for_is_recorded(tmp_path: Path) -> None:
    steps = [Step("hangs", HANGS, 999), Step("late", DONE, 1)]
    assert not gpu.measure(steps, tmp_path, 5, "cpu")
    found = table(tmp_path)
    assert found["status"].tolist() == [TIMED_OUT, SKIPPED]
    assert found["last_line"].isna().tolist() == [False, True]
    assert gpu.measure(steps, tmp_path, 0, "cpu")
    assert table(tmp_path)["status"].tolist() == [SKIPPED, SKIPPED]
    assert not list(tmp_path.glob("*.log"))


@pytest.mark.parametrize(("status", "code"), [(0, DONE), (1, FAILS)])
def test_the_exit_status_tells_of_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, code: tuple[str, ...]
) -> None:
    monkeypatch.setattr(gpu, "all_steps", lambda *_: [Step("one", code, 1)])
    result = CliRunner().invoke(gpu.main, ["--device", "cpu", "--output", str(tmp_path)])
    assert result.exit_code == status, result.output
    assert result.output.splitlines()[-1] == str(tmp_path / "steps.csv")


def test_the_steps_are_commands_that_exist(tmp_path: Path) -> None:
    names = []
    for step in gpu.all_steps("cpu", tmp_path):
        names.append(step.name)
        if step.name == "tests":
            assert "tests/test_devices.py" in step.arguments
            more = ("--collect-only", "-q")
        else:
            more = ("--help",)  # what comes before it is read, and refused if it is not known
        command = [sys.executable, *step.arguments, *more]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        result = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr
    assert len(names) == len(set(names))

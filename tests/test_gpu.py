"""`python -m benchmarks.gpu`, with steps that need no GPU."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from benchmarks import gpu
from benchmarks.aims import Aim, compare
from benchmarks.gpu import missing_packages, read_aims, read_steps

ROOT = Path(__file__).parents[1]
DONE = "print('=== 3 passed ===\\n\\nrows.csv')"
FAILS = "raise KeyError('lost')"
HANGS = "import time; print('begun'); time.sleep(600)"
HANGS_WITH_A_CHILD = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print(child.pid)\ntime.sleep(600)"
)


def run(
    folder: Path, minutes: float, steps: dict[str, tuple[str, int]]
) -> tuple[subprocess.CompletedProcess[str], pd.DataFrame]:
    """Run steps, given as name → (code, minutes), and return the process and its table."""
    file = folder / "steps.toml"
    file.write_text(
        "\n".join(
            f"[[steps]]\nname = '{name}'\narguments = '''{shlex.join(['-c', code])}'''\n"
            f"minutes = {share}"
            for name, (code, share) in steps.items()
        )
    )
    result = command(
        "--device=cpu", f"--minutes={minutes}", f"--steps={file}", f"--output={folder}"
    )
    return result, pd.read_csv(folder / "steps.csv").set_index("step")


def command(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *options],
        cwd=ROOT,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_gpu_small_sizes_are_tried_and_nothing_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "steps.toml"
    file.write_text(
        "[[steps]]\nname = 'sized'\narguments = '-c \"print({sizes})\"'\n"
        "sizes = '1/0'\nsmall = '17'\nminutes = 1\n"
        "[[steps]]\nname = 'large'\narguments = '-c {sizes}'\nsizes = '1/0'\nminutes = 1\n"
    )
    result = command(f"--steps={file}")
    assert result.returncode == 0, result.stderr
    first, sized, table = result.stdout.splitlines()
    assert first.startswith("no GPU: ")
    assert re.fullmatch(r"sized: 0 \(\d+ s\) 17", sized)
    assert not Path(table).exists()


def test_one_step_keeps_the_rows_of_the_others(tmp_path: Path) -> None:
    run(tmp_path, 10, {"done": (DONE, 1), "fails": (FAILS, 1)})
    options = (f"--steps={tmp_path / 'steps.toml'}", f"--output={tmp_path}")
    result = command("--step=done", *options)
    assert result.returncode == 0, result.stderr
    found = pd.read_csv(tmp_path / "steps.csv")
    assert [*zip(found["step"], found["status"], strict=True)] == [("done", 0), ("fails", 1)]
    result = command("--step=dome", *options)
    assert (result.returncode, "choose from done, fails" in result.stderr) == (2, True)


def test_a_step_that_fails_or_hangs_does_not_stop_the_others(tmp_path: Path) -> None:
    # the last step prints the table's last line, so that the table must exist by then
    table = f"print(open({str(tmp_path / 'steps.csv')!r}).read().splitlines()[-1][:5])"
    steps = {
        "fails": (FAILS, 1),
        "hangs": (HANGS_WITH_A_CHILD, 1),
        "done": (DONE, 50),
        "table": (table, 50),
    }
    result, found = run(tmp_path, 10, steps)
    assert result.returncode == 1, result.stderr
    assert result.stdout.splitlines()[-1] == str(tmp_path / "steps.csv")
    assert found["status"].tolist() == ["1", "timed out", "0", "0"]
    assert found["last_line"].drop("hangs").tolist() == ["KeyError: 'lost'", "3 passed", "done,"]
    assert set(found["device"]) == {"cpu"}
    assert set(found["torch"]) == {torch.__version__}
    assert found["command"]["fails"] == """python -c 'raise KeyError('"'"'lost'"'"')'"""
    assert "Traceback" in (tmp_path / "fails.log").read_text()
    child = Path(f"/proc/{found['last_line']['hangs']}/stat")
    # it is gone, or dead and not yet waited for by its new parent
    assert not child.exists() or child.read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_step_without_time_is_recorded(tmp_path: Path) -> None:
    result, found = run(tmp_path, 0.1, {"hangs": (HANGS, 999), "late": (DONE, 1)})
    assert result.returncode == 1, result.stderr
    assert found["status"].tolist() == ["timed out", "skipped"]
    assert found["last_line"].isna().tolist() == [False, True]
    assert not (tmp_path / "late.log").exists()


def test_the_exit_status_is_0_if_all_steps_are_done(tmp_path: Path) -> None:
    result, found = run(tmp_path, 10, {"done": (DONE, 1)})
    assert (result.returncode, found["status"].tolist()) == (0, [0]), result.stderr


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_steps_are_commands_that_exist(device: str, tmp_path: Path) -> None:
    file = ROOT / "benchmarks" / "gpu.toml"
    steps = read_steps(file, device, tmp_path)
    assert len({step.name for step in steps}) == len(steps) > 3
    lines = []
    for step in steps:
        minus_m, module, *options = step.arguments
        assert minus_m == "-m"
        if module != "pytest":
            lines.append((module, [option.replace("cuda", "cpu") for option in options]))
    # options before --help are parsed, and refused if they are unknown
    code = (
        "import importlib\n"
        f"for module, options in {lines!r}:\n"
        "    main = importlib.import_module(module).main\n"
        "    main([*options, '--help'], standalone_mode=False)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_steps_on_a_gpu_take_15_minutes(tmp_path: Path) -> None:
    steps = read_steps(ROOT / "benchmarks" / "gpu.toml", "cuda", tmp_path)
    assert sum(step.minutes for step in steps) == 15


def test_aims_are_compared_with_what_was_measured(tmp_path: Path) -> None:
    table = pd.DataFrame({"cell": ["a", "b", "b"], "rate": [10.0, 20.0, 60.0]})
    table.to_csv(tmp_path / "rates.csv", index=False)
    aims = [
        Aim("lowest", "rates.csv", "rate", at_least=10),
        Aim("mean", "rates.csv", "rate", "mean rate", at_most=29, where={"cell": "b"}),
        Aim("no such row", "rates.csv", "rate", at_least=1, where={"cell": "c"}),
        Aim("no such file", "none.csv", "rate", at_least=1),
    ]
    found = compare(aims, tmp_path).astype(object)
    assert found["measured"].dropna().tolist() == [10, pytest.approx(30)]
    assert found["met"].tolist() == [True, False, None, None]


def test_every_aim_is_a_value_of_a_step(tmp_path: Path) -> None:
    """Each aim names a file and a model that one of the steps measures."""
    file = ROOT / "benchmarks" / "gpu.toml"
    commands = [shlex.join(step.arguments) for step in read_steps(file, "cuda", tmp_path)]
    for aim in read_aims(file):
        words = [f"/{aim.file}"]
        words += [str(aim.where[key]) for key in ("dataset", "setting") if key in aim.where]
        assert any(all(word in line for word in words) for line in commands), aim


def test_a_table_that_is_not_whole_is_not_compared(tmp_path: Path) -> None:
    pd.DataFrame({"rate": [5.0, 7.0]}).to_csv(tmp_path / "rates.csv")
    for rows, measured in ((2, 5.0), (3, None)):
        aim = Aim("the slowest", "rates.csv", "rate", at_least=4, rows=rows)
        assert aim.measured(tmp_path) == measured


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_packages() == []
    monkeypatch.setattr(gpu, "EXTRAS", ("no-such-package",))
    assert missing_packages() == ["no-such-package"]

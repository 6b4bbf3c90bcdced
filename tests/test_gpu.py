"""`python -m benchmarks.gpu`, with steps that need no GPU."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import torch

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
    """Run steps, given as name → (code, share), and return the process and its table."""
    file = folder / "steps.toml"
    file.write_text(
        "\n".join(
            f"[[steps]]\nname = '{name}'\narguments = '''{shlex.join(['-c', code])}'''\n"
            f"share = {share}"
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


def test_without_a_gpu_there_is_nothing_to_measure(tmp_path: Path) -> None:
    result = command("--output", str(tmp_path / "gpu"))
    assert (result.returncode, result.stdout) == (0, "no GPU: nothing to measure\n"), result.stderr
    assert not (tmp_path / "gpu").exists()


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


def test_the_steps_are_commands_that_exist() -> None:
    steps = tomllib.loads((ROOT / "benchmarks" / "gpu.toml").read_text())["steps"]
    assert len({step["name"] for step in steps}) == len(steps)
    lines = []
    for step in steps:
        minus_m, module, *options = shlex.split(step["arguments"])
        assert minus_m == "-m"
        if module != "pytest":
            filled = [option.replace("{device}", "cpu") for option in options]
            lines.append((module, filled))
    # options before --help are parsed, and refused if they are unknown
    code = (
        "import importlib\n"
        f"for module, options in {lines!r}:\n"
        "    main = importlib.import_module(module).main\n"
        "    main([*options, '--help'], standalone_mode=False)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)

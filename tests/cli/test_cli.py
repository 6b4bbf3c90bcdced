"""The command line as users type it.

Most commands run in this process. Signals, fresh imports and one command of each kind run in a
process of their own.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from robustbench_aa import antialias, load
from robustbench_aa.cli import main as cli
from robustbench_aa.store import shards
from robustbench_aa.store.predictions import read_predictions
from tests.conftest import made_elsewhere, tree
from tests.forged import forge

BASE = [sys.executable, "-m", "robustbench_aa"]


NETWORK = "digits:resnet@lpf3-seed0"


def run(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, and restore what a command sets for its process."""
    words = ["robustbench-aa", *map(str, arguments)]
    root = logging.getLogger()
    handlers, level, name = root.handlers[:], root.level, logging.getLevelName(logging.WARNING)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    before = Path.cwd()
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", words)
        patch.setattr(sys, "path", [*sys.path])
        patch.chdir(cwd)
        root.handlers = []
        try:
            with pytest.raises(SystemExit) as ended:
                cli.main()
        finally:
            root.handlers = handlers
            root.setLevel(level)
            logging.addLevelName(logging.WARNING, name)
            for number, handler in signals.items():
                signal.signal(number, handler)
    assert Path.cwd() == before
    status = ended.value.code
    assert isinstance(status, int)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


def run_apart(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own."""
    command = [*BASE, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def assert_refused(result: subprocess.CompletedProcess[str], *messages: str) -> None:
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1, result.stderr
    for message in messages:
        assert message in result.stderr


def test_evaluate_prints_a_table_and_keeps_the_predictions(tmp_path: Path) -> None:
    result = run_apart(
        *("evaluate", "-m", "digits:resnet@lpf3", "-d", "digits-c"),
        *("--corruption", "gaussian_noise", "--severity", 3, "--limit", 50),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "3 models × 1 cells: 0 of 3 prediction files" in result.stdout
    assert "top-1 error on digits-c, mean over severities" in result.stdout
    assert "gaussian_noise/3 " in result.stdout
    assert "150 of 150 frames" in result.stderr
    assert len(list(tmp_path.glob("runs/evaluate/predictions/*/*/*/*/*.parquet"))) == 3


def test_evaluate_on_shifts_and_clean_images_prints_their_metric(tmp_path: Path) -> None:
    titles = {"digits-shift": "consistency on digits-shift", "digits": "clean_error"}
    for dataset, title in titles.items():
        result = run(
            *("evaluate", "-m", "digits:resnet@lpf5-seed2", "-d", dataset, "--limit", 5),
            cwd=tmp_path,
        )
        assert result.returncode == 0, result.stderr
        assert title in result.stdout


def test_a_dry_run_prints_the_remaining_work_and_writes_nothing(tmp_path: Path) -> None:
    result = run("benchmark", "--limit", 10, "--dry-run", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    # 12 networks, 96 corrupted cells of 1 frame, ten sequences and one of 81 shifts, 10 images
    assert "12 models × 107 cells: 0 of 1284 prediction files are in runs/digits" in result.stdout
    assert f"{12 * 10 * (96 + 8 * 31 + 21 + 16 + 81):,} forward passes remain on" in result.stdout
    assert not tree(tmp_path)


def test_report_needs_only_the_predictions_and_takes_another_baseline(tmp_path: Path) -> None:
    suite = tmp_path / "two.toml"
    suite.write_text(
        'models = ["digits:resnet@baseline-seed0", "digits:resnet@lpf2-seed0"]\n'
        'datasets = ["digits-c", "digits-shift"]\nlimit = 120\n'
    )
    first = run("benchmark", suite.name, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    folder = tmp_path / "runs" / "two" / "report"
    before = tree(folder)
    assert {"leaderboard.csv", "corruptions.csv", "consistency.csv"} <= before.keys()
    # a model with a single training seed is in no table of seeds
    assert "seeds.csv" not in before
    assert not any(c.startswith("mce") for c in pd.read_csv(folder / "leaderboard.csv"))

    again = run("report", "runs/two", "--baseline", "digits:resnet@baseline-seed0", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    board = pd.read_csv(folder / "leaderboard.csv").set_index("model")
    mce = board["mce_digits:resnet@baseline-seed0"]
    assert mce["digits:resnet@baseline-seed0"] == 100
    assert mce["digits:resnet@lpf2-seed0"] > 0
    assert tree(folder)["corruptions.csv"] == before["corruptions.csv"]


def test_report_reads_prediction_files_once_and_those_of_shown_answers_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = forge(tmp_path / "run", ["a", "b"], ["imagenet-c", "imagenet-shift", "image-folder"])
    reads: Counter[Path] = Counter()

    def counted(content: bytes, path: Path, *more: Any) -> tuple[pa.Table, bytes]:
        reads[path] += 1
        return read_predictions(content, path, *more)

    monkeypatch.setattr(shards, "read_predictions", counted)
    result = CliRunner().invoke(cli.commands, ["report", str(folder)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert (folder / "report" / "leaderboard.csv").exists()
    assert reads
    files = list(folder.rglob("*.parquet"))
    shown = [file for file in files if file.name[:2] == "0-" and "imagenet-shift" not in file.parts]
    assert len(shown) < len(files)
    assert reads == Counter(files + shown)


def test_report_warns_once_of_a_damaged_prediction_file(tmp_path: Path) -> None:
    model = "digits:resnet@lpf3-seed0"
    first = run("evaluate", "-m", model, "-d", "digits", "--limit", 5, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    [file] = (tmp_path / "runs" / "evaluate" / "predictions").rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:-1])
    result = run_apart("report", "runs/evaluate", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("damaged prediction file") == 1
    board = pd.read_csv(tmp_path / "runs" / "evaluate" / "report" / "leaderboard.csv")
    assert board["clean_error"].isna().all()


def test_report_takes_published_rows_and_baselines_and_writes_latex(tmp_path: Path) -> None:
    forge(tmp_path / "run", ["mine"], ["imagenet-p", "image-folder"])
    options = ("--baseline", "resnet50", "--with-published", "--latex")
    result = run("report", "run", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "SqueezeNet †" in result.stdout
    assert "run/report/leaderboard.tex" in result.stdout.splitlines()
    board = pd.read_csv(tmp_path / "run" / "report" / "leaderboard.csv")
    assert board["source"].notna().sum() > 80
    assert {"mfr_resnet50", "mt5d_resnet50", "mfr_alexnet"} < set(board)
    evaluated = run(
        *("evaluate", "-m", "digits:resnet@lpf3-seed0", "-d", "digits", "--limit", 5), cwd=tmp_path
    )
    assert evaluated.returncode == 0, evaluated.stderr
    refused = "this run uses digits"
    for options in (("--baseline", "alexnet"), ("--baseline", "resnet50"), ("--with-published",)):
        assert_refused(run("report", "runs/evaluate", *options, cwd=tmp_path), refused)


def test_compare_prints_the_differences_between_two_models(tmp_path: Path) -> None:
    models = ("digits:resnet@baseline-seed0", "digits:resnet@lpf2-seed0")
    result = run(
        *("evaluate", "-m", models[0], "-m", models[1], "-d", "digits-p", "--limit", 30),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    command = ("compare", "runs/evaluate", *models)
    table = run(*command, cwd=tmp_path)
    assert "Of 10 perturbations, digits:resnet@baseline-seed0 is better under" in table.stdout
    rows = pd.read_csv(io.StringIO(run(*command, "--format", "csv", cwd=tmp_path).stdout))
    same = json.loads(run(*command, "--format", "json", cwd=tmp_path).stdout)
    assert [row["distortion"] for row in same] == rows["distortion"].fillna("").tolist()
    assert len(same) == 11
    unknown = run("compare", "runs/evaluate", "digits:resnet@lpf3", models[0], cwd=tmp_path)
    assert_refused(unknown, "unknown model of the run 'digits:resnet@lpf3'", "did you mean")


def test_models_and_datasets_are_listed(tmp_path: Path) -> None:
    models = run("models", "digits:*", cwd=tmp_path).stdout.split()
    assert "digits:resnet@baseline-seed0" in models
    assert len(models) == 27
    everything = run("models", cwd=tmp_path).stdout.split()
    assert {"torchvision:resnet50@IMAGENET1K_V1", *models} <= set(everything)
    assert_refused(run("models", "torchvison:*", cwd=tmp_path), "unknown model 'torchvison:*'")
    datasets = run("datasets", cwd=tmp_path).stdout
    assert [line.split()[0] for line in datasets.splitlines()] == [
        *("digits", "digits-c", "digits-shift", "digits-p"),
        *("image-folder", "imagenet-c-live", "imagenet-p-live", "imagenet-shift"),
        *("imagenet-c", "imagenet-c-bar", "imagenet-3dcc", "imagenet-p"),
        *("imagenet-1k", "imagenet-a", "imagenet-r"),
        *("imagenet-v2", "imagenet-v2-threshold", "imagenet-v2-top"),
        *("imagenet-sketch", "imagenet-real"),
        *("cifar10-c-live", "cifar10-p-live", "cifar10-shift", "cifar10-c", "cifar100-c"),
        *("cifar10-c-bar", "cifar10-p"),
        *("tiny-imagenet-c-live", "tiny-imagenet-p-live", "tiny-imagenet-shift"),
        "tiny-imagenet-c",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "-m", "digts:resnet", "-d", "digits"], "did you mean digits?"),
        (["evaluate", "-m", "digits:resnet@lpf9", "-d", "digits"], "unknown weights"),
        (["evaluate", "-m", "digits:resnet", "-d", "digit"], "unknown data set 'digit'; did you"),
        (
            ["evaluate", "-m", "digits:resnet", "-d", "digits-c", "--corruption", "pixelat"],
            "unknown corruption of digits-c 'pixelat'; did you mean pixelate?",
        ),
        (
            ["evaluate", "-m", "digits:resnet", "-d", "digits-c", "--severity", "6"],
            "severity 6 does not exist; choose from 1 to 5",
        ),
        (
            ["evaluate", "-m", "digits:resnet", "-d", "digits-c", "--severity", "high"],
            "'high' is not a valid integer",
        ),
        (["evaluate", "-d", "digits"], "missing option '--model'"),
        (["evaluate", "-m", "digits:resnet", "-d", "digits", "--limit", "0"], "limit 0 leaves"),
        (["benchmark", "digit"], "unknown suite (a shipped name or a .toml file) 'digit'; did you"),
        (["benchmark", "lost.toml"], "cannot read suite lost.toml (No such file"),
        (["benchmark", "--engine", "mars"], "unknown engine 'mars'; known: local"),
        (["benchmark", "--output-dir", "file"], "cannot write to file"),
        (["benchmark", "--bach-size", "3"], "unknown option"),
        (["report", "nowhere"], "no run in nowhere"),
        (["bench"], "unknown command 'bench'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_with_status_2(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "file").write_text("")
    assert_refused(run(*arguments, cwd=tmp_path), message)
    assert tree(tmp_path) == {"file": b""}


def test_wrong_usage_ends_the_program_as_it_ends_main(tmp_path: Path) -> None:
    for words in (["benchmark", "lost.toml"], ["report", "nowhere"], ["bench"]):
        apart, here = (start(*words, cwd=tmp_path) for start in (run_apart, run))
        assert (apart.returncode, apart.stdout, apart.stderr) == (2, here.stdout, here.stderr)


def test_a_checkpoint_that_does_not_fit_names_the_keys(tmp_path: Path) -> None:
    torch.save({"0.weight": torch.zeros(16, 3, 3, 3), "head": torch.zeros(1)}, tmp_path / "a.pth")
    result = run("evaluate", "-m", "digits:resnet@a.pth", "-d", "digits", cwd=tmp_path)
    messages = "a.pth does not fit ResNet (", "missing: 1.weight, ", "1 unexpected: head"
    assert_refused(result, *messages)


def test_a_converted_network_can_be_written_and_evaluated(tmp_path: Path) -> None:
    options = "--filter-size", 3, "-o", "aa.safetensors"
    result = run("antialias", "digits:resnet@baseline-seed0", *options, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    first, *_, last = result.stdout.splitlines()
    assert first == (
        "3: 2×2 max-pool of stride 2×2 → dense 2×2 max-pool, BlurPool(16, filter_size=3, stride=2)"
    )
    assert last == "aa.safetensors"
    again = run(
        *("evaluate", "-m", "digits:resnet@aa.safetensors", "-d", "digits", "--limit", 5),
        cwd=tmp_path,
    )
    assert again.returncode == 0, again.stderr
    plain, smooth = (load(f"digits:resnet@{w}") for w in ("baseline", tmp_path / "aa.safetensors"))
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(smooth.module(x), antialias(plain, filter_size=3).module(x))


def test_every_option_of_a_conversion_is_in_its_file(tmp_path: Path) -> None:
    options = "--method", "aps", "--padding-mode", "circular", "--filter-size", 2
    plain = "digits:resnet@baseline-seed0"
    result = run("antialias", plain, *options, "-o", "aps.safetensors", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "component of 5.residual.0" in result.stdout
    assert "most conversions cost accuracy until the model is fine-tuned" in result.stdout
    again = load(f"digits:resnet@{tmp_path}/aps.safetensors").module
    x = torch.randn(2, 3, 32, 32)
    expected = load("digits:resnet@baseline+aps2-circular-seed0").module(x)
    assert torch.equal(again(x), expected)
    torch.testing.assert_close(again(x.roll((3, 5), (2, 3))), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--filter-size", "9", "-o", "a.safetensors"], "filter size 9 does not exist"),
        (
            ["--method", "flc", "--filter-size", "3", "-o", "a.safetensors"],
            "flc has no filter; omit the filter size",
        ),
        (["-o", "a.pth"], "a.pth does not end in .safetensors"),
        (["-o", "no/a.safetensors"], "cannot write no/a.safetensors"),
    ],
)
def test_an_impossible_conversion_is_refused(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert_refused(run("antialias", "digits:resnet", *arguments, cwd=tmp_path), message)
    assert not tree(tmp_path)


def test_verify_lists_problems_with_status_1(tmp_path: Path) -> None:
    folder = tmp_path / "val" / "n01440764"
    folder.mkdir(parents=True)
    Image.new("RGB", (300, 300)).save(folder / "a.JPEG")
    command = ("verify", "-d", "image-folder", "--data-dir", "val")
    result = run(*command, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "no problems found" in result.stdout
    (folder / "b.JPEG").write_text("no picture")
    result = run(*command, cwd=tmp_path)
    assert result.returncode == 1
    assert "problem: val: n01440764/b.JPEG cannot be read" in result.stdout
    assert "1 problems" not in result.stdout
    assert_refused(run("verify", "-d", "digits", "--data-dir", ".", cwd=tmp_path), "unknown data")
    assert_refused(run("verify", "-d", "imagenet-c", "--data-dir", "no", cwd=tmp_path), "no folder")


def test_verify_deep_compares_pictures_with_a_run(tmp_path: Path) -> None:
    path = tmp_path / "val" / "n01440764" / "a.bmp"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (224, 224)).save(path)
    model = ("-m", "torchvision:squeezenet1_1@random")
    data = ("-d", "image-folder", "--data-dir", "val")
    assert run("evaluate", *model, *data, "--output-dir", "run", cwd=tmp_path).returncode == 0
    deep = ("verify", *data, "--deep", "run")
    result = run(*deep, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "no problems found" in result.stdout
    times = path.stat().st_mtime_ns
    Image.new("RGB", (224, 224), (1, 2, 3)).save(path)
    os.utime(path, ns=(times, times))
    result = run(*deep, cwd=tmp_path)
    assert result.returncode == 1
    assert "problem: the images 0-1 of image-folder clean are not" in result.stdout
    assert_refused(run(*deep, "--sample", "1", cwd=tmp_path), "leave out --sample")
    assert_refused(run("verify", *data, "--deep", "val", cwd=tmp_path), "no run in val")


def test_another_suite_continues_a_run_and_the_report_names_both(tmp_path: Path) -> None:
    for name, corruption in (("one", "fog"), ("two", "snow")):
        models = 'models = ["digits:resnet@lpf2-seed0"]\ndatasets = ["digits-c"]\nlimit = 5\n'
        models += f'severities = [3]\ncorruptions = ["{corruption}"]\n'
        (tmp_path / f"{name}.toml").write_text(models)
    assert run("benchmark", "one.toml", "--output-dir", "out", cwd=tmp_path).returncode == 0
    result = run("benchmark", "two.toml", "--output-dir", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "mean_error_subset: snow 3; fog 3 (digits-c)\n" in result.stdout
    page = (tmp_path / "out/report/index.html").read_text(encoding="utf-8")
    assert '<p class="title">one + two</p>' in page


def test_no_help_imports_torch_or_pandas() -> None:
    code = (
        "import sys\n"
        "from robustbench_aa.cli.main import commands\n"
        "for name in ('', *commands.commands):\n"
        "    commands.main([*name.split(), '--help'], standalone_mode=False)\n"
        "print('imported:', *({'torch', 'pandas', 'pyarrow'} & sys.modules.keys()))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("Usage: ") == 1 + len(cli.commands.commands)
    assert result.stdout.splitlines()[-1] == "imported:"


def test_the_list_of_commands_is_shown_without_slow_imports() -> None:
    code = (
        "import sys\n"
        "from robustbench_aa.cli.main import commands\n"
        "commands.main(['--help'], standalone_mode=False)\n"
        "slow = {'torch', 'pandas', 'pyarrow', 'pydantic', 'numpy', 'rich'}\n"
        "print('imported:', *(slow & sys.modules.keys()))\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "evaluate" in result.stdout
    assert result.stdout.splitlines()[-1] == "imported:"


def test_every_command_is_described_by_a_sentence_that_fits_its_line() -> None:
    listed = CliRunner().invoke(cli.commands, ["--help"]).output.partition("Commands:\n")[2]
    described = dict(line.split(maxsplit=1) for line in listed.splitlines())
    assert described.keys() == cli.commands.commands.keys()
    for name, text in described.items():
        assert text.endswith("."), name
        assert not text.endswith("..."), name


@pytest.mark.parametrize("seed", [0], ids="seed={}".format)
def test_killed_at_any_moment_it_resumes_to_the_same_bytes(tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    (tmp_path / "small.toml").write_text(
        'models = ["digits:resnet@baseline", "digits:resnet@lpf3-seed0"]\n'
        'datasets = ["digits-c", "digits-shift"]\nbaseline = "digits:resnet@baseline"\n'
        "severities = [3]\nlimit = 30\nshard_size = 10\n"
    )
    whole = run("benchmark", "small.toml", "--output-dir", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    command = [*BASE, "benchmark", "small.toml", "--output-dir", "killed"]
    finished: dict[Path, int] = {}
    for _ in range(3):
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=-3)
        known = len(finished)
        while process.poll() is None and len(committed(tmp_path / "killed")) <= known + 20:
            time.sleep(0.02)
        time.sleep(moments.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path, stamp in finished.items():
            assert path.stat().st_mtime_ns == stamp, f"{path} was evaluated again"
        finished = committed(tmp_path / "killed")
        assert len(finished) > known
    last = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert f": {len(finished)} of 240 prediction files are in" in last.stdout
    for path, stamp in finished.items():
        assert path.stat().st_mtime_ns == stamp
    ours, theirs = (csv_files(tmp_path / folder / "report") for folder in ("killed", "whole"))
    assert ours == theirs
    assert {"leaderboard.csv", "corruptions.csv", "answers.csv"} < {*ours}
    assert not list(tmp_path.rglob("*.tmp"))


def csv_files(folder: Path) -> dict[str, bytes]:
    """Return the CSV files but provenance.csv, which has the commands and they differ."""
    files = {name: content for name, content in tree(folder).items() if name.endswith(".csv")}
    del files["provenance.csv"]
    return files


def test_runs_are_merged_and_a_mixed_environment_is_reported(tmp_path: Path) -> None:
    models = ("digits:resnet@lpf3-seed0", "digits:resnet@lpf2-seed0")
    for folder, model in zip("ab", models, strict=True):
        command = ("evaluate", "-m", model, "-d", "digits", "--limit", 5, "--output-dir", folder)
        result = run(*command, cwd=tmp_path)
        assert (result.returncode, "warning" in result.stderr) == (0, False), result.stderr
    made_elsewhere(tmp_path / "b", libjpeg="libjpeg 9")
    result = run("merge", "a", "b", "-o", "c", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "predictions are in c; next: robustbench-aa report c\n"
    result = run("report", "c", cwd=tmp_path)
    assert result.returncode == 0
    (warning,) = result.stderr.splitlines()
    assert warning.startswith("warning: libjpeg differs between predictions: libjpeg-turbo ")
    assert f"libjpeg 9 ({models[1]}); delete those of {models[1]} and evaluate them" in warning
    provenance = pd.read_csv(tmp_path / "c/report/provenance.csv").set_index("property")
    commands = provenance.loc["command"]
    evaluate = "robustbench-aa evaluate -m {} -d digits --limit 5 --output-dir {}"
    assert set(commands["value"]) == {
        "robustbench-aa merge a b -o c",
        *(evaluate.format(model, folder) for folder, model in zip("ab", models, strict=True)),
    }
    run(
        "evaluate", "-m", models[0], "-d", "digits", "--limit", 6, "--output-dir", "d", cwd=tmp_path
    )
    before = tree(tmp_path)
    result = run("merge", "a", "d", "-o", "e", cwd=tmp_path)
    assert_refused(result, "a and d cannot be merged: the first holds predictions of digits with")
    assert tree(tmp_path) == before


def committed(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


@pytest.mark.parametrize(
    ("number", "status", "event"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_with_a_line_on_how_to_resume(
    tmp_path: Path, number: signal.Signals, status: int, event: str
) -> None:
    command = [*BASE, "benchmark", "--output-dir", "out"]
    # the background commands of a shell ignore SIGINT, and so would this process
    signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not committed(tmp_path / "out"):
        time.sleep(0.05)
    os.kill(process.pid, number)
    _, output = process.communicate()
    assert process.returncode == status
    assert output.splitlines()[-1] == f"error: {event}; the same command resumes"


def test_a_second_run_on_a_directory_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    options = ("--limit", "100", "--output-dir", "out")
    first = subprocess.Popen(
        [*BASE, "benchmark", *options], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    while first.poll() is None and not committed(tmp_path / "out"):
        time.sleep(0.05)
    another = ("evaluate", "-m", "digits:vgg@lpf3", "-d", "digits-c", *options)
    second = run(*another, cwd=tmp_path)
    assert_refused(second, "another process is at work on out; wait for it")
    first.kill()
    first.wait()
    third = run(*another, "--corruption", "fog", cwd=tmp_path)
    assert third.returncode == 0, third.stderr


def test_evaluate_takes_several_data_sets(tmp_path: Path) -> None:
    model = ("-m", "digits:resnet@lpf3-seed0")
    result = run(
        *("evaluate", *model, "-d", "digits-shift", "-d", "digits", "--limit", 3), cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert "consistency on digits-shift" in result.stdout
    report = run("report", "runs/evaluate", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    leaderboard = pd.read_csv(tmp_path / "runs/evaluate/report/leaderboard.csv")
    assert leaderboard[["clean_error", "consistency_circular"]].notna().all(axis=None)


@pytest.mark.parametrize("module", ["antialiasing", "metrics"])
def test_public_modules_are_there_after_a_fresh_import(module: str) -> None:
    code = f"import robustbench_aa as rb; print(rb.{module}.__name__); assert '{module}' in dir(rb)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == f"robustbench_aa.{module}\n", result.stderr


ENDING = """
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(nn.init.zeros_(__import__("torch").empty(10)))

    def forward(self, x):
        if x.abs().sum() > 0:
            raise SystemExit(0)
        return self.weight.expand(len(x), 10)

def make():
    import robustbench_aa as rb
    how = rb.Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3)
    return rb.Classifier(Net(), name="x", input_size=32, classes=10, preprocessing=how)
"""


def test_a_model_that_ends_the_program_does_not_end_it_with_status_0(tmp_path: Path) -> None:
    (tmp_path / "ending.py").write_text(ENDING)
    result = run("evaluate", "-m", "python:ending:make", "-d", "digits", "--limit", 3, cwd=tmp_path)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "error: a model or data set raised SystemExit(0)"


@pytest.mark.parametrize(
    ("first", "second", "status", "event"),
    [
        (signal.SIGINT, signal.SIGTERM, 130, "interrupted"),
        (signal.SIGTERM, signal.SIGINT, 143, "terminated"),
        (signal.SIGINT, signal.SIGINT, 130, "interrupted"),
    ],
)
def test_the_first_of_several_signals_decides_the_status(
    tmp_path: Path, first: signal.Signals, second: signal.Signals, status: int, event: str
) -> None:
    code = (
        "import os, signal, time, click\n"
        "from robustbench_aa.cli.main import run_command\n"
        "@click.command()\n"
        "def wait():\n"
        "    try:\n"
        f"        os.kill(os.getpid(), {int(first)})\n"
        "        time.sleep(9)\n"
        "    finally:\n"
        f"        os.kill(os.getpid(), {int(second)})\n"
        f"        os.kill(os.getpid(), {int(second)})\n"
        "run_command(wait)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        # the background commands of a shell ignore SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert result.returncode == status
    assert result.stderr.strip() == f"error: {event}; the same command resumes"


@pytest.mark.parametrize(("given", "used"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_waiting_threads_sleep_unless_the_user_decides(given: str | None, used: str) -> None:
    code = (
        "import os, sys, click\n"
        "from robustbench_aa.cli.main import run_command\n"
        "@click.command()\n"
        "def show():\n"
        "    print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)\n"
        "run_command(show)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {"OMP_WAIT_POLICY": given} if given else {}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert result.stdout == f"{used} False\n"


def test_too_little_memory_is_an_error_of_one_line(tmp_path: Path) -> None:
    command = f"ulimit -v 1500000; exec {sys.executable} -m robustbench_aa evaluate "
    command += "-m digits:resnet@lpf3-seed0 -d digits --limit 3"
    result = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert result.returncode not in (0, None)
    assert "Traceback" not in result.stderr
    assert "error: " in result.stderr.splitlines()[-1]


def test_a_submission_is_exported_verified_and_evaluated_again(tmp_path: Path) -> None:
    evaluate = ("evaluate", "-m", NETWORK, "-d", "digits", "--limit", 4, "--output-dir", "run")
    assert run(*evaluate, cwd=tmp_path).returncode == 0
    exported = run("export", "run", "-o", "a.tar", "--format", "submission", cwd=tmp_path)
    assert exported.stdout.splitlines() == ["limit: 4 images of digits", "a.tar"]
    verified = run("verify", "a.tar", cwd=tmp_path)
    assert verified.stdout.splitlines() == [
        "a.tar: 3 files checked, the leaderboard was computed again",
        "nothing was evaluated again; name a model of it by --model",
        "no problems found",
    ]
    again = run("verify", "a.tar", "-m", NETWORK, "--seed", 0, "--device", "cpu", cwd=tmp_path)
    assert (again.returncode, again.stdout.splitlines()[-1]) == (0, "no problems found")
    assert "digits clean" in again.stdout
    content = bytearray((tmp_path / "a.tar").read_bytes())
    content[content.index(b"PAR1") + 4] ^= 1
    (tmp_path / "a.tar").write_bytes(content)
    damaged = run("verify", "a.tar", "-m", NETWORK, cwd=tmp_path)
    assert damaged.returncode == 1
    file = f"predictions/{NETWORK}/digits/clean/0-4.parquet"
    assert f"problem: {file} has been changed since" in damaged.stdout
    assert "nothing was evaluated again, because of the problems below" in damaged.stdout


def test_one_report_compares_several_runs(tmp_path: Path) -> None:
    for name, model in (("one", NETWORK), ("two", "digits:resnet@baseline-seed0")):
        given = ("evaluate", "-m", f"mine={model}", "-d", "digits", "--limit", 4)
        assert run(*given, "--output-dir", name, cwd=tmp_path).returncode == 0
    result = run("report", "one", "two", "-o", "both", cwd=tmp_path)
    assert result.returncode == 0
    assert "mine (one)" in result.stdout
    assert "mine is another model in one and two; its name has the run" in result.stdout
    assert (tmp_path / "both" / "index.html").is_file()
    assert not (tmp_path / "one" / "report").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such pipes")
@pytest.mark.parametrize("command", [["compare", "RUN", "a", "b"], ["datasets"], ["--help"]])
def test_a_reader_that_has_read_enough_is_no_error(command: list[str], tmp_path: Path) -> None:
    folder = forge(tmp_path / "run", ["a", "b"], ["imagenet-shift"])
    words = [str(folder) if word == "RUN" else word for word in command]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as closed:
        result = subprocess.run(
            [sys.executable, "-m", "robustbench_aa", *words],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (result.returncode, result.stderr) == (141, "")

"""Benchmarks run without the packages of the `peers` extra, and documents quote their results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks.process import together
from benchmarks.rows import harmonic_mean
from benchmarks.speed import (
    antialias_cost,
    cluster_simulation,
    evaluation_speed,
    full_imagenet_c,
    side_by_side,
    training_cost,
)

ROOT = Path(__file__).parents[1]
OPTIONAL = ("antialiased_cnns", "kornia.filters", "sklearn.datasets", "timm.layers")


@pytest.fixture
def without_extras(tmp_path: Path) -> dict[str, str]:
    """The environment variables of a process that cannot import optional packages."""
    (tmp_path / "sitecustomize.py").write_text(
        f"import sys\nsys.modules.update(dict.fromkeys({OPTIONAL!r}))\n"
    )
    paths = (str(tmp_path), str(ROOT))
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def run(module: str, *options: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_layers_are_measured_without_peers(tmp_path: Path, without_extras: dict[str, str]) -> None:
    output = tmp_path / "cost.csv"
    options = ("--device=cpu", "--batch=1", "--repetitions=1", "--layers-only")
    run("speed.antialias_cost", *options, f"--output={output}", environment=without_extras)
    table = pd.read_csv(output)
    assert len(table) == len(table.drop_duplicates(list(table.columns[:4]))) > 100
    assert (table["ours_ms"] > 0).all()
    assert table["reference_ms"].isna().all()
    assert (table["device"] == "cpu").all()


def test_the_simulated_cluster_follows_from_the_measured_speeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = pd.read_csv(ROOT / cluster_simulation.OUTPUT)
    output = tmp_path / "simulation.csv"
    monkeypatch.setattr(evaluation_speed, "OUTPUT", ROOT / evaluation_speed.OUTPUT)
    monkeypatch.setattr(cluster_simulation, "OUTPUT", output)
    result = CliRunner().invoke(cluster_simulation.main, [])
    assert result.exit_code == 0, result.output
    # the size of a prediction depends on the version of pyarrow
    columns = [column for column in published if column != "gigabytes"]
    pd.testing.assert_frame_equal(pd.read_csv(output)[columns], published[columns])


def test_all_methods_have_a_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(antialias_cost, "SHAPES", ((8, 8),))
    monkeypatch.setattr(antialias_cost, "METHOD_NETWORKS", ("squeezenet1_1",))
    table = pd.DataFrame(antialias_cost.method_rows("cpu", 1, 1))
    assert table["operation"].unique().tolist() == ["layer 8x8x8", "squeezenet1_1"]
    layers, networks = (part["conversion"] for _, part in table.groupby("operation"))
    assert [*layers] == list(antialias_cost.METHOD_LAYERS)
    assert [*networks] == ["crop-selected", *antialias_cost.METHOD_FORMS]
    assert (table["ours_ms"] > 0).all()


def test_one_conversion_of_one_network_has_a_cost(tmp_path: Path) -> None:
    output = tmp_path / "cost.csv"
    options = ["--device=cpu", "--batch=1", "--repetitions=1", f"--output={output}"]
    options += ["--network=squeezenet1_1"]
    result = CliRunner().invoke(antialias_cost.main, options)
    assert (result.exit_code, "add --conversion" in result.output) == (2, True)
    result = CliRunner().invoke(antialias_cost.main, [*options, "--conversion=crop-selected"])
    assert result.exit_code == 0, result.output
    (row,) = pd.read_csv(output).itertuples()
    assert [row.operation, row.conversion] == ["squeezenet1_1", "crop-selected"]
    assert (row.reference, row.reference_ms > 0) == ("plain", True)


def test_layers_in_training_are_measured_without_peers(
    tmp_path: Path, without_extras: dict[str, str]
) -> None:
    output = tmp_path / "cost.csv"
    options = ("--device=cpu", "--batch=1", "--repetitions=1", "--shape", "16", "8")
    run("speed.training_cost", *options, f"--output={output}", environment=without_extras)
    table = pd.read_csv(output)
    assert table["layer"].value_counts().to_dict() == dict.fromkeys(training_cost.LAYERS, 4)
    assert (table[["forward_ms", "training_ms"]] > 0).all(axis=None)
    ratios = [name for name in table if "_over_" in name]
    assert len(ratios) == 2 * len(antialias_cost.PEERS)
    assert table[ratios].isna().all(axis=None)


def test_a_peer_that_is_installed_has_ratios(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("antialiased_cnns")
    monkeypatch.setattr(training_cost, "medians", lambda actions, _: dict.fromkeys(actions, 2.0))
    table = pd.DataFrame(training_cost.layer_rows("cpu", 1, 1, ((8, 8),)))
    assert (table["training_over_antialiased_cnns"] == 1).all()
    found = training_cost.summary(table)
    assert [*found.index] == [*training_cost.LAYERS]
    assert found.shape[1] == 4


def test_repetitions_divide_the_cells() -> None:
    assert evaluation_speed.severities_of(5) == [1, 2, 3, 4, 5]
    assert evaluation_speed.severities_of(2) == [1, 3]


def test_the_evaluation_is_measured_beside_the_bare_model(tmp_path: Path) -> None:
    output = tmp_path / "speed.csv"
    options = ["--device=cpu", "--no-peers", "--photographs=1", "--repetitions=1"]
    options += ["--model=torchvision:shufflenet_v2_x0_5@random", "--dataset=imagenet-c-live"]
    command = [*options, "--setting=channels-last", f"--output={output}"]
    result = CliRunner().invoke(evaluation_speed.main, command)
    assert result.exit_code == 0, result.output
    table = pd.read_csv(output)
    assert table["route"].tolist() == ["bare", "robustbench_aa"]
    assert set(table["frames"]) == {15}  # one photograph under each corruption, at one severity
    assert (table["frames_per_second"] > 0).all()


def test_the_time_of_all_of_imagenet_c_is_projected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes load for 30 and 60 s, and evaluate 100 images each in 1 and in 3 s."""
    lines = ["30 1 7500\n", "60 3 7500\n"]
    monkeypatch.setattr(full_imagenet_c, "together", lambda commands, _: lines[-len(commands) :])
    one, two = (
        full_imagenet_c.measure("any", "cpu", "float32", processes, tmp_path, 100)
        for processes in (1, 2)
    )
    assert one["projected_minutes"] == pytest.approx((60 + 500 * 3) / 60)
    assert two["projected_minutes"] == pytest.approx((60 + 250 * 3) / 60)
    assert (one["frames_per_second"], two["frames_per_second"]) == (2500, 5000)


def test_processes_start_together_and_a_failure_is_named() -> None:
    code = "print('ready', flush=True); print(input() + 'done')"
    assert together([[sys.executable, "-c", code]] * 2) == ["done\n", "done\n"]
    for failing, words in (("1/0", "did not start"), (f"{code}; 1/0", "ended with status 1")):
        with pytest.raises(click.ClickException, match=words):
            together([[sys.executable, "-c", code], [sys.executable, "-c", failing]])


def test_rates_have_a_mean_over_the_same_work() -> None:
    """One picture a second and three a second: two pictures take 4/3 s."""
    assert harmonic_mean(pd.Series([1.0, 3.0])) == pytest.approx(1.5)


def test_there_are_photographs_without_scikit_learn(
    tmp_path: Path, without_extras: dict[str, str]
) -> None:
    output = tmp_path / "cost.csv"
    options = ("--images=3", "--rounds=1", f"--output={output}")
    run("speed.digest_cost", *options, environment=without_extras)
    table = pd.read_csv(output)
    assert table["digests"].tolist() == [True, False]
    assert (table["seconds"] > 0).all()


def test_two_processes_are_measured_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    first, second = side_by_side.rates("squeezenet1_1", "passive", 2, 0.1)
    assert min(first, second) > 0


def test_the_ratio_is_relative_to_the_fair_share(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = {"default": ([10.0], [2.0, 4.0]), "passive": ([9.0], [5.0, 5.0])}
    monkeypatch.setattr(
        side_by_side,
        "rates",
        lambda _network, policy, processes, _: measured[policy][processes - 1],
    )
    table = side_by_side.measure("any", 0.1, 3).set_index("wait_policy")
    assert table["alone"].to_dict() == {"default": 10, "passive": 9}
    assert table["beside"].to_dict() == {"default": 3, "passive": 5}
    assert table["ratio"].to_dict() == {"default": 0.6, "passive": 1}


def test_the_documents_have_the_simulated_coverages() -> None:
    found = pd.read_csv(ROOT / "results" / "reliability" / "coverage.csv")
    simulated = {
        (
            row.case,
            "" if pd.isna(row.truth) else f"{row.truth:.3g}",
            str(row.n),
            f"{100 * row.coverage:.1f}%",
            f"{100 * row.bootstrap_coverage:.1f}%",
            *(
                f"{width:.{3 if width < 10 else 1}f}"
                for width in (row.mean_width, row.bootstrap_mean_width)
            ),
        )
        for row in found.itertuples()
    }
    lines = (ROOT / "docs" / "metrics.md").read_text().splitlines()
    start = next(place for place, line in enumerate(lines) if "| truth |" in line)
    documented = set()
    for line in lines[start + 2 :]:
        if not line:
            break
        documented.add(tuple(cell.strip() for cell in line.strip("|").split("|")))
    assert len(documented) > 30
    assert documented <= simulated


def test_the_documents_have_the_cost_of_training() -> None:
    table = pd.read_csv(ROOT / "results" / "performance" / "training_cost.csv")
    types = [
        (dtype, layout)
        for dtype in ("float32", "bfloat16")
        for layout in ("contiguous", "channels_last")
    ]
    ratios = training_cost.summary(table)[types]
    rows = [
        f"| {layer} | " + " | ".join(f"{ratio:.2f}" for ratio in ratios.loc[layer]) + " |"
        for layer in ratios.index
    ]
    assert "\n".join(rows) in (ROOT / "docs" / "performance.md").read_text()


def test_the_documents_have_the_simulated_gates() -> None:
    found = pd.read_csv(ROOT / "results" / "reliability" / "gate.csv")
    rows = [
        f"| {row['case']} | "
        + " | ".join(f"{100 * row[verdict]:.1f}%" for verdict in ("pass", "fail", "undecided"))
        + " |"
        for _, row in found.iterrows()
    ]
    assert "\n".join(rows) in (ROOT / "docs" / "gate.md").read_text()
    assert set(found["gates"]) == {2000}


def test_the_documents_have_the_measured_faults() -> None:
    found = pd.read_csv(ROOT / "results" / "reliability" / "faults.csv")
    lines = (ROOT / "docs" / "reliability.md").read_text().splitlines()
    start = lines.index("| fault | times | observation |")
    documented = []
    for line in lines[start + 2 :]:
        if not line:
            break
        fault, times, _observation = (cell.strip() for cell in line.strip("|").split("|"))
        documented.append((fault, int(times)))
    assert documented == [*zip(found["fault"], found["times"], strict=True)]


def test_faults_are_survived(tmp_path: Path) -> None:
    """Run each fault a few times, in a process that has never used torch, so that it can fork."""
    faults = (
        "it is terminated (SIGTERM)",
        "report is killed at each rename",
        "a model raises SystemExit(0)",
        "prediction files are truncated",
        "arrays are exchanged, with the same times",
        "EIO at each call of a finished run",
    )
    only = [word for fault in faults for word in ("--only", fault)]
    output = tmp_path / "faults.csv"
    module = "benchmarks.reliability.faults"
    command = [sys.executable, "-m", module, "--quick", "--output", str(output), *only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    table = pd.read_csv(output)
    assert sorted(table["fault"]) == sorted(faults)
    assert (table["times"] >= 1).all()


def test_a_table_that_differs_ends_the_faults(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from benchmarks.reliability.sandbox import Sandbox
folder = Path(sys.argv[1])
expected = {"suite": {"a.csv": b"1", "b.csv": b"2"}}
Sandbox(folder, expected=expected).check_tables(folder / "run")
"""
    report = tmp_path / "run" / "report"
    report.mkdir(parents=True)
    for name, content in (("a.csv", "1"), ("b.csv", "2"), ("provenance.csv", "any")):
        (report / name).write_text(content)
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    (report / "b.csv").write_text("3")
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode
    assert "b.csv differ" in found.stderr


def test_each_call_on_files_of_a_directory_can_fail(tmp_path: Path) -> None:
    """The nth call fails with the error, and calls elsewhere are not counted."""
    code = """
import os, sys
from pathlib import Path
from benchmarks.reliability.file_errors import fail_at
place, failed = Path(sys.argv[1]), []
fail_at(place, sys.argv[2], int(sys.argv[3]), failed.append)
Path(sys.argv[1] + "-beside").write_text("never fails")
try:
    (place / "a").write_text("text")
    (place / "a").rename(place / "b")
    (place / "b").read_text()
    print("nothing")
except OSError as error:
    print(error.strerror, failed[0].partition(" ")[0])
"""
    seen = []
    for error in ("EIO", "EMFILE", "ENOSPC"):
        for nth in range(10):
            place = tmp_path / f"{error}{nth}"
            place.mkdir()
            command = [sys.executable, "-c", code, str(place), error, str(nth)]
            found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
            seen.append(found.stdout.strip())
            if seen[-1] == "nothing":
                break
    assert [line.removeprefix("Input/output error ") for line in seen[:5]] == [
        *("create", "write", "rename", "open", "read")
    ]
    rest = [line for line in seen if not line.startswith("Input/output")]
    assert rest == [
        *("nothing", "Too many open files create", "Too many open files open", "nothing"),
        *(f"No space left on device {call}" for call in ("create", "write", "rename")),
        "nothing",
    ]

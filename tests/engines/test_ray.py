"""The same predictions from several processes, and what is lost when one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_aa.engines.ray import tasks_of
from robustbench_aa.evaluation import Work
from robustbench_aa.store import Cell
from robustbench_aa.types import Distortion, Shard

BASE = [sys.executable, "-m", "robustbench_aa"]
SUITE = """
models = ["digits:resnet@baseline", "digits:resnet@lpf3"]
datasets = ["digits-c", "digits-shift"]
baseline = "digits:resnet@baseline"
limit = 40
shard_size = 20
"""


def work_on(shards: int, cells: int, models: int) -> list[Work]:
    names = tuple(f"model{place}" for place in range(models))
    return [
        Work(Cell("d", Distortion("noise", str(cell), 1), 1), Shard(place, place + 1), names)
        for place in range(shards)
        for cell in range(cells)
    ]


@given(st.integers(0, 5), st.integers(1, 20), st.integers(1, 7), st.integers(1, 600))
def test_tasks_are_the_work_in_parts_of_one_shard(
    shards: int, cells: int, models: int, workers: int
) -> None:
    work = work_on(shards, cells, models)
    tasks = tasks_of(work, workers)
    assert all(len({item.shard for item in task}) == 1 for task in tasks)
    done = [(str(of.cell), of.shard, name) for task in tasks for of in task for name in of.pending]
    assert sorted(done) == sorted(
        (str(of.cell), of.shard, name) for of in work for name in of.pending
    )
    lengths = [sum(item.passes for item in task) for task in tasks]
    assert lengths == sorted(lengths, reverse=True)
    assert len(tasks) >= min(len(done), workers)


@pytest.mark.parametrize(
    ("workers", "tasks"),
    [
        (2, 50),  # a shard a task
        (64, 50 * 11),  # its distortions in eleven parts
        (512, 50 * 48),  # two distortions a task
        (1024, 50 * 95 * 2),  # half the models under one distortion
    ],
)
def test_tasks_become_smaller_as_workers_become_more(workers: int, tasks: int) -> None:
    assert len(tasks_of(work_on(50, 95, 50), workers)) == tasks


def csv_files(folder: Path) -> dict[str, bytes]:
    found = {of.name: of.read_bytes() for of in (folder / "report").glob("*.csv")}
    del found["provenance.csv"]  # it tells how many threads there were, and when
    return found


def command(folder: str, *more: str) -> list[str]:
    return [*BASE, "benchmark", "suite.toml", "--output-dir", folder, *more]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("ray")
    folder = tmp_path_factory.mktemp("ray")
    (folder / "suite.toml").write_text(SUITE)
    subprocess.run(command("local"), cwd=folder, check=True, capture_output=True)
    return folder


def test_two_workers_write_the_same_tables_to_the_byte(place: Path) -> None:
    done = subprocess.run(
        command("ray", "--engine", "ray"), cwd=place, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    tables = csv_files(place / "local")
    assert "corruptions.csv" in tables
    assert csv_files(place / "ray") == tables


def workers_of(driver: int) -> list[int]:
    """The processes that are at a task of a driver's cluster."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()[1:]]
    return [int(pid) for pid, args in lines if args.startswith("ray::_evaluate")]


def test_a_worker_that_is_killed_costs_nothing(place: Path) -> None:
    process = subprocess.Popen(
        command("killed", "--engine", "ray"), cwd=place, stderr=subprocess.PIPE, text=True
    )
    killed = 0
    while process.poll() is None and killed < 3:
        for worker in workers_of(process.pid)[:1]:
            os.kill(worker, signal.SIGKILL)
            killed += 1
        time.sleep(0.5)
    _, told = process.communicate(timeout=300)
    assert killed
    assert process.returncode == 0, told
    assert csv_files(place / "killed") == csv_files(place / "local")


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_ends_it_as_without_ray(
    place: Path, number: signal.Signals, status: int, said: str
) -> None:
    process = subprocess.Popen(
        command(f"signal{number}", "--engine", "ray"),
        cwd=place,
        stderr=subprocess.PIPE,
        text=True,
        # a background command of a shell is born to ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while process.poll() is None and not workers_of(process.pid):
        time.sleep(0.1)
    process.send_signal(number)
    _, told = process.communicate(timeout=300)
    assert (process.returncode, told.splitlines()[-1]) == (
        status,
        f"error: {said}; the same command resumes",
    )


def test_a_cluster_that_does_not_answer_is_told_of(place: Path) -> None:
    found = subprocess.run(
        command("none", "--engine", "ray", "--ray-address", "127.0.0.1:1"),
        cwd=place,
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith("error: no Ray cluster at 127.0.0.1:1")


def test_an_address_is_for_ray_alone(place: Path) -> None:
    found = subprocess.run(
        command("nothing", "--ray-address", "here"),
        cwd=place,
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "add --engine ray" in found.stderr
    assert not (place / "nothing").exists()

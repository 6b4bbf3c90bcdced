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
from robustbench_aa.types import CLEAN, Shard

BASE = [sys.executable, "-m", "robustbench_aa"]
SUITE = """
models = ["digits:resnet@baseline", "digits:resnet@lpf3"]
datasets = ["digits-c", "digits-p", "digits-shift"]
baseline = "digits:resnet@baseline"
limit = 40
shard_size = 20
"""


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 20)), max_size=6),
    st.integers(1, 600),
)
def test_tasks_are_the_work_in_parts_of_one_shard(
    shards: list[tuple[int, int]], workers: int
) -> None:
    work = [
        Work(Cell("d", CLEAN, 1), Shard(place, place + 1), (str(cell),))
        for place, (_, cells) in enumerate(shards)
        for cell in range(cells)
    ]
    tasks = tasks_of(work, workers)
    assert [item for task in tasks for item in task] == work
    assert all(len({item.shard for item in task}) == 1 for task in tasks)
    assert len(tasks) >= min(len(work), workers)


def test_a_shard_stays_whole_where_there_are_many() -> None:
    work = [
        Work(Cell("d", CLEAN, 1), Shard(place, place + 1), (str(cell),))
        for place in range(50)
        for cell in range(95)
    ]
    assert len(tasks_of(work, 2)) == 50
    assert len(tasks_of(work, 64)) == 50 * 11  # at least eight a worker


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
    assert len(tables) == 9
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
    _, told = process.communicate()
    assert killed
    assert process.returncode == 0, told
    assert csv_files(place / "killed") == csv_files(place / "local")


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
        command("none", "--ray-address", "here"),
        cwd=place,
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "add --engine ray" in found.stderr
    assert not (place / "none").exists()

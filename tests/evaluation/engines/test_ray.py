"""Several processes make the same predictions; a worker that dies loses nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

import robustbench_aa
from robustbench_aa.datasets import open_dataset
from robustbench_aa.errors import UsageError
from robustbench_aa.evaluation.engines import ray as engine
from robustbench_aa.evaluation.engines.ray import tasks_of
from robustbench_aa.evaluation.loop import Work
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.store.shards import Cell
from robustbench_aa.suite import Suite
from robustbench_aa.support import scripts
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
        Work(Cell("d", Distortion("corruption", str(cell), 1), 1), Shard(place, place + 1), names)
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
    done = [
        (str(item.cell), item.shard, name)
        for task in tasks
        for item in task
        for name in item.pending
    ]
    assert sorted(done) == sorted(
        (str(item.cell), item.shard, name) for item in work for name in item.pending
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
    found = {path.name: path.read_bytes() for path in (folder / "report").glob("*.csv")}
    del found["provenance.csv"]  # it has the number of threads and the times
    return found


def command(folder: str, *more: str) -> list[str]:
    return [*BASE, "benchmark", "suite.toml", "--output-dir", folder, *more]


def finished(place: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*more), cwd=place, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ray")
    (folder / "suite.toml").write_text(SUITE)
    subprocess.run(command("local"), cwd=folder, check=True, capture_output=True)
    return folder


def workers_of(driver: int) -> list[int]:
    """Return the processes that run a task of a driver's own cluster; others may be at work."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = [line.split(None, 1) for line in listed.stdout.splitlines()[1:]]
    workers = {int(pid) for pid, args in lines if args.startswith("ray::_evaluate")}
    return [pid for pid in descendants(driver) if pid in workers]


def test_a_killed_worker_loses_nothing(place: Path) -> None:
    process = subprocess.Popen(
        command("killed", "--engine", "ray"), cwd=place, stderr=subprocess.PIPE, text=True
    )
    killed = 0
    while process.poll() is None and killed < 3:
        for worker in workers_of(process.pid)[:1]:
            os.kill(worker, signal.SIGKILL)
            killed += 1
        time.sleep(0.5)
    _, output = process.communicate(timeout=300)
    assert killed
    assert process.returncode == 0, output
    assert csv_files(place / "killed") == csv_files(place / "local")


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")],
)
def test_a_signal_ends_it_as_without_ray(
    place: Path, number: signal.Signals, status: int, word: str
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
    _, output = process.communicate(timeout=300)
    assert (process.returncode, output.splitlines()[-1]) == (
        status,
        f"error: {word}; the same command resumes",
    )


def test_a_cluster_that_does_not_answer_is_reported(place: Path) -> None:
    found = finished(place, "none", "--engine", "ray", "--ray-address", "127.0.0.1:1")
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith("error: no Ray cluster at 127.0.0.1:1")


def test_an_address_is_for_ray_alone(place: Path) -> None:
    found = finished(place, "nothing", "--ray-address", "here")
    assert found.returncode == 2
    assert "use --engine ray" in found.stderr
    assert not (place / "nothing").exists()


def descendants(process: int) -> list[int]:
    listed = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True)
    parents = [tuple(map(int, line.split())) for line in listed.stdout.splitlines()[1:]]
    found = [process]
    for parent in found:
        found += [pid for pid, process_parent in parents if process_parent == parent]
    return found


def listening(processes: list[int]) -> set[str]:
    """Return the addresses that processes listen on, in hexadecimal as Linux lists them."""
    sockets: set[str] = set()
    for process in processes:
        with suppress(OSError):
            for entry in Path(f"/proc/{process}/fd").iterdir():
                with suppress(OSError):
                    sockets.add(str(entry.readlink()))
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                found.add(local.partition(":")[0])
    return found


LOOPBACK = {
    "0100007F",  # 127.0.0.1
    "00000000000000000000000001000000",  # ::1
    "0000000000000000FFFF00000100007F",  # 127.0.0.1 as an address of version 6
}


class Seen(NamedTuple):
    """What was seen of a command while it ran on a Ray that it started."""

    status: int
    at_work: bool
    addresses: set[str]


@pytest.fixture(scope="module")
def seen(place: Path) -> Seen:
    """The run `ray`, evaluated by two workers."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    process = subprocess.Popen(
        command("ray", "--engine", "ray"), cwd=place, stderr=subprocess.DEVNULL, env=environment
    )
    addresses: set[str] = set()
    at_work = False
    while process.poll() is None:
        if Path("/proc/net/tcp").exists():
            addresses |= listening(descendants(process.pid))
        at_work = at_work or bool(workers_of(process.pid))
        time.sleep(0.2)
    return Seen(process.wait(), at_work, addresses)


def test_two_workers_write_the_same_tables_to_the_byte(place: Path, seen: Seen) -> None:
    assert seen.status == 0
    tables = csv_files(place / "local")
    assert "corruptions.csv" in tables
    assert csv_files(place / "ray") == tables


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="reads Linux's tables of sockets")
def test_a_ray_that_is_started_here_listens_on_loopback_alone(seen: Seen) -> None:
    assert seen.at_work
    assert seen.addresses
    assert seen.addresses <= LOOPBACK


def test_a_ray_that_is_started_here_asks_for_its_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with engine._private():
        assert os.environ["RAY_AUTH_MODE"] == "token"
        first = os.environ["RAY_AUTH_TOKEN"]
        assert len(first) == 64
    assert "RAY_AUTH_TOKEN" not in os.environ
    with engine._private():
        assert os.environ["RAY_AUTH_TOKEN"] != first
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with engine._private():
        assert "RAY_AUTH_TOKEN" not in os.environ


SKEWED = """
import ray
import robustbench_aa as rb
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.suite import Suite

if __name__ == "__main__":
    environment = {"env_vars": {"PYTHONPATH": "other"}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=environment)
    suite = Suite(["digits:resnet@lpf3-seed0"], ["digits-c"], limit=4, corruptions=["contrast"])
    prepare(suite, "skewed", "cpu").run(engine="ray")
"""


def test_a_worker_with_other_code_is_refused_by_name(place: Path) -> None:
    package = Path(robustbench_aa.__file__).parent
    shutil.copytree(package, place / "other" / "robustbench_aa")
    digital = place / "other" / "robustbench_aa" / "distortions" / "corruptions" / "digital.py"
    text = digital.read_text()
    assert "return (images - mean) * factor + mean" in text
    digital.write_text(text.replace("* factor + mean", "* factor * 0 + mean"))
    (place / "skewed.py").write_text(SKEWED)
    environment = os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    found = subprocess.run(
        [sys.executable, "skewed.py"],
        cwd=place,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 1
    assert "has another package code" in found.stderr
    assert "install the same robustbench-aa on all machines" in found.stderr
    assert not list((place / "skewed").rglob("*.parquet"))


def test_a_signature_contains_everything_that_pixels_depend_on() -> None:
    opened = {name: open_dataset(name) for name in ("digits-c", "digits-p")}
    ours = engine.signature(opened)
    engine.check_signature(ours, dict(ours))
    for part in ours:
        with pytest.raises(UsageError, match=f"has another {part} "):
            engine.check_signature(ours, ours | {part: "0"})
    fog, *rest = opened["digits-c"].distortions
    newer = replace(opened["digits-c"], distortions=(replace(fog, version=2), *rest))
    assert engine.signature({"digits-c": newer}) != engine.signature(
        {"digits-c": opened["digits-c"]}
    )


REGISTERED = """
import robustbench_aa as rb


@rb.register_corruption(severities=[0.9, 0.8, 0.7, 0.6, 0.5])
def dimmed_by_ray(images, draws, factor):
    return images * factor


@rb.register_perturbation(frames=2)
def darker_by_ray(images, draws):
    return images, images / 2
"""
WORKER = """
import sys
from pathlib import Path
from ray import cloudpickle
import torch
import robustbench_aa as rb
from robustbench_aa.distortions.corruptions.registered import again
from robustbench_aa.distortions.registered_perturbations import again_perturbations

_, (corruptions, perturbations), session = cloudpickle.loads(Path(sys.argv[1]).read_bytes())
again(*corruptions)
again_perturbations(perturbations)
grey = torch.full((1, 3, 32, 32), 200, dtype=torch.uint8)
print(rb.corrupt(grey, "dimmed_by_ray", 5).unique().tolist(), *session.datasets)
print(rb.perturb(grey, "darker_by_ray").unique().tolist())
"""


def test_what_a_user_registers_is_sent_to_workers_that_have_no_such_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = import_module("ray")
    monkeypatch.setattr(scripts, "_imported", {})
    (tmp_path / "things_for_ray.py").write_text(REGISTERED)
    monkeypatch.setitem(sys.modules, "things_for_ray", None)  # restored afterwards
    monkeypatch.delitem(sys.modules, "things_for_ray")
    scripts.import_script(str(tmp_path / "things_for_ray.py"))
    (tmp_path / "things_for_ray.py").unlink()
    # a class of the tests could not be imported by the other process
    models = ["digits:resnet@lpf3-seed0"]
    suite = Suite(models, ["digits-c"], limit=2, corruptions=["dimmed_by_ray"])
    session = prepare(suite, tmp_path / "run", "cpu")
    # the serialisation of Ray without its processes
    stand_in = SimpleNamespace(cloudpickle=ray.cloudpickle, put=ray.cloudpickle.dumps)
    (tmp_path / "sent").write_bytes(engine._send(stand_in, session, 1))
    command = [sys.executable, "-c", WORKER, tmp_path / "sent"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert result.stdout == "[100] digits-c\n[100, 200]\n", result.stderr
    assert not ray.cloudpickle.list_registry_pickle_by_value()


def test_a_numbered_gpu_is_refused(tmp_path: Path) -> None:
    session = prepare(Suite(["digits:resnet@lpf3-seed0"], ["digits"], limit=2), tmp_path, "cpu")
    with pytest.raises(UsageError, match="Ray chooses the GPU of each process; give --device cuda"):
        engine.run(replace(session, device="cuda:1"))

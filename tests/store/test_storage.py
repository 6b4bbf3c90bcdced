"""Runs in object storage: the same files, the same figures, and nothing half written."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from robustbench_aa.errors import RunError, StoreError, UsageError
from robustbench_aa.evaluation.session import Session, prepare
from robustbench_aa.run import Run, merge_runs
from robustbench_aa.store.storage import alone_in, on_disk, open_directory, readable
from robustbench_aa.suite import Suite
from tests.conftest import make_classifier, tree

A, B = make_classifier("a"), make_classifier("b", seed=1)
DATASETS = ["digits-shift"]
COMMAND = [sys.executable, "-m", "robustbench_aa"]


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a directory in an object storage that is a dictionary."""
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]
    yield "memory://bucket/run"
    MemoryFileSystem.store.clear()


def planned(place: str | Path, *models: Any) -> Session:
    suite = Suite(models or [A, B], DATASETS, baseline="a", limit=20, shard_size=10)
    return prepare(suite, place, "cpu")


def reported(run: Run) -> dict[str, bytes]:
    """Return the written files without the values that depend on the machine or on paths."""
    run.report()
    return files_of_report(run)


def files_of_report(run: Run) -> dict[str, bytes]:
    found = tree(run.directory / "report")
    return {name: found[name] for name in found if name.endswith((".csv", ".svg"))}


def test_a_run_in_object_storage_is_the_same(tmp_path: Path, memory: str) -> None:
    here, there = (planned(place).run() for place in (tmp_path / "run", memory))
    assert there.failures == []
    assert {**tree(there.directory), ".lock": b""} == tree(here.directory)
    assert reported(there) == reported(here)
    assert there.compare("a", "b").equals(here.compare("a", "b"))
    assert not planned(memory).work


def test_missing_or_damaged_files_are_evaluated_again(tmp_path: Path, memory: str) -> None:
    run = planned(memory).run()
    before = tree(run.directory)
    lost, damaged = sorted(run.directory.rglob("*.parquet"))[1:3]
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert sum(len(item.pending) for item in planned(memory).work) == 2
    assert not Run(memory).leaderboard()["complete"].all()
    assert tree(planned(memory).run().directory) == before


def test_runs_are_merged_from_there_and_to_there(tmp_path: Path, memory: str) -> None:
    whole = planned(tmp_path / "whole").run()
    planned(memory, A).run()
    planned(tmp_path / "b", A, B).run()
    for to in (tmp_path / "merged", "memory://bucket/merged"):
        merged = merge_runs([memory, tmp_path / "b"], to)
        assert tree(merged.directory / "predictions") == tree(whole.directory / "predictions")
        assert reported(merged) == reported(whole)


def test_a_report_keeps_notes_and_deletes_old_files(memory: str) -> None:
    run = planned(memory, A).run()
    report = run.directory / "report"
    for name in ("notes/of/somebody.txt", "figures/old.svg"):
        (report / name).parent.mkdir(parents=True, exist_ok=True)
        (report / name).write_text("text")
    run.report(latex=True)
    assert (report / "notes/of/somebody.txt").read_text() == "text"
    assert (report / "leaderboard.tex").is_file()
    assert not (report / "figures/old.svg").exists()
    run.report()
    assert not (report / "leaderboard.tex").exists()


def test_a_report_that_fails_changes_nothing(memory: str) -> None:
    folder = open_directory(memory) / "report"
    (folder / "a.txt").write_text("before")
    with suppress(ZeroDivisionError), on_disk(folder) as here:
        (here / "a.txt").write_text("after")
        _ = 1 / 0
    assert (folder / "a.txt").read_text() == "before"


def test_what_did_not_change_here_is_not_written_again(memory: str) -> None:
    folder = open_directory(memory) / "report"
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("before")
    with on_disk(folder) as here:
        (here / "a.txt").write_text("after")
        (folder / "b.txt").write_text("written by another session meanwhile")
    assert (folder / "a.txt").read_text() == "after"
    assert (folder / "b.txt").read_text() == "written by another session meanwhile"


def test_an_object_with_the_name_of_a_file_elsewhere_is_refused(memory: str) -> None:
    folder = open_directory(memory) / "report"
    (folder / "a.txt").write_text("text")
    store = MemoryFileSystem.store
    store["/bucket/run/report/../out.txt"] = store.pop("/bucket/run/report/a.txt")
    with pytest.raises(RunError, match=r"out\.txt is not a file of a run"), on_disk(folder):
        pass


@pytest.mark.parametrize("error", [PermissionError(13, "denied"), ValueError("no credentials")])
def test_a_storage_that_cannot_be_written_is_named(
    memory: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    session = planned(memory)
    put = MemoryFileSystem.put_file

    def refuse(self: MemoryFileSystem, here: str, there: str, **how: Any) -> None:
        if there.endswith(".parquet"):
            raise error
        put(self, here, there, **how)

    monkeypatch.setattr(MemoryFileSystem, "put_file", refuse)
    message = r"cannot write memory://bucket/run/predictions/a/.*\.parquet \(.*(denied|credentials)"
    with pytest.raises(StoreError, match=message):
        session.run()
    monkeypatch.undo()
    assert not session.store.directory.joinpath("predictions").exists()


def test_a_storage_that_does_not_answer_is_not_damage(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(memory).run()

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("nobody answers")

    monkeypatch.setattr(type(run.directory), "read_bytes", refuse)
    with pytest.raises(StoreError, match=r"cannot read memory://.*parquet \(nobody answers\)"):
        run.leaderboard()


@pytest.mark.parametrize("url", ["nothing://bucket/run", "sftp-of-mine://host/run"])
def test_an_unknown_storage_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=f"{url} cannot be reached .*; check the URL and its"):
        open_directory(url)


def test_the_extra_is_named_where_it_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "upath", None)
    message = r"objects needs upath .*; pip install 'robustbench-aa\[objects\]'"
    with pytest.raises(UsageError, match=message):
        open_directory("s3://bucket/run")


@pytest.mark.parametrize("name", ["runs/a", "/data/runs", "c:/runs", "a:b", "runs//a"])
def test_a_path_is_not_a_url(name: str) -> None:
    assert open_directory(name) == Path(name)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a bucket of an S3 server on this machine."""
    s3fs = import_module("s3fs")
    server = import_module("moto.server").ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it logs every request
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "anybody"),
        ("AWS_SECRET_ACCESS_KEY", "anything"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    name = f"bucket-{port}"  # the server forgets nothing in a process
    s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)
    yield f"s3://{name}"
    server.stop()


def evaluate(to: str | Path, *more: str) -> list[str]:
    asked = ["-m", "digits:resnet@lpf3-seed0", "-d", "digits-c", "--severity", "3"]
    for corruption in ("gaussian_noise", "glass_blur", "fog", "snow", "frost", "contrast"):
        asked += ["--corruption", corruption]
    return [*COMMAND, "evaluate", *asked, "--limit", "300", "--output-dir", str(to), *more]


def test_several_processes_write_to_s3_and_one_is_killed(bucket: str, tmp_path: Path) -> None:
    subprocess.run(evaluate(tmp_path), check=True, capture_output=True)
    url = f"{bucket}/of/mine"
    process = subprocess.Popen(evaluate(url, "--threads", "1"), start_new_session=True)
    there = open_directory(url)
    while len(list(there.rglob("*.parquet"))) < 2 and process.poll() is None:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.stat().st_mtime for path in there.rglob("*.parquet")}
    assert kept
    again = subprocess.run(evaluate(url, "--engine", "ray"), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime for path in kept} == kept
    ours, theirs = (reported(Run(where)) for where in (url, tmp_path))
    for tables in (ours, theirs):
        del tables["provenance.csv"]  # it has the number of threads
    assert {"leaderboard.csv", "corruptions.csv"} <= set(theirs)
    assert ours == theirs


def test_a_bucket_that_is_not_there_is_named(bucket: str) -> None:
    result = subprocess.run(evaluate("s3://nobodys/run"), capture_output=True, text=True)
    assert result.returncode in (1, 2)
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1


class Failing:
    """An object storage's file, which answers after some failures."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)

    def read_bytes(self) -> bytes:
        if self.failures:
            raise self.failures.pop(0)
        return b"whole"


@pytest.fixture
def _no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    nap = import_module("tenacity.nap")
    monkeypatch.setattr(nap.time, "sleep", lambda _: None)


@pytest.mark.usefixtures("_no_sleep")
@pytest.mark.parametrize(
    "error", [PermissionError(13, "403"), OSError(5, "500"), OSError("503"), TimeoutError()]
)
def test_an_object_storage_is_asked_again(error: OSError) -> None:
    path = Failing(*[error] * 5)
    assert readable(path) == b"whole"  # type: ignore[arg-type]
    path = Failing(*[error] * 6)
    with pytest.raises(StoreError, match="fix this, then run the same command again"):
        readable(path)  # type: ignore[arg-type]
    assert not path.failures


@pytest.mark.usefixtures("_no_sleep")
def test_an_absent_object_is_not_an_error() -> None:
    path = Failing(FileNotFoundError(), OSError(5, "asked again"))
    assert readable(path) is None  # type: ignore[arg-type]
    assert len(path.failures) == 1


@pytest.mark.usefixtures("_no_sleep")
def test_every_request_to_object_storage_is_retried(
    tmp_path: Path, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run, its report and a merge, where every third request is refused."""
    expected = reported(planned(tmp_path / "run").run())
    asked, inside = 0, False

    def refusing(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **how: Any) -> Any:
            nonlocal asked, inside
            if inside:  # to list files is one request, though this storage asks itself for each
                return method(*arguments, **how)
            asked += 1
            if asked % 3 == 0:
                raise PermissionError(13, "Forbidden")
            inside = True
            try:
                return method(*arguments, **how)
            finally:
                inside = False

        return call

    for name in ("ls", "info", "cat_file", "put_file", "get_file", "find", "rm"):
        monkeypatch.setattr(MemoryFileSystem, name, refusing(getattr(MemoryFileSystem, name)))
    run = planned(memory).run()
    assert run.failures == []
    run.report()
    assert not planned(memory).work
    run.report()
    merged = [merge_runs([memory], to) for to in (tmp_path / "b", "memory://bucket/merged")]
    for finished in merged:
        finished.report()
    monkeypatch.undo()
    assert asked > 50
    for finished in (run, *merged):
        assert files_of_report(finished) == expected


def test_two_reports_of_a_run_wait_for_one_another(tmp_path: Path) -> None:
    def wait() -> bool:
        with alone_in(tmp_path):
            return True

    with ThreadPoolExecutor(1) as other:
        with alone_in(tmp_path):
            waiting = other.submit(wait)
            time.sleep(0.3)
            assert not waiting.done()
        assert waiting.result(10)

"""macOS and Windows, simulated: nothing that only Linux has is imported or needed."""

from __future__ import annotations

import ast
import ctypes
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import robustbench_aa
from robustbench_aa.cli import main as cli
from robustbench_aa.datasets.pictures import cores
from robustbench_aa.store import environment
from robustbench_aa.store.dataset_schema import folder_of
from robustbench_aa.support import files
from robustbench_aa.support.process import keep_freed_memory

PACKAGE = Path(robustbench_aa.__file__).parent
UNIX_MODULES = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios"}
UNIX_NAMES = {
    *("SIGALRM", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "SIGUSR2"),
    *("O_DIRECTORY", "O_NOFOLLOW", "chown", "fork", "forkpty", "getloadavg", "getpgid", "getuid"),
    *("killpg", "mkfifo", "nice", "posix_fadvise", "sched_setaffinity", "setsid", "statvfs"),
    *("sysconf", "uname", "wait4"),
}
"""Attributes of `os` and `signal` that Windows, or macOS too, does not have."""


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.stem)
def test_no_module_or_name_of_unix_alone_is_used(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & UNIX_MODULES
        elif isinstance(node, ast.ImportFrom):
            assert node.module not in UNIX_MODULES
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            assert node.value.id not in ("os", "signal") or node.attr not in UNIX_NAMES


@pytest.fixture
def windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what Windows does not have, and refuse what it refuses.

    `tmp_path` is made before, because pytest itself uses what the system has.
    """
    for name in ("sched_getaffinity", *UNIX_NAMES):
        for module in (os, signal):
            monkeypatch.delattr(module, name, raising=False)
    monkeypatch.setattr(files, "WINDOWS", True)
    open_file, read_text = os.open, Path.read_text

    def only_files(path: Any, flags: int, *mode: int, **options: Any) -> int:
        if "dir_fd" not in options and Path(path).is_dir():  # shutil chooses this on Unix
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, flags, *mode, **options)

    def without_proc(self: Path, *arguments: Any, **options: Any) -> str:
        if self.is_relative_to("/proc"):
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return read_text(self, *arguments, **options)

    library = ctypes.CDLL

    def no_whole_program(name: str | None, *arguments: Any, **options: Any) -> ctypes.CDLL:
        if name is None:
            raise TypeError("expected str, bytes or os.PathLike object, not NoneType")
        return library(name, *arguments, **options)

    monkeypatch.setattr(os, "open", only_files)
    monkeypatch.setattr(Path, "read_text", without_proc)
    monkeypatch.setattr(ctypes, "CDLL", no_whole_program)


@pytest.mark.usefixtures("windows")
def test_a_run_is_evaluated_and_reported_on_windows(tmp_path: Path) -> None:
    command = ["evaluate", "-m", "digits:resnet@lpf3-seed0", "-d", "digits", "--limit", "5"]
    for arguments in ([*command, "--output-dir", f"{tmp_path}/run"], ["report", f"{tmp_path}/run"]):
        result = CliRunner().invoke(cli.commands, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "report" / "leaderboard.csv").exists()
    names = [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")]
    assert any(name.endswith(".parquet") for name in names)
    assert not [name for name in names if set(name) & set('<>:"|?*\\')]


@pytest.mark.usefixtures("windows")
def test_facts_of_the_machine_are_there_without_linux() -> None:
    assert cores() == os.cpu_count()
    assert environment.cpu_name()
    assert folder_of("digits:resnet@lpf3") == "digits%3Aresnet@lpf3"
    keep_freed_memory()


def test_memory_is_left_alone_where_libc_has_no_mallopt(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS."""
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory()

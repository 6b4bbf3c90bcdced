from __future__ import annotations

from pathlib import Path

import pytest

from robustbench_aa.errors import SuiteError, UnknownName
from robustbench_aa.suite import Suite, read_suite, shipped_suites

WHOLE = """
name = "mine"
models = ["digits:resnet@lpf3"]
datasets = ["digits-c"]
baseline = "digits:resnet@lpf3"
seed = 7
limit = 100
shard_size = 50
corruptions = ["gaussian_noise"]
severities = [1, 5]
"""


def write(folder: Path, text: str) -> str:
    path = folder / "suite.toml"
    path.write_text(text)
    return str(path)


def test_a_file_says_it_all(tmp_path: Path) -> None:
    assert read_suite(write(tmp_path, WHOLE)) == Suite(
        name="mine",
        models=["digits:resnet@lpf3"],
        datasets=["digits-c"],
        baseline="digits:resnet@lpf3",
        seed=7,
        limit=100,
        shard_size=50,
        corruptions=["gaussian_noise"],
        severities=[1, 5],
    )


def test_a_file_without_a_name_is_called_after_itself(tmp_path: Path) -> None:
    assert read_suite(write(tmp_path, 'models = ["a"]\ndatasets = ["b"]')).name == "suite"


def test_every_shipped_suite_can_be_read() -> None:
    assert "digits" in shipped_suites()
    for name in shipped_suites():
        assert read_suite(name).name == name


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('models = ["a"', r"suite\.toml is not valid TOML: .*line 1"),
        ('models = ["a"]\ndatasets = [1]', r"suite\.toml, line 2: datasets must be a list of str"),
        ('models = ["a"]\n\nseed = "0"', r"suite\.toml, line 3: seed must be a whole number"),
        ('models = ["a"]\nseed = true', r"suite\.toml, line 2: seed must be a whole number"),
        ('models = ["a"]\nsevereties = [1]', r"line 2: unknown key 'severeties'; did you mean sev"),
        ('[models]\na = "b"', r"suite\.toml, line 1: models must be a list of strings"),
        ('models = ["a"]', r"suite\.toml lacks datasets"),
        ("", r"suite\.toml lacks models and datasets"),
        ('models = []\ndatasets = ["a"]', r"name at least one model"),
        ('models = ["a", "a"]\ndatasets = ["b"]', r"model a is named twice"),
        ('models = ["a"]\ndatasets = ["b"]\nlimit = 0', r"limit 0 leaves nothing to measure"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(
    tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(SuiteError, match=told) as error:
        read_suite(write(tmp_path, text))
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"nowhere\.toml \(No such file"):
        read_suite(str(tmp_path / "nowhere.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    with pytest.raises(SuiteError, match=r"binary\.toml is not UTF-8 text"):
        read_suite(str(tmp_path / "binary.toml"))


def test_an_unknown_shipped_suite_is_told_its_neighbours() -> None:
    with pytest.raises(UnknownName, match="did you mean digits"):
        read_suite("digit")

"""The options of `benchmark` and `evaluate` follow the fields of a suite."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from robustbench_aa.antialiasing.conversion import METHODS
from robustbench_aa.antialiasing.layers import TORCH_MODES
from robustbench_aa.cli import run
from robustbench_aa.cli.main import commands
from robustbench_aa.cli.options import NO_OPTION
from robustbench_aa.errors import SuiteError
from robustbench_aa.suite import FIELDS, Suite, read_suite

REQUIRED = {"models": ("a",), "datasets": ("b",)}
OTHER: dict[str, tuple[list[str], object]] = {  # options that change the default, and their value
    "baseline": (["--baseline", "a"], "a"),
    "seed": (["--seed", "7"], 7),
    "limit": (["--limit", "3"], 3),
    "shard_size": (["--shard-size", "10"], 10),
    "corruptions": (["--corruption", "fog", "--corruption", "snow"], ("fog", "snow")),
    "severities": (["--severity", "1", "--severity", "3"], (1, 3)),
    "perturbations": (["--perturbation", "tilt"], ("tilt",)),
    "protocols": (["--protocol", "crops"], ("crops",)),
    "classes": (["--classes", "10"], 10),
    "unlabelled": (["--unlabelled"], True),
    "data_dir": (["--data-dir", "/data"], "/data"),
    "corruption_backend": (["--corruption-backend", "imagecorruptions"], "imagecorruptions"),
    "stored_jpeg": (["--no-stored-jpeg"], False),
    "own_preprocessing": (["--own-preprocessing"], True),
    "keep_ranking": (["--keep-ranking"], True),
    "images": (["--images", "list.txt"], "list.txt"),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Suite]:
    """Return a list that collects the suites which commands would evaluate."""
    suites: list[Suite] = []
    monkeypatch.setattr(run, "_evaluate", lambda suite, *_, **__: suites.append(suite))
    return suites


def invoke(*arguments: str) -> None:
    CliRunner().invoke(commands, arguments, catch_exceptions=False, standalone_mode=False)


def test_every_field_has_a_case() -> None:
    assert FIELDS.keys() == {*NO_OPTION, *REQUIRED, *OTHER}


@pytest.mark.parametrize("field", OTHER)
def test_an_option_of_evaluate_sets_its_field(field: str, asked: list[Suite]) -> None:
    arguments, value = OTHER[field]
    invoke("evaluate", "-m", "a", "-d", "b", *arguments)
    assert asked == [Suite(**REQUIRED | {field: value})]  # type: ignore[arg-type]


@pytest.mark.parametrize("field", OTHER)
def test_an_option_of_benchmark_replaces_the_value_of_the_suite(
    field: str, asked: list[Suite], tmp_path: Path
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('models = ["a"]\ndatasets = ["b"]\nseed = 3\nlimit = 9\ncorruptions = ["fog"]')
    arguments, value = OTHER[field]
    invoke("benchmark", str(path))
    invoke("benchmark", str(path), *arguments)
    plain = read_suite(str(path))
    changed: dict[str, Any] = {field: value}
    assert asked == [plain, dataclasses.replace(plain, **changed)]


def test_a_switch_can_be_turned_back(asked: list[Suite], tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('models = ["a"]\ndatasets = ["b"]\nstored_jpeg = false\nkeep_ranking = true')
    invoke("benchmark", str(path), "--stored-jpeg", "--no-keep-ranking", "--seed", "0")
    assert (asked[0].stored_jpeg, asked[0].keep_ranking, asked[0].seed) == (True, False, 0)


def test_an_option_that_makes_no_sense_is_refused_as_in_a_file() -> None:
    with pytest.raises(SuiteError, match="limit 0 leaves nothing to measure"):
        invoke("evaluate", "-m", "a", "-d", "b", "--limit", "0")
    with pytest.raises(SuiteError, match="seed must be a whole number of 64 bits"):
        invoke("evaluate", "-m", "a", "-d", "b", "--seed", "9" * 30)
    with pytest.raises(click.UsageError, match="'x' is not a valid integer"):
        invoke("evaluate", "-m", "a", "-d", "b", "--limit", "x")


@pytest.mark.parametrize("name", commands.commands)
def test_every_option_has_a_help_sentence(name: str) -> None:
    command = commands.commands[name]
    for option in command.get_params(click.Context(command)):
        if isinstance(option, click.Option):
            text = option.help or ""
            assert text[:1].isupper(), option.opts
            assert text.endswith("."), option.opts


@pytest.mark.parametrize(("option", "known"), [("method", METHODS), ("padding_mode", TORCH_MODES)])
def test_antialias_offers_what_a_conversion_knows(option: str, known: Mapping[str, object]) -> None:
    (choice,) = [each.type for each in commands.commands["antialias"].params if each.name == option]
    assert isinstance(choice, click.Choice)
    assert [*choice.choices] == [*known]

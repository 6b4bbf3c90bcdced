"""The older names of commands, as modules of `data_prep`."""

from __future__ import annotations

from importlib import import_module

import pytest

from robustbench_aa.cli import main as cli


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("download", ["download"]),
        ("make_imagenet_c", ["make", "imagenet-c"]),
        ("make_imagenet_p", ["make", "imagenet-p"]),
    ],
)
def test_an_older_name_is_the_command_and_takes_the_older_option(
    module: str, words: list[str]
) -> None:
    older = import_module(f"data_prep.{module}").main
    command = cli.commands
    for word in words:
        command = command.commands[word]  # type: ignore[attr-defined]
    assert older is command
    (folder,) = (option for option in command.params if option.name == "to")
    assert set(folder.opts) == {"--output-dir", "--to"}

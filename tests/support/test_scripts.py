from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from robustbench_aa.cli.main import commands
from robustbench_aa.errors import UsageError
from robustbench_aa.support import scripts
from robustbench_aa.support.scripts import import_script, imported_scripts

THINGS = """
import helper_of_things
import robustbench_aa as rb


@rb.register_corruption(severities=[0.9, 0.8, 0.7, 0.6, 0.5])
def dimmed(images, draws, factor):
    return images * factor * helper_of_things.one


@rb.register_dataset("dim-digits")
def digits():
    return rb.load_dataset("digits-c")


def model():
    how = rb.Preprocessing((0.5,) * 3, (0.5,) * 3)
    net = rb.load_model("digits:resnet@lpf3").module
    return rb.Classifier(net, name="x", input_size=32, classes=10, preprocessing=how)
"""


@pytest.fixture(autouse=True)
def _imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(scripts, "_imported", {})
    before = dict(sys.modules)
    yield
    for name in [name for name in sys.modules if name not in before]:
        if name.endswith("things"):
            del sys.modules[name]


@pytest.fixture
def things(tmp_path: Path) -> Path:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "helper_of_things.py").write_text("one = 1")
    (tmp_path / "elsewhere" / "some_things.py").write_text(THINGS)
    return tmp_path / "elsewhere" / "some_things.py"


def run(*words: str) -> str:
    result = CliRunner().invoke(commands, words, catch_exceptions=False, standalone_mode=False)
    assert not result.return_value, result.output
    return result.output


def test_the_command_line_uses_what_a_file_defines(things: Path, tmp_path: Path) -> None:
    command = ["--import", str(things), "evaluate", "-m", "python:some_things:model", "-d"]
    options = ["--corruption", "dimmed", "--limit", "5", "--output-dir", str(tmp_path / "run")]
    output = run(*command, "dim-digits", *options)
    assert "dimmed" in output
    assert "python:some_things:model" in output
    assert "0 of 5 prediction files" in output
    assert "5 of 5 prediction files" in run(*command, "dim-digits", *options)
    assert "dim-digits" in run("--import", str(things), "datasets")
    things.write_text(THINGS.replace("* factor", "* (factor - 0.1)"))
    with pytest.raises(UsageError, match=r"another source_sha256|another definition of dimmed"):
        run(*command, "dim-digits", *options)


def test_the_module_is_found_by_its_name(things: Path) -> None:
    path = [*sys.path]
    module = import_script(str(things))
    assert sys.modules["some_things"] is module
    assert imported_scripts() == [module]
    assert sys.path == path
    assert not (things.parent / "__pycache__" / "some_things.pyc").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone.py", None, r"no Python file .*gone\.py; check --import"),
        ("text.txt", "", r"no Python file .*text\.txt; check --import"),
        ("bad_things.py", "1 / 0", r"cannot be imported \(ZeroDivisionError: division by zero\)"),
        ("bad_things.py", "def", r"cannot be imported \(SyntaxError: invalid syntax"),
        (
            "bad_things.py",
            "import robustbench_aa as rb\nrb.register_corruption([1])",
            r"bad_things\.py cannot be imported \(severities are \[1\]; give",
        ),
        ("torch.py", "", r"torch\.py has the name of another module, torch; rename the file"),
        ("wave.py", "", r"wave\.py has the name of another module, wave; rename the file"),
        ("my-things.py", "", "has no name for a module; use letters, digits and _"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=message) as error:
        import_script(str(tmp_path / name))
    assert "\n" not in str(error.value)
    assert "bad_things" not in sys.modules

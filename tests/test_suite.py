from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from pydantic.fields import FieldInfo
from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.datasets.make_imagenet_c import make_imagenet_c
from robustbench_aa.datasets.videos import encode_video
from robustbench_aa.errors import SuiteError, UnknownName
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.models import known_models
from robustbench_aa.models.converted import check_short, split
from robustbench_aa.store.shards import Store
from robustbench_aa.suite import (
    FIELDS,
    SELECTION_FIELDS,
    Selection,
    Suite,
    read_suite,
    shipped_suites,
)
from robustbench_aa.support.fields import is_list, value_type
from tests.conftest import PLAIN, make_classifier

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


BOTH = 'models = ["a"]\ndatasets = ["b"]\n'


TABLES = 'models = ["a"]\n[[datasets]]\nname = "b"\n[[datasets]]\nname = "c"\n'
"""Two data sets in the long form; a further line belongs to the second."""


def write(folder: Path, text: str) -> str:
    path = folder / "suite.toml"
    path.write_text(text)
    return str(path)


def test_a_file_sets_every_field_that_it_names(tmp_path: Path) -> None:
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


def test_a_suite_without_a_name_has_the_name_of_its_file(tmp_path: Path) -> None:
    assert read_suite(write(tmp_path, 'models = ["a"]\ndatasets = ["b"]')).name == "suite"


def test_every_shipped_suite_can_be_read() -> None:
    assert "digits" in shipped_suites()
    for name in shipped_suites():
        assert read_suite(name).name == name


def test_the_shipped_suites_name_models_that_exist_and_a_baseline_among_them() -> None:
    for name in shipped_suites():
        suite = read_suite(name)
        assert suite.baseline in suite.models
        for model in suite.models:
            assert isinstance(model, str)
            model, short = split(model.removeprefix("crop-selected:"))
            check_short(short or "lpf4")
            source, _, rest = model.partition(":")
            known = known_models(source)
            with_seeds = source in {"digits", "cifar10"} and f"{model}-seed0" in known
            assert model in known or with_seeds, rest


@pytest.mark.parametrize("name", ["imagenet-c", "imagenet-p", "paper"])
def test_a_shipped_suite_is_evaluated_on_one_parent_folder(name: str, tmp_path: Path) -> None:
    clean = tmp_path / "imagenet" / "val"
    for place in range(2):
        file = clean / wnids()[place] / f"{place}.JPEG"
        file.parent.mkdir(parents=True)
        Image.effect_mandelbrot((280, 260), (-2, -1, 1, 1), 50).convert("RGB").save(file)
        video = tmp_path / "imagenet-p" / "tilt" / wnids()[place] / f"{place}.mp4"
        video.parent.mkdir(parents=True)
        encode_video(torch.zeros(3, 3, 224, 224, dtype=torch.uint8), video, {})
    make_imagenet_c(clean, tmp_path / "imagenet-c", ["contrast"], [3])
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))
    model = Classifier(network, name="a", input_size=224, classes=1000, preprocessing=PLAIN)
    parts: dict[str, dict[str, Any]] = {
        "imagenet-c": {"corruptions": ["contrast"], "severities": [3]},
        "imagenet-p": {"perturbations": ["tilt"]},
    }
    suite = dataclasses.replace(
        read_suite(name), data_dir=str(tmp_path), models=[model], baseline="a"
    )
    for dataset in suite.datasets:
        part = dataclasses.replace(suite, datasets=[dataset], **parts.get(dataset, {}))
        run = prepare(part, str(tmp_path / "run"), "cpu").run()
        assert not run.failures
    assert {*suite.datasets} == {*Store.of_run(tmp_path / "run").manifest.datasets}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('models = ["a"', r"suite\.toml is not valid TOML: .*line 1"),
        ('models = ["a"]\ndatasets = [1]', r"suite\.toml, line 2: datasets must be a list of str"),
        ('models = ["a"]\n\nseed = "0"', r"suite\.toml, line 3: seed must be a whole number"),
        ('models = ["a"]\nseed = true', r"suite\.toml, line 2: seed must be a whole number"),
        ('models = ["a"]\nsevereties = [1]', r"line 2: unknown key 'severeties'; did you mean sev"),
        ("__dataclass_self__ = 1", r"line 1: unknown key '__dataclass_self__'"),
        ('[models]\na = "b"', r"suite\.toml, line 1: models must be a list of strings"),
        ('models = ["a"]', r"suite\.toml: the suite lacks datasets"),
        ("", r"suite\.toml: the suite lacks models and datasets"),
        ('modles = ["a"]', r"line 1: unknown key 'modles'; did you mean models"),
        ('models = []\ndatasets = ["a"]', r"line 1: nothing to measure: name at least one model"),
        ('models = ["a", "a"]\ndatasets = ["b"]', r"line 1: model a is named twice"),
        (f"{BOTH}limit = 0", r"line 3: limit 0 leaves nothing to measure; use at least 1"),
        (f"{BOTH}limit = 1.0", r"line 3: limit must be a whole number, not 1\.0"),
        (f"{BOTH}seed = {2**63}", r"line 3: seed must be a whole number of 64 bits"),
        (f"{BOTH}severities = 3", r"line 3: severities must be a list of whole numbers, not 3"),
        (f"{BOTH}severities = [3, true]", r"line 3: severities must be .*, but contains True"),
        (f'{BOTH}corruptions = "fog"', r"line 3: corruptions must be a list of strings, not 'fog'"),
        (f"{BOTH}keep_ranking = 1", r"line 3: keep_ranking must be true or false, not 1"),
        (f'{BOTH}name = "a/b"', r"line 3: name 'a/b' is a path"),
        (
            f"{TABLES}severities = [true]",
            r"line 6: data set c: severities must be .*, but contains",
        ),
        (f'{TABLES}corruptions = "fog"', r"line 6: data set c: corruptions must be a list of str"),
        (f"{TABLES}limit = 0", r"line 6: data set c: limit 0 leaves nothing to measure"),
        (f"{TABLES}limits = 1", r"line 6: data set c: unknown key 'limits'; did you mean limit"),
        (f"{TABLES}seed = 1", r"line 6: data set c: seed is for the whole suite; write it above"),
        (
            f"{TABLES}__dataclass_self__ = 1",
            r"line 6: data set c: unknown key '__dataclass_self__'",
        ),
        (f'{TABLES}[[datasets]]\nname = "b"', r"line 2: data set b is named twice"),
        (f"{TABLES}[[datasets]]\nlimit = 1", r"line 6: table 3 of datasets: the table lacks name"),
        (
            'models = ["a"]\ndatasets = [\n"b",\n{name = "c"},\n{name = "d", limit = "1"}\n]',
            r"line 5: data set d: limit must be a whole number, not '1'",
        ),
        ('models = ["a"]\n[datasets]\nname = "b"', r"line 2: datasets must be a list; begin each"),
    ],
)
def test_an_error_in_a_file_names_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SuiteError, match=message) as error:
        read_suite(write(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": True}, "^seed must be a whole number, not True$"),
        ({"limit": "5"}, "^limit must be a whole number, not '5'$"),
        ({"seed": -(2**63) - 1}, "^seed must be a whole number of 64 bits$"),
        ({"shard_size": 0}, "^shard_size 0 leaves nothing to measure"),
        ({"models": [1]}, "^models must be a list of strings, but contains 1$"),
        ({"datasets": "digits"}, r"^datasets must be .* strings, not 'digits'; give \['digits'\]$"),
        ({"sede": 1}, "^unknown key 'sede'; did you mean seed"),
        ({"name": ".."}, "^name '..' is a path"),
    ],
)
def test_python_values_are_checked_as_those_of_a_file(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SuiteError, match=message):
        Suite(**{"models": ["a"], "datasets": ["b"]} | values)


def test_a_wrong_positional_argument_is_called_by_its_name() -> None:
    with pytest.raises(SuiteError, match="datasets must be a list of strings, but contains 1"):
        Suite(["a"], [1])  # type: ignore[list-item]
    with pytest.raises(SuiteError, match="models is given twice"):
        Suite(["a"], ["b"], models=["c"])  # type: ignore[misc]


def test_a_model_may_be_a_classifier() -> None:
    classifier = make_classifier("mine")
    assert Suite([classifier, "a"], ["b"]).models == [classifier, "a"]
    with pytest.raises(SuiteError, match="model mine is named twice"):
        Suite([classifier, "mine"], ["b"])


def test_data_sets_may_be_names_tables_and_objects(tmp_path: Path) -> None:
    text = 'models = ["a"]\ndatasets = ["b", {name = "c", corruptions = ["fog"], limit = 5}]'
    read = read_suite(write(tmp_path, text))
    own = Selection("c", corruptions=["fog"], limit=5)
    assert read.datasets == ["b", own]
    assert read.selections() == [Selection("b"), own]
    table = {"name": "c", "corruptions": ["fog"], "limit": 5}
    for entry in (own, table):
        assert Suite(["a"], ["b", entry], name="suite") == read  # type: ignore[list-item]
    long = 'models = ["a"]\n[[datasets]]\nname = "c"\ncorruptions = ["fog"]\nlimit = 5\n'
    assert read_suite(write(tmp_path, long)).datasets == [own]


def test_a_value_given_later_replaces_those_of_the_data_sets() -> None:
    own = Selection("c", corruptions=["fog"], severities=[3], limit=5)
    suite = Suite(["a"], ["b", own], corruptions=["snow"])
    changed = suite.with_values({"corruptions": ("frost",), "limit": 2})
    assert changed == Suite(
        ["a"], ["b", Selection("c", severities=[3])], corruptions=("frost",), limit=2
    )
    assert suite.with_values({"seed": 1}).datasets == ["b", own]


def test_the_documents_list_every_key() -> None:
    text = (Path(__file__).parent.parent / "docs" / "suites.md").read_text(encoding="utf-8")
    for heading, fields in (("## Keys", FIELDS), ("## Keys of a data set", SELECTION_FIELDS)):
        part = text.partition(f"{heading}\n")[2].partition("\n## ")[0]
        rows = [line for line in part.splitlines() if line.startswith("| `")]
        assert rows == [key_row(name, field) for name, field in fields.items()]


def key_row(name: str, field: FieldInfo) -> str:
    """Return the row of a key as the documents have it."""
    value = {str: "string", int: "whole number", bool: "true or false"}[value_type(field)]
    if is_list(field):
        value = "list of strings" if value == "string" else "list of whole numbers"
    if field is FIELDS["datasets"]:
        value = "list of strings or tables"
    if field is FIELDS["gate"]:
        value = "table of tables"
    default = "required" if field.is_required() else json.dumps(field.default)
    shown = {"required": "required", "null": "", "[]": ""}.get(default, f"`{default}`")
    return f"| `{name}` | {value} | {shown} | {field.description} |"


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"nowhere\.toml \(No such file"):
        read_suite(str(tmp_path / "nowhere.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    with pytest.raises(SuiteError, match=r"binary\.toml is not UTF-8 text"):
        read_suite(str(tmp_path / "binary.toml"))


def test_an_unknown_shipped_suite_gets_a_suggestion() -> None:
    with pytest.raises(UnknownName, match="did you mean digits"):
        read_suite("digit")

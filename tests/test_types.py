from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import robustbench_aa as rb
from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UsageError
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.support.training_seeds import groups
from robustbench_aa.types import CLEAN, Distortion, kind, shards
from tests.conftest import PLAIN, make_classifier


def test_distortions_are_written_as_their_paths() -> None:
    assert str(CLEAN) == "clean"
    assert str(Distortion("corruption", "gaussian_noise", 3)) == "gaussian_noise/3"
    assert str(Distortion("shift", "circular")) == "shift/circular"


def test_shards_cover_every_image_once() -> None:
    for images, size in ((10, 3), (9, 3), (1, 1000), (0, 5)):
        covered = [i for shard in shards(images, size) for i in range(*shard)]
        assert covered == list(range(images))


def test_the_kind_of_a_data_set_is_what_it_measures() -> None:
    assert kind([CLEAN]) == "clean"
    assert kind([CLEAN, Distortion("corruption", "defocus_blur", 1)]) == "corruption"
    assert kind([Distortion("shift", "circular")]) == "shift"


def test_training_seeds_are_members_of_their_model() -> None:
    names = ["a-seed0", "b", "a-seed12", "c-seedling"]
    assert groups(names) == {
        "a": ["a-seed0", "a-seed12"],
        "b": ["b"],
        "c-seedling": ["c-seedling"],
    }
    # one network alone keeps its full name, and a namesake of the model is not its seed
    assert groups(["a-seed0"]) == {"a-seed0": ["a-seed0"]}
    assert groups(["a", "a-seed0", "a-seed1"]) == {n: [n] for n in ("a", "a-seed0", "a-seed1")}


def classifier(module: nn.Module) -> Classifier:
    return Classifier(module, name="a", input_size=1, classes=2, preprocessing=PLAIN)


def test_the_hash_of_weights_changes_with_each_of_them() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2)).bfloat16()
    hashes = {classifier(module).weights_sha256}
    for tensor in module.state_dict().values():
        tensor.view(-1)[0] += 1
        hashes.add(classifier(module).weights_sha256)
    assert len(hashes) == 1 + len(module.state_dict())


def test_the_architecture_contains_no_memory_addresses() -> None:
    class Printed(nn.Linear):
        def extra_repr(self) -> str:
            return f"activation={object()}"

    assert len({classifier(Printed(3, 2)).architecture() for _ in range(3)}) == 1


def test_parameters_are_counted() -> None:
    assert make_classifier("a").parameters == 3 * 32 * 32 * 10
    assert isinstance(make_classifier("a").module(torch.zeros(1, 3, 32, 32)), torch.Tensor)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (0.5, (0.5,) * 3, r"mean is 0\.5; give a number for each .*, such as \(0\.5, 0\.5, 0\.5\)"),
        ((0.5,) * 3, 0.25, r"std is 0\.25; give .* such as \(0\.25, 0\.25, 0\.25\)"),
        ((0.5,), (0.5,) * 3, r"mean is \(0\.5,\); give a number for each"),
        ((0.5, None, 0.5), (0.5,) * 3, "mean is .*; give a number for each"),
        ((float("nan"),) * 3, (0.5,) * 3, "mean is .*; give a number for each"),
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), "on the scale of 0 to 255; divide both by 255"),
        ((0.0,) * 3, (255.0,) * 3, "on the scale of 0 to 255; divide both by 255"),
        ((0.5,) * 3, (0.5, 0.0, 0.5), r"std \(0\.5, 0\.0, 0\.5\) is not positive"),
    ],
)
def test_a_preprocessing_that_makes_no_sense_is_refused(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        Preprocessing(mean, std)
    assert "\n" not in str(error.value)


def test_a_preprocessing_takes_any_three_numbers() -> None:
    how = Preprocessing([0, 0, 0], np.array([1, 1, 1]))  # type: ignore[arg-type]
    assert how == PLAIN
    assert json.dumps([how.mean, how.std]) == "[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": " a"}, "a classifier needs a name without outer spaces, not ' a'"),
        ({"name": 3}, "a classifier needs a name without outer spaces, not 3"),
        ({"input_size": 32.0}, r"input_size of classifier a is 32\.0; give a whole number from 1"),
        ({"classes": 0}, "classes of classifier a is 0; give a whole number from 1"),
        ({"classes": True}, "classes of classifier a is True"),
        ({"preprocessing": (0.5, 0.5)}, r"is \(0\.5, 0\.5\); give a robustbench_aa\.Preprocessing"),
        ({"module": "resnet50"}, r"classifier a has a str as module; give a torch\.nn\.Module"),
    ],
)
def test_a_classifier_that_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(make_classifier("a"), **given)


def test_what_is_no_classifier_is_refused_where_one_is_converted() -> None:
    message = "the model is of type Linear, not Classifier; load it by robustbench_aa.load_model"
    for convert in (rb.antialias, rb.select_crop):
        with pytest.raises(UsageError, match=message):
            convert(nn.Linear(3, 3))
        with pytest.raises(UsageError, match="the model is of type str, not Classifier"):
            convert("digits:resnet@lpf3")
    with pytest.raises(UsageError, match="of a model is of type Classifier, not str; a classifier"):
        rb.load_model(make_classifier("a"))


def test_the_code_of_a_module_is_part_of_what_identifies_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "import torch\n\nclass Net(torch.nn.Flatten):\n    scale = {}\n"
    digests = []
    for place, scale in enumerate(("1", "1  # a comment", "2")):
        folder = tmp_path / str(place)
        folder.mkdir()
        (folder / "some_net.py").write_text(text.format(scale))
        with monkeypatch.context() as patch:
            patch.syspath_prepend(folder)
            patch.delitem(sys.modules, "some_net", raising=False)
            net = importlib.import_module("some_net").Net()
            digests.append(classifier(nn.Sequential(net)).source_sha256)
            patch.delitem(sys.modules, "some_net")
    assert digests[0] == digests[1] != digests[2]
    assert all(digests)
    assert classifier(nn.Sequential(nn.Flatten())).source_sha256 == ""


def test_code_without_a_file_is_the_same_in_every_process() -> None:
    text = (
        "import torch\nfrom robustbench_aa.support.code import code_sha256\n"
        "source = 'class Net(torch.nn.Flatten):\\n'\n"
        "source += '    @staticmethod\\n    def scaled(x): return [y * {} for y in x]\\n'\n"
        "source += '    def known(self, x): return x in {{1, \\'a\\', \\'b\\', \\'c\\'}}\\n'\n"
        "for scale in (1, 2):\n    exec(compile(source.format(scale), '/tmp/{}', 'exec'))\n"
        "    print(code_sha256(Net()))\n"
    )
    found = []
    for seed in "12":
        command = [sys.executable, "-c", text.replace("/tmp/{}", f"/tmp/{seed}")]
        environment = os.environ | {"PYTHONHASHSEED": seed}
        printed = subprocess.check_output(command, env=environment, text=True)
        found.append(printed.split())
    assert found[0] == found[1]
    assert len(set(found[0])) == 2

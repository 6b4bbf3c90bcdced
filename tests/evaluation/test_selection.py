"""The cells that a suite asks for, data set by data set."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import robustbench_aa as rb
from robustbench_aa.datasets import Dataset, Request, open_dataset
from robustbench_aa.datasets.digits import load_split
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.evaluation.selection import chosen
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.suite import Selection, Suite
from tests.conftest import make_classifier

DIGITS = ("digits-c", "digits-p", "digits-shift")


def asked(datasets: list[Any], data_dir: Path | None = None, **values: Any) -> dict[str, list[str]]:
    suite = Suite(["a"], datasets, **values)
    request = Request(data_dir=str(data_dir) if data_dir else None)
    opened: dict[str, Dataset] = {
        one.name: open_dataset(one.name, request) for one in suite.selections()
    }
    return {name: [str(one) for one in cells] for name, cells in chosen(suite, opened).items()}


def test_without_a_choice_every_data_set_is_evaluated_as_a_whole() -> None:
    found = asked([*DIGITS])
    assert {name: len(cells) for name, cells in found.items()} == {
        "digits-c": 96,
        "digits-p": 10,
        "digits-shift": 1,
    }


def test_a_choice_of_the_suite_applies_to_the_data_sets_that_have_such_distortions() -> None:
    found = asked([*DIGITS], corruptions=["fog", "snow"], severities=[5], perturbations=["tilt"])
    assert found == {
        "digits-c": ["snow/5", "fog/5"],
        "digits-p": ["tilt"],
        "digits-shift": ["shift/circular"],
    }


def test_a_data_set_has_its_own_values_before_those_of_the_suite() -> None:
    own = Selection("digits-c", corruptions=["frost"])
    found = asked([own, "digits-p", {"name": "digits-shift"}], severities=[1, 2])
    assert found["digits-c"] == ["frost/1", "frost/2"]
    assert len(found["digits-p"]) == 10


def test_a_data_set_as_an_object_has_its_own_values_too(tmp_path: Path) -> None:
    images, labels = load_split("test")
    mine = rb.ImageArrays(images[:5], labels[:5], "mine", distortions="imagenet-c", classes=10)
    own: Any = {"name": mine, "corruptions": ["fog"], "severities": [2], "limit": 3}
    session = prepare(Suite([make_classifier("a")], [own]), tmp_path, "cpu")
    assert [str(cell) for cell in session.cells] == ["mine fog/2"]
    assert session.datasets["mine"].images == 3


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ({"corruptions": ["clean"]}, ["clean"]),
        ({"corruptions": ["fog", "clean"], "severities": [3]}, ["clean", "fog/3"]),
        ({"corruptions": ["clean"], "severities": [3]}, ["clean"]),
    ],
)
def test_clean_images_are_chosen_like_a_corruption(
    values: dict[str, Any], cells: list[str]
) -> None:
    assert asked(["digits-c"], **values) == {"digits-c": cells}
    assert asked([{"name": "digits-c", **values}]) == {"digits-c": cells}


def test_a_severity_alone_does_not_choose_clean_images() -> None:
    cells = asked(["digits-c"], severities=[3])["digits-c"]
    assert len(cells) == 19
    assert {cell.rpartition("/")[2] for cell in cells} == {"3"}


@pytest.mark.parametrize(
    ("datasets", "values", "message"),
    [
        (
            ["digits-p", "digits-shift"],
            {"corruptions": ["fog"]},
            "digits-p and digits-shift has no",
        ),
        (["digits-c"], {"protocols": ["crops"]}, "digits-c has no shift protocols to choose from"),
        (["digits-c"], {"perturbations": ["tilt"]}, "leave out --perturbation, or add a data set"),
        (
            ["digits-c", {"name": "digits-shift", "corruptions": ["fog"]}],
            {},
            "data set digits-shift has no corruptions to choose from; leave out its corruptions",
        ),
        (
            [{"name": "digits-c", "corruptions": ["fog"]}],
            {"corruptions": ["snow"]},
            "the suite's corruptions have no effect, since digits-c has its own",
        ),
        (["digits-c"], {"severities": [7]}, "severity 7 does not exist; choose from 1 to 5"),
    ],
)
def test_a_choice_that_applies_to_nothing_is_refused(
    datasets: list[Any], values: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        asked(datasets, **values)


def test_an_unknown_name_is_corrected() -> None:
    with pytest.raises(UnknownName, match="shift protocol of digits-shift 'circle'; did you mean"):
        asked(["digits-c", "digits-shift"], protocols=["circle"])
    with pytest.raises(UnknownName, match="perturbation of digits-p 'tild'; did you mean tilt"):
        asked([{"name": "digits-p", "perturbations": ["tild"]}])


@pytest.fixture
def fog(tmp_path: Path) -> Path:
    for severity in range(1, 6):
        folder = tmp_path / "fog" / str(severity) / "n01440764"
        folder.mkdir(parents=True)
        Image.new("RGB", (224, 224)).save(folder / "a.png")
    return tmp_path


def test_stored_corruptions_have_clean_images_only_beside_a_data_set_of_them(
    fog: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    names = ["clean", "fog"]
    with pytest.raises(UsageError, match="imagenet-c has no clean images; add the data set image-"):
        asked(["imagenet-c"], fog, corruptions=names)
    clean = tmp_path_factory.mktemp("val")
    (clean / "n01440764").mkdir()
    Image.new("RGB", (260, 260)).save(clean / "n01440764" / "a.png")
    monkeypatch.setenv("IMAGENET_C_DIR", str(fog))
    monkeypatch.setenv("IMAGENET_DIR", str(clean))
    found = asked(["imagenet-c", "image-folder"], corruptions=names)
    assert found["imagenet-c"] == [f"fog/{severity}" for severity in range(1, 6)]
    assert found["image-folder"] == ["clean"]
    with pytest.raises(UsageError, match="imagenet-c has no clean images, and nothing else is ask"):
        asked(["imagenet-c", "image-folder"], corruptions=["clean"])


def test_a_severity_that_a_data_set_lacks_is_refused() -> None:
    whole = open_dataset("digits-c")
    cells = tuple(cell for cell in whole.distortions if cell.severity in (None, 2))
    mild = dataclasses.replace(whole, distortions=cells)  # type: ignore[type-var]
    suite = Suite(["a"], ["digits-c"], corruptions=["fog"], severities=[2, 3])
    with pytest.raises(UsageError, match="digits-c has no severity 3; it has 2"):
        chosen(suite, {"digits-c": mild})


def test_each_data_set_may_have_its_own_number_of_images(tmp_path: Path) -> None:
    datasets = ["digits-shift", {"name": "digits-c", "corruptions": ["fog"], "limit": 3}]
    suite = Suite([make_classifier("a")], datasets, limit=5)  # type: ignore[arg-type]
    session = prepare(suite, tmp_path / "run", "cpu")
    assert {name: one.images for name, one in session.datasets.items()} == {
        "digits-shift": 5,
        "digits-c": 3,
    }
    assert session.store.manifest.limits == {"digits-shift": 5, "digits-c": 3}
    assert list(session.store.manifest.selected) == ["digits-c"]

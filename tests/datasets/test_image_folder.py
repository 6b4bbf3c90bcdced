from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import robustbench_aa as rb
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.evaluation.identity import dataset_identity
from robustbench_aa.types import kind


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for place, label in enumerate((0, 3)):
        (tmp_path / "val" / str(label)).mkdir(parents=True)
        picture = Image.effect_noise((260, 270 + place), 50).convert("RGB")
        picture.save(tmp_path / "val" / str(label) / "a.png")
    return tmp_path / "val"


@pytest.mark.parametrize(
    ("distortions", "name", "measured"),
    [
        (None, "image-folder", "clean"),
        ("clean", "image-folder", "clean"),
        ("imagenet-c", "imagenet-c-live", "corruption"),
        ("imagenet-p", "imagenet-p-live", "perturbation"),
        ("shift", "imagenet-shift", "shift"),
    ],
)
def test_a_folder_is_the_named_data_set(
    folder: Path, distortions: str | None, name: str, measured: str
) -> None:
    """Same identity, so that the command line continues a run of Python and the reverse."""
    data = rb.ImageFolder(folder, distortions, classes=5)
    assert data.name == name
    opened = data.open(Request(seed=4, limit=1))
    named = open_dataset(name, Request(seed=4, limit=1, data_dir=str(folder), classes=5))
    assert dataset_identity(opened) == dataset_identity(named)
    assert kind(opened.distortions) == measured
    assert (opened.classes, opened.images) == (5, 1)


def test_its_own_folder_takes_precedence_over_the_folder_of_the_run(
    folder: Path, tmp_path: Path
) -> None:
    assert rb.ImageFolder(folder, classes=5).open(Request(data_dir=str(tmp_path))).images == 2


def test_missing_folders_and_distortions_are_refused_at_once(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"no folder .*gone; check data_dir"):
        rb.ImageFolder(folder / "gone")
    with pytest.raises(
        UnknownName, match="unknown distortions 'imagenet-d'; did you mean imagenet"
    ):
        rb.ImageFolder(folder, "imagenet-d")

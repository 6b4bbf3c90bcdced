from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from robustbench_aa.datasets import verify_dataset
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.datasets.videos import encode_video
from robustbench_aa.distortions import corruptions_at, perturbations_at
from robustbench_aa.errors import UnknownName, UsageError

COUNTED = [cell for cell in corruptions_at(224) if cell.group != "extra"]
CLASSES = wnids()[:3]


def write(path: Path, size: int = 224) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(256, size=(size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, "JPEG")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ImageNet-C of two pictures each of three classes."""
    root = tmp_path_factory.mktemp("imagenet-c")
    picture = root / "picture.JPEG"
    write(picture)
    for cell in COUNTED:
        for wnid in CLASSES:
            folder = root / cell.name / str(cell.severity) / wnid
            folder.mkdir(parents=True)
            for name in "ab":
                (folder / f"{name}.JPEG").hardlink_to(picture)
    return root


def test_a_complete_data_set_is_reported_as_complete(whole: Path) -> None:
    table, problems = verify_dataset("imagenet-c", whole)
    assert problems == []
    assert table["cell"].tolist() == [str(cell) for cell in COUNTED]
    assert (table[["images", "classes", "decoded"]] == [6, 3, 6]).all(axis=None)
    assert set(table["images_a_class"]) == {"2 to 2"}
    table, _ = verify_dataset("imagenet-c", whole, sample=2)
    assert set(table["decoded"]) == {2}


def without_a_file(cell: Path) -> None:
    (cell / CLASSES[1] / "b.JPEG").unlink()


def with_another_file(cell: Path) -> None:
    write(cell / CLASSES[1] / "c.JPEG")


def without_a_class(cell: Path) -> None:
    for file in (cell / CLASSES[2]).iterdir():
        file.unlink()
    (cell / CLASSES[2]).rmdir()


def without_pictures_in_a_class(cell: Path) -> None:
    for file in (cell / CLASSES[2]).iterdir():
        file.unlink()


def with_a_class_that_is_none(cell: Path) -> None:
    write(cell / "n99999999" / "a.JPEG")


def with_half_a_file(cell: Path) -> None:
    file = cell / CLASSES[0] / "a.JPEG"
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


def with_a_larger_picture(cell: Path) -> None:
    (cell / CLASSES[0] / "a.JPEG").unlink()
    write(cell / CLASSES[0] / "a.JPEG", 256)


def with_a_smaller_picture(cell: Path) -> None:
    (cell / CLASSES[0] / "a.JPEG").unlink()
    write(cell / CLASSES[0] / "a.JPEG", 64)


def not_there(cell: Path) -> None:
    cell.rename(cell.with_name("9"))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (without_a_file, [f"lacks 1 file ({CLASSES[1]}/b.JPEG) that other cells have"]),
        (with_another_file, [f"has 1 file ({CLASSES[1]}/c.JPEG) that other cells have not"]),
        (without_a_class, [f"lacks 2 files ({CLASSES[2]}/a.JPEG, {CLASSES[2]}/b.JPEG)"]),
        (without_pictures_in_a_class, [f"1 class ({CLASSES[2]}) without files", "lacks 2"]),
        (with_a_class_that_is_none, ["1 class (n99999999) not of ImageNet's", "has 1 file"]),
        (with_half_a_file, [f"{CLASSES[0]}/a.JPEG cannot be read (image file is truncated"]),
        (with_a_larger_picture, [f"{CLASSES[0]}/a.JPEG is 256×256 px, not 224×224 px"]),
        (with_a_smaller_picture, [f"{CLASSES[0]}/a.JPEG is 64×64 px, smaller than 224×224"]),
        (not_there, ["is not there"]),
    ],
)
def test_every_problem_is_named(
    whole: Path, tmp_path: Path, spoil: Callable[[Path], None], expected: list[str]
) -> None:
    for file in whole.glob("fog/*/*/*"):
        copy = tmp_path / file.relative_to(whole)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.hardlink_to(file)
    for folder in whole.iterdir():
        if folder.name != "fog" and folder.is_dir():
            (tmp_path / folder.name).symlink_to(folder)
    cell = tmp_path / "fog" / "3"
    spoil(cell)
    table, problems = verify_dataset("imagenet-c", tmp_path)
    assert len(problems) == len(expected)
    for problem, beginning in zip(problems, expected, strict=True):
        assert problem.startswith(f"{cell}: {beginning}")
    assert table.set_index("cell")["problems"].loc["fog/3"] == len(expected)
    assert table["problems"].sum() == len(expected)


def test_clean_photographs(tmp_path: Path) -> None:
    write(tmp_path / CLASSES[0] / "a.JPEG", 300)
    write(tmp_path / CLASSES[1] / "b.JPEG", 100)
    for name in ("image-folder", "imagenet-c-live"):
        table, problems = verify_dataset(name, tmp_path)
        assert problems == []
        assert table[["cell", "images", "classes"]].to_numpy().tolist() == [["clean", 2, 2]]
    (tmp_path / CLASSES[1] / "b.JPEG").write_text("no picture")
    (problem,) = verify_dataset("image-folder", tmp_path)[1]
    assert f"{CLASSES[1]}/b.JPEG cannot be read" in problem


def test_arrays(tmp_path: Path) -> None:
    array = np.zeros((10, 32, 32, 3), np.uint8)
    for name in {cell.name for cell in COUNTED} - {"fog"}:
        np.save(tmp_path / f"{name}.npy", array)
    np.save(tmp_path / "labels.npy", np.zeros(10, int))
    np.save(tmp_path / "snow.npy", array[:9])
    table, problems = verify_dataset("cifar10-c", tmp_path)
    assert table.set_index("corruption")["images"].loc[["frost", "snow", "fog"]].tolist() == [
        *(10, 0, 0)
    ]
    assert [problem.split(" ")[0].rpartition("/")[2] for problem in problems] == [
        *("snow.npy", "fog.npy")
    ]
    (tmp_path / "labels.npy").unlink()
    assert any(
        "labels.npy cannot be read" in line for line in verify_dataset("cifar10-c", tmp_path)[1]
    )


def test_sequences(tmp_path: Path) -> None:
    counted = [cell for cell in perturbations_at(224) if not cell.held_out]
    for cell in counted:
        for place in range(3):
            video = tmp_path / cell.name / CLASSES[0] / f"{place}.mp4"
            video.parent.mkdir(parents=True, exist_ok=True)
            encode_video(torch.full((4, 3, 224, 224), 9, dtype=torch.uint8), video, {})
    table, problems = verify_dataset("imagenet-p", tmp_path)
    assert problems == []
    assert table["cell"].tolist() == [str(cell) for cell in counted]
    long, cut, text = (tmp_path / "tilt" / CLASSES[0] / f"{place}.mp4" for place in range(3))
    encode_video(torch.zeros(5, 3, 224, 224, dtype=torch.uint8), long, {})
    (tmp_path / "snow" / CLASSES[0] / "1.mp4").unlink()
    problems = verify_dataset("imagenet-p", tmp_path)[1]
    assert len(problems) == 2
    assert problems[0].endswith(f"snow: lacks 1 file ({CLASSES[0]}/1.mp4) that other cells have")
    assert problems[1].endswith(f"{CLASSES[0]}/0.mp4 is 5 frames long, not 4 frames long")
    cut.write_bytes(cut.read_bytes()[:300])
    text.write_text("no video")
    problems = verify_dataset("imagenet-p", tmp_path)[1]
    assert sum("cannot be read" in problem for problem in problems) == 2


def test_data_sets_without_verification_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="unknown data set of files 'digits-c'"):
        verify_dataset("digits-c", tmp_path)
    with pytest.raises(UsageError, match=r"no folder .*nowhere"):
        verify_dataset("imagenet-c", tmp_path / "nowhere")
    with pytest.raises(UsageError, match="sample 0 decodes nothing"):
        verify_dataset("imagenet-c", tmp_path, 0)


def test_classes_without_pictures_are_counted(whole: Path, tmp_path: Path) -> None:
    root = tmp_path / "c"
    shutil.copytree(whole, root)
    shutil.rmtree(root / "fog" / "1" / CLASSES[0])
    (root / "fog" / "1" / CLASSES[0]).mkdir()
    table, problems = verify_dataset("imagenet-c", root, sample=1)
    row = table.set_index("cell").loc["fog/1"]
    assert (row["classes"], row["images_a_class"]) == (3, "0 to 2")
    assert any("1 class (" in problem and "without files" in problem for problem in problems)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.datasets.labels import Labels, wnids
from robustbench_aa.datasets.pictures import AS_MADE, STORED, Geometry, decode
from robustbench_aa.distortions import corruptions_at
from robustbench_aa.distortions.corruptions.jpeg import through_jpeg
from robustbench_aa.errors import DatasetError, UsageError
from robustbench_aa.types import CLEAN, Batch, Distortion, Shard

CPU = torch.device("cpu")
NOISE = Distortion("corruption", "gaussian_noise", 2)
FOG = Distortion("corruption", "fog", 3)


def picture(seed: int, width: int = 300, height: int = 260) -> Image.Image:
    small = np.random.default_rng(seed).integers(256, size=(6, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    """Two pictures each of three of ImageNet's classes."""
    root = tmp_path / "val"
    for place, wnid in enumerate((wnids()[999], wnids()[0], wnids()[7])):
        (root / wnid).mkdir(parents=True)
        for number in range(2):
            picture(10 * place + number).save(root / wnid / f"{number}.JPEG")
    return root


def read(name: str, distortion: Distortion, **request: object) -> list[Batch]:
    dataset = open_dataset(name, Request(**request))  # type: ignore[arg-type]
    return list(dataset.read(distortion, Shard(0, dataset.images), 4, CPU))


def test_there_are_a_thousand_classes_in_order() -> None:
    assert len(set(wnids())) == 1000
    assert wnids() == sorted(wnids())
    assert (wnids()[0], wnids()[999]) == ("n01440764", "n15075141")


def test_labels_are_imagenets_also_on_a_subset(validation: Path) -> None:
    batches = read("image-folder", CLEAN, data_dir=str(validation))
    assert np.concatenate([b.label for b in batches]).tolist() == [0, 0, 7, 7, 999, 999]
    assert open_dataset("image-folder", Request(data_dir=str(validation))).classes == 1000


def numbered(folder: Path, *numbers: int) -> Path:
    for number in numbers:
        (folder / str(number)).mkdir(parents=True)
        picture(number).save(folder / str(number) / "a.png")
    return folder


@pytest.mark.parametrize("first", [0, 1])
def test_numbered_folders_are_sorted_by_their_number(tmp_path: Path, first: int) -> None:
    numbers = range(first, first + 11)
    dataset = open_dataset("image-folder", Request(data_dir=str(numbered(tmp_path, *numbers))))
    assert dataset.classes == 11
    assert dataset.labels == Labels("numbered folders", 11)
    (batch,) = dataset.read(CLEAN, Shard(0, 11), 11, CPU)
    order = [AS_MADE.square(picture(number)) for number in numbers]
    assert sorted(batch.label.tolist()) == list(range(11))
    for frame, label in zip(batch.frames[:, 0], batch.label, strict=True):
        np.testing.assert_array_equal(frame.permute(1, 2, 0), np.array(order[label]))


@pytest.mark.parametrize(
    ("numbers", "gap"),
    [
        ((3, 7, 10), "there is 10, but no 1"),
        ((0, 1, 3), "there is 3, but no 2"),
        ((2, 3), "there is 3, but no 1"),
    ],
)
def test_numbers_with_gaps_are_refused_unless_they_are_declared(
    tmp_path: Path, numbers: tuple[int, ...], gap: str
) -> None:
    folder = str(numbered(tmp_path, *numbers))
    with pytest.raises(UsageError, match=rf"gaps: {gap}; .* by --classes"):
        open_dataset("image-folder", Request(data_dir=folder))
    dataset = open_dataset("image-folder", Request(data_dir=folder, classes=20))
    assert (dataset.classes, dataset.labels.present) == (20, len(numbers))
    (batch,) = dataset.read(CLEAN, Shard(0, len(numbers)), 4, CPU)
    assert sorted(batch.label.tolist()) == list(numbers)
    with pytest.raises(UsageError, match=f"a class folder {numbers[-1]}, and the largest of"):
        open_dataset("image-folder", Request(data_dir=folder, classes=numbers[-1]))


def test_a_number_of_classes_is_for_numbered_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    picture(0).save(tmp_path / "cat" / "a.png")
    with pytest.raises(UsageError, match="--classes 5 needs numbered class folders"):
        open_dataset("image-folder", Request(data_dir=str(tmp_path), classes=5))
    (tmp_path / "cat").rename(tmp_path / "07")
    numbered(tmp_path, 7)
    with pytest.raises(UsageError, match="have the same number"):
        open_dataset("image-folder", Request(data_dir=str(tmp_path), classes=9))


@pytest.mark.parametrize("size", [(300, 260), (260, 300), (500, 333), (224, 225), (256, 256)])
def test_reading_is_torchvisions_resize_and_crop(size: tuple[int, int]) -> None:
    transforms = torchvision.transforms
    expected = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    one = picture(3, *size)
    np.testing.assert_array_equal(np.array(AS_MADE.square(one)), np.array(expected(one)))
    cropped = transforms.CenterCrop(224)(one)
    np.testing.assert_array_equal(np.array(STORED.square(one)), np.array(cropped))


def test_live_corruptions_are_stored_as_jpeg_unless_left_out(validation: Path) -> None:
    stored = read("imagenet-c-live", FOG, data_dir=str(validation))
    plain = read("imagenet-c-live", FOG, data_dir=str(validation), stored_jpeg=False)
    for one, other in zip(stored, plain, strict=True):
        assert torch.equal(one.frames[:, 0], through_jpeg(other.frames[:, 0], 85))
    clean = read("imagenet-c-live", CLEAN, data_dir=str(validation))
    expected = decode(next(validation.glob("n01440764/0.JPEG")), AS_MADE.square)
    assert torch.equal(clean[0].frames[0, 0], expected)


def test_live_pixels_depend_on_seed_and_image_alone(validation: Path) -> None:
    dataset = open_dataset("imagenet-c-live", Request(data_dir=str(validation)))
    whole = torch.cat([b.frames for b in dataset.read(NOISE, Shard(0, 6), 6, CPU)])
    parts = [b.frames for s in (Shard(0, 1), Shard(1, 6)) for b in dataset.read(NOISE, s, 2, CPU)]
    assert torch.equal(torch.cat(parts), whole)
    other = read("imagenet-c-live", NOISE, data_dir=str(validation), seed=1)
    assert not torch.equal(torch.cat([b.frames for b in other]), whole)


def test_the_package_corrupts_on_request(validation: Path) -> None:
    how = {"data_dir": str(validation), "stored_jpeg": False, "limit": 2}
    contrast = Distortion("corruption", "contrast", 2)
    ours = read("imagenet-c-live", contrast, **how)[0].frames
    theirs = read("imagenet-c-live", contrast, backend="imagecorruptions", **how)[0].frames
    assert (ours.int() - theirs.int()).abs().max() <= 1
    hashes = {
        open_dataset("imagenet-c-live", Request(backend=b, **how)).sha256  # type: ignore[arg-type]
        for b in ("torch", "imagecorruptions")
    }
    assert len(hashes) == 2


@pytest.mark.parametrize("nesting", ["", "weather/"])
def test_the_released_layout_is_found_by_listing(tmp_path: Path, nesting: str) -> None:
    for severity in (1, 3):
        folder = tmp_path / f"{nesting}fog" / str(severity) / wnids()[5]
        folder.mkdir(parents=True)
        for number in range(3):
            picture(severity + number, 224, 224).save(folder / f"{number}.png")
    dataset = open_dataset("imagenet-c", Request(data_dir=str(tmp_path)))
    assert [str(d) for d in dataset.distortions if d not in dataset.missing] == ["fog/1", "fog/3"]
    counted = [cell for cell in corruptions_at(224) if cell.group != "extra"]
    assert list(dataset.distortions) == counted
    assert (dataset.images, dataset.classes) == (3, 1000)
    (batch,) = dataset.read(FOG, Shard(0, 3), 4, CPU)
    assert batch.label.tolist() == [5, 5, 5]
    np.testing.assert_array_equal(
        batch.frames[1, 0].permute(1, 2, 0), np.array(picture(4, 224, 224))
    )


def test_other_corruptions_in_the_same_layout(tmp_path: Path) -> None:
    folder = tmp_path / "blue_noise_sample" / "1" / wnids()[5]
    folder.mkdir(parents=True)
    picture(0, 224, 224).save(folder / "a.png")
    dataset = open_dataset("imagenet-c", Request(data_dir=str(tmp_path)))
    cells = [Distortion("corruption", "blue_noise_sample", severity) for severity in range(1, 6)]
    assert list(dataset.distortions) == cells
    assert list(dataset.missing) == cells[1:]


def test_holdout_corruptions_are_measured_where_their_files_exist(tmp_path: Path) -> None:
    folder = tmp_path / "extra" / "saturate" / "2" / wnids()[5]
    folder.mkdir(parents=True)
    picture(0, 224, 224).save(folder / "a.png")
    dataset = open_dataset("imagenet-c", Request(data_dir=str(tmp_path)))
    assert len(dataset.distortions) == 80
    assert {cell.name for cell in dataset.distortions if cell.group == "extra"} == {"saturate"}


def test_a_class_that_one_cell_lacks_is_named(tmp_path: Path) -> None:
    for severity, wnid in ((1, wnids()[5]), (1, wnids()[6]), (3, wnids()[5])):
        folder = tmp_path / "fog" / str(severity) / wnid
        folder.mkdir(parents=True)
        picture(0, 224, 224).save(folder / "a.png")
    with pytest.raises(UsageError, match=rf"fog/1 has a class {wnids()[6]} and .*fog/3 does not"):
        open_dataset("imagenet-c", Request(data_dir=str(tmp_path)))


def test_a_small_picture_is_refused_before_any_work(tmp_path: Path) -> None:
    folder = tmp_path / "fog" / "1" / wnids()[5]
    folder.mkdir(parents=True)
    picture(0, 64, 64).save(folder / "a.png")
    with pytest.raises(DatasetError, match=r"a\.png is 64×64 px, smaller than 224×224"):
        open_dataset("imagenet-c", Request(data_dir=str(tmp_path)))


@pytest.mark.parametrize(
    ("geometry", "transforms"),
    [
        (Geometry(299, 342), [torchvision.transforms.Resize(342)]),
        (
            Geometry(240, 250, "bicubic"),
            [torchvision.transforms.Resize(250, torchvision.transforms.InterpolationMode.BICUBIC)],
        ),
    ],
)
def test_another_geometry_resizes_and_crops_like_torchvision(
    validation: Path, geometry: Geometry, transforms: list[object]
) -> None:
    request = Request(data_dir=str(validation), geometry=geometry)
    dataset = open_dataset("imagenet-c-live", request)
    assert (dataset.size, dataset.geometry) == (geometry.size, str(geometry))
    assert len(dataset.distortions) == 96
    steps = [*transforms, torchvision.transforms.CenterCrop(geometry.size)]
    with Image.open(validation / wnids()[0] / "0.JPEG") as one:
        expected = np.array(torchvision.transforms.Compose(steps)(one))
    (batch, *_) = dataset.read(CLEAN, Shard(0, 1), 4, CPU)
    np.testing.assert_array_equal(batch.frames[0, 0].permute(1, 2, 0), expected)
    (batch, *_) = dataset.read(FOG, Shard(0, 1), 4, CPU)
    assert batch.frames.shape[-1] == geometry.size
    other = open_dataset("imagenet-c-live", Request(data_dir=str(validation)))
    assert dataset.sha256 != other.sha256


def test_a_file_that_one_cell_lacks_is_named(tmp_path: Path) -> None:
    for severity, names in ((1, "ab"), (3, "a")):
        folder = tmp_path / "fog" / str(severity) / wnids()[5]
        folder.mkdir(parents=True)
        for name in names:
            picture(0, 224, 224).save(folder / f"{name}.png")
    with pytest.raises(DatasetError, match=r"fog/3/.*/b\.png cannot be read"):
        read("imagenet-c", FOG, data_dir=str(tmp_path))


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "1", "LA"])
def test_pictures_of_every_mode_are_read(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture(0).convert(mode).save(path)
    assert decode(path, AS_MADE.square).shape == (3, 224, 224)


def test_pictures_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    picture(0, 300, 300).save(whole)
    (tmp_path / "cut.jpg").write_bytes(whole.read_bytes()[:2000])
    (tmp_path / "text.jpg").write_text("no picture")
    Image.fromarray(np.zeros((300, 300), np.uint16)).save(tmp_path / "deep.png")
    picture(0, 300, 100).save(tmp_path / "small.png")
    for name, message in (
        ("cut.jpg", r"cut\.jpg cannot be read \(image file is truncated"),
        ("text.jpg", r"text\.jpg cannot be read \(cannot identify"),
        ("gone.jpg", r"gone\.jpg cannot be read \(.*No such file"),
        ("deep.png", r"deep\.png has more than 8 bits a channel; convert it"),
        ("small.png", r"small\.png is 300×100 px, smaller than 224×224"),
    ):
        with pytest.raises(DatasetError, match=message):
            decode(tmp_path / name, STORED.square)


@pytest.mark.parametrize("name", ["image-folder", "imagenet-c-live", "imagenet-c"])
def test_invalid_class_folders_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    for variable in ("IMAGENET_DIR", "IMAGENET_C_DIR"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(UsageError, match=f"{name} needs its files; name their folder by --data-d"):
        open_dataset(name)
    with pytest.raises(UsageError, match=r"no folder .*nowhere; check --data-dir"):
        open_dataset(name, Request(data_dir=str(tmp_path / "nowhere")))
    with pytest.raises(UsageError, match=r"no pictures in|no <corruption>/<severity> folders in"):
        open_dataset(name, Request(data_dir=str(tmp_path)))


def test_a_folder_without_a_wnid_among_wnids_is_refused(validation: Path) -> None:
    (validation / "n99999999").mkdir()
    with pytest.raises(UsageError, match=r"n99999999 is not one of the 1000 known classes.*; move"):
        open_dataset("image-folder", Request(data_dir=str(validation)))


def test_an_empty_class_is_named(validation: Path) -> None:
    (validation / wnids()[3]).mkdir()
    with pytest.raises(UsageError, match=f"no pictures in .*{wnids()[3]}"):
        open_dataset("image-folder", Request(data_dir=str(validation)))

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import robustbench_aa as rb
from robustbench_aa.datasets import Dataset, Request, open_dataset
from robustbench_aa.datasets.digits import load_split
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.types import Distortion, Shard

IMAGES = load_split("test")[0]


def seen(dataset: Dataset, cell: Distortion, stop: int) -> torch.Tensor:
    """Return the frames that a run shows to its models, [stop, F, 3, H, W]."""
    batches = dataset.read(cell, Shard(0, stop), 64, torch.device("cpu"))
    return torch.cat([batch.frames for batch in batches])


def test_corrupted_images_are_those_of_a_run() -> None:
    dataset = open_dataset("digits-c", Request(seed=3))
    for cell in dataset.distortions[1::9]:
        frames = seen(dataset, cell, 6)[:, 0]
        assert torch.equal(rb.corrupt(IMAGES[:6], cell.name, cell.severity or 1, 3), frames), cell


def test_positions_are_those_in_the_whole_data_set() -> None:
    dataset = open_dataset("digits-c", Request(limit=4))
    cell = Distortion("corruption", "shot_noise", 2)
    places = [0, 199, 398, 597]
    frames = seen(dataset, cell, 4)[:, 0]
    assert torch.equal(rb.corrupt(IMAGES[places], "shot_noise", 2, index=places), frames)
    assert torch.equal(rb.corrupt(IMAGES[398], "shot_noise", 2, index=398), frames[2])
    rest = rb.corrupt(IMAGES[198:200], "shot_noise", 2, index=198)
    assert torch.equal(rest[1], frames[1])
    assert not torch.equal(rb.corrupt(IMAGES[199], "shot_noise", 2), frames[1])


def test_sequences_are_those_of_a_run() -> None:
    dataset = open_dataset("digits-p", Request(seed=1, limit=2))
    places = dataset.index.tolist()  # type: ignore[attr-defined]
    for cell in dataset.distortions[::4]:
        frames = rb.perturb(IMAGES[places], cell.name, seed=1, index=places)
        assert torch.equal(frames, seen(dataset, cell, 2)), cell
        one = rb.perturb(IMAGES[places[1]], cell.name, seed=1, index=places[1])
        assert torch.equal(one, frames[1])


def test_photographs_are_those_of_a_run(tmp_path: Path, photographs: torch.Tensor) -> None:
    folder = tmp_path / "cat"
    folder.mkdir()
    picture = Image.fromarray(photographs[0].permute(1, 2, 0).numpy()).resize((300, 256))
    picture.save(folder / "a.png")
    data = rb.ImageFolder(tmp_path, "imagenet-c").open(Request())
    middle = np.asarray(picture)[16:240, 38:262]
    cell = Distortion("corruption", "fog", 3)
    frame = seen(data, cell, 1)[0, 0].permute(1, 2, 0).numpy()
    assert np.array_equal(rb.corrupt(middle, "fog", 3, stored_jpeg=True), frame)
    assert not np.array_equal(rb.corrupt(middle, "fog", 3), frame)
    data = rb.ImageFolder(tmp_path, "imagenet-p").open(Request())
    frames = seen(data, Distortion("perturbation", "tilt"), 1)[0].permute(0, 2, 3, 1).numpy()
    assert np.array_equal(rb.perturb(np.asarray(picture), "tilt"), frames)


def test_arrays_are_treated_as_tensors_are() -> None:
    arrays = IMAGES[:3].permute(0, 2, 3, 1).numpy()
    arrays.flags.writeable = False
    expected = rb.corrupt(IMAGES[:3], "gaussian_noise", 5)
    found = rb.corrupt(arrays, "gaussian_noise", 5)
    assert np.array_equal(found, expected.permute(0, 2, 3, 1).numpy())
    assert rb.corrupt(arrays[0], "fog").shape == (32, 32, 3)
    assert rb.perturb(arrays, "tilt").shape == (3, 31, 32, 32, 3)
    assert rb.perturb(arrays[0], "tilt").shape == (31, 32, 32, 3)


def test_images_stay_and_share_no_memory() -> None:
    images = IMAGES[:2].clone()
    for name in ("brightness", "spatter"):
        rb.corrupt(images, name, 1).fill_(7)
        rb.perturb(images, name).fill_(7)
    assert torch.equal(images, IMAGES[:2])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([[1]], r"images are of type list; give a uint8 tensor \[N, 3, H, W\] or"),
        (IMAGES[:1] / 255, "images are float32, not uint8; give the 8-bit pixels"),
        (IMAGES[:1].permute(0, 2, 3, 1).numpy() / 255, "images are float64, not uint8"),
        (
            IMAGES[:1].permute(0, 2, 3, 1),
            r"\(1, 32, 32, 3\), not .*; use images\.movedim\(-1, -3\)",
        ),
        (IMAGES[:1].numpy(), r"\(1, 3, 32, 32\), not .*; use numpy\.moveaxis\(images, -3, -1\)"),
        (IMAGES[:1, :1], r"images have the shape \(1, 1, 32, 32\), not \[N, 3, H, W\]"),
        (IMAGES[0, 0], r"images have the shape \(32, 32\), not"),
        (IMAGES[:0], "there are no images"),
    ],
)
def test_invalid_images_are_refused(images: torch.Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        rb.corrupt(images, "fog")
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=message):
        rb.perturb(images, "tilt")


def test_wrong_arguments_are_named() -> None:
    images = IMAGES[:2]
    with pytest.raises(UnknownName, match="unknown corruption 'fgo'; did you mean fog"):
        rb.corrupt(images, "fgo")
    with pytest.raises(UnknownName, match="unknown perturbation 'tild'; did you mean tilt"):
        rb.perturb(images, "tild")
    for severity, message in ((6, "severity 6 does not exist"), (3.0, r"severity is 3\.0; give a")):
        with pytest.raises(UsageError, match=message):
            rb.corrupt(images, "fog", severity)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"seed is 'a'; give a whole number"):
        rb.corrupt(images, "fog", seed="a")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="index has 1 positions for 2 images"):
        rb.corrupt(images, "fog", index=[1])
    with pytest.raises(UsageError, match="index is -1; give a whole number from 0"):
        rb.perturb(images, "tilt", index=-1)
    with pytest.raises(UsageError, match="images are 32 × 30 px; crop them to squares"):
        rb.corrupt(images[..., :30], "fog")
    with pytest.raises(UsageError, match="no perturbations were published for 30-px images"):
        rb.perturb(images[..., :30], "tilt")
    with pytest.raises(UsageError, match="frames of 224 px do not fit into images of 32 px"):
        rb.perturb(images, "tilt", size=224)

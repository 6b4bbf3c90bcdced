from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

import robustbench_aa as rb
from robustbench_aa.errors import UsageError

IMAGES = torch.randint(
    256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)
PICTURE = Image.fromarray(IMAGES[0].permute(1, 2, 0).numpy())


def test_pixels_are_those_of_the_evaluation() -> None:
    corrupt = rb.transforms.Corrupt("snow", severity=2, seed=5)
    expected = rb.corrupt(IMAGES, "snow", severity=2, seed=5)
    assert torch.equal(corrupt(IMAGES), expected)
    assert torch.equal(corrupt(IMAGES[0]), expected[0])
    picture = corrupt(PICTURE)
    assert isinstance(picture, Image.Image)
    assert np.array_equal(np.asarray(picture), expected[0].permute(1, 2, 0))
    image = corrupt(tv_tensors.Image(IMAGES))
    assert isinstance(image, tv_tensors.Image)
    assert torch.equal(image, expected)
    stored = rb.transforms.Corrupt("snow", severity=2, seed=5, stored_jpeg=True)(IMAGES)
    assert torch.equal(stored, rb.corrupt(IMAGES, "snow", severity=2, seed=5, stored_jpeg=True))


def test_frames_are_those_of_the_evaluation() -> None:
    perturb = rb.transforms.Perturb("tilt", seed=5)
    expected = rb.perturb(IMAGES, "tilt", seed=5)
    assert torch.equal(perturb(IMAGES), expected)
    for image in (IMAGES[0], PICTURE):
        frames = perturb(image)
        assert isinstance(frames, tv_tensors.Video)
        assert torch.equal(frames, expected[0])


def test_every_call_draws_a_seed_from_torch() -> None:
    corrupt = rb.transforms.Corrupt("gaussian_noise")
    torch.manual_seed(3)
    seed = int(torch.randint(2**63 - 1, ()))
    torch.manual_seed(3)
    first, second = corrupt(IMAGES), corrupt(IMAGES)
    assert torch.equal(first, rb.corrupt(IMAGES, "gaussian_noise", seed=seed))
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(corrupt(IMAGES), first)


def test_other_parts_of_a_sample_stay() -> None:
    sample = {"image": PICTURE, "label": 3, "box": torch.ones(4), "mask": tv_tensors.Mask(IMAGES)}
    found = v2.Compose([rb.transforms.Corrupt("fog", seed=0), v2.ToImage()])(sample)
    assert torch.equal(found["image"], rb.corrupt(IMAGES[0], "fog", seed=0))
    assert found["label"] == 3
    assert torch.equal(found["box"], torch.ones(4))
    assert torch.equal(found["mask"], IMAGES)
    image, label = rb.transforms.Corrupt("fog", seed=0)(IMAGES, torch.arange(4))
    assert torch.equal(image, rb.corrupt(IMAGES, "fog", seed=0))
    assert label.tolist() == [0, 1, 2, 3]


def test_a_random_corruption_is_chosen_for_each_image() -> None:
    augment = rb.transforms.RandomCorrupt(["fog", "contrast"], [1, 5], p=0.5, seed=1)
    many = IMAGES.repeat(10, 1, 1, 1)
    found, choices = augment(many), augment.choices(40, 1)
    assert {None, ("fog", 1), ("fog", 5), ("contrast", 1), ("contrast", 5)} == {*choices}
    assert 10 <= choices.count(None) <= 30
    for place, chosen in enumerate(choices):
        expected = many[place]
        if chosen is not None:
            expected = rb.corrupt(expected, *chosen, seed=1, index=place)
        assert torch.equal(found[place], expected)
    assert torch.equal(rb.transforms.RandomCorrupt(["fog"], p=0)(many), many)
    assert isinstance(augment(PICTURE), Image.Image)


class Constant(Dataset[Any]):
    """Eight times the same image."""

    transform = rb.transforms.RandomCorrupt(["gaussian_noise"], p=1)

    def __len__(self) -> int:
        return 8

    def __getitem__(self, place: int) -> torch.Tensor:
        return self.transform(IMAGES[0])


def test_samples_of_workers_differ_and_can_be_reproduced() -> None:
    def load() -> torch.Tensor:
        torch.manual_seed(0)
        return torch.cat([*DataLoader(Constant(), batch_size=2, num_workers=2)])

    first = load()
    assert len(first.flatten(1).unique(dim=0)) == 8
    assert torch.equal(load(), first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: rb.transforms.Corrupt("fogg"), "did you mean fog"),
        (lambda: rb.transforms.Corrupt("fog", 6), "severity 6 does not exist"),
        (lambda: rb.transforms.Perturb("tild"), "did you mean tilt"),
        (lambda: rb.transforms.RandomCorrupt("fog"), r"give \['fog'\]"),
        (lambda: rb.transforms.RandomCorrupt([]), "nothing to choose from"),
        (lambda: rb.transforms.RandomCorrupt(["fog"], [0]), "severity 0 does not exist"),
        (lambda: rb.transforms.RandomCorrupt(["fog"], p=2), "probability from 0 to 1"),
        (lambda: rb.transforms.Corrupt("fog")(IMAGES / 255), "not uint8"),
        (lambda: rb.transforms.Corrupt("fog")(PICTURE.convert("L")), "mode L"),
        (lambda: rb.transforms.Corrupt("fog")(np.asarray(PICTURE)), "no image in ndarray"),
        (lambda: rb.transforms.Corrupt("fog")(tv_tensors.Video(IMAGES)), "no image in Video"),
    ],
)
def test_wrong_usage_is_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()

"""The arithmetic that stands in for libjpeg where there is none, against libjpeg."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.data import astronaut

from robustbench_aa.distortions.corruptions.jpeg import through_jpeg, through_planes


def through_libjpeg(picture: np.ndarray, quality: int) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(5, 70),
    width=st.integers(5, 70),
    quality=st.integers(1, 100),
    noise=st.booleans(),
)
def test_planes_are_what_libjpeg_gives(height: int, width: int, quality: int, noise: bool) -> None:
    picture = astronaut()[90 : 90 + height, 180 : 180 + width]
    if noise:  # the extremes, where values are clamped on the way
        picture = np.random.default_rng(quality).integers(0, 2, picture.shape, np.uint8) * 255
    images = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None]
    ours = through_planes(images, quality)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(ours, through_libjpeg(picture, quality))


def test_every_picture_of_a_batch_is_its_own() -> None:
    images = torch.from_numpy(astronaut()).permute(2, 0, 1).unfold(1, 224, 144).unfold(2, 224, 144)
    images = images.permute(1, 2, 0, 3, 4).flatten(0, 1).contiguous()
    together = through_jpeg(images, 85)
    assert torch.equal(together, through_planes(images, 85))
    for image, same in zip(images, together, strict=True):
        assert torch.equal(through_jpeg(image[None], 85)[0], same)

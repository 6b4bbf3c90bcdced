"""Our corruptions compared with the published scripts, both with the same random numbers.

The scripts are restated in originals.py. The imagecorruptions package is a second yardstick where
it does what the scripts do.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from skimage.util import random_noise

from robustbench_aa.distortions import imagecorruptions_backend
from robustbench_aa.distortions.corruptions import CORRUPTIONS, corrupt
from robustbench_aa.distortions.rng import Draws
from robustbench_aa.distortions.severities import SEVERITIES, TABLES, parameters
from robustbench_aa.errors import UsageError
from robustbench_aa.types import Distortion
from tests.conftest import cut_photographs
from tests.distortions.drawn import Recorder, Replay
from tests.distortions.originals import (
    CONSTANTS,
    ELASTIC_LENGTH,
    FOG_MAP,
    FROST_SCALE,
    ORIGINALS,
    exchange,
    impulse_noise,
    motion,
    original,
)

SIZES = (32, 64, 224, 299)
OTHERWISE_IN_THE_PACKAGE = {"motion_blur", "snow", "frost", "elastic_transform", "pixelate"}
DRAWN_OTHERWISE_IN_THE_PACKAGE = {"impulse_noise"}
"""A corruption that draws from scikit-image's own generator; distributions are compared."""


@pytest.fixture(scope="session")
def pictures() -> dict[int, torch.Tensor]:
    """Return real photographs of each size; those of 32 and 64 px are larger ones shrunk.

    There are three copies of those, for different random numbers.
    """

    def shrunk(size: int, factor: int) -> torch.Tensor:
        large = cut_photographs(size * factor).float()
        return torch.nn.functional.avg_pool2d(large, factor).round().byte().repeat(3, 1, 1, 1)

    whole = {size: cut_photographs(size) for size in (224, 299)}
    return {32: shrunk(32, 7), 64: shrunk(64, 4)} | whole


def differences(
    images: torch.Tensor,
    name: str,
    severity: int,
    reference: Callable[..., np.ndarray],
    seeds: Sequence[int] | None = None,
) -> np.ndarray:
    """Return |ours − reference| in levels, for images [B, 3, H, W]."""
    recorders = [Recorder(seed) for seed in seeds or range(len(images))]
    arrays = images.permute(0, 2, 3, 1).numpy()
    expected = [
        reference(name, array.copy(), severity, recorder)
        for array, recorder in zip(arrays, recorders, strict=True)
    ]
    replay = Replay(recorders)
    found = corrupt(images, name, severity, replay).permute(0, 2, 3, 1).numpy()
    replay.assert_spent()
    return np.abs(found.astype(int) - np.stack(expected))


def assert_faithful(difference: np.ndarray) -> None:
    assert (difference <= 1).mean() >= 0.999
    assert difference.mean() < 0.25


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ORIGINALS)
def test_corruptions_agree_with_the_scripts(
    pictures: dict[int, torch.Tensor], name: str, size: int, severity: int
) -> None:
    slow = name == "glass_blur" and size > 64
    images = pictures[size][:1] if slow else pictures[size]
    assert_faithful(differences(images, name, severity, original))


@pytest.mark.parametrize("size", SIZES)
def test_every_photograph_of_frost_is_sampled_as_the_scripts_do(
    pictures: dict[int, torch.Tensor], size: int
) -> None:
    seeds = [next(s for s in count() if Recorder(s).randint(5) == number) for number in range(5)]
    images = pictures[size][:1].expand(5, -1, -1, -1)
    for difference in differences(images, "frost", 3, original, seeds):
        assert_faithful(difference)


def test_the_severities_are_the_scripts() -> None:
    assert set(TABLES) == set(SIZES)
    for size, table in TABLES.items():
        assert set(table) == set(CONSTANTS)
        for name, rows in CONSTANTS.items():
            for severity, constants in zip(SEVERITIES, rows[size], strict=True):
                expected = {
                    "elastic_transform": tuple(ELASTIC_LENGTH[size] * c for c in constants),
                    "fog": (*constants, FOG_MAP[size]),
                    "frost": (*constants, FROST_SCALE[size]),
                }.get(name, constants)
                assert parameters(name, severity, size) == expected, (name, size, severity)


def test_the_scripts_exchange_of_pixels_copies() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    exchange(image, (0, 0), (1, 1))
    assert image[0, 0].tolist() == image[1, 1].tolist() == [9, 10, 11]


def test_the_restated_impulses_are_scikit_images(photographs: torch.Tensor) -> None:
    image = photographs[0].permute(1, 2, 0).numpy()
    found = impulse_noise(image, np.random.default_rng(7), 0.17)
    expected = random_noise(image / 255.0, mode="s&p", amount=0.17, rng=np.random.default_rng(7))
    np.testing.assert_array_equal(found, expected * 255)


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(
    "name",
    [n for n in ORIGINALS if n not in OTHERWISE_IN_THE_PACKAGE | DRAWN_OTHERWISE_IN_THE_PACKAGE],
)
def test_the_packages_corruptions(photographs: torch.Tensor, name: str, severity: int) -> None:
    def package(name: str, image: np.ndarray, severity: int, random: Any) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package's age shows
            return imagecorruptions_backend.corrupt(image, name, severity, random)

    images = photographs[:1] if name == "glass_blur" else photographs  # it takes seconds there
    assert_faithful(differences(images, name, severity, package))


def test_imagemagick_blurs_motion_as_the_transcription_does(photographs: torch.Tensor) -> None:
    """With Wand and the library of ImageMagick 6: to the last bit."""
    image_module = pytest.importorskip("wand.image", exc_type=ImportError)
    from io import BytesIO

    from PIL import Image

    plane = photographs[0, 1].numpy()
    for degrees in (-44.3, -20.0, 0.0, 13.3, 45.0, -100.0, -135.0):
        file = BytesIO()
        Image.fromarray(plane).save(file, "PNG")
        with image_module.Image(blob=file.getvalue()) as picture:
            picture.motion_blur(radius=15, sigma=8, angle=degrees)
            found = np.array(Image.open(BytesIO(picture.make_blob())))
        np.testing.assert_array_equal(found, motion(plane, 15, 8, degrees))


@pytest.mark.parametrize("severity", SEVERITIES)
def test_impulses_are_as_frequent_as_in_the_package(
    photographs: torch.Tensor, severity: int
) -> None:
    grey = torch.full_like(photographs[:1], 100)
    draws = Draws(0, Distortion("corruption", "impulse_noise", severity), [0])
    ours = corrupt(grey, "impulse_noise", severity, draws).numpy()
    picture = grey[0].permute(1, 2, 0).numpy()
    theirs = imagecorruptions_backend.corrupt_by_seed(picture, "impulse_noise", severity, 0)
    for level in (0, 255):
        assert (ours == level).mean() == pytest.approx((theirs == level).mean(), abs=0.004)
    assert set(np.unique(ours)) == set(np.unique(theirs)) == {0, 100, 255}


def test_the_package_gives_the_same_for_the_same_seed(photographs: torch.Tensor) -> None:
    picture = photographs[0].permute(1, 2, 0).numpy()
    for name in ("impulse_noise", "gaussian_noise", "frost"):
        first, second = (
            imagecorruptions_backend.corrupt_by_seed(picture, name, 2, 7) for _ in range(2)
        )
        np.testing.assert_array_equal(first, second)
        assert (first != imagecorruptions_backend.corrupt_by_seed(picture, name, 2, 8)).any()


def test_every_corruption_of_the_package_exists() -> None:
    module, _ = imagecorruptions_backend._package()
    assert set(CORRUPTIONS) <= set(vars(module))
    assert len(CORRUPTIONS) == 19


def test_the_stand_ins_are_visible_only_to_the_scripts() -> None:
    imagecorruptions_backend._package()
    assert not hasattr(np, "float_")
    assert "pkg_resources" not in sys.modules


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imagecorruptions_backend, "find_spec", lambda _name: None)
    imagecorruptions_backend._package.cache_clear()
    with pytest.raises(UsageError, match="pip install imagecorruptions"):
        imagecorruptions_backend.corrupt_by_seed(np.zeros((32, 32, 3), np.uint8), "fog", 1, 0)
    imagecorruptions_backend._package.cache_clear()

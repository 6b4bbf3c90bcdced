"""Our corruptions beside their references, both with the reference's own random numbers.

The reference is the imagecorruptions package where it does what ImageNet-C's scripts do, and a
plain transcription of those (originals.py) where it does not.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from robustbench_aa.distortions import reference
from robustbench_aa.distortions.corruptions import CORRUPTIONS, corrupt
from robustbench_aa.distortions.draws import Draws
from robustbench_aa.distortions.severities import SEVERITIES, TABLES
from robustbench_aa.errors import UsageError
from robustbench_aa.types import Distortion
from tests.distortions.drawn import Recorder, Replay
from tests.distortions.originals import ORIGINALS

DRAWN_OTHERWISE = {"impulse_noise"}
"""By scikit-image's own generator; compared by distribution."""


def differences(
    images: torch.Tensor, name: str, severity: int, original: Callable[..., np.ndarray]
) -> np.ndarray:
    """|ours − reference| in levels, for images [B, 3, H, W]."""
    recorders = [Recorder(seed) for seed in range(len(images))]
    pictures = images.permute(0, 2, 3, 1).numpy()
    expected = [original(p.copy(), severity, r) for p, r in zip(pictures, recorders, strict=True)]
    replay = Replay(recorders)
    found = corrupt(images, name, severity, replay).permute(0, 2, 3, 1).numpy()
    replay.assert_spent()
    return np.abs(found.astype(int) - np.stack(expected))


def assert_faithful(difference: np.ndarray) -> None:
    assert (difference <= 1).mean() >= 0.999
    assert difference.mean() < 0.25


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize(
    "name", [n for n in TABLES[224] if n not in {*ORIGINALS, *DRAWN_OTHERWISE}]
)
def test_the_packages_corruptions(photographs: torch.Tensor, name: str, severity: int) -> None:
    def package(image: np.ndarray, severity: int, random: Any) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package's age shows
            return reference.corrupt(image, name, severity, random)

    images = photographs[:1] if name == "glass_blur" else photographs  # it takes seconds there
    assert_faithful(differences(images, name, severity, package))


@pytest.mark.parametrize("severity", SEVERITIES)
@pytest.mark.parametrize("size", TABLES)
@pytest.mark.parametrize("name", ORIGINALS)
def test_the_originals_corruptions(
    photographs: torch.Tensor, name: str, size: int, severity: int
) -> None:
    images = photographs.repeat(1, 1, 2, 2)[..., :size, :size].contiguous()
    assert_faithful(differences(images, name, severity, ORIGINALS[name]))


def test_imagemagick_blurs_motion_as_the_transcription_does(photographs: torch.Tensor) -> None:
    """With Wand and the library of ImageMagick 6: to the last bit."""
    image_module = pytest.importorskip("wand.image", exc_type=ImportError)
    from io import BytesIO

    from PIL import Image

    from tests.distortions.originals import motion

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
    draws = Draws(0, Distortion("noise", "impulse_noise", severity), [0])
    ours = corrupt(grey, "impulse_noise", severity, draws).numpy()
    picture = grey[0].permute(1, 2, 0).numpy()
    theirs = reference.corrupt_by_seed(picture, "impulse_noise", severity, 0)
    for level in (0, 255):
        assert (ours == level).mean() == pytest.approx((theirs == level).mean(), abs=0.004)
    assert set(np.unique(ours)) == set(np.unique(theirs)) == {0, 100, 255}


def test_the_package_gives_the_same_for_the_same_seed(photographs: torch.Tensor) -> None:
    picture = photographs[0].permute(1, 2, 0).numpy()
    for name in ("impulse_noise", "gaussian_noise", "frost"):
        first, second = (reference.corrupt_by_seed(picture, name, 2, 7) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert (first != reference.corrupt_by_seed(picture, name, 2, 8)).any()


def test_every_corruption_of_the_package_is_here() -> None:
    module, _ = reference._package()
    assert set(CORRUPTIONS) <= set(vars(module))
    assert len(CORRUPTIONS) == 19


def test_nothing_else_sees_the_stand_ins() -> None:
    reference._package()
    assert not hasattr(np, "float_")
    assert "pkg_resources" not in sys.modules


def test_a_missing_package_is_told_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "find_spec", lambda _name: None)
    reference._package.cache_clear()
    with pytest.raises(UsageError, match="pip install imagecorruptions"):
        reference.corrupt_by_seed(np.zeros((32, 32, 3), np.uint8), "fog", 1, 0)
    reference._package.cache_clear()

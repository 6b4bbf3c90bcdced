"""Each corruption compared with an independent implementation on the same draws."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian
from skimage.util import random_noise

from robustbench_aa.distortions.corruptions import corrupt
from robustbench_aa.distortions.corruptions.noise import poisson
from robustbench_aa.distortions.rng import Draws
from robustbench_aa.distortions.severities import SEVERITIES, TABLES, parameters, published_size
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.types import Distortion


class Given:
    """Draws made in advance, so that a reference gets the same."""

    def __init__(self, normal: torch.Tensor | None = None, *uniform: torch.Tensor) -> None:
        self._normal, self._uniform = normal, list(uniform)

    def normal(self, *shape: int) -> torch.Tensor:
        assert self._normal is not None
        assert self._normal.shape[1:] == shape
        return self._normal

    def uniform(self, *shape: int) -> torch.Tensor:
        assert self._uniform[0].shape[1:] == shape
        return self._uniform.pop(0)


def pictures(images: torch.Tensor) -> list[np.ndarray]:
    """[H, W, 3] float64 in [0, 1], as the originals hold a picture."""
    return [image / 255.0 for image in channels_last(images)]


def channels_last(images: torch.Tensor) -> np.ndarray:
    return images.permute(0, 2, 3, 1).numpy()


def truncated(results: list[np.ndarray]) -> np.ndarray:
    """Return a result as the original scripts store it."""
    stacked = np.stack(results).transpose(0, 3, 1, 2)
    return np.uint8(np.clip(stacked, 0, 1) * 255)


def assert_same_picture(found: torch.Tensor, expected: np.ndarray, exact: float = 0.99) -> None:
    """Float32 flips a value by one level where a result is within rounding of a whole number."""
    difference = np.abs(found.numpy().astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference == 0).mean() >= exact


@pytest.fixture(params=[32, 224], ids=["32px", "224px"])
def images(request: pytest.FixtureRequest, photographs: torch.Tensor) -> torch.Tensor:
    start = (224 - request.param) // 2
    part = slice(start, start + request.param)
    return photographs[:, :, part, part].contiguous()


severities = pytest.mark.parametrize("severity", SEVERITIES)


def meaning(name: str, severity: int, images: torch.Tensor) -> tuple[float, ...]:
    return parameters(name, severity, images.shape[-1])


@severities
def test_gaussian_noise(images: torch.Tensor, severity: int) -> None:
    (sigma,) = meaning("gaussian_noise", severity, images)
    noise = torch.randn(images.shape)
    expected = [x + sigma * n for x, n in zip(pictures(images), channels_last(noise), strict=True)]
    found = corrupt(images, "gaussian_noise", severity, Given(noise))
    assert_same_picture(found, truncated(expected))


@severities
def test_speckle_noise(images: torch.Tensor, severity: int) -> None:
    (sigma,) = meaning("speckle_noise", severity, images)
    noise = torch.randn(images.shape)
    pairs = zip(pictures(images), channels_last(noise), strict=True)
    expected = [x + x * sigma * n for x, n in pairs]
    found = corrupt(images, "speckle_noise", severity, Given(noise))
    assert_same_picture(found, truncated(expected))


@severities
def test_shot_noise_inverts_scipys_poisson_distribution(
    images: torch.Tensor, severity: int
) -> None:
    (photons,) = meaning("shot_noise", severity, images)
    uniform = torch.rand(images.shape)
    pairs = zip(pictures(images), channels_last(uniform.double()), strict=True)
    expected = [stats.poisson.ppf(u, x * photons) / photons for x, u in pairs]
    found = corrupt(images, "shot_noise", severity, Given(None, uniform))
    # a draw within rounding of a step may fall to either side of it
    difference = np.abs(found.numpy().astype(int) - truncated(expected))
    assert (difference <= 1).mean() > 0.99999


@pytest.mark.parametrize("level", [0, 1, 17, 128, 255])
def test_shot_noise_has_the_moments_of_photons(level: int) -> None:
    scale = 60.0
    uniform = Draws(0, Distortion("corruption", "shot_noise", 1), range(8)).uniform(20_000)
    counts = poisson(torch.full_like(uniform, level / 255), scale, uniform).numpy()
    mean = scale * level / 255
    assert abs(counts.mean() - mean) <= 5 * np.sqrt(mean / counts.size)
    assert abs(counts.var() - mean) <= 5 * np.sqrt((mean + 2 * mean**2) / counts.size)


@severities
def test_impulse_noise_is_salt_and_pepper_in_the_published_share(
    images: torch.Tensor, severity: int
) -> None:
    (amount,) = meaning("impulse_noise", severity, images)
    grey = torch.full_like(images, 100)
    draws = Draws(0, Distortion("corruption", "impulse_noise", severity), range(len(images)))
    found = corrupt(grey, "impulse_noise", severity, draws).numpy()
    reference = random_noise(np.full((500, 500), 0.4), "s&p", amount=amount, rng=0)
    for value, extreme in ((0, 0.0), (255, 1.0)):
        share = amount / 2
        assert abs((found == value).mean() - share) < 5 * np.sqrt(share / found.size)
        assert abs((reference == extreme).mean() - share) < 5 * np.sqrt(share / reference.size)
    assert set(np.unique(found)) == {0, 100, 255}


@severities
def test_gaussian_blur_is_scikit_images(images: torch.Tensor, severity: int) -> None:
    (sigma,) = meaning("gaussian_blur", severity, images)
    expected = [gaussian(x, sigma=sigma, channel_axis=-1) for x in pictures(images)]
    assert_same_picture(corrupt(images, "gaussian_blur", severity, Given()), truncated(expected))


@severities
def test_defocus_blur_is_opencvs_filtering_with_a_softened_disk(
    images: torch.Tensor, severity: int
) -> None:
    radius, alias = meaning("defocus_blur", severity, images)
    reach, softening = (8, (3, 3)) if radius <= 8 else (int(radius), (5, 5))
    x, y = np.meshgrid(*[np.arange(-reach, reach + 1)] * 2)
    disk = (x**2 + y**2 <= radius**2).astype(np.float32)
    kernel = cv2.GaussianBlur(disk / disk.sum(), ksize=softening, sigmaX=alias)
    expected = [cv2.filter2D(picture, -1, kernel) for picture in pictures(images)]
    found = corrupt(images, "defocus_blur", severity, Given())
    # where the disk is a plain average of few pixels, many results are whole numbers
    assert_same_picture(found, truncated(expected), exact=0.85)


@severities
def test_brightness_raises_the_value_of_hsv(images: torch.Tensor, severity: int) -> None:
    (amount,) = meaning("brightness", severity, images)
    expected = []
    for picture in pictures(images):
        hsv = rgb2hsv(picture)
        hsv[..., 2] = np.clip(hsv[..., 2] + amount, 0, 1)
        expected.append(hsv2rgb(hsv))
    found = corrupt(images, "brightness", severity, Given())
    assert_same_picture(found, truncated(expected), exact=0.85)


@severities
def test_saturate_changes_the_saturation_of_hsv(images: torch.Tensor, severity: int) -> None:
    factor, offset = meaning("saturate", severity, images)
    images[0, :, :4, :4] = torch.tensor([0, 90, 255, 90]).byte()  # grey, white and black
    expected = []
    for picture in pictures(images):
        hsv = rgb2hsv(picture)
        hsv[..., 1] = np.clip(hsv[..., 1] * factor + offset, 0, 1)
        expected.append(hsv2rgb(hsv))
    found = corrupt(images, "saturate", severity, Given())
    # doubling a saturation gives whole numbers everywhere, which rounding sends either way
    assert_same_picture(found, truncated(expected), exact=0.8)


@severities
def test_contrast_pulls_towards_the_mean_of_each_channel(
    images: torch.Tensor, severity: int
) -> None:
    (factor,) = meaning("contrast", severity, images)
    expected = [(x - x.mean((0, 1))) * factor + x.mean((0, 1)) for x in pictures(images)]
    assert_same_picture(corrupt(images, "contrast", severity, Given()), truncated(expected))


@severities
def test_pixelate_is_pillows_box_resizing(images: torch.Tensor, severity: int) -> None:
    (scale,) = meaning("pixelate", severity, images)
    size = images.shape[-1]
    for image, found in zip(images, corrupt(images, "pixelate", severity, Given()), strict=True):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        for side in (int(size * scale), size):
            picture = picture.resize((side, side), Image.Resampling.BOX)
        assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(picture))


def test_every_size_has_every_corruption() -> None:
    names = {size: set(table) for size, table in TABLES.items()}
    assert names[32] == names[224] == names[299]


@pytest.mark.parametrize("severity", [0, 6, -1])
def test_a_severity_beyond_the_scale_is_refused(images: torch.Tensor, severity: int) -> None:
    with pytest.raises(UsageError, match=f"severity {severity} does not exist; choose from 1 to 5"):
        corrupt(images, "contrast", severity, Given())


def test_a_size_without_published_severities_is_refused() -> None:
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(UsageError, match="no severities were published for 16-px images"):
        corrupt(images, "contrast", 1, Given())


@pytest.mark.parametrize(
    ("size", "table"),
    [(17, 32), (45, 32), (46, 64), (119, 64), (120, 224), (258, 224), (259, 299), (597, 299)],
)
def test_a_size_between_the_published_ones_uses_the_nearest_by_ratio(size: int, table: int) -> None:
    assert published_size(size) == table
    assert parameters("jpeg_compression", 3, size) == TABLES[table]["jpeg_compression"][2]


def test_an_unknown_corruption_gets_suggestions(images: torch.Tensor) -> None:
    with pytest.raises(UnknownName, match="did you mean gaussian_noise"):
        corrupt(images, "gausian_noise", 1, Given())

"""The scripts that made ImageNet-C and CIFAR-10-C, restated as the reference for ours.

The scripts are in the folder ImageNet-C/create_c of the repository hendrycks/robustness:
make_cifar_c.py (32 px), make_tinyimagenet_c.py (64 px), make_imagenet_c.py (224 px) and
make_imagenet_c_inception.py (299 px). All constants are written down from them; none is read from
the package under test.

The functions are plain and slow. Each takes one image [H, W, 3], uint8, RGB, a stand-in for
`numpy.random` and the constants of a severity, and returns values of 0 to 255 that are not yet
truncated to 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

_ZOOM_BLUR = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))
_SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
_FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
_BRIGHTNESS = ((0.1,), (0.2,), (0.3,), (0.4,), (0.5,))
_CONTRAST = ((0.4,), (0.3,), (0.2,), (0.1,), (0.05,))
_ELASTIC = (
    (2, 0.7, 0.1),
    (2, 0.08, 0.2),
    (0.05, 0.01, 0.02),
    (0.07, 0.01, 0.02),
    (0.12, 0.01, 0.02),
)
_SATURATE = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))

CONSTANTS: dict[str, dict[int, tuple[tuple[float, ...], ...]]] = {
    "gaussian_noise": {
        32: ((0.04,), (0.06,), (0.08,), (0.09,), (0.10,)),
        64: ((0.04,), (0.08,), (0.12,), (0.15,), (0.18,)),
        224: ((0.08,), (0.12,), (0.18,), (0.26,), (0.38,)),
        299: ((0.09,), (0.13,), (0.19,), (0.27,), (0.40,)),
    },
    "shot_noise": {
        32: ((500,), (250,), (100,), (75,), (50,)),
        64: ((250,), (100,), (50,), (30,), (15,)),
        224: ((60,), (25,), (12,), (5,), (3,)),
        299: ((50,), (20,), (10,), (5,), (3,)),
    },
    "impulse_noise": {
        32: ((0.01,), (0.02,), (0.03,), (0.05,), (0.07,)),
        64: ((0.01,), (0.02,), (0.05,), (0.08,), (0.14,)),
        224: ((0.03,), (0.06,), (0.09,), (0.17,), (0.27,)),
        299: ((0.04,), (0.07,), (0.10,), (0.18,), (0.28,)),
    },
    "speckle_noise": {
        32: ((0.06,), (0.1,), (0.12,), (0.16,), (0.2,)),
        64: ((0.15,), (0.2,), (0.25,), (0.3,), (0.35,)),
        224: ((0.15,), (0.2,), (0.35,), (0.45,), (0.6,)),
        299: ((0.16,), (0.21,), (0.36,), (0.46,), (0.61,)),
    },
    "gaussian_blur": {
        32: ((0.4,), (0.6,), (0.7,), (0.8,), (1,)),
        64: ((0.5,), (0.75,), (1,), (1.25,), (1.5,)),
        224: ((1,), (2,), (3,), (4,), (6,)),
        299: ((1.5,), (2.5,), (3.5,), (4.5,), (6.5,)),
    },
    # deviation, reach, passes
    "glass_blur": {
        32: ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
        64: ((0.1, 1, 1), (0.5, 1, 1), (0.6, 1, 2), (0.7, 2, 1), (0.9, 2, 2)),
        224: ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        299: ((0.8, 1, 3), (1, 3, 1), (1.1, 2, 4), (1.2, 4, 2), (1.6, 5, 2)),
    },
    # radius, deviation of the rim
    "defocus_blur": {
        32: ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
        64: ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        224: ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        299: ((4, 0.1), (5, 0.5), (7, 0.5), (10, 0.5), (12, 0.5)),
    },
    # radius, deviation
    "motion_blur": {
        32: ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
        64: ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        224: ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        299: ((12, 4), (17, 6), (17, 9), (17, 13), (22, 16)),
    },
    # stop and step of the factors, which start at 1
    "zoom_blur": {
        32: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        64: ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
        224: _ZOOM_BLUR,
        299: _ZOOM_BLUR,
    },
    # amount, decay
    "fog": {
        32: ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
        64: ((0.4, 3), (0.7, 3), (1, 2.5), (1.5, 2), (2, 1.75)),
        224: ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        299: ((1.5, 2), (2, 2), (2.5, 1.8), (2.5, 1.6), (3, 1.5)),
    },
    # shares of the image and of the frost
    "frost": {
        32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
        64: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
        224: _FROST,
        299: _FROST,
    },
    # mean, deviation, zoom, threshold, radius and deviation of the motion, share of the image
    "snow": {
        32: (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
        64: (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.8),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.8),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.7),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.65),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.6),
        ),
        224: _SNOW,
        299: _SNOW,
    },
    # mean, deviation, deviation of the blur, threshold, strength or deviation of the outline, mud
    "spatter": {
        32: (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
        64: (
            (0.62, 0.1, 0.7, 0.7, 0.6, 0),
            (0.65, 0.1, 0.8, 0.7, 0.6, 0),
            (0.65, 0.3, 1, 0.69, 0.6, 0),
            (0.65, 0.1, 0.7, 0.68, 0.6, 1),
            (0.65, 0.1, 0.5, 0.67, 0.6, 1),
        ),
        224: (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        299: (
            (0.65, 0.3, 4, 0.69, 0.9, 0),
            (0.65, 0.3, 3.5, 0.68, 0.9, 0),
            (0.65, 0.3, 3, 0.68, 0.8, 0),
            (0.65, 0.3, 1.2, 0.65, 1.8, 1),
            (0.67, 0.4, 1.2, 0.65, 1.8, 1),
        ),
    },
    "contrast": {
        32: ((0.75,), (0.5,), (0.4,), (0.3,), (0.15,)),
        64: _CONTRAST,
        224: _CONTRAST,
        299: _CONTRAST,
    },
    "brightness": {
        32: ((0.05,), (0.1,), (0.15,), (0.2,), (0.3,)),
        64: _BRIGHTNESS,
        224: _BRIGHTNESS,
        299: _BRIGHTNESS,
    },
    # factor, offset
    "saturate": {
        32: ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
        64: ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (30, 0.2)),
        224: _SATURATE,
        299: _SATURATE,
    },
    "jpeg_compression": {
        32: ((80,), (65,), (58,), (50,), (40,)),
        64: ((65,), (58,), (50,), (40,), (25,)),
        224: ((25,), (18,), (15,), (10,), (7,)),
        299: ((23,), (16,), (13,), (8,), (5,)),
    },
    "pixelate": {
        32: ((0.95,), (0.9,), (0.85,), (0.75,), (0.65,)),
        64: ((0.9,), (0.8,), (0.7,), (0.6,), (0.5,)),
        224: ((0.6,), (0.5,), (0.4,), (0.3,), (0.25,)),
        299: ((0.5,), (0.4,), (0.3,), (0.25,), (0.2,)),
    },
    # strength, deviation, jitter of the affine map; each is a multiple of `ELASTIC_LENGTH`
    "elastic_transform": {
        32: (
            (0, 0, 0.08),
            (0.05, 0.2, 0.07),
            (0.08, 0.06, 0.06),
            (0.1, 0.04, 0.05),
            (0.1, 0.03, 0.03),
        ),
        64: (
            (0, 0, 0.08),
            (0.05, 0.3, 0.06),
            (0.1, 0.08, 0.06),
            (0.1, 0.03, 0.03),
            (0.16, 0.03, 0.02),
        ),
        224: _ELASTIC,
        299: _ELASTIC,
    },
}

ELASTIC_LENGTH = {32: 32, 64: 64, 224: 244, 299: 360}
FOG_MAP = {32: 32, 64: 64, 224: 256, 299: 512}
FROST_SCALE = {32: 0.2, 64: 0.3, 224: 1, 299: 1}
FROST_FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg", "frost6.jpg")


def original(name: str, image: np.ndarray, severity: int, random: Any) -> np.ndarray:
    """Return what the script for images of this size makes of an image, in 8 bits."""
    constants = CONSTANTS[name][len(image)][severity - 1]
    return np.uint8(ORIGINALS[name](image, random, *constants))


def gaussian_noise(image: np.ndarray, random: Any, deviation: float) -> np.ndarray:
    x = image / 255.0
    return np.clip(x + random.normal(size=x.shape, scale=deviation), 0, 1) * 255


def shot_noise(image: np.ndarray, random: Any, photons: float) -> np.ndarray:
    return np.clip(random.poisson(image / 255.0 * photons) / photons, 0, 1) * 255


def impulse_noise(image: np.ndarray, random: Any, amount: float) -> np.ndarray:
    """Return what scikit-image's `random_noise(…, mode="s&p")` gives: as much salt as pepper."""
    x = image / 255.0
    hit = random.random(x.shape) <= amount
    salt = random.random(x.shape) <= 0.5
    x[hit & salt] = 1
    x[hit & ~salt] = 0
    return np.clip(x, 0, 1) * 255


def speckle_noise(image: np.ndarray, random: Any, deviation: float) -> np.ndarray:
    x = image / 255.0
    return np.clip(x + x * random.normal(size=x.shape, scale=deviation), 0, 1) * 255


def gaussian_blur(image: np.ndarray, _random: Any, deviation: float) -> np.ndarray:
    return np.clip(gaussian(image / 255.0, sigma=deviation, channel_axis=-1), 0, 1) * 255


def glass_blur(
    image: np.ndarray, random: Any, deviation: float, reach: int, passes: int
) -> np.ndarray:
    x = np.uint8(gaussian(image / 255.0, sigma=deviation, channel_axis=-1) * 255)
    size = len(x)
    visits = range(size - reach, reach, -1)
    # one call draws the pairs that the scripts draw one by one, in the same order
    offsets = random.randint(-reach, reach, size=(passes, len(visits), len(visits), 2)).tolist()
    pixels = list(map(tuple, x.reshape(-1, 3).tolist()))
    for rows in offsets:
        for row, columns in zip(visits, rows, strict=True):
            for column, (right, down) in zip(visits, columns, strict=True):
                # the scripts' swap copies, see `exchange`
                pixels[row * size + column] = pixels[(row + down) * size + column + right]
    x = np.array(pixels, dtype=np.uint8).reshape(x.shape)
    return np.clip(gaussian(x / 255.0, sigma=deviation, channel_axis=-1), 0, 1) * 255


def exchange(x: np.ndarray, here: tuple[int, int], there: tuple[int, int]) -> None:
    """Exchange two pixels of [H, W, 3] by the scripts' statement, in which both sides are views."""
    x[here], x[there] = x[there], x[here]


def disk(radius: float, alias: float) -> np.ndarray:
    """Return the kernel of the defocus, [K, K] float32."""
    reach, softening = (8, 3) if radius <= 8 else (radius, 5)
    line = np.arange(-reach, reach + 1)
    filled = np.float32(line[:, None] ** 2 + line**2 <= radius**2)
    return cv2.GaussianBlur(filled / filled.sum(), ksize=(softening, softening), sigmaX=alias)


def defocus_blur(image: np.ndarray, _random: Any, radius: float, alias: float) -> np.ndarray:
    x, kernel = image / 255.0, disk(radius, alias)
    planes = [cv2.filter2D(np.ascontiguousarray(x[..., c]), -1, kernel) for c in range(3)]
    return np.clip(np.stack(planes, axis=-1), 0, 1) * 255


def motion(plane: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Return ImageMagick's motion blur of [H, W] uint8: whole-pixel samples, edges replicated.

    It works in 16 bits, to which it rounds, and truncates to 8 when it writes the file.
    """
    taps = 2 * radius + 1
    weights = np.exp(-(np.arange(taps) ** 2) / (2 * sigma**2))
    weights /= weights.sum()
    height, width = plane.shape
    total = np.zeros(plane.shape)
    for tap in range(taps):
        down = math.ceil(tap * math.sin(math.radians(degrees)) - 0.5)
        right = math.ceil(tap * math.cos(math.radians(degrees)) - 0.5)
        rows = np.clip(np.arange(height) + down, 0, height - 1)
        columns = np.clip(np.arange(width) + right, 0, width - 1)
        total += weights[tap] * plane[np.ix_(rows, columns)]
    return (np.floor(total * 257 + 0.5) // 257).astype(np.uint8)


def motion_blur(image: np.ndarray, random: Any, radius: int, sigma: float) -> np.ndarray:
    degrees = random.uniform(-45, 45)
    return np.stack([motion(image[..., c], radius, sigma, degrees) for c in range(3)], axis=-1)


def zoomed(x: np.ndarray, factor: float) -> np.ndarray:
    """Return the enlarged middle of [H, W, C], trimmed to the same size."""
    size = len(x)
    cut = math.ceil(size / factor)
    start = (size - cut) // 2
    middle = x[start : start + cut, start : start + cut]
    big = ndimage.zoom(middle, (factor, factor, 1), order=1)
    trim = (len(big) - size) // 2
    return big[trim : trim + size, trim : trim + size]


def zoom_blur(image: np.ndarray, _random: Any, stop: float, step: float) -> np.ndarray:
    x = np.float32(image / 255.0)
    factors = np.arange(1, stop, step)
    total = np.zeros_like(x)
    for factor in factors:
        total += zoomed(x, factor)
    return np.clip((x + total) / (len(factors) + 1), 0, 1) * 255


def plasma(size: int, decay: float, random: Any) -> np.ndarray:
    """Return the diamond-square fractal on a torus, [size, size] in [0, 1]."""
    heights = np.zeros((size, size))
    step, amplitude = size, 100.0

    def disturbed(sums: np.ndarray) -> np.ndarray:
        return sums / 4 + amplitude * random.uniform(-amplitude, amplitude, sums.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        heights[half::step, half::step] = disturbed(pairs + np.roll(pairs, -1, axis=1))
        centres = heights[half::step, half::step]
        for axis, edges in ((0, np.s_[::step, half::step]), (1, np.s_[half::step, ::step])):
            across = centres + np.roll(centres, 1, axis=axis)
            along = corners + np.roll(corners, -1, axis=1 - axis)
            heights[edges] = disturbed(across + along)
        step = half
        amplitude /= decay
    heights -= heights.min()
    return heights / heights.max()


def fog(image: np.ndarray, random: Any, amount: float, decay: float) -> np.ndarray:
    x = image / 255.0
    brightest, size = x.max(), len(image)
    x += amount * plasma(FOG_MAP[size], decay, random)[:size, :size, None]
    return np.clip(x * brightest / (brightest + amount), 0, 1) * 255


def frost(image: np.ndarray, random: Any, image_share: float, frost_share: float) -> np.ndarray:
    package = find_spec("imagecorruptions")
    assert package is not None
    file = FROST_FILES[random.randint(5)]
    photograph = cv2.imread(str(Path(package.origin).parent / "frost" / file))
    size = len(image)
    if FROST_SCALE[size] != 1:
        photograph = cv2.resize(photograph, (0, 0), fx=FROST_SCALE[size], fy=FROST_SCALE[size])
    top = random.randint(0, photograph.shape[0] - size)
    left = random.randint(0, photograph.shape[1] - size)
    layer = photograph[top : top + size, left : left + size, ::-1]  # OpenCV reads BGR
    return np.clip(image_share * image + frost_share * layer, 0, 255)


def snow(
    image: np.ndarray,
    random: Any,
    mean: float,
    deviation: float,
    factor: float,
    threshold: float,
    radius: int,
    sigma: float,
    share: float,
) -> np.ndarray:
    x = np.float32(image) / 255
    layer = random.normal(size=x.shape[:2], loc=mean, scale=deviation)
    flakes = snowfall(
        snow_at_rest(layer, factor, threshold), radius, sigma, random.uniform(-135, -45)
    )
    return np.clip(whitened(x, share) + flakes, 0, 1) * 255


def snow_at_rest(noise: np.ndarray, factor: float, threshold: float) -> np.ndarray:
    """Return the flakes in noise [H, W] before they move, [H, W] uint8."""
    layer = zoomed(noise[..., None], factor)[..., 0]
    layer[layer < threshold] = 0
    return (np.clip(layer, 0, 1) * 255).astype(np.uint8)


def snowfall(layer: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Return the light of the flakes [H, W] as they move, and as they do upside down, [H, W, 1]."""
    moving = motion(layer, radius, sigma, degrees)[..., None] / 255.0
    return moving + np.rot90(moving, 2)


def whitened(x: np.ndarray, share: float) -> np.ndarray:
    grey = cv2.cvtColor(np.float32(x), cv2.COLOR_RGB2GRAY)[..., None]
    return share * x + (1 - share) * np.maximum(x, grey * 1.5 + 0.5)


def spatter(
    image: np.ndarray,
    random: Any,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    strength: float,
    mud: int,
) -> np.ndarray:
    x = np.float32(image) / 255
    liquid = gaussian(random.normal(size=x.shape[:2], loc=mean, scale=deviation), sigma=sigma)
    liquid[liquid < threshold] = 0
    if not mud:
        return np.clip(x + water(liquid, strength), 0, 1) * 255
    cover = gaussian(np.float32(liquid > threshold), sigma=strength)
    cover[cover < 0.8] = 0
    brown = np.float32([63, 42, 20]) / 255
    return np.clip(x * (1 - cover[..., None]) + brown * cover[..., None], 0, 1) * 255


def water(liquid: np.ndarray, strength: float) -> np.ndarray:
    """Return the light that drops [H, W] add, [H, W, 3] float32."""
    liquid = (liquid * 255).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5)
    _, distance = cv2.threshold(distance, 20, 20, cv2.THRESH_TRUNC)
    levels = cv2.equalizeHist(cv2.blur(distance, (3, 3)).astype(np.uint8))
    relief = cv2.filter2D(levels, cv2.CV_8U, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]))
    light = liquid * cv2.blur(relief, (3, 3)).astype(np.float32)
    light = light / light.max() * np.float32(strength)
    return light[..., None] * (np.float32([175, 238, 238]) / 255)


def contrast(image: np.ndarray, _random: Any, factor: float) -> np.ndarray:
    x = image / 255.0
    means = x.mean(axis=(0, 1), keepdims=True)
    return np.clip((x - means) * factor + means, 0, 1) * 255


def brightness(image: np.ndarray, _random: Any, amount: float) -> np.ndarray:
    hsv = rgb2hsv(image / 255.0)
    hsv[..., 2] = np.clip(hsv[..., 2] + amount, 0, 1)
    return np.clip(hsv2rgb(hsv), 0, 1) * 255


def saturate(image: np.ndarray, _random: Any, factor: float, offset: float) -> np.ndarray:
    hsv = rgb2hsv(image / 255.0)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + offset, 0, 1)
    return np.clip(hsv2rgb(hsv), 0, 1) * 255


def jpeg_compression(image: np.ndarray, _random: Any, quality: int) -> np.ndarray:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file))


def pixelate(image: np.ndarray, _random: Any, share: float) -> np.ndarray:
    size = len(image)
    small = int(size * share)
    box = Image.Resampling.BOX
    return np.array(Image.fromarray(image).resize((small, small), box).resize((size, size), box))


def elastic_transform(
    image: np.ndarray, random: Any, strength: float, deviation: float, jitter: float
) -> np.ndarray:
    x = np.float32(image) / 255
    shape, length = x.shape[:2], ELASTIC_LENGTH[len(image)]
    centre, third = np.float32(shape) // 2, min(shape) // 3
    start = np.float32(centre + third * np.array([[1, 1], [1, -1], [-1, -1]]))
    reach = length * jitter
    moved = start + random.uniform(-reach, reach, size=start.shape).astype(np.float32)
    affine = cv2.getAffineTransform(start, moved)
    x = cv2.warpAffine(x, affine, shape[::-1], borderMode=cv2.BORDER_REFLECT_101)
    right, down = (
        np.float32(
            gaussian(
                random.uniform(-1, 1, size=shape), length * deviation, mode="reflect", truncate=3
            )
            * (length * strength)
        )
        for _ in range(2)
    )
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    planes = [
        ndimage.map_coordinates(x[..., c], [rows + down, columns + right], order=1, mode="reflect")
        for c in range(3)
    ]
    return np.clip(np.stack(planes, axis=-1), 0, 1) * 255


ORIGINALS: dict[str, Callable[..., np.ndarray]] = {
    function.__name__: function
    for function in (
        *(gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur),
        *(zoom_blur, snow, frost, fog, brightness, contrast, elastic_transform, pixelate),
        *(jpeg_compression, speckle_noise, gaussian_blur, spatter, saturate),
    )
}

"""The scripts that made ImageNet-P and CIFAR-10-P, restated as the reference for ours.

The scripts are in the folder ImageNet-P/create_p of the repository hendrycks/robustness:
make_cifar_p.py (32 px), make_tinyimagenet_p.py (64 px) and make_imagenet_p.py (224 px). All
constants are written down from them; none is read from the package under test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from PIL import Image
from PIL.Image import Resampling
from skimage.color import hsv2rgb, rgb2hsv
from skimage.filters import gaussian

from tests.distortions.originals import motion, snow_at_rest, snowfall, water, whitened

Frames = Iterator[np.ndarray]
"""The frames of a sequence, [size, size, 3] uint8 each."""


def middle(picture: Image.Image, size: int) -> np.ndarray:
    """Return torchvision's centre crop."""
    left, top = (round((length - size) / 2) for length in picture.size)
    return np.array(picture.crop((left, top, left + size, top + size)))


def eight_bits(x: np.ndarray) -> np.ndarray:
    return np.uint8(255 * np.clip(x, 0, 1))


# on the centre crop: functions of (image [size, size, 3] uint8, stand-in for `numpy.random`)


def gaussian_noise(image: np.ndarray, random: Any, deviation: float) -> Frames:
    yield image
    x = np.float32(image) / 255
    for _ in range(1, 31):
        yield eight_bits(x + deviation * np.float32(random.normal(size=x.shape)))


def shot_noise(image: np.ndarray, random: Any, photons: float) -> Frames:
    yield image
    x = image / 255.0
    for _ in range(1, 31):
        yield eight_bits(random.poisson(x * photons) / photons)


def speckle_noise(image: np.ndarray, random: Any, deviation: float) -> Frames:
    yield image
    x = image / 255.0
    for _ in range(1, 31):
        yield eight_bits(x + x * random.normal(size=x.shape, scale=deviation))


def motion_blur(
    image: np.ndarray, _random: Any, radius: int, sigma: float, angles: Iterable[float]
) -> Frames:
    for degrees in angles:
        yield np.stack([motion(image[..., c], radius, sigma, degrees) for c in range(3)], axis=-1)


def snow(
    image: np.ndarray,
    random: Any,
    factor: float,
    radius: int,
    sigma: float,
    deviation: float = 0.3,
) -> Frames:
    x = image / 255.0
    noise = random.normal(size=x.shape[:2], loc=0.05, scale=deviation)
    layer, pale = snow_at_rest(noise, factor, 0.5), whitened(x, 0.85)
    for i in range(31):
        yield eight_bits(pale + snowfall(layer, radius, sigma, i * 4 - 150))


def brightness(image: np.ndarray, _random: Any, percent: float) -> Frames:
    for i in range(31):
        hsv = rgb2hsv(image / 255.0)
        hsv[..., 2] = np.clip(hsv[..., 2] + (i - 15) * percent / 100, 0, 1)
        yield np.uint8(hsv2rgb(hsv) * 255)


def gaussian_blur(image: np.ndarray, _random: Any, first: float, step: float, cut: float) -> Frames:
    for i in range(31):
        sigma = first + step * i
        yield np.uint8(255 * gaussian(image / 255.0, sigma=sigma, channel_axis=-1, truncate=cut))


def spatter(
    image: np.ndarray,
    random: Any,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    flow: tuple[float, ...],
) -> Frames:
    x = np.float32(image) / 255
    liquid = gaussian(random.normal(size=x.shape[:2], loc=mean, scale=deviation), sigma=sigma)
    liquid[liquid < threshold] = 0
    for _ in range(31):
        yield eight_bits(x + water(liquid, 0.6))
        liquid = np.apply_along_axis(np.convolve, 0, liquid, np.array(flow), mode="same")


# on the whole photograph: functions of (picture, size of the frames)


def affine(
    picture: Image.Image,
    angle: float = 0.0,
    right: float = 0.0,
    scale: float = 1.0,
    shear: float = 0.0,
    resample: Resampling = Resampling.BILINEAR,
) -> Image.Image:
    """Warp as torchvision 0.2 called Pillow."""
    x, y = (length * 0.5 + 0.5 for length in picture.size)
    turn, lean = math.radians(angle), math.radians(shear)
    share = scale * (
        math.cos(turn + lean) * math.cos(turn) + math.sin(turn + lean) * math.sin(turn)
    )
    a, b = math.cos(turn + lean) / share, math.sin(turn + lean) / share
    d, e = -math.sin(turn) / share, math.cos(turn) / share
    c = x - a * (x + right) - b * y
    f = y - d * (x + right) - e * y
    return picture.transform(picture.size, Image.Transform.AFFINE, (a, b, c, d, e, f), resample)


def moving(picture: Image.Image, size: int, ways: Iterable[dict[str, Any]]) -> Frames:
    for way in ways:
        yield middle(affine(picture, **way), size)


def zoom_blur(picture: Image.Image, size: int) -> Frames:
    total = np.float32(middle(picture, size)) / 255
    yield middle(picture, size)
    for i in range(1, 31):
        total += np.float32(middle(affine(picture, scale=1 + 0.004 * i), size)) / 255
        yield np.uint8(total / (i + 1) * 255)


def tilt(picture: Image.Image, size: int, angles: Iterable[float]) -> Frames:
    pixels = np.array(picture)
    height, width = pixels.shape[:2]
    far = math.hypot(width, height)
    in_plane = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    away = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, far], [0, 0, 0, 1]])
    seen = np.array([[far, 0, width / 2, 0], [0, far, height / 2, 0], [0, 0, 1, 0]])
    for degrees in angles:
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        about_x = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
        about_y = np.array([[cos, 0, -sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]])
        matrix = seen @ away @ about_x @ about_y @ in_plane
        warped = cv2.warpPerspective(pixels, matrix, (width, height))
        yield middle(Image.fromarray(warped), size)


def motion_blur_of_original(picture: Image.Image, size: int, angles: Iterable[float]) -> Frames:
    """Blur the photograph itself, and resize each frame as torchvision did."""
    shorter = min(picture.size)
    width, height = (int(size * length / shorter) for length in picture.size)
    for frame in motion_blur(np.array(picture), None, radius=14, sigma=3, angles=angles):
        resized = Image.fromarray(frame).resize((width, height), Resampling.BILINEAR)
        yield middle(resized, size)


STILL: dict[int, dict[str, Callable[[np.ndarray, Any], Frames]]] = {
    32: {
        "gaussian_noise": partial(gaussian_noise, deviation=0.02),
        "gaussian_noise_2": partial(gaussian_noise, deviation=0.04),
        "gaussian_noise_3": partial(gaussian_noise, deviation=0.06),
        "shot_noise": partial(shot_noise, photons=700),
        "shot_noise_2": partial(shot_noise, photons=400),
        "shot_noise_3": partial(shot_noise, photons=200),
        "speckle_noise": partial(speckle_noise, deviation=0.05),
        "speckle_noise_2": partial(speckle_noise, deviation=0.07),
        "speckle_noise_3": partial(speckle_noise, deviation=0.1),
        "motion_blur": partial(
            motion_blur, radius=6, sigma=1.8, angles=[(i - 20) * 9 for i in range(21)]
        ),
        "snow": partial(snow, factor=2, radius=10, sigma=2),
        "brightness": partial(brightness, percent=1.5),
        "gaussian_blur": partial(gaussian_blur, first=0.3, step=0.015, cut=7),
        "spatter": partial(
            spatter, mean=0.6, deviation=0.265, sigma=1.75, threshold=0.7, flow=(0.2, 0.8)
        ),
    },
    64: {
        "gaussian_noise": partial(gaussian_noise, deviation=0.025),
        "gaussian_noise_2": partial(gaussian_noise, deviation=0.05),
        "gaussian_noise_3": partial(gaussian_noise, deviation=0.075),
        "shot_noise": partial(shot_noise, photons=500),
        "shot_noise_2": partial(shot_noise, photons=250),
        "shot_noise_3": partial(shot_noise, photons=125),
        "speckle_noise": partial(speckle_noise, deviation=0.05),
        "speckle_noise_2": partial(speckle_noise, deviation=0.1),
        "speckle_noise_3": partial(speckle_noise, deviation=0.15),
        "snow": partial(snow, factor=2, radius=10, sigma=2.5, deviation=0.28),
        "brightness": partial(brightness, percent=2),
        "gaussian_blur": partial(gaussian_blur, first=0.35, step=0.014, cut=7),
        "spatter": partial(
            spatter, mean=0.6, deviation=0.25, sigma=1.75, threshold=0.7, flow=(0.2, 0.8)
        ),
    },
    224: {
        "gaussian_noise": partial(gaussian_noise, deviation=0.03),
        "gaussian_noise_2": partial(gaussian_noise, deviation=0.05),
        "gaussian_noise_3": partial(gaussian_noise, deviation=0.08),
        "shot_noise": partial(shot_noise, photons=300),
        "shot_noise_2": partial(shot_noise, photons=120),
        "shot_noise_3": partial(shot_noise, photons=60),
        "speckle_noise": partial(speckle_noise, deviation=0.05),
        "speckle_noise_2": partial(speckle_noise, deviation=0.10),
        "speckle_noise_3": partial(speckle_noise, deviation=0.15),
        "motion_blur": partial(
            motion_blur, radius=10, sigma=3, angles=[(i - 30) * 4 for i in range(31)]
        ),
        "snow": partial(snow, factor=3, radius=14, sigma=4),
        "brightness": partial(brightness, percent=2),
        "gaussian_blur": partial(gaussian_blur, first=0.25, step=0.035, cut=6),
        "spatter": partial(
            spatter,
            mean=0.65,
            deviation=0.27,
            sigma=3.7,
            threshold=0.69,
            flow=(0.05, 0.1, 0.15, 0.7),
        ),
    },
}

NEAREST = Resampling.NEAREST
MOVING: dict[int, dict[str, Callable[[Image.Image, int], Frames]]] = {
    32: {
        "zoom_blur": zoom_blur,
        "tilt": partial(tilt, angles=[0.75 * (i - 15) for i in range(31)]),
        "translate": partial(
            moving, ways=[{"right": i - 7, "resample": NEAREST} for i in range(16)]
        ),
        "rotate": partial(moving, ways=[{"angle": i - 15} for i in range(31)]),
        "scale": partial(moving, ways=[{"scale": (i * 2 + 70) / 100} for i in range(31)]),
        "shear": partial(moving, ways=[{"shear": i - 15} for i in range(31)]),
    },
    64: {
        "zoom_blur": zoom_blur,
        "motion_blur": partial(motion_blur_of_original, angles=[(i - 30) * 5 for i in range(31)]),
        "tilt": partial(tilt, angles=[i - 15 for i in range(31)]),
        "translate": partial(
            moving, ways=[{"right": i - 15, "resample": NEAREST} for i in range(31)]
        ),
        "rotate": partial(moving, ways=[{"angle": i - 15} for i in range(31)]),
        "scale": partial(moving, ways=[{"scale": (i * 2.5 + 40) / 100} for i in range(31)]),
        "shear": partial(moving, ways=[{"shear": i - 15} for i in range(31)]),
    },
    224: {
        "zoom_blur": zoom_blur,
        "tilt": partial(tilt, angles=[i - 15 for i in range(31)]),
        "translate": partial(
            moving, ways=[{"right": i - 20, "resample": NEAREST} for i in range(41)]
        ),
        "rotate": partial(moving, ways=[{"angle": i - 15} for i in range(31)]),
        "scale": partial(moving, ways=[{"scale": (i * 2.5 + 40) / 100} for i in range(31)]),
        "shear": partial(moving, ways=[{"shear": i - 15} for i in range(31)]),
    },
}


def original_frames(name: str, picture: Image.Image, size: int, random: Any) -> np.ndarray:
    """Return the sequence that the script for this size makes, [F, size, size, 3] uint8."""
    if name in MOVING[size]:
        return np.stack(list(MOVING[size][name](picture, size)))
    return np.stack(list(STILL[size][name](middle(picture, size), random)))

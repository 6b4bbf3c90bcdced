"""What ImageNet-C's generation scripts do where the imagecorruptions package does something else.

Plain and slow, one image at a time, from the published procedures: the yardstick of our batched
functions. Images are [H, W, 3] uint8; random numbers come from a stand-in for `numpy.random`.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from PIL import Image
from scipy import ndimage

from robustbench_aa.distortions.corruptions.photographs import frost_photographs
from robustbench_aa.distortions.severities import parameters


def motion(plane: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """ImageMagick's motion blur of 8-bit values [H, W]: whole-pixel samples, edges replicated.

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


def zoomed(plane: np.ndarray, factor: float) -> np.ndarray:
    """The enlarged middle of [H, W], trimmed to the same size."""
    size = plane.shape[0]
    cut = math.ceil(size / factor)
    start = (size - cut) // 2
    big = ndimage.zoom(plane[start : start + cut, start : start + cut], factor, order=1)
    trim = (big.shape[0] - size) // 2
    return big[trim : trim + size, trim : trim + size]


def motion_blur(image: np.ndarray, severity: int, random: Any) -> np.ndarray:
    radius, sigma = parameters("motion_blur", severity, len(image))
    degrees = random.uniform(-45, 45)
    planes = [motion(image[..., c], int(radius), sigma, degrees) for c in range(3)]
    return np.stack(planes, axis=-1)


def snow(image: np.ndarray, severity: int, random: Any) -> np.ndarray:
    loc, scale, factor, threshold, radius, sigma, share = parameters("snow", severity, len(image))
    layer = zoomed(random.normal(loc, scale, size=image.shape[:2]), factor)
    layer[layer < threshold] = 0
    layer = (np.clip(layer, 0, 1) * 255).astype(np.uint8)
    layer = motion(layer, int(radius), sigma, random.uniform(-135, -45))[..., None] / 255.0
    x = image / 255.0
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    x = share * x + (1 - share) * np.maximum(x, grey * 1.5 + 0.5)
    return np.uint8(np.clip(x + layer + np.rot90(layer, 2), 0, 1) * 255)


def frost(image: np.ndarray, severity: int, random: Any) -> np.ndarray:
    image_share, frost_share, scale = parameters("frost", severity, len(image))
    photographs = [p.permute(1, 2, 0).numpy() for p in frost_photographs(1)]
    photograph = photographs[random.randint(5)]
    if scale != 1:
        photograph = cv2.resize(photograph, (0, 0), fx=scale, fy=scale)
    height, width = image.shape[:2]
    y = random.randint(0, photograph.shape[0] - height)
    x = random.randint(0, photograph.shape[1] - width)
    layer = photograph[y : y + height, x : x + width]
    return np.uint8(np.clip(image_share * image + frost_share * layer.astype(float), 0, 255))


def elastic_transform(image: np.ndarray, severity: int, random: Any) -> np.ndarray:
    strength, sigma, jitter = parameters("elastic_transform", severity, len(image))
    x = np.float32(image) / 255
    size = x.shape[:2]
    middle, third = np.float32(size) / 2, min(size) // 3
    corners = np.float32([[1, 1], [1, -1], [-1, -1]])
    start = middle + third * corners
    moved = start + random.uniform(-jitter, jitter, size=(3, 2)).astype(np.float32)
    affine = cv2.getAffineTransform(start, moved)
    x = cv2.warpAffine(x, affine, size[::-1], borderMode=cv2.BORDER_REFLECT_101)
    dx, dy = (
        ndimage.gaussian_filter(random.uniform(-1, 1, size=size), sigma, truncate=3) * strength
        for _ in range(2)
    )
    rows, columns = np.mgrid[: size[0], : size[1]]
    places = [rows + np.float32(dy), columns + np.float32(dx)]
    planes = [ndimage.map_coordinates(x[..., c], places, order=1, mode="reflect") for c in range(3)]
    return np.uint8(np.clip(np.stack(planes, axis=-1), 0, 1) * 255)


def pixelate(image: np.ndarray, severity: int, random: Any) -> np.ndarray:
    (share,) = parameters("pixelate", severity, len(image))
    small = [int(size * share) for size in image.shape[1::-1]]
    return np.array(
        Image.fromarray(image).resize(small, Image.BOX).resize(image.shape[1::-1], Image.BOX)
    )


ORIGINALS = {
    function.__name__: function
    for function in (motion_blur, snow, frost, elastic_transform, pixelate)
}

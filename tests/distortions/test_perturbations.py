"""The perturbations beside plain transcriptions of the scripts that made ImageNet-P."""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.Image import Resampling
from skimage.data import astronaut

from robustbench_aa.distortions import frames, perturbations_at
from robustbench_aa.distortions.draws import Draws
from robustbench_aa.distortions.perturbations import COUNTED, TABLES, perturb
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.types import Distortion
from tests.distortions.originals import motion

SIZE = 224
WHOLE = Image.fromarray(astronaut()).resize((341, 256), Resampling.BILINEAR)
TALL = Image.fromarray(astronaut()[:, 100:451]).resize((256, 373), Resampling.BILINEAR)


def tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous()


def ours(name: str, picture: Image.Image, size: int = SIZE) -> np.ndarray:
    draws = Draws(0, Distortion("perturbation", name), [0])
    return perturb([tensor(picture)], name, size, draws)[0].permute(0, 2, 3, 1).numpy().astype(int)


def middle(picture: Image.Image, size: int = SIZE) -> np.ndarray:
    left, top = (round((length - size) / 2) for length in picture.size)
    return np.array(picture.crop((left, top, left + size, top + size)))


def affine(
    picture: Image.Image,
    angle: float = 0.0,
    right: float = 0.0,
    scale: float = 1.0,
    shear: float = 0.0,
    resample: Resampling = Resampling.BILINEAR,
) -> Image.Image:
    """As torchvision 0.2 called Pillow."""
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


def tilted(picture: Image.Image, degrees: int) -> Image.Image:
    pixels = np.array(picture)
    height, width = pixels.shape[:2]
    angle, far = math.radians(degrees), math.hypot(width, height)
    cos, sin = math.cos(angle), math.sin(angle)
    in_plane = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    about_x = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
    about_y = np.array([[cos, 0, -sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]])
    away = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, far], [0, 0, 0, 1]])
    seen = np.array([[far, 0, width / 2, 0], [0, far, height / 2, 0], [0, 0, 1, 0]])
    matrix = seen @ away @ about_x @ about_y @ in_plane
    return Image.fromarray(cv2.warpPerspective(pixels, matrix, (width, height)))


MOVED: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "translate": lambda p, i: affine(p, right=i - 20, resample=Resampling.NEAREST),
    "rotate": lambda p, i: affine(p, angle=i - 15),
    "scale": lambda p, i: affine(p, scale=(40 + 2.5 * i) / 100),
    "shear": lambda p, i: affine(p, shear=i - 15),
    "tilt": lambda p, i: tilted(p, i - 15),
}


def assert_faithful(found: np.ndarray, expected: np.ndarray) -> None:
    difference = np.abs(found - expected)
    assert (difference <= 1).mean() >= 0.999
    assert difference.mean() < 0.1


@pytest.mark.parametrize("picture", [WHOLE, TALL], ids=["wide", "tall"])
@pytest.mark.parametrize("name", MOVED)
def test_what_moves_is_resampled_as_the_scripts_do(name: str, picture: Image.Image) -> None:
    found = ours(name, picture)
    expected = np.stack([middle(MOVED[name](picture, i)) for i in range(len(found))]).astype(int)
    assert_faithful(found, expected)


def test_zoom_blur_is_the_running_mean_of_the_zooms() -> None:
    total, expected = middle(WHOLE) / np.float32(255), [middle(WHOLE)]
    for i in range(1, 31):
        total = total + middle(affine(WHOLE, scale=1 + 0.004 * i)) / np.float32(255)
        expected.append((total / (i + 1) * 255).astype(np.uint8))
    assert_faithful(ours("zoom_blur", WHOLE), np.stack(expected).astype(int))


def test_motion_blur_turns_four_degrees_a_frame() -> None:
    found = ours("motion_blur", WHOLE)
    for i in (0, 7, 30):
        planes = [motion(middle(WHOLE)[..., c], 10, 3, (i - 30) * 4) for c in range(3)]
        assert_faithful(found[i], np.stack(planes, axis=-1).astype(int))


def test_brightness_is_a_change_of_value() -> None:
    from skimage.color import hsv2rgb, rgb2hsv

    found = ours("brightness", WHOLE)
    for i in (0, 8, 15, 30):
        hsv = rgb2hsv(middle(WHOLE) / 255.0)
        hsv[..., 2] = np.clip(hsv[..., 2] + (i - 15) * 2 / 100, 0, 1)
        assert_faithful(found[i], np.uint8(hsv2rgb(hsv) * 255).astype(int))


def test_gaussian_blur_grows() -> None:
    from skimage.filters import gaussian

    found = ours("gaussian_blur", WHOLE)
    for i in (0, 10, 30):
        blurred = gaussian(
            middle(WHOLE) / 255.0, sigma=0.25 + 0.035 * i, channel_axis=-1, truncate=6.0
        )
        assert_faithful(found[i], np.uint8(255 * blurred).astype(int))


@pytest.mark.parametrize("size", TABLES)
@pytest.mark.parametrize("kind", ["gaussian_noise", "shot_noise", "speckle_noise"])
def test_noise_is_of_its_size_and_independent(kind: str, size: int) -> None:
    grey = Image.new("RGB", (size, size), (128, 128, 128))
    sigma = {
        "gaussian_noise": {224: (0.03, 0.05, 0.08), 32: (0.02, 0.04, 0.06)},
        "shot_noise": {224: (300, 120, 60), 32: (700, 400, 200)},
        "speckle_noise": {224: (0.05, 0.10, 0.15), 32: (0.05, 0.07, 0.10)},
    }[kind][size]
    for suffix, parameter in zip(("", "_2", "_3"), sigma, strict=True):
        found = ours(kind + suffix, grey, size)
        assert (found[0] == 128).all()
        level = 128 / 255
        deviation = {
            "gaussian_noise": parameter,
            "shot_noise": (level / parameter) ** 0.5,
            "speckle_noise": level * parameter,
        }[kind]
        noise = found[1:] / 255 - level + 0.5 / 255  # what truncation takes on average
        assert noise.std() == pytest.approx(deviation, rel=0.02)
        assert abs(noise.mean()) < 0.02 * deviation + 0.001
        assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.07


def test_snow_falls_as_one_layer_that_turns() -> None:
    black = Image.new("RGB", (SIZE, SIZE))
    found = ours("snow", black)
    pale = int(0.15 * 0.5 * 255)  # what whitening leaves of black
    assert found.min() == pale
    assert 0.01 < (found > pale + 50).mean() < 0.3
    assert len({frame.tobytes() for frame in found}) == 31
    assert (found[:, :, :, 0] == found[:, :, :, 2]).all()


def test_drops_flow_down() -> None:
    grey = Image.new("RGB", (SIZE, SIZE), (60, 60, 60))
    wet = ours("spatter", grey)[..., 1] > 60
    assert 0.001 < wet[0].mean() < 0.5
    rows = np.arange(SIZE)[:, None]
    heights = [(rows * frame).sum() / frame.sum() for frame in wet[:10]]
    assert (np.diff(heights) != 0).any()
    down = np.convolve(np.eye(9)[4], (0.05, 0.1, 0.15, 0.7), mode="same")
    layer = torch.zeros(1, 1, 9, 3)
    layer[0, 0, 4] = 1.0
    from robustbench_aa.distortions.perturbations import _flowed

    np.testing.assert_allclose(_flowed(layer, (0.05, 0.1, 0.15, 0.7))[0, 0, :, 1], down, atol=1e-7)


@pytest.mark.parametrize("size", TABLES)
def test_sequences_depend_on_seed_and_image_alone(size: int) -> None:
    pictures = [tensor(p if size == 224 else p.crop((90, 90, 122, 122))) for p in (WHOLE, TALL)]
    for cell in perturbations_at(size):
        together = perturb(pictures, cell.name, size, Draws(3, cell, [5, 9]))
        alone = perturb(pictures[1:], cell.name, size, Draws(3, cell, [9]))
        assert torch.equal(together[1:], alone), cell
        assert together.shape == (2, frames(cell, size), 3, size, size)
        assert together.dtype == torch.uint8


def test_the_tables_are_complete() -> None:
    for size, table in TABLES.items():
        assert len(table) == 20
        assert len(set(COUNTED[size])) == 10
        assert set(COUNTED[size]) <= set(table)
    assert set(COUNTED[224]) - set(COUNTED[32]) == {"snow"}
    assert [p.name for p in perturbations_at(224) if not p.held_out] == list(COUNTED[224])
    lengths = {cell.name: frames(cell, 224) for cell in perturbations_at(224)}
    assert lengths.pop("translate") == 41
    assert set(lengths.values()) == {31}


def test_what_was_not_published_is_refused() -> None:
    draws = Draws(0, Distortion("perturbation", "x"), [0])
    with pytest.raises(UsageError, match="no perturbations were published for 64-px images"):
        perturb([tensor(WHOLE)], "tilt", 64, draws)
    with pytest.raises(UnknownName, match="unknown perturbation 'tild'; did you mean tilt"):
        perturb([tensor(WHOLE)], "tild", 224, draws)

"""Corruptions of black, grey and white images, whose results are known or bounded.

Values are fractions here, as in the corruptions' definitions. An expected picture is a lowest and a
highest value for each channel, which are the same where nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from robustbench_aa.distortions.corruptions import corrupt
from robustbench_aa.distortions.corruptions.spatter import MUD, WATER
from robustbench_aa.distortions.rng import Draws
from robustbench_aa.distortions.severities import SEVERITIES, TABLES, parameters
from robustbench_aa.types import Distortion

LEVELS = (0, 128, 255)
LEVEL = 1 / 255
Bounds = tuple[float | np.ndarray, float | np.ndarray]
"""The lowest and the highest value, for all channels or per channel [3]."""


def flat(level: int, size: int, images: int = 1) -> torch.Tensor:
    return torch.full((images, 3, size, size), level, dtype=torch.uint8)


def corrupted(images: torch.Tensor, name: str, severity: int) -> np.ndarray:
    draws = Draws(0, Distortion("corruption", name, severity), range(len(images)))
    return corrupt(images, name, severity, draws).numpy()


def same(x: float, *_: float) -> Bounds:
    return x, x


def glass_blur(x: float, *_: float) -> Bounds:
    return x - LEVEL, x  # it is truncated to 8 bits twice, other results once


def jpeg_compression(x: float, quality: float) -> Bounds:
    step = 800 / quality if quality < 50 else 32 - 0.32 * quality  # of eight times the mean
    return x - step / 16 * LEVEL, x + step / 16 * LEVEL


def brightness(x: float, amount: float) -> Bounds:
    return x + amount, x + amount


def saturate(x: float, _factor: float, offset: float) -> Bounds:
    red = x * np.array([1, 1 - offset, 1 - offset])  # grey has no hue and is taken for red
    return red, red


def fog(x: float, amount: float, *_: float) -> Bounds:
    return x * x / (x + amount), x  # between no cloud and the thickest


def frost(x: float, share: float, frost_share: float, _scale: float) -> Bounds:
    return x * share, x * share + frost_share


def snow(x: float, *parameters: float) -> Bounds:
    *_, share = parameters
    return x * share + (1.5 * x + 0.5) * (1 - share), 1.0


def spatter(x: float, *parameters: float) -> Bounds:
    *_, strength, mud = parameters
    if mud:
        return np.minimum(x, MUD), np.maximum(x, MUD)
    return x, x + strength * np.array(WATER)


EXPECTED: dict[str, Callable[..., Bounds]] = {
    **dict.fromkeys(("defocus_blur", "motion_blur", "zoom_blur", "gaussian_blur"), same),
    **dict.fromkeys(("contrast", "elastic_transform", "pixelate"), same),
    **{
        function.__name__: function
        for function in (
            *(glass_blur, jpeg_compression, brightness, saturate),
            *(fog, frost, snow, spatter),
        )
    },
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("size", TABLES)
@pytest.mark.parametrize("name", EXPECTED)
def test_a_flat_image_becomes_the_defined_value(name: str, size: int, level: int) -> None:
    for severity in SEVERITIES:
        bounds = EXPECTED[name](level / 255, *parameters(name, severity, size))
        lowest, highest = (np.clip(255 * np.ones(3) * bound, 0, 255) for bound in bounds)
        values = corrupted(flat(level, size, 2), name, severity).transpose(0, 2, 3, 1)
        # truncation and rounding may cost a level; where no light comes to black, it stays black
        assert (values >= np.floor(lowest) - 1).all(), (severity, values.min((0, 1, 2)), lowest)
        over = np.ceil(highest) + (highest > 0)
        assert (values <= over).all(), (severity, values.max((0, 1, 2)), highest)


@pytest.mark.parametrize(
    ("name", "level"), [("fog", 255), ("frost", 0), ("snow", 0), ("spatter", 0)]
)
def test_weather_is_visible_on_a_flat_image(name: str, level: int) -> None:
    for severity in SEVERITIES:
        values = corrupted(flat(level, 224, 2), name, severity)
        assert (values.std((1, 2, 3)) > 3).all()
        assert (values[0] != values[1]).any()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["gaussian_noise", "speckle_noise"])
def test_noise_has_its_normal_distribution_up_to_the_ends_of_the_scale(
    name: str, level: int
) -> None:
    values = np.arange(1, 256)
    for severity in SEVERITIES:
        (sigma,) = parameters(name, severity, 224)
        deviation = 255 * sigma * (level / 255 if name == "speckle_noise" else 1)
        found = corrupted(flat(level, 224), name, severity)
        if deviation == 0:
            assert (found == level).all()
            continue
        reached = (found.ravel()[:, None] >= values).mean(0)
        assert np.abs(reached - stats.norm.sf(values, level, deviation)).max() < 0.01


@pytest.mark.parametrize("level", LEVELS)
def test_shot_noise_has_the_mean_of_counts_up_to_white(level: int) -> None:
    for severity in SEVERITIES:
        (photons,) = parameters("shot_noise", severity, 224)
        counts = np.arange(10 * photons + 10)
        shares = stats.poisson.pmf(counts, photons * level / 255)
        mean = (shares * np.minimum(255 * counts / photons, 255)).sum()
        found = corrupted(flat(level, 224), "shot_noise", severity)
        # values are truncated; 0.5 is more than twice the standard error of the widest mean
        assert (found == 0).all() if level == 0 else mean - 1.5 < found.mean() < mean + 0.5


@pytest.mark.parametrize("level", [0, 255])
def test_impulses_are_seen_where_they_differ(level: int) -> None:
    for severity in SEVERITIES:
        (amount,) = parameters("impulse_noise", severity, 224)
        found = corrupted(flat(level, 224), "impulse_noise", severity)
        assert set(np.unique(found)) == {0, 255}
        assert (found != level).mean() == pytest.approx(amount / 2, abs=0.004)

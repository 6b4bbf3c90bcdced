"""The perturbations of ImageNet-P: sequences of frames that differ by little.

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (ICLR 2019), the generation scripts of ImageNet-P (224 px), Tiny-ImageNet-P (64 px)
and CIFAR-10-P (32 px). A perturbation is a pure function of (photographs, size, draws).
Perturbations that move the picture act on the whole photograph, of which models see the middle; all
others act on the middle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from robustbench_aa.distortions.corruptions.corruption import (
    RandomNumbers,
    check_bytes,
    through_magick,
    to_bytes,
)
from robustbench_aa.distortions.corruptions.displacement import blur_along
from robustbench_aa.distortions.corruptions.gaussian import gaussian
from robustbench_aa.distortions.corruptions.noise import poisson
from robustbench_aa.distortions.corruptions.spatter import liquid_layer, water
from robustbench_aa.distortions.corruptions.weather import brightness, snow_layer, whitened
from robustbench_aa.distortions.warps import affine, resized, tilt, warp, warp_perspective
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.support.pixels import divided, fractions

Frames = Iterator[Tensor]
"""The successive frames of a batch, [B, 3, size, size] uint8 each."""


@dataclass(frozen=True)
class Perturbation:
    """A perturbation of images of one size.

    Attributes:
        frames: the number of frames in a sequence.
        middle: a function from the middles of photographs to frames: (images [B, 3, size, size]
            uint8, draws) → frames.
        whole: a function from one whole photograph to frames: (image [3, H, W] uint8, size) →
            [F, 3, size, size] uint8. Either `middle` or `whole` is given.
        on_original: whether `whole` takes the photograph as it was before it was resized for the
            other perturbations.
        compared_with: the frame that each frame is compared with: the `previous` one, or the
            `first` one, which is clean, if the frames are independent noise.
        version: the version of the definition; a change of pixels needs a new one.
        source: the SHA-256 of the definition if it is not the package's own, otherwise empty.
    """

    frames: int
    middle: Callable[[Tensor, RandomNumbers], Frames] | None = None
    whole: Callable[[Tensor, int], Tensor] | None = None
    on_original: bool = False
    compared_with: str = "previous"
    version: int = 1
    source: str = ""


def perturb(
    photographs: Sequence[Tensor] | Tensor, name: str, size: int, draws: RandomNumbers
) -> Tensor:
    """Return the sequences of photographs.

    Args:
        photographs: [3, H, W] each, uint8, RGB, at least `size` high and wide.
        name: the perturbation.
        size: height and width of the frames, in pixels.
        draws: a source of random numbers for these photographs.

    Returns:
        [B, F, 3, size, size], uint8.

    Raises:
        UsageError: the photographs are not uint8, or no perturbations were published for this size.
        UnknownName: there is no such perturbation.
    """
    check_bytes(photographs)
    table = table_of(size)
    if name not in table:
        raise UnknownName("perturbation", name, table)
    perturbation = table[name]
    if perturbation.whole is not None:
        return torch.stack([perturbation.whole(image, size) for image in photographs])
    middles = torch.stack([_middle(image, size) for image in photographs])
    assert perturbation.middle is not None
    return torch.stack(list(perturbation.middle(middles, draws)), dim=1)


def _middle(image: Tensor, size: int) -> Tensor:
    top, left = (round((length - size) / 2) for length in image.shape[1:])
    return image[:, top : top + size, left : left + size]


def _gaussian_noise(images: Tensor, draws: RandomNumbers, sigma: float) -> Frames:
    """Yield x + N(0, sigma²); the first frame is clean."""
    yield images
    x = fractions(images)
    for _ in range(30):
        yield to_bytes(x + draws.normal(*images.shape[1:]) * sigma)


def _shot_noise(images: Tensor, draws: RandomNumbers, photons: float) -> Frames:
    """Yield Poisson(x · photons) / photons; the first frame is clean."""
    yield images
    x = fractions(images)
    for _ in range(30):
        yield to_bytes(divided(poisson(x, photons, draws.uniform(*images.shape[1:])), photons))


def _speckle_noise(images: Tensor, draws: RandomNumbers, sigma: float) -> Frames:
    """Yield x + x · N(0, sigma²); the first frame is clean."""
    yield images
    x = fractions(images)
    for _ in range(30):
        yield to_bytes(x + x * draws.normal(*images.shape[1:]) * sigma)


def _motion_blur(
    images: Tensor,
    _draws: RandomNumbers | None,
    radius: int,
    sigma: float,
    frames: int,
    step: float,
) -> Frames:
    """Yield blurs by half a Gaussian along a line that turns by `step` degrees per frame."""
    x = fractions(images)
    for frame in range(frames):
        degrees = x.new_full((len(x),), (frame - frames + 1) * step)
        yield to_bytes(through_magick(blur_along(x, radius, sigma, degrees)))


def _motion_blur_of_original(image: Tensor, size: int) -> Tensor:
    """Blur a photograph as `_motion_blur` does, and then resize its shorter side to `size`."""
    blurred = _motion_blur(image.unsqueeze(0), None, 14, 3, 31, 5)
    return torch.stack([_middle(resized(frame[0], size), size) for frame in blurred])


def _snow(
    images: Tensor,
    draws: RandomNumbers,
    factor: float,
    radius: int,
    sigma: float,
    deviation: float = 0.3,
) -> Frames:
    """Yield flakes whose direction turns by 4 degrees per frame."""
    x = fractions(images)
    layer = snow_layer(
        draws, x.shape[-2:], mean=0.05, deviation=deviation, factor=factor, threshold=0.5
    )
    pale = x * 0.85 + whitened(x) * 0.15
    for frame in range(31):
        degrees = x.new_full((len(x),), frame * 4.0 - 150.0)
        flakes = through_magick(blur_along(layer, radius, sigma, degrees))
        yield to_bytes(pale + flakes + flakes.flip(-2, -1))


def _brightness(images: Tensor, draws: RandomNumbers, step: float) -> Frames:
    """Yield images whose V of HSV grows by `step` per frame; the middle frame is clean."""
    x = fractions(images)
    for frame in range(31):
        yield to_bytes(brightness(x, draws, (frame - 15) * step))


def _gaussian_blur(
    images: Tensor, _draws: RandomNumbers, first: float, step: float, cut: float
) -> Frames:
    """Yield blurs by a Gaussian whose deviation grows from `first` by `step` per frame."""
    x = fractions(images)
    for frame in range(31):
        yield to_bytes(gaussian(x, first + step * frame, cut=cut))


def _spatter(
    images: Tensor,
    draws: RandomNumbers,
    mean: float,
    deviation: float,
    sigma: float,
    threshold: float,
    flow: tuple[float, ...],
) -> Frames:
    """Yield drops of water that flow down: each frame convolves them with `flow`."""
    x = fractions(images)
    layer = liquid_layer(draws, x.shape[-2:], mean, deviation, sigma)
    layer = torch.where(layer < threshold, 0.0, layer)
    for _ in range(31):
        yield to_bytes(x + water(layer, 0.6))
        layer = _flowed(layer, flow)


def _flowed(layer: Tensor, flow: tuple[float, ...]) -> Tensor:
    """Convolve the columns of a layer [B, 1, H, W] with `flow`, with zeros beyond the border.

    The sum is written out, since a GPU may compute a convolution with fewer bits.
    """
    above, height = len(flow) // 2, layer.shape[-2]
    padded = F.pad(layer, (0, 0, above, len(flow) - 1 - above))
    flowed = torch.zeros_like(layer)
    for row, share in enumerate(reversed(flow)):
        flowed.add_(padded[..., row : row + height, :], alpha=share)
    return flowed


def _zoom_blur(image: Tensor, size: int) -> Tensor:
    """Return running means of the image and its zooms by 1.004, 1.008 and so on."""
    zooms = warp_by(image, size, [{"scale": 1 + 0.004 * frame} for frame in range(31)])
    zooms[0] = _middle(image, size)
    total = fractions(zooms).cumsum(0)
    count = torch.arange(1, 32, device=image.device).view(-1, 1, 1, 1)
    return (total / count).mul_(255.0).add_(1e-3).byte()


def warp_by(image: Tensor, size: int, ways: Iterable[dict[str, float]]) -> Tensor:
    """Return a frame for each set of arguments of `affine`, [F, 3, size, size]."""
    return warp(image, np.stack([affine(image, size, **way) for way in ways]), size)


def _moving(way: str, values: Sequence[float]) -> Perturbation:
    """Return a perturbation in which an argument of `affine` takes one value per frame."""

    def whole(image: Tensor, size: int) -> Tensor:
        return warp_by(image, size, [{way: value} for value in values])

    return Perturbation(len(values), whole=whole)


def _tilting(step: float) -> Perturbation:
    """Return a perturbation that tilts about both axes by −15 to 15 times `step` degrees."""

    def whole(image: Tensor, size: int) -> Tensor:
        matrices = np.stack([tilt(image, frame * step, size) for frame in range(-15, 16)])
        return warp_perspective(image, matrices, size)

    return Perturbation(31, whole=whole)


def _still(function: Callable[..., Frames], *parameters: object, frames: int = 31) -> Perturbation:
    def middle(images: Tensor, draws: RandomNumbers) -> Frames:
        return function(images, draws, *parameters)

    return Perturbation(frames, middle=middle)


def _noise(function: Callable[..., Frames], strength: float) -> Perturbation:
    """Return a perturbation whose frames are independent noise, except for the clean first."""
    return dataclasses.replace(_still(function, strength), compared_with="first")


_SHARED = {
    "zoom_blur": Perturbation(31, whole=_zoom_blur),
    "rotate": _moving("degrees", range(-15, 16)),
    "shear": _moving("shear", range(-15, 16)),
}
_PX224 = _SHARED | {
    "gaussian_noise": _noise(_gaussian_noise, 0.03),
    "gaussian_noise_2": _noise(_gaussian_noise, 0.05),
    "gaussian_noise_3": _noise(_gaussian_noise, 0.08),
    "shot_noise": _noise(_shot_noise, 300),
    "shot_noise_2": _noise(_shot_noise, 120),
    "shot_noise_3": _noise(_shot_noise, 60),
    "speckle_noise": _noise(_speckle_noise, 0.05),
    "speckle_noise_2": _noise(_speckle_noise, 0.10),
    "speckle_noise_3": _noise(_speckle_noise, 0.15),
    "motion_blur": _still(_motion_blur, 10, 3, 31, 4),
    "snow": _still(_snow, 3, 14, 4),
    "brightness": _still(_brightness, 0.02),
    "gaussian_blur": _still(_gaussian_blur, 0.25, 0.035, 6),
    "spatter": _still(_spatter, 0.65, 0.27, 3.7, 0.69, (0.05, 0.1, 0.15, 0.7)),
    "tilt": _tilting(1),
    "translate": _moving("right", range(-20, 21)),
    "scale": _moving("scale", [(40 + 2.5 * frame) / 100 for frame in range(31)]),
}
_PX32 = _SHARED | {
    "gaussian_noise": _noise(_gaussian_noise, 0.02),
    "gaussian_noise_2": _noise(_gaussian_noise, 0.04),
    "gaussian_noise_3": _noise(_gaussian_noise, 0.06),
    "shot_noise": _noise(_shot_noise, 700),
    "shot_noise_2": _noise(_shot_noise, 400),
    "shot_noise_3": _noise(_shot_noise, 200),
    "speckle_noise": _noise(_speckle_noise, 0.05),
    "speckle_noise_2": _noise(_speckle_noise, 0.07),
    "speckle_noise_3": _noise(_speckle_noise, 0.10),
    "motion_blur": _still(_motion_blur, 6, 1.8, 21, 9, frames=21),
    "snow": _still(_snow, 2, 10, 2),
    "brightness": _still(_brightness, 0.015),
    "gaussian_blur": _still(_gaussian_blur, 0.3, 0.015, 7),
    "spatter": _still(_spatter, 0.6, 0.265, 1.75, 0.7, (0.2, 0.8)),
    "tilt": _tilting(0.75),
    "translate": _moving("right", range(-7, 9)),
    "scale": _moving("scale", [(70 + 2 * frame) / 100 for frame in range(31)]),
}
_PX64 = _SHARED | {
    "gaussian_noise": _noise(_gaussian_noise, 0.025),
    "gaussian_noise_2": _noise(_gaussian_noise, 0.05),
    "gaussian_noise_3": _noise(_gaussian_noise, 0.075),
    "shot_noise": _noise(_shot_noise, 500),
    "shot_noise_2": _noise(_shot_noise, 250),
    "shot_noise_3": _noise(_shot_noise, 125),
    "speckle_noise": _noise(_speckle_noise, 0.05),
    "speckle_noise_2": _noise(_speckle_noise, 0.10),
    "speckle_noise_3": _noise(_speckle_noise, 0.15),
    "motion_blur": Perturbation(31, whole=_motion_blur_of_original, on_original=True),
    "snow": _still(_snow, 2, 10, 2.5, 0.28),
    "brightness": _still(_brightness, 0.02),
    "gaussian_blur": _still(_gaussian_blur, 0.35, 0.014, 7),
    "spatter": _still(_spatter, 0.6, 0.25, 1.75, 0.7, (0.2, 0.8)),
    "tilt": _tilting(1),
    "translate": _moving("right", range(-15, 16)),
    "scale": _PX224["scale"],
}
TABLES = {32: _PX32, 64: _PX64, 224: _PX224}
_COUNTED_224 = (
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "snow", "brightness"),
    *("translate", "rotate", "tilt", "scale"),
)
COUNTED = {
    224: _COUNTED_224,
    64: _COUNTED_224,
    32: (
        *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "spatter", "brightness"),
        *("translate", "rotate", "tilt", "scale"),
    ),
}
"""The ten perturbations of a mean flip rate, in published order; the others are held out."""


def table_of(size: int) -> dict[str, Perturbation]:
    """Return the perturbations of images of a size, counted ones first.

    Raises:
        UsageError: no perturbations were published for this size.
    """
    if size not in TABLES:
        published = ", ".join(f"{known} px" for known in TABLES)
        raise UsageError(
            f"no perturbations were published for {size}-px images; published are {published}"
        )
    counted = {name: TABLES[size][name] for name in COUNTED[size]}
    return counted | TABLES[size]

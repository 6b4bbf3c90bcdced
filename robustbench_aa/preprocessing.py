"""The conversion of pixels to the input of a network. Loads no torch, as `types`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from robustbench_aa.support.checks import check_normalisation, number_per_channel, whole_number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Preprocessing:
    """The conversion of 8-bit pixels to a network's input: (pixel / 255 − mean) / std per channel.

    >>> import robustbench_aa as rb
    >>> rb.Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=256).resize
    256

    Attributes:
        mean, std: for red, green and blue, on the scale of 0 to 1.
        resize: the length of the shorter side before the centre crop, in pixels; None if pictures
            are not resized, or not with their shape.
        interpolation: the interpolation of the resizing, such as `bilinear` or `bicubic`.

    Raises:
        UsageError: the mean or the standard deviation is not three numbers, is on the scale of
            0 to 255, or divides by zero.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize: int | None = None
    interpolation: str = "bilinear"

    def __post_init__(self) -> None:
        for noun in ("mean", "std"):
            object.__setattr__(self, noun, number_per_channel(noun, getattr(self, noun)))
        check_normalisation(self.mean, self.std)
        if self.resize is not None:
            object.__setattr__(self, "resize", whole_number("resize", self.resize, least=1))

    def normalised(self, frames: Tensor) -> Tensor:
        """Return 8-bit frames [N, 3, H, W] as a network's input, float32."""
        from robustbench_aa.support.pixels import fractions

        mean, std = self._by_channel(frames)
        return fractions(frames).sub_(mean).div_(std)

    def pixels(self, inputs: Tensor) -> Tensor:
        """Return the 8-bit pixels of a network's input [N, 3, H, W], as float32."""
        mean, std = self._by_channel(inputs)
        return inputs.float().mul(std).add_(mean).mul_(255.0).round_()

    def _by_channel(self, images: Tensor) -> list[Tensor]:
        import torch

        values = (self.mean, self.std)
        return [torch.tensor(each, device=images.device).view(3, 1, 1) for each in values]

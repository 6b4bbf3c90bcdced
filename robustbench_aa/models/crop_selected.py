"""Crop selection: classify the part of a picture that its content chooses. No training is needed.

Shifman and Weiss, "Lost in Translation: Modern Neural Networks Still Struggle With Small Realistic
Image Transformations" (ECCV 2024), choose a crop by its content. The score and the candidates here
are our own:

- Candidates are the square crops of C pixels in a picture of S pixels, C = S − ⌊S / 7⌋: 192 px of
  224 px, at K² = 33² places. With circular padding, the crop may start at any of the S² places of
  the torus.
- The score of a crop is |b_xx · b_yy − b_xy²| at its middle, the determinant of the Hessian of the
  brightness b = 2R + 5G + B. It is large at corners and spots, and small along edges. Derivatives
  are those of the 3 × 3 binomial filter. They are computed in whole numbers, so that equal pixels
  have equal scores. The first of several best crops wins.
- The crop with the highest score is enlarged to S pixels and classified.

Two pictures of the same scene choose the same crop if, and only if, the best of all their
candidates is a candidate of both (ties aside). If every candidate is equally likely to be the best,
they differ with probability 1 − |A ∩ B| / |A ∪ B|: for a step of one pixel, 2 / (K + 1), or 5.9% of
pictures of 224 px. Real pictures differ more often, since neighbouring candidates have similar
scores. The class changes less often than the crop. With circular padding all pictures have the same
candidates, and the result is exactly invariant to circular shifts by whole pixels.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_aa.support.checks import NO_CLASSIFIER, check_type
from robustbench_aa.types import Classifier, Preprocessing

SHARE = 7
"""A picture of S pixels has candidates at ⌊S / SHARE⌋ + 1 places along each axis."""
BRIGHTNESS = (2.0, 5.0, 1.0)
"""The weights of red, green and blue, which are whole numbers to keep the score exact."""
SECOND_DERIVATIVES = (
    ((1.0, -2.0, 1.0), (2.0, -4.0, 2.0), (1.0, -2.0, 1.0)),  # along rows
    ((1.0, 2.0, 1.0), (-2.0, -4.0, -2.0), (1.0, 2.0, 1.0)),  # along columns
    ((1.0, 0.0, -1.0), (0.0, 0.0, 0.0), (-1.0, 0.0, 1.0)),  # mixed
)
PREFIX = "crop-selected:"


class CropSelection(nn.Module):
    """A network behind the selection of a crop.

    Args:
        network: maps float32 [N, 3, size, size] to logits.
        size: height and width of the network's input, in pixels.
        preprocessing: the conversion of 8-bit pixels to the network's input.
        circular: whether pictures continue at their opposite side.
    """

    derivatives: Tensor

    def __init__(
        self, network: nn.Module, size: int, preprocessing: Preprocessing, circular: bool = False
    ) -> None:
        super().__init__()
        self.network, self.size, self.circular = network, size, circular
        self.crop = size - size // SHARE
        self.preprocessing = preprocessing
        kernels = torch.tensor(SECOND_DERIVATIVES).unsqueeze(1)
        # not saved: the weights of the network fit with and without selection
        self.register_buffer("derivatives", kernels, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 3, size, size] to the logits of the selected crops."""
        crops = self.select(x)
        if self.crop != self.size:
            crops = F.interpolate(crops, (self.size, self.size), mode="bilinear")
        logits: Tensor = self.network(crops)
        return logits

    def select(self, x: Tensor) -> Tensor:
        """Return the crop of each picture with the highest score, [N, 3, crop, crop]."""
        corners = self.corners(x)
        places = torch.arange(self.crop, device=x.device)
        rows, columns = ((corners[:, axis, None] + places) % self.size for axis in range(2))
        each = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        pixels_last = x.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
        return pixels_last.permute(0, 3, 1, 2)

    def corners(self, x: Tensor) -> Tensor:
        """Return the upper left corner of each selected crop, [N, 2] int64: row, column."""
        scores = self._scores(x)
        best = scores.flatten(1).argmax(dim=1)
        width = scores.shape[-1]
        middles = torch.stack((best // width, best % width), dim=1)
        if self.circular:
            return (middles - self.crop // 2) % self.size
        return middles

    def _scores(self, x: Tensor) -> Tensor:
        """Return the score of each candidate, by its corner or, if circular, by its middle."""
        weights = torch.tensor(BRIGHTNESS, device=x.device).view(3, 1, 1)
        with torch.autocast(x.device.type, enabled=False):
            brightness = (self.preprocessing.pixels(x) * weights).sum(dim=1, keepdim=True)
            if self.circular:
                around = F.pad(brightness, (1, 1, 1, 1), mode="circular")
            else:
                first, last = self.crop // 2 - 1, self.crop // 2 + self.size - self.crop + 2
                around = brightness[..., first:last, first:last]
            # sums are below 2²⁴ and products below 2⁵³: both are exact
            across, down, mixed = F.conv2d(around, self.derivatives).double().unbind(dim=1)
            return across.mul(down).sub_(mixed.square()).abs_()

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        return f"size={self.size}, crop={self.crop}, circular={self.circular}"


def select_crop(model: Classifier, circular: bool = False) -> Classifier:
    """Return a classifier that sees the part of each picture that its content chooses.

    The weights are not changed; the network is not copied.

    >>> import robustbench_aa as rb
    >>> rb.select_crop(rb.load_model("digits:resnet@lpf3")).name
    'crop-selected:digits:resnet@lpf3-seed0'

    Args:
        model: any classifier of pictures of at least 14 px.
        circular: whether a picture continues at its opposite side, for exact invariance to circular
            shifts.

    Raises:
        ValueError: the pictures are smaller.
    """
    check_type("the model", model, Classifier, NO_CLASSIFIER)
    if model.input_size < 2 * SHARE:
        raise ValueError(
            f"{model.name} takes images of {model.input_size} px, which leave no crop to select; "
            f"use a model of at least {2 * SHARE} px"
        )
    module = CropSelection(model.module, model.input_size, model.preprocessing, circular)
    return dataclasses.replace(
        model,
        module=module.train(model.module.training),
        name=f"{PREFIX}{model.name}" + ("+circular" if circular else ""),
    )


def names() -> list[str]:
    """Return nothing, since every specification of another source can be given."""
    return []


def load(name: str, weights: str | None) -> Classifier:
    """Load a model of another source behind a crop selection.

    Args:
        name: `SOURCE:NAME` of the model.
        weights: its weights; None for the source's default.

    Raises:
        UsageError: as the other source.
    """
    from robustbench_aa.models import load as load_other  # this source is one of its own

    return select_crop(load_other(f"{name}@{weights}" if weights else name))

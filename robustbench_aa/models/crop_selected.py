"""Crop selection: classify the part of a picture that its content chooses. No training is needed.

Shifman and Weiss, "Lost in Translation: Modern Neural Networks Still Struggle With Small Realistic
Image Transformations" (ECCV 2024), choose a crop by its content. The score and the candidates here
are our own:

- The anchor of a picture is its pixel with the largest |b_xx · b_yy − b_xy²|, the determinant of
  the Hessian of the brightness b = 2R + 5G + B. It is large at corners and spots, and small along
  edges. Derivatives are those of the 3 × 3 binomial filter. They are computed in whole numbers, so
  that equal pixels have equal scores. The first of several best pixels wins.
- Candidates are the square crops of C pixels in a picture of S pixels, C = S − ⌊S / 14⌋: 208 px of
  224 px, at K² = 17² places.
- The upper left corner of the crop is the anchor modulo K along each axis. So the crops of a scene
  lie on a grid that is fixed to the anchor, and each picture contains exactly one of them.
- Reflections at its border complete the crop to S pixels. Nothing is enlarged.

Two pictures of the same scene choose the same crop if they have the same anchor and lie in the same
cell of the grid. A step of one pixel along an axis enters another cell in 1 of K cases. If each of
the n² = (S − 2)² possible anchors is equally likely to be the best, the step changes the anchor
with probability 2 / (n + 1). So at 224 px the crop changes in at most 5.9% + 0.9% of the pictures.
The class changes less often than the crop.

With circular padding, any pixel of the torus may be the anchor, and the picture is rolled until the
anchor is in its middle. The result is exactly invariant to circular shifts by whole pixels.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UsageError
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.support.checks import NO_CLASSIFIER, check_type

SHARE = 14
"""A picture of S pixels has candidates at ⌊S / SHARE⌋ + 1 places along each axis."""
BRIGHTNESS = (2.0, 5.0, 1.0)
"""The weights of red, green and blue, which are whole numbers to keep the score exact."""
PREFIX = "crop-selected:"


class CropSelection(nn.Module):
    """A network behind the selection of a crop.

    Args:
        network: maps float32 [N, 3, size, size] to logits.
        size: height and width of the network's input, in pixels.
        preprocessing: the conversion of 8-bit pixels to the network's input.
        circular: whether pictures continue at their opposite side.
    """

    def __init__(
        self, network: nn.Module, size: int, preprocessing: Preprocessing, circular: bool = False
    ) -> None:
        super().__init__()
        self.network, self.size, self.circular = network, size, circular
        self.crop = size if circular else size - size // SHARE
        self.preprocessing = preprocessing

    @property
    def network_of_wrapper(self) -> nn.Module:
        """The network whose weights identify this module."""
        return self.network

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, 3, size, size] to the logits of the selected crops."""
        logits: Tensor = self.network(self.select(x))
        return logits

    def select(self, x: Tensor) -> Tensor:
        """Return the selected crop of each picture, completed to [N, 3, size, size]."""
        places = torch.arange(self.size, device=x.device) - (self.size - self.crop) // 2
        last = self.crop - 1
        reflected = last - (last - places.abs()).abs()
        taken = (self.corners(x)[:, :, None] + reflected) % self.size
        rows, columns = taken[:, 0, None, :, None], taken[:, 1, None, None, :]
        return x.take_along_dim(rows, dim=2).take_along_dim(columns, dim=3)

    def corners(self, x: Tensor) -> Tensor:
        """Return the upper left corner of each selected crop, [N, 2] int64: row, column."""
        if self.circular:
            return (self.anchors(x) - self.size // 2) % self.size
        return self.anchors(x) % (self.size - self.crop + 1)

    def anchors(self, x: Tensor) -> Tensor:
        """Return the pixel of each picture with the highest score, [N, 2] int64: row, column.

        Pixels at the border have no score unless pictures are circular; row and column count from
        the first pixel that has one.
        """
        scores = self._scores(x)
        best = scores.flatten(1).argmax(dim=1)
        width = scores.shape[-1]
        return torch.stack((best // width, best % width), dim=1)

    def _scores(self, x: Tensor) -> Tensor:
        """Return the score of each pixel, int32 [N, size, size], or two pixels less."""
        weights = torch.tensor(BRIGHTNESS, device=x.device).view(3, 1, 1)
        brightness = (self.preprocessing.pixels(x) * weights).sum(dim=1).int()
        if self.circular:
            brightness = F.pad(brightness[:, None], (1, 1, 1, 1), mode="circular")[:, 0]
        # views instead of a convolution, whose sums are not exact on every device
        top, middle, bottom = (brightness[:, place : place - 2 or None] for place in range(3))
        smooth, slope, curve = top + 2 * middle + bottom, top - bottom, top - 2 * middle + bottom
        across = smooth[..., :-2] - 2 * smooth[..., 1:-1] + smooth[..., 2:]
        down = curve[..., :-2] + 2 * curve[..., 1:-1] + curve[..., 2:]
        mixed = slope[..., :-2] - slope[..., 2:]
        return across.mul_(down).sub_(mixed.square_()).abs_()  # at most 2.9e8

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
        UsageError: the pictures are smaller.
    """
    check_type("the model", model, Classifier, NO_CLASSIFIER)
    if model.input_size < SHARE:
        raise UsageError(
            f"{model.name} takes images of {model.input_size} px, which leave no crop to select; "
            f"use a model of at least {SHARE} px"
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

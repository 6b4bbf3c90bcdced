"""The central types, shared by data sets, predictions and metrics.

This module does not import torch when it is loaded, so that reports do not need it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

COUNTED_CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The 15 corruptions of ImageNet-C over which mean error and mCE are defined."""
HOLDOUT_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four corruptions of ImageNet-C that published means leave out."""
PHOTOGRAPHS = "photographs"
"""The collection of photographs of ImageNet's size, for which most values were published."""
NO_LABELS = "none"
"""The rule of labels for images that have none."""
NO_LABEL = -1
"""The label of an image that has none."""
KINDS = ("clean", "corruption", "perturbation", "shift")
"""The kinds of distortions: no change, a changed image, a sequence of frames, shifted crops."""
ROLES = ("counted", "holdout", "other")
"""The roles in published means: part of them, a published hold-out, or neither."""
COMPARED_WITH = ("previous", "first")
"""The frames of a sequence that a frame can be compared with."""


def corruption_role(name: str) -> str:
    """Return a corruption's role in published means, one of `ROLES`.

    The name alone decides, so that neither an extra folder nor a user's own corruption can become
    part of a published mean.
    """
    if name in COUNTED_CORRUPTIONS:
        return "counted"
    return "holdout" if name in HOLDOUT_CORRUPTIONS else "other"


@dataclass(frozen=True)
class Distortion:
    """A change to a clean image before a classifier sees it.

    Two distortions are equal if their kind, name and severity are.

    Attributes:
        kind: one of `KINDS`.
        name: `clean`, or the name of the corruption, perturbation or shift protocol.
        severity: 1 to 5 for a corruption, otherwise None.
        group: the group that tables show: `noise`, `blur`, `weather`, `digital`, `extra`
            (ImageNet-C's hold-outs) or `other` for a corruption; `perturbation` or
            `perturbation_extra` for a perturbation; `clean`; empty for a shift.
        role: one of `ROLES`; a perturbation counts or is held out. The default is
            `corruption_role` for a corruption and `counted` for the other kinds.
        compared_with: the frame that each frame of a sequence is compared with, one of
            `COMPARED_WITH`.
        version: the version of the definition; another version makes other pixels. None where the
            pixels are read from files.
        source: the SHA-256 of the definition if it is not the package's own, otherwise empty.
    """

    kind: str
    name: str
    severity: int | None = None
    _: KW_ONLY
    group: str = field(default="", compare=False)
    role: str = field(default="", compare=False)
    compared_with: str = field(default="previous", compare=False)
    version: int | None = field(default=None, compare=False)
    source: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.role:
            role = corruption_role(self.name) if self.kind == "corruption" else "counted"
            object.__setattr__(self, "role", role)

    def __str__(self) -> str:
        if self.kind == "shift":
            return f"shift/{self.name}"
        return self.name if self.severity is None else f"{self.name}/{self.severity}"

    @property
    def held_out(self) -> bool:
        """Whether it is one of the published hold-outs."""
        return self.role == "holdout"


CLEAN = Distortion("clean", "clean", group="clean")
UNSHIFTED = {
    "circular": "middle",
    "diagonal": "middle",
    "neighbours": "first",
    "halfpixel": "first",
}
"""The frame without a shift of each shift protocol that has one."""


def unshifted(distortion: Distortion, frames: int) -> int | None:
    """Return which of a shift's frames is not shifted; None if all are, or for another kind."""
    place = UNSHIFTED.get(distortion.name) if distortion.kind == "shift" else None
    return {"first": 0, "middle": frames // 2, None: None}[place]


def counted(distortions: Iterable[Distortion]) -> list[Distortion]:
    """Return the distortions that a data set's means count and that a complete row needs.

    These are the published ones. A set without any published corruption, such as ImageNet-C-bar,
    is measured by all of its distortions.
    """
    distortions = list(distortions)
    published = [distortion for distortion in distortions if distortion.role == "counted"]
    roles = {distortion.role for distortion in distortions}
    if "other" in roles and published in ([], [CLEAN]):
        return [distortion for distortion in distortions if not distortion.held_out]
    return published


def format_cells(distortions: Iterable[Distortion]) -> str:
    """Return distortions as one text, each name with its severities.

    >>> format_cells(Distortion("corruption", "fog", severity) for severity in (3, 5))
    'fog 3, 5'
    """
    severities: dict[str, list[str]] = {}
    for one in distortions:
        found = severities.setdefault(one.name, [])
        found += [] if one.severity is None else [str(one.severity)]
    return "; ".join(f"{name} {', '.join(found)}".strip() for name, found in severities.items())


def is_default(distortion: Distortion) -> bool:
    """Return whether a distortion is evaluated where no others are chosen.

    The hold-outs among perturbations and shifts must be named. Those among corruptions are part of
    ImageNet-C.
    """
    return distortion.kind == "corruption" or not distortion.held_out


def kind(distortions: Iterable[Distortion]) -> str:
    """Return the kind of a data set with these distortions, one of `KINDS`."""
    return next((one.kind for one in distortions if one.kind != "clean"), "clean")


def kind_of(key: str) -> str:
    """Return the kind in the key of a data set, such as `clean` of `clean:imagenet_a_200`."""
    return key.partition(":")[0]


def column_of(key: str) -> str:
    """Return the end of a data set's columns, such as `imagenet_a_200`; empty if it has none."""
    return key.partition(":")[2]


class Shard(NamedTuple):
    """A range of images of a data set: the unit of work, of resuming and of distribution."""

    start: int
    stop: int

    def __str__(self) -> str:
        return f"{self.start}-{self.stop}"


def shards(images: int, size: int) -> list[Shard]:
    """Return ranges of at most `size` images that cover `images` images."""
    return [Shard(start, min(start + size, images)) for start in range(0, images, size)]


@dataclass(frozen=True)
class Batch:
    """Distorted images on their way to the classifiers.

    Attributes:
        distortion: the distortion of all images.
        index: [B], int64, each image's position in the whole data set.
        label: [B], int64, the true classes, or `NO_LABEL`.
        frames: [B, F, 3, H, W], uint8. A still image has F = 1.
        sources: [B], uint64, digests of the bytes that each image was read from; None if only the
            frames can be compared.
        among: [C], int64, the classes whose logits are compared; None for all.
        accepted: [B, K], int64, all labels of each image, padded with −1; None if each image has
            one label.
    """

    distortion: Distortion
    index: np.ndarray
    label: np.ndarray
    frames: Tensor
    sources: np.ndarray | None = None
    among: np.ndarray | None = None
    accepted: np.ndarray | None = None


@dataclass(frozen=True)
class Failure:
    """A model that could not be evaluated on a shard.

    Attributes:
        model: Name of the model.
        dataset: Name of the data set.
        distortion: The distortion of the images.
        shard: The range of images.
        cause: The error message, one line.
    """

    model: str
    dataset: str
    distortion: Distortion
    shard: Shard
    cause: str

    def __str__(self) -> str:
        where = f"{self.dataset} {self.distortion}, images {self.shard}"
        return f"{self.model} failed on {where}: {self.cause}"

"""Corruptions and perturbations as transforms of torchvision.transforms.v2.

They change PIL pictures, images of torchvision (`tv_tensors.Image`) and uint8 tensors [3, H, W] or
[N, 3, H, W] on any device, and pass everything else of a sample on, such as its label. The pixels
are those of `rb.corrupt` and `rb.perturb`.

Without a `seed`, every call draws one from torch's random generator. A DataLoader gives each of its
workers another state of the generator, so that samples differ between workers and between epochs,
and `torch.manual_seed` reproduces them.

>>> import robustbench_aa as rb
>>> import torch
>>> image = torch.full((3, 32, 32), 128, dtype=torch.uint8)
>>> foggy = rb.transforms.Corrupt("fog", severity=3, seed=0)(image)
>>> torch.equal(foggy, rb.corrupt(image, "fog", severity=3, seed=0))
True
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import Transform

from robustbench_aa.distortions.corruptions import CORRUPTIONS
from robustbench_aa.distortions.perturbations import TABLES, table_of
from robustbench_aa.distortions.severities import SEVERITIES, check_severity
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.images import corrupt, perturb
from robustbench_aa.support.checks import whole_number
from robustbench_aa.support.pixels import as_batch

__all__ = ["Corrupt", "Perturb", "RandomCorrupt"]

SEEDS = 2**63 - 1
"""The number of seeds that are drawn from."""


def _is_plain(value: object) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, tv_tensors.TVTensor)


class _Distorting(Transform):
    """A transform of images with a seed for every call."""

    _transformed_types = (Image.Image, tv_tensors.Image, _is_plain)

    def __init__(self, seed: int | None) -> None:
        super().__init__()
        self.seed = None if seed is None else whole_number("seed", seed)

    def check_inputs(self, flat_inputs: list[Any]) -> None:
        """Check that a sample has an image.

        Raises:
            UsageError: it has none.
        """
        if not any(
            isinstance(value, Image.Image | tv_tensors.Image) or _is_plain(value)
            for value in flat_inputs
        ):
            found = ", ".join(dict.fromkeys(type(value).__name__ for value in flat_inputs))
            raise UsageError(
                f"there is no image in {found or 'an empty sample'}; give a PIL "
                "picture or a uint8 tensor [3, H, W] or [N, 3, H, W]"
            )

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        """Return the seed of a call, which all images of a sample share."""
        drawn = int(torch.randint(SEEDS, ())) if self.seed is None else self.seed
        return {"seed": drawn}

    def extra_repr(self) -> str:
        """Return the arguments for the printed form."""
        shown = {name: value for name, value in vars(self).items() if name[:1] != "_"}
        shown = {name: value for name, value in shown.items() if name != "training"}
        return ", ".join(f"{name}={value!r}" for name, value in shown.items())


class Corrupt(_Distorting):
    """A corruption of ImageNet-C, or a registered one.

    >>> import robustbench_aa as rb
    >>> rb.transforms.Corrupt("fog", severity=3)
    Corrupt(seed=None, corruption='fog', severity=3, stored_jpeg=False)

    Args:
        corruption: Name of the corruption.
        severity: 1 to 5.
        seed: Seed of the randomness. The images of a batch then have the positions 0, 1, … in
            `rb.corrupt`, and a single image has position 0. None draws another seed in every call.
        stored_jpeg: Whether to store the images as JPEG of quality 85 at last.

    Raises:
        UnknownName: There is no such corruption.
        UsageError: The severity or the seed is wrong. A call raises it for an image that is not
            RGB, not square or not 8-bit.
    """

    def __init__(
        self,
        corruption: str,
        severity: int = 3,
        seed: int | None = None,
        stored_jpeg: bool = False,
    ) -> None:
        super().__init__(seed)
        self.corruption = _known(corruption)
        self.severity = whole_number("severity", severity)
        check_severity(self.severity)
        self.stored_jpeg = stored_jpeg

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return an image or a batch, corrupted."""

        def change(images: Tensor) -> Tensor:
            jpeg = self.stored_jpeg
            return corrupt(images, self.corruption, self.severity, params["seed"], stored_jpeg=jpeg)

        return _changed(inpt, change)


class RandomCorrupt(_Distorting):
    """A random corruption of a random severity, another one for every image of a batch.

    It is an augmentation for training. Declare it with `rb.Classifier(trained_on=…)`, so that the
    tables mark the corruptions that a model was trained on.

    >>> import robustbench_aa as rb
    >>> import torch
    >>> augment = rb.transforms.RandomCorrupt(["fog", "snow"], severities=[1, 2, 3], p=0.5)
    >>> augment(torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)).shape
    torch.Size([4, 3, 32, 32])

    Args:
        names: Names of the corruptions.
        severities: Severities to choose from, 1 to 5.
        p: Probability that an image is corrupted.
        seed: As in `Corrupt`; it also determines the choices.

    Raises:
        UnknownName: There is no such corruption.
        UsageError: There is nothing to choose from, or an argument is wrong.
    """

    def __init__(
        self,
        names: Sequence[str],
        severities: Sequence[int] = SEVERITIES,
        p: float = 0.5,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed)
        if isinstance(names, str):
            raise UsageError(f"names must be a list of corruptions; give [{names!r}]")
        self.names = [_known(name) for name in names]
        self.severities = [whole_number("severity", severity) for severity in severities]
        for severity in self.severities:
            check_severity(severity)
        if not self.names or not self.severities:
            raise UsageError("there is nothing to choose from; name corruptions and severities")
        if not 0 <= p <= 1:
            raise UsageError(f"p is {p}; give a probability from 0 to 1")
        self.p = p

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return an image or a batch, in which some images are corrupted."""

        def change(images: Tensor) -> Tensor:
            batch = as_batch(images)
            changed = batch.clone()
            for place, chosen in enumerate(self.choices(len(batch), params["seed"])):
                if chosen is not None:
                    changed[place] = corrupt(batch[place], *chosen, params["seed"], index=place)
            return changed.reshape(images.shape)

        return _changed(inpt, change)

    def choices(self, images: int, seed: int) -> list[tuple[str, int] | None]:
        """Return the corruption and severity of each image of a batch; None for no corruption."""
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(images, 3, generator=generator, dtype=torch.float64)
        return [
            (_at(self.names, name), _at(self.severities, severity)) if apply < self.p else None
            for apply, name, severity in drawn.tolist()
        ]


class Perturb(_Distorting):
    """A sequence of slightly different frames of an image, as in ImageNet-P.

    >>> import robustbench_aa as rb
    >>> import torch
    >>> rb.transforms.Perturb("tilt")(torch.zeros(3, 32, 32, dtype=torch.uint8)).shape
    torch.Size([31, 3, 32, 32])

    A call returns a `tv_tensors.Video` [F, 3, size, size], or [N, F, 3, size, size] for a batch.

    Args:
        perturbation: Name of the perturbation.
        seed: As in `Corrupt`.
        size: Height and width of the frames, as in `rb.perturb`.

    Raises:
        UnknownName: There is no such perturbation.
        UsageError: The size or the seed is wrong. A call raises it for an image that is not RGB,
            not 8-bit or too small.
    """

    def __init__(self, perturbation: str, seed: int | None = None, size: int | None = None) -> None:
        super().__init__(seed)
        sizes = TABLES if size is None else [size]
        known = dict.fromkeys(name for each in sizes for name in table_of(each))
        if perturbation not in known:
            raise UnknownName("perturbation", perturbation, known)
        self.perturbation, self.size = perturbation, size

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        """Return the frames of an image, or of every image of a batch."""
        how = (self.perturbation, params["seed"])
        return tv_tensors.Video(perturb(_pixels(inpt), *how, size=self.size))


def _known(corruption: str) -> str:
    """Return the name of a corruption that exists; the error of the registry has suggestions."""
    _ = CORRUPTIONS[corruption]
    return corruption


def _at(choices: Sequence[Any], place: float) -> Any:
    """Return one of several choices for a number in [0, 1)."""
    return choices[int(place * len(choices))]


def _pixels(image: Any) -> Tensor:
    """Return an image or a batch as a plain tensor."""
    if not isinstance(image, Image.Image):
        plain: Tensor = image.as_subclass(Tensor)
        return plain
    if image.mode != "RGB":
        raise UsageError(f"a picture has the mode {image.mode}; give picture.convert('RGB')")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()


def _changed(image: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return an image or a batch after a change, of the same type."""
    changed = change(_pixels(image))
    if isinstance(image, Image.Image):
        return Image.fromarray(changed.permute(1, 2, 0).numpy())
    return tv_tensors.wrap(changed, like=image) if isinstance(image, tv_tensors.Image) else changed

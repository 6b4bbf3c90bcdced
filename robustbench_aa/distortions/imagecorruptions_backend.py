"""The imagecorruptions package as a second, slow source of corruptions: `imagecorruptions` 1.1.2.

The package is of 2020. It is imported only when asked for, and beside today's dependencies it works
only with stand-ins for what they have dropped: `pkg_resources`, `scipy.ndimage.interpolation`,
`numpy.float_` and scikit-image's `multichannel`. They are put into the package's own module, and
nothing else sees them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.errors import UsageError, cause
from robustbench_aa.types import Distortion

SIZE = 224
"""The package has the severities of this many pixels, whatever the image's size."""


class _Overlay(ModuleType):
    """A module with some attributes replaced; the module itself stays as it is."""

    def __init__(self, module: Any, **replaced: Any) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(replaced)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def corrupt(image: np.ndarray, name: str, severity: int, random: Any) -> np.ndarray:
    """What the package makes of an image.

    Args:
        image: [H, W, 3], uint8, RGB.
        name: the corruption.
        severity: 1 to 5.
        random: stands in for `numpy.random`: a `numpy.random.RandomState`, or a test's own.

    Returns:
        [H, W, 3], uint8.

    Raises:
        UsageError: the package is not installed or cannot be imported.
    """
    module, image_of = _package()
    module.np.random = random
    generator = np.random.default_rng(random.randint(2**31) if name == "impulse_noise" else 0)
    module.sk.util.random_noise = lambda x, **how: _skimage().util.random_noise(
        x, rng=generator, **how
    )
    return np.asarray(getattr(module, name)(image_of(image), severity)).astype(np.uint8)


def corrupt_by_seed(image: np.ndarray, name: str, severity: int, seed: int) -> np.ndarray:
    """Likewise, with the random numbers of a seed."""
    return corrupt(image, name, severity, np.random.RandomState(seed))


def corrupt_batch(images: Tensor, distortion: Distortion, seeds: list[int]) -> Tensor:
    """What the package makes of images, in worker processes.

    Args:
        images: [B, 3, 224, 224], uint8.
        seeds: [B], of each image.

    Returns:
        [B, 3, 224, 224], uint8, where the images are.

    Raises:
        UsageError: the images have another size, or the package cannot be used.
    """
    if images.shape[-1] != SIZE:
        raise UsageError(
            f"imagecorruptions has the severities of {SIZE}-px images only; use the torch backend"
        )
    _package()  # what is wrong with it is told here, not in a worker
    pictures = images.permute(0, 2, 3, 1).cpu().numpy()
    seeds32 = [seed % 2**32 for seed in seeds]
    names, severities = [distortion.name] * len(seeds), [distortion.severity] * len(seeds)
    corrupted = list(_workers().map(corrupt_by_seed, pictures, names, severities, seeds32))
    return torch.from_numpy(np.stack(corrupted)).permute(0, 3, 1, 2).contiguous().to(images.device)


@cache
def _workers() -> ProcessPoolExecutor:
    """As many processes as cores; not forks, since torch's threads would not survive one."""
    return ProcessPoolExecutor(mp_context=get_context("spawn"))


@cache
def _package() -> tuple[Any, Any]:
    """The package's module with the stand-ins in it, and Pillow's image of an array."""
    spec = find_spec("imagecorruptions")
    if spec is None or spec.origin is None:
        raise UsageError(
            "the corruption backend needs imagecorruptions; pip install imagecorruptions"
        )
    try:
        with _stand_ins(Path(spec.origin).parent):
            module: Any = import_module("imagecorruptions.corruptions")
    except ImportError as error:
        raise UsageError(
            f"imagecorruptions cannot be imported ({cause(error)}); where libGL is missing, "
            "pip install opencv-python-headless in the place of opencv-python"
        ) from error
    skimage = _skimage()
    module.np = _Overlay(np, float_=np.float64, random=np.random)
    module.sk = _Overlay(skimage, util=_Overlay(skimage.util))
    module.gaussian = _gaussian
    return module, import_module("PIL.Image").fromarray


def _skimage() -> Any:
    for part in ("color", "filters", "util"):
        import_module(f"skimage.{part}")
    return import_module("skimage")


def _gaussian(image: np.ndarray, sigma: Any, multichannel: bool = False, **how: Any) -> np.ndarray:
    channel_axis = -1 if multichannel else None
    blurred: np.ndarray = _skimage().filters.gaussian(
        image, sigma, channel_axis=channel_axis, **how
    )
    return blurred


@contextmanager
def _stand_ins(folder: Path) -> Iterator[None]:
    """Modules that the package imports and that may be gone, for as long as it is imported."""
    resources: Any = ModuleType("pkg_resources")
    resources.resource_filename = lambda _package, file: str(folder / file)
    interpolation: Any = ModuleType("scipy.ndimage.interpolation")
    interpolation.map_coordinates = import_module("scipy.ndimage").map_coordinates
    put = {module.__name__: module for module in (resources, interpolation)}
    kept = {name: sys.modules[name] for name in put if name in sys.modules}
    sys.modules.update(put)
    try:
        yield
    finally:
        for name in put:
            sys.modules.pop(name)
        sys.modules.update(kept)

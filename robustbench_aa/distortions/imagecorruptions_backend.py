"""The imagecorruptions package 1.1.2 as a second, slow backend of corruptions.

The package dates from 2020 and is imported only on request. Beside today's dependencies it needs
stand-ins for what they have removed: `pkg_resources`, `scipy.ndimage.interpolation`, `numpy.float_`
and scikit-image's `multichannel`. Only the package's own module sees the stand-ins.
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
"""The image size of the package's severities, in pixels, whatever the size of the image."""


class _Overlay(ModuleType):
    """A view of a module with some attributes replaced; the module itself does not change."""

    def __init__(self, module: Any, **replaced: Any) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(replaced)
        self._module = module

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


def corrupt(image: np.ndarray, name: str, severity: int, random: Any) -> np.ndarray:
    """Corrupt an image with the package.

    Args:
        image: [H, W, 3], uint8, RGB.
        name: the corruption.
        severity: 1 to 5.
        random: replaces `numpy.random`: a `numpy.random.RandomState`, or an object of a test.

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
    """Corrupt an image with the random numbers of a seed."""
    return corrupt(image, name, severity, np.random.RandomState(seed))


def corrupt_batch(images: Tensor, distortion: Distortion, seeds: list[int]) -> Tensor:
    """Corrupt images with the package, in worker processes.

    Args:
        images: [B, 3, 224, 224], uint8.
        distortion: the corruption.
        seeds: [B], the seed of each image.

    Returns:
        [B, 3, 224, 224], uint8, on the device of the images.

    Raises:
        UsageError: the images have another size, or the package cannot be used.
    """
    if images.shape[-1] != SIZE:
        raise UsageError(
            f"imagecorruptions has the severities of {SIZE}-px images only; use the torch backend"
        )
    _package()  # an import error is raised here, not in a worker
    pictures = images.permute(0, 2, 3, 1).cpu().numpy()
    seeds32 = [seed % 2**32 for seed in seeds]
    names, severities = [distortion.name] * len(seeds), [distortion.severity] * len(seeds)
    corrupted = list(_workers().map(corrupt_by_seed, pictures, names, severities, seeds32))
    return torch.from_numpy(np.stack(corrupted)).permute(0, 3, 1, 2).contiguous().to(images.device)


@cache
def _workers() -> ProcessPoolExecutor:
    """Return one worker per core, spawned because torch's threads do not survive a fork."""
    return ProcessPoolExecutor(mp_context=get_context("spawn"))


@cache
def _package() -> tuple[Any, Any]:
    """Return the package's module with the stand-ins, and `PIL.Image.fromarray`."""
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
            f"imagecorruptions cannot be imported ({cause(error)}); if libGL is missing, "
            "install opencv-python-headless instead of opencv-python"
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
    """Provide modules that the package imports and that may no longer exist."""
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

"""Internal feature distance: where in a network shift-equivariance is lost.

Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), section 3.1: for a layer's
features F(X), brought to the image's resolution, and every circular offset, the cosine distance
between Shift(F(X)) and F(Shift(X)), averaged over places and images. It is 0 for a layer that is
equivariant to that shift.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustbench_aa.antialiasing.layers import BlurPool, DenseMaxPool, MaxBlurPool
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.models import load
from robustbench_aa.types import CLEAN, Classifier, Shard

IMAGES = 8
"""How many go through a model together, each under several offsets."""
POOLS = (nn.MaxPool2d, nn.AvgPool2d, BlurPool, DenseMaxPool)
AFTER_CONVOLUTION = (
    *(nn.BatchNorm2d, nn.GroupNorm, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.ELU),
)
Progress = Callable[[object, int], None]
"""Called after every forward pass with the model's name and the images it covered."""


def feature_distance(
    classifier: Classifier,
    images: Tensor,
    *,
    layers: Sequence[str] = (),
    max_shift: int | None = None,
    batch_size: int = 256,
    device: str | None = None,
    progress: Progress = lambda model, images: None,
) -> pd.DataFrame:
    """The feature distance of every layer and offset.

    Args:
        images: [N, 3, H, W], uint8.
        layers: names of modules, or patterns such as `layer*`; none for every stage of
            convolutions and every pooling. A max-pooling that also subsamples counts twice: its
            maxima at every place (`<name> dense`), and those that are kept.
        max_shift: the largest offset in both directions, in pixels; None for all of a 32-px image,
            or for 31.
        batch_size: images that go through the model at once.
        device: a torch device; None takes a GPU if there is one.

    Returns:
        A row a layer and offset: `layer`, its place `order`, `down`, `right`, `distance`.

    Raises:
        UnknownName: no module has such a name.
        UsageError: no layer gives a feature map, or the offset is larger than the image.
    """
    size = images.shape[-1]
    reach = largest_shift(size, max_shift)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    module = classifier.module.to(device).eval()
    offsets = [(down, right) for down in range(reach + 1) for right in range(reach + 1)]
    probe = _Probe(dict(_probed(module, layers)), size)
    with probe, torch.inference_mode():
        for group in images.to(device).split(IMAGES):
            probe.compare_with(None)
            module(classifier.preprocessing.normalised(group))
            for chunk in _chunks(offsets, max(1, batch_size // len(group))):
                shifted = [torch.roll(group, offset, dims=(-2, -1)) for offset in chunk]
                probe.compare_with(chunk)
                module(classifier.preprocessing.normalised(torch.cat(shifted)))
                progress(classifier.name, len(group) * len(chunk))
    if not probe.sums:
        raise UsageError(
            f"no layer of {classifier.name} gives a feature map; name some by --layers"
        )
    return pd.DataFrame(
        [
            {
                "layer": layer,
                "order": order,
                "down": down,
                "right": right,
                "distance": sums[down, right] / len(images),
            }
            for order, (layer, sums) in enumerate(probe.sums.items())
            for down, right in offsets
        ]
    )


def _chunks(offsets: list[tuple[int, int]], size: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, len(offsets), size):
        yield offsets[start : start + size]


@dataclass
class _Probe:
    """Hooks that compare features with those of the images at rest, as they are computed.

    Attributes:
        modules: by name, what is looked at.
        size: of the images, in pixels.
        sums: by layer and offset, the distances summed over images; in the order of the layers.
    """

    modules: dict[str, nn.Module]
    size: int
    sums: dict[str, dict[tuple[int, int], float]] = field(default_factory=dict)
    _at_rest: dict[str, Tensor] = field(default_factory=dict)
    _offsets: list[tuple[int, int]] | None = None
    _calls: dict[str, int] = field(default_factory=dict)
    _handles: list[torch.utils.hooks.RemovableHandle] = field(default_factory=list)

    def __enter__(self) -> _Probe:
        for name, module in self.modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def compare_with(self, offsets: list[tuple[int, int]] | None) -> None:
        """Tells by which offsets the next images are shifted; None for the images at rest."""
        self._offsets = offsets
        self._calls.clear()
        if offsets is None:
            self._at_rest.clear()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            call = self._calls[name] = self._calls.get(name, 0) + 1
            told = name if call == 1 else f"{name} ({call})"  # a module may be used again
            if isinstance(module, nn.MaxPool2d) and module.stride not in (1, (1, 1)):
                dense = F.max_pool2d(
                    inputs[0], module.kernel_size, 1, module.padding, module.dilation
                )
                self._look(f"{told} dense", dense)
            self._look(told, output)

        return look

    def _look(self, layer: str, features: Tensor) -> None:
        if not isinstance(features, Tensor) or features.dim() != 4 or features.shape[-1] < 2:
            return
        directions = _directions(features.float())
        if self._offsets is None:
            self._at_rest[layer] = directions
            return
        at_rest = self._at_rest[layer]
        sums = self.sums.setdefault(layer, {})
        for offset, shifted in zip(self._offsets, directions.split(len(at_rest)), strict=True):
            distance = _distance(at_rest, shifted, offset, self.size)
            sums[offset] = sums.get(offset, 0.0) + float(distance.sum())


def _directions(features: Tensor) -> Tensor:
    """[N, C + 1, H, W]: unit vectors; places without any feature share a direction of their own."""
    length = features.square().sum(dim=1, keepdim=True).sqrt_()
    silent = length == 0
    return torch.cat((features / length.masked_fill(silent, 1.0), silent.float()), dim=1)


def _distance(at_rest: Tensor, moved: Tensor, offset: tuple[int, int], size: int) -> Tensor:
    """[N]: the mean over an image's pixels of the cosine distance, 0 to 2.

    Both maps are brought to the image's resolution by repeating their values, the first is
    shifted, and each pair of values that meet is compared once and weighted by its pixels.
    """
    pairs = [
        _meeting(length, size, by) for length, by in zip(moved.shape[-2:], offset, strict=True)
    ]
    (rows, columns) = (pair.to(moved.device) for pair in pairs)
    here = at_rest[:, :, rows[0]][..., columns[0]]
    there = moved[:, :, rows[1]][..., columns[1]]
    # half the squared distance of unit vectors: the cosine distance, and 0 for equal ones
    distance = (here - there).square().sum(dim=1) / 2
    weight = rows[2].unsqueeze(1) * columns[2]
    return (distance * weight).sum(dim=(1, 2)) / size**2


@lru_cache(maxsize=4096)
def _meeting(length: int, size: int, offset: int) -> Tensor:
    """[3, pairs]: which places of a map of `length` meet under an offset, on how many pixels."""
    place = torch.arange(size) * length // size
    pairs, counts = torch.stack((place.roll(offset), place)).unique(dim=1, return_counts=True)
    return torch.cat((pairs, counts.unsqueeze(0)))


def _probed(module: nn.Module, layers: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    """The modules that were asked for, or the stages of the network."""
    if not layers:
        yield from _stages("", module)
        return
    names = [name for name, _ in module.named_modules() if name]
    for pattern in layers:
        found = fnmatch.filter(names, pattern)
        if not found:
            raise UnknownName("layer", pattern, names)
        for name in found:
            yield name, module.get_submodule(name)


def _stages(name: str, container: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Poolings, blocks, and convolutions with the norm and non-linearity that follow."""
    waiting: tuple[str, nn.Module] | None = None
    for key, child in container.named_children():
        path = f"{name}.{key}" if name else key
        if waiting is not None and isinstance(child, AFTER_CONVOLUTION):
            waiting = (path, child)
            continue
        if waiting is not None:
            yield waiting
        waiting = (path, child) if isinstance(child, nn.Conv2d) else None
        if isinstance(child, POOLS):
            yield path, child
        elif isinstance(child, MaxBlurPool):
            *_, dense, blur = child.named_children()
            yield f"{path} dense", dense[1]
            yield path, blur[1]
        elif isinstance(child, nn.Sequential | nn.ModuleList) or type(child) is nn.Module:
            yield from _stages(path, child)
        elif any(isinstance(inner, (nn.Conv2d, *POOLS)) for inner in child.modules()):
            waiting = waiting or (path, child)
    if waiting is not None:  # what a container gives
        yield name or waiting[0], waiting[1]


def mean_by_layer(maps: pd.DataFrame) -> pd.DataFrame:
    """The mean over offsets, a row a model and layer."""
    means = maps.groupby(["model", "order", "layer"], sort=False)["distance"].mean()
    return means.reset_index()[["model", "layer", "order", "distance"]]


def measure_features(
    models: Sequence[str],
    dataset: str,
    request: Request,
    *,
    show: Callable[[int], AbstractContextManager[Progress]],
    max_shift: int | None = None,
    **how: Any,
) -> pd.DataFrame:
    """The feature distance of some models on the clean images of a data set.

    Args:
        models: specifications.
        request: which images.
        show: a progress display for so many images.
        max_shift: as in `feature_distance`.
        how: what else `feature_distance` takes.

    Returns:
        As `feature_distance`, with the `model` first.

    Raises:
        UsageError: the data set has no clean images, or a model is for images of another size.
    """
    opened = open_dataset(dataset, request)
    if CLEAN not in opened.distortions:
        raise UsageError(f"data set {dataset} has no clean images; name one that has")
    classifiers = [load(model) for model in models]
    for classifier in classifiers:
        if classifier.input_size != opened.size:
            raise UsageError(
                f"model {classifier.name} is for images of {classifier.input_size} px, data set "
                f"{dataset} has images of {opened.size} px; leave one of them out"
            )
    whole = Shard(0, opened.images)
    batches = opened.read(CLEAN, whole, opened.images, torch.device("cpu"))
    images = torch.cat([batch.frames[:, 0] for batch in batches])
    reach = largest_shift(opened.size, max_shift)
    tables = []
    with show(len(images) * len(classifiers) * (reach + 1) ** 2) as progress:
        for classifier in classifiers:
            maps = feature_distance(classifier, images, max_shift=reach, progress=progress, **how)
            maps.insert(0, "model", classifier.name)
            tables.append(maps)
    return pd.concat(tables, ignore_index=True)


def write_features(maps: pd.DataFrame, folder: Path) -> list[Path]:
    """Writes maps as `feature_maps.parquet`, their means as `features.csv`, and heat maps."""
    from robustbench_aa.report.feature_maps import FILE, draw_feature_maps

    folder.mkdir(parents=True, exist_ok=True)
    parquet, table = folder / FILE, folder / "features.csv"
    maps.to_parquet(parquet, index=False)
    means = mean_by_layer(maps)
    means.to_csv(table, index=False, float_format="%.6f", lineterminator="\n")
    return [table, parquet, *draw_feature_maps(maps).write(folder / "feature_maps")]


def largest_shift(size: int, asked: int | None) -> int:
    """How far images of `size` pixels are shifted.

    Raises:
        UsageError: they are not as large.
    """
    reach = min(size, 32) - 1 if asked is None else asked
    if not 0 <= reach < size:
        raise UsageError(f"max shift {reach} is not between 0 and {size - 1}, the last pixel")
    return reach

"""Internal feature distance: where in a network shift-equivariance is lost.

Zhang, "Making Convolutional Networks Shift-Invariant Again" (ICML 2019), section 3.1: for a layer's
features F(X), resized to the image's resolution, and every circular offset, the cosine distance
between Shift(F(X)) and F(Shift(X)), averaged over positions and images. It is 0 for a layer that is
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

from robustbench_aa.antialiasing.layers import BlurPool, MaxBlurPool
from robustbench_aa.antialiasing.windows import DenseMaxPool
from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.errors import UnknownName, UsageError
from robustbench_aa.models import load
from robustbench_aa.store.feature_maps import FILE, MAPS
from robustbench_aa.store.storage import on_disk
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.process import full_float32, restored
from robustbench_aa.types import CLEAN, Shard

IMAGES = 8
"""Images that go through a model together, each under several offsets."""
POOLS = (nn.MaxPool2d, nn.AvgPool2d, BlurPool, DenseMaxPool)
AFTER_CONVOLUTION = (
    *(nn.BatchNorm2d, nn.GroupNorm, nn.Identity, nn.Dropout, nn.Dropout2d),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.SiLU, nn.GELU, nn.Hardswish, nn.ELU),
)
Offset = tuple[int, int]
"""A circular shift down and to the right, in pixels."""
Progress = Callable[[object, int], None]
"""Called after every forward pass with the model's name and the number of images in it."""


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
    """Return the feature distance of every layer under every offset.

    The module (mode, device) is afterwards as it was before.

    Args:
        classifier: The model.
        images: [N, 3, H, W], uint8.
        layers: Names of modules, or patterns such as `layer*`. None given means every stage of
            convolutions and every pooling. A max-pooling that also subsamples has two entries: its
            maxima at every position (`<name> dense`), and those that it keeps.
        max_shift: The largest offset in both directions, in pixels. None means 31, or all offsets
            of a smaller image.
        batch_size: Images that go through the model at once.
        device: A torch device. None means a GPU if there is one, otherwise the CPU.
        progress: Called after every forward pass.

    Returns:
        A row for each layer and offset: `layer`, its position `order`, `down`, `right`, `distance`.

    Raises:
        UnknownName: No module has such a name.
        UsageError: No layer returns a feature map, or the offset is larger than the image.
    """
    size = images.shape[-1]
    reach = largest_shift(size, max_shift)
    device = choose_device(device)
    offsets = [(down, right) for down in range(reach + 1) for right in range(reach + 1)]
    module = classifier.module
    probe = _Probe(dict(_probed(module, layers)), size)
    with restored(module), full_float32(), probe:
        module.to(device).eval()
        _compare(probe, classifier, images.to(device), offsets, batch_size, progress)
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


@torch.inference_mode()
def _compare(
    probe: _Probe,
    classifier: Classifier,
    images: Tensor,
    offsets: list[Offset],
    batch_size: int,
    progress: Progress,
) -> None:
    """Send images through a model, unshifted and under every offset."""
    module, normalised = classifier.module, classifier.preprocessing.normalised
    for group in images.split(IMAGES):
        probe.compare_with(None)
        module(normalised(group))
        size = max(1, batch_size // len(group))
        for start in range(0, len(offsets), size):
            part = offsets[start : start + size]
            shifted = [torch.roll(group, offset, dims=(-2, -1)) for offset in part]
            probe.compare_with(part)
            module(normalised(torch.cat(shifted)))
            progress(classifier.name, len(group) * len(part))


@dataclass
class _Probe:
    """Forward hooks that compare the features of shifted images with those of unshifted ones.

    Attributes:
        modules: The modules to hook, by name.
        size: Height and width of the images, in pixels.
        sums: By layer and offset, the distances summed over images, in the order of the layers.
    """

    modules: dict[str, nn.Module]
    size: int
    sums: dict[str, dict[Offset, float]] = field(default_factory=dict)
    _unshifted: dict[str, Tensor] = field(default_factory=dict)
    _offsets: list[Offset] | None = None
    _calls: dict[str, int] = field(default_factory=dict)
    _handles: list[torch.utils.hooks.RemovableHandle] = field(default_factory=list)

    def __enter__(self) -> _Probe:
        for name, module in self.modules.items():
            self._handles.append(module.register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def compare_with(self, offsets: list[Offset] | None) -> None:
        """Set the offsets of the next forward pass; None for unshifted images."""
        self._offsets = offsets
        self._calls.clear()
        if offsets is None:
            self._unshifted.clear()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def compare(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            call = self._calls[name] = self._calls.get(name, 0) + 1
            layer = name if call == 1 else f"{name} ({call})"  # a module may be used repeatedly
            if isinstance(module, nn.MaxPool2d) and module.stride not in (1, (1, 1)):
                dense = F.max_pool2d(
                    inputs[0], module.kernel_size, 1, module.padding, module.dilation
                )
                self._compare(f"{layer} dense", dense)
            self._compare(layer, output)

        return compare

    def _compare(self, layer: str, features: Tensor) -> None:
        if not isinstance(features, Tensor) or features.dim() != 4 or features.shape[-1] < 2:
            return
        directions = _directions(features.float())
        if self._offsets is None:
            self._unshifted[layer] = directions
            return
        unshifted = self._unshifted[layer]
        sums = self.sums.setdefault(layer, {})
        for offset, shifted in zip(self._offsets, directions.split(len(unshifted)), strict=True):
            distance = _distance(unshifted, shifted, offset, self.size)
            sums[offset] = sums.get(offset, 0.0) + float(distance.sum())


def _directions(features: Tensor) -> Tensor:
    """Return unit vectors [N, C + 1, H, W]; positions without any feature share a direction."""
    length = features.square().sum(dim=1, keepdim=True).sqrt_()
    silent = length == 0
    return torch.cat((features / length.masked_fill(silent, 1.0), silent.float()), dim=1)


def _distance(unshifted: Tensor, shifted: Tensor, offset: Offset, size: int) -> Tensor:
    """Return the mean cosine distance over each image's pixels, [N], 0 to 2.

    Both maps are resized to the image's resolution by nearest neighbour and the first is shifted.
    Each pair of values that then coincides is compared once, and weighted by its pixels.
    """
    pairs = [
        _coinciding(length, size, by) for length, by in zip(shifted.shape[-2:], offset, strict=True)
    ]
    (rows, columns) = (pair.to(shifted.device) for pair in pairs)
    here = unshifted.index_select(2, rows[0]).index_select(3, columns[0])
    there = shifted.index_select(2, rows[1]).index_select(3, columns[1])
    # half the squared distance of unit vectors: the cosine distance, and 0 for equal ones
    distance = here.sub_(there).square_().sum(dim=1) / 2
    weight = rows[2].unsqueeze(1) * columns[2]
    return (distance * weight).sum(dim=(1, 2)) / size**2


@lru_cache(maxsize=4096)
def _coinciding(length: int, size: int, offset: int) -> Tensor:
    """Return the pairs of positions that coincide under an offset and their pixels, [3, pairs]."""
    place = torch.arange(size) * length // size
    pairs, counts = torch.stack((place.roll(offset), place)).unique(dim=1, return_counts=True)
    return torch.cat((pairs, counts.unsqueeze(0)))


def _probed(module: nn.Module, layers: Sequence[str]) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules that were asked for, or the stages of the network."""
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
    """Yield poolings, blocks, and convolutions with the norm and activation that follow."""
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
    if waiting is not None:  # the output of the container
        yield name or waiting[0], waiting[1]


def mean_by_layer(maps: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over offsets, a row for each model and layer."""
    means = maps.groupby(["model", "order", "layer"], sort=False)["distance"].mean()
    return means.reset_index()[["model", "layer", "order", "distance"]]


def measure_features(
    models: Sequence[str],
    dataset: str,
    request: Request,
    *,
    show: Callable[[int], AbstractContextManager[Progress]],
    max_shift: int | None = None,
    **options: Any,
) -> pd.DataFrame:
    """Return the feature distance of models on the clean images of a data set.

    Args:
        models: Specifications.
        dataset: Name of the data set.
        request: Which of its images to use.
        show: Returns a progress display for a number of images.
        max_shift: As in `feature_distance`.
        options: Further arguments of `feature_distance`.

    Returns:
        The table of `feature_distance` with a first column `model`.

    Raises:
        UsageError: The data set has no clean images, or a model is for images of another size.
    """
    opened = open_dataset(dataset, request)
    if CLEAN not in opened.distortions:
        raise UsageError(f"data set {dataset} has no clean images; name one that has")
    classifiers = [load(model) for model in models]
    names = [classifier.name for classifier in classifiers]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f"model {twice[0]} is named twice; give each a name of its own")
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
            maps = feature_distance(
                classifier, images, max_shift=reach, progress=progress, **options
            )
            if (layers := maps["layer"].nunique()) > MAPS:
                raise UsageError(f"{layers} layers are too many to draw; name {MAPS} by --layers")
            maps.insert(0, "model", classifier.name)
            tables.append(maps)
    return pd.concat(tables, ignore_index=True)


def write_features(maps: pd.DataFrame, folder: Path) -> list[Path]:
    """Write maps as `feature_maps.parquet`, their means as `features.csv`, and heat maps."""
    from robustbench_aa.report.feature_maps import draw_feature_maps

    with on_disk(folder) as here:
        here.mkdir(parents=True, exist_ok=True)
        parquet, table = here / FILE, here / "features.csv"
        maps.to_parquet(parquet, index=False)
        means = mean_by_layer(maps)
        means.to_csv(table, index=False, float_format="%.6f", lineterminator="\n")
        written = [table, parquet, *draw_feature_maps(maps).write(here / "feature_maps")]
    return [folder / path.relative_to(here) for path in written]


def largest_shift(size: int, asked: int | None) -> int:
    """Return the largest offset for images of `size` pixels.

    Raises:
        UsageError: The offset that was asked for is larger than the images.
    """
    reach = min(size, 32) - 1 if asked is None else asked
    if not 0 <= reach < size:
        raise UsageError(
            f"max shift {reach} is not between 0 and {size - 1}, the last pixel; choose another"
        )
    return reach

"""The registry of published architectures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision import models

from robustbench_aa.antialiasing.layers import Blur, BlurPool
from robustbench_aa.antialiasing.published.alexnet import blur_alexnet
from robustbench_aa.antialiasing.published.densenet import blur_densenet
from robustbench_aa.antialiasing.published.mobilenet import blur_mobilenet
from robustbench_aa.antialiasing.published.resnet import blur_resnet
from robustbench_aa.antialiasing.published.vgg import blur_max_pools
from robustbench_aa.support.registry import Registry

MOST_CLASSES = 2**16
"""Largest number of classes that a checkpoint may have."""


@dataclass(frozen=True)
class Architecture:
    """A published network.

    Attributes:
        name: torchvision's name of the plain network.
        replace: Function that replaces the downsampling in place. It takes the network, the blur
            and, if there are two forms, `pool_only`.
        pool_only: Whether the first convolution keeps its stride by default; None if the network
            has one form only.
        first_blur: Key of the blur that exists only in the form with `pool_only=False`.
    """

    name: str
    replace: Callable[..., None]
    pool_only: bool | None = None
    first_blur: str = ""

    def build(
        self, filter_size: int = 4, pool_only: bool | None = None, classes: int = 1000
    ) -> nn.Module:
        """Build the network with random weights; it maps [N, 3, H, W] to logits [N, classes].

        Args:
            filter_size: Filter size of every blur, 1 to 7; the published sizes are 2 to 5.
            pool_only: Whether the first convolution keeps its stride; None is the published
                default.
            classes: Number of classes.

        Raises:
            ValueError: The filter size is not 1 to 7, or `pool_only` is given for a network with
                one form.
        """
        network: nn.Module = models.get_model(self.name, weights=None, num_classes=classes)
        blur: Blur = functools.partial(BlurPool, filter_size=filter_size)
        if self.pool_only is not None:
            self.replace(network, blur, self.pool_only if pool_only is None else pool_only)
        elif pool_only is None:
            self.replace(network, blur)
        else:
            raise ValueError(f"{self.name} has only one form; omit pool_only")
        return network

    def build_for(self, state: dict[str, Tensor]) -> nn.Module:
        """Build the form that a state dict belongs to: filter size, `pool_only` and classes.

        Raises:
            ValueError: The state dict has no blur, no linear layer or too many classes.
        """
        filters = [tensor for key, tensor in state.items() if key.endswith(".filt")]
        heads = [tensor for tensor in state.values() if tensor.ndim == 2]
        if not filters or not heads or not filters[0].ndim or len(heads[-1]) > MOST_CLASSES:
            raise ValueError("no weights of an anti-aliased network")
        pool_only = None if self.pool_only is None else self.first_blur not in state
        return self.build(filters[0].shape[-1], pool_only, len(heads[-1]))


ARCHITECTURES: Registry[Architecture] = Registry("anti-aliased architecture")

for _architecture in (
    Architecture("alexnet", blur_alexnet, False, "features.16.filt"),
    *(
        Architecture(f"vgg{depth}{norm}", blur_max_pools)
        for norm in ("", "_bn")
        for depth in (11, 13, 16, 19)
    ),
    *(
        Architecture(name, blur_resnet, True, "maxpool.2.filt")
        for name in (
            *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
            *("resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2"),
        )
    ),
    *(
        Architecture(f"densenet{depth}", blur_densenet, True, "features.ds0.filt")
        for depth in (121, 161, 169, 201)
    ),
    Architecture("mobilenet_v2", blur_mobilenet),
):
    ARCHITECTURES.register(_architecture.name, _architecture)

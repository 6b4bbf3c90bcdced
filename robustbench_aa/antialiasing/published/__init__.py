"""The 23 published anti-aliased networks, each torchvision's own with its downsampling replaced.

State-dict keys, shapes and outputs are the official ones, so that the official checkpoints load
(Zhang, ICML 2019; github adobe/antialiased-cnns, weights_v0.1).
"""

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
"""Of a network that is built for the weights in a file."""


@dataclass(frozen=True)
class Architecture:
    """A published network.

    Attributes:
        name: torchvision's name of the plain network.
        replace: its downsampling, given the network, the blur and, where there are two forms,
            `pool_only`.
        pool_only: whether the first convolution is left alone by default; None where there is
            one form only.
        first_blur: the key of the blur that only the form with `pool_only=False` has.
    """

    name: str
    replace: Callable[..., None]
    pool_only: bool | None = None
    first_blur: str = ""

    def build(
        self, filter_size: int = 4, pool_only: bool | None = None, classes: int = 1000
    ) -> nn.Module:
        """The network with random weights; [N, 3, H, W] → logits [N, classes].

        Args:
            filter_size: of every blur, 1 to 7; published are 2 to 5.
            pool_only: leave the first convolution alone; None is the published default.

        Raises:
            ValueError: the filter size is not 1 to 7, or `pool_only` is given where there is but
                one form.
        """
        network: nn.Module = models.get_model(self.name, weights=None, num_classes=classes)
        blur: Blur = functools.partial(BlurPool, filter_size=filter_size)
        if self.pool_only is not None:
            self.replace(network, blur, self.pool_only if pool_only is None else pool_only)
        elif pool_only is None:
            self.replace(network, blur)
        else:
            raise ValueError(f"{self.name} has one form; leave pool_only out")
        return network

    def build_for(self, state: dict[str, Tensor]) -> nn.Module:
        """The form whose weights these are: filter size, `pool_only` and classes as in the state.

        Raises:
            ValueError: there is no blur among the weights.
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

"""Convert any convolutional network to its anti-aliased form; the weights stay the same.

The rules of the paper (Zhang, ICML 2019, section 3.2) are applied to the graph of the network:

    max-pool of stride s      →  the dense maximum, then BlurPool of stride s
    average pool of stride s  →  BlurPool of stride s
    convolution of stride s   →  the convolution of stride s/2, its norm and non-linearity, then
                                 BlurPool of stride 2. A 1×1 convolution without a non-linearity
                                 commutes with the blur, so the blur comes first and costs less.

The conversion of a published family gives the published network.
"""

from __future__ import annotations

import copy
import dataclasses
import operator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import fx, nn

from robustbench_aa.antialiasing.graph import (
    NORMS,
    arguments,
    call,
    insert,
    module_of,
    place_of,
    shape_of,
    substitute,
    trace,
)
from robustbench_aa.antialiasing.layers import BlurPool, MaxBlurPool, PaddingMode, pair
from robustbench_aa.errors import ConversionError
from robustbench_aa.types import Classifier, training_seed

NON_LINEARITIES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU),
    *(nn.Mish, nn.Hardswish, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardsigmoid),
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.hardswish),
    *(F.hardtanh, F.sigmoid, F.tanh, torch.relu, torch.relu_, torch.sigmoid, torch.tanh),
    *("relu", "relu_", "sigmoid", "tanh", "clamp"),
)
"""Modules, functions, and names of tensor methods."""

LEFT_ALONE = "left alone"
NO_RULE = f"{LEFT_ALONE}: no rule for it"


@dataclass(frozen=True)
class Replacement:
    """The conversion of one downsampling operation.

    Attributes:
        where: Path of the module, or name of the function's node in the graph.
        was: The original operation.
        now: The operation that replaces it, or `left alone` and the reason.
    """

    where: str
    was: str
    now: str

    def __str__(self) -> str:
        return f"{self.where}: {self.was} → {self.now}"


@dataclass(frozen=True)
class Conversion:
    """The options of a conversion.

    Attributes:
        filter_size: Filter size of every blur, 1 to 7.
        first_conv: Whether to convert a strided convolution at full resolution too. The published
            networks do not, by default: it is the most expensive convolution to run dense.
        max_pool_kernel: New kernel size of max-pools; None keeps the original size. The published
            ResNets use 2 where torchvision's use 3.
        padding_mode: Padding mode of every blur.
    """

    filter_size: int = 4
    first_conv: bool = False
    max_pool_kernel: int | None = None
    padding_mode: PaddingMode = "reflect"

    def blur(self, channels: int, stride: tuple[int, int]) -> BlurPool:
        """Return a blurred subsampling layer with these options."""
        return BlurPool(channels, self.filter_size, stride, self.padding_mode)


def antialias(
    classifier: Classifier,
    filter_size: int = 4,
    *,
    first_conv: bool = False,
    max_pool_kernel: int | None = None,
    padding_mode: PaddingMode = "reflect",
) -> Classifier:
    """Convert a classifier to its anti-aliased form; the original stays unchanged.

    >>> import robustbench_aa as rb
    >>> rb.antialias(rb.load_model("digits:resnet@baseline-seed0"), filter_size=3).name
    'digits:resnet@baseline+lpf3-seed0'

    Args:
        classifier: Any convolutional network.
        filter_size, first_conv, max_pool_kernel, padding_mode: See `Conversion`.

    Returns:
        A classifier with the same weights, named `…+lpf<filter_size>`. `replacements` lists the
        changes to its module.

    Raises:
        ConversionError: The graph of the network cannot be traced, or it does not downsample.
        ValueError: The filter size is not 1 to 7, or the padding mode is unknown.
    """
    conversion = Conversion(filter_size, first_conv, max_pool_kernel, padding_mode)
    model, seed = training_seed(classifier.name)
    return dataclasses.replace(
        classifier,
        module=convert(classifier.module, conversion, classifier.input_size),
        name=f"{model}+lpf{filter_size}{'' if seed is None else f'-seed{seed}'}",
        weights_sha256="",
    )


def replacements(module: nn.Module) -> list[Replacement]:
    """List every downsampling of a converted network: replaced, or left alone and why.

    Raises:
        ValueError: The network was not converted.
    """
    if not isinstance(module, fx.GraphModule) or "replacements" not in module.meta:
        raise ValueError(f"{type(module).__name__} is not a converted network")
    return cast(list[Replacement], module.meta["replacements"])


def convert(module: nn.Module, conversion: Conversion, input_size: int = 224) -> fx.GraphModule:
    """Convert a network that takes images [N, 3, input_size, input_size].

    Functional dropout is traced in evaluation mode and so disappears; dropout modules still switch
    between training and evaluation.

    Raises:
        ConversionError: The graph of the network cannot be traced, or it does not downsample.
    """
    name = type(module).__name__
    images = torch.zeros(1, 3, input_size, input_size)
    graph = trace(copy.deepcopy(module).eval(), images)
    converted = [
        _convert_node(graph, node, conversion, input_size) for node in list(graph.graph.nodes)
    ]
    graph.meta["replacements"] = [replacement for replacement in converted if replacement]
    if all(replacement.now.startswith(LEFT_ALONE) for replacement in replacements(graph)):
        raise ConversionError(f"{name} has no downsampling that can be blurred")
    graph.delete_all_unused_submodules()
    graph.recompile()
    call(lambda: graph(images), f"{name} fails after its conversion")
    return graph.train(module.training)


def _convert_node(
    graph: fx.GraphModule, node: fx.Node, conversion: Conversion, input_size: int
) -> Replacement | None:
    """Convert a node that subsamples; return None for any other node."""
    module = module_of(graph, node)
    if isinstance(module, nn.Conv2d):
        return _convert_conv(graph, node, module, conversion, input_size)
    if isinstance(module, nn.MaxPool2d) or node.target in (F.max_pool2d, torch.max_pool2d):
        return _convert_max_pool(graph, node, conversion)
    if isinstance(module, nn.AvgPool2d) or node.target is F.avg_pool2d:
        return _convert_average_pool(graph, node, conversion)
    if node.target is F.conv2d:
        stride = arguments(node, None, ("weight", "bias", "stride")).get("stride", 1)
        if pair(stride) != (1, 1):
            return Replacement(node.name, "functional strided convolution", NO_RULE)
    if node.target is operator.getitem and _has_step(node.args[1]):
        return Replacement(node.name, "slicing with a step", NO_RULE)
    return None


def _convert_conv(
    graph: fx.GraphModule,
    node: fx.Node,
    conv: nn.Conv2d,
    conversion: Conversion,
    input_size: int,
) -> Replacement | None:
    kernel, stride = pair(conv.kernel_size), pair(conv.stride)
    if stride == (1, 1):
        return None
    was = f"{_times(kernel)} convolution of stride {_times(stride)}"
    source = node.all_input_nodes[0]
    if not conversion.first_conv and shape_of(source)[-1] >= input_size:
        return Replacement(place_of(node), was, f"{LEFT_ALONE}: first high-resolution stage")
    if sum(other.target == node.target for other in graph.graph.nodes) > 1:
        raise ConversionError(f"{node.target} is called twice; give each call its own layer")
    subsampling = (min(stride[0], 2), min(stride[1], 2))
    end, linear = _end_of_stage(graph, node)
    name = f"{node.target}_blur"
    if linear and kernel == (1, 1) and stride == subsampling:
        blur = conversion.blur(conv.in_channels, subsampling)
        node.replace_input_with(source, insert(graph, source, name, blur))
    else:
        blur = conversion.blur(conv.out_channels, subsampling)
        blurred = insert(graph, end, name, blur)
        end.replace_all_uses_with(blurred, delete_user_cb=lambda user: user is not blurred)
    conv.stride = (stride[0] // subsampling[0], stride[1] // subsampling[1])
    now = f"stride {_times(conv.stride)}, BlurPool({blur.extra_repr()})"
    return Replacement(place_of(node), was, now)


def _convert_max_pool(
    graph: fx.GraphModule, node: fx.Node, conversion: Conversion
) -> Replacement | None:
    names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
    pool = arguments(node, module_of(graph, node), names)
    kernel = pair(pool["kernel_size"])
    stride = pair(pool.get("stride") or kernel)
    was = f"{_times(kernel)} max-pool of stride {_times(stride)}"
    if stride == (1, 1):
        return None
    if pool.get("return_indices"):
        return Replacement(place_of(node), was, f"{LEFT_ALONE}: it returns indices")
    padding = pair(pool.get("padding") or 0)
    if conversion.max_pool_kernel is not None:
        # this padding keeps a window of another size centred, or half a pixel beside
        kernel = pair(conversion.max_pool_kernel)
        padding = pair((conversion.max_pool_kernel - 1) // 2)
    module = MaxBlurPool(
        shape_of(node)[1],
        kernel,
        conversion.filter_size,
        stride,
        padding,
        pair(pool.get("dilation") or 1),
        bool(pool.get("ceil_mode")),
        conversion.padding_mode,
    )
    substitute(graph, node, module)
    now = f"dense {_times(kernel)} max-pool, BlurPool({module[-1].extra_repr()})"
    return Replacement(place_of(node), was, now)


def _convert_average_pool(
    graph: fx.GraphModule, node: fx.Node, conversion: Conversion
) -> Replacement | None:
    pool = arguments(node, module_of(graph, node), ("kernel_size", "stride"))
    kernel = pair(pool["kernel_size"])
    stride = pair(pool.get("stride") or kernel)
    if stride == (1, 1) or shape_of(node)[-2:] == (1, 1):
        return None  # an average over the whole map is not subsampling
    blur = conversion.blur(shape_of(node)[1], stride)
    substitute(graph, node, blur)
    was = f"{_times(kernel)} average pool of stride {_times(stride)}"
    return Replacement(place_of(node), was, f"BlurPool({blur.extra_repr()})")


def _end_of_stage(graph: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, bool]:
    """Return the last norm or non-linearity after a convolution, and whether all are linear."""
    end = node
    while len(end.users) == 1:
        (user,) = end.users
        module = module_of(graph, user)
        if user.target in NON_LINEARITIES or type(module) in NON_LINEARITIES:
            return user, False
        if not isinstance(module, NORMS):
            break
        end = user
        if not isinstance(getattr(module, "act", nn.Identity()), nn.Identity):
            return end, False  # timm's norms may include an activation
    return end, True


def _has_step(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, slice) and part.step not in (None, 1) for part in parts)


def _times(sizes: tuple[int, ...]) -> str:
    return "×".join(map(str, sizes))

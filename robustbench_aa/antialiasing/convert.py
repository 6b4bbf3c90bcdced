"""Convert any convolutional network to its anti-aliased form; the weights stay the same.

Subsampling comes last, after a dense operation (Zhang, ICML 2019, section 3.2):

    max-pool of stride s      →  the dense maximum, then subsampling by s
    average pool of stride s  →  subsampling by s; without a filter, the dense average first
    convolution of stride s   →  the convolution of stride s/2, its norm and non-linearity, then
                                 subsampling by 2; if s is odd, the dense convolution and
                                 subsampling by s. A 1×1 convolution without a non-linearity
                                 commutes with subsampling, which comes first and costs less.

Subsampling is a layer of the method, such as BlurPool. The polyphase methods subsample by s at
once, and branches that meet keep the same component (`branches.py`). The conversion of a published
family by blurs gives the published network.
"""

from __future__ import annotations

import copy
import dataclasses
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from robustbench_aa.antialiasing.branches import Site, share_components
from robustbench_aa.antialiasing.circular import is_padding, make_circular, obstacles
from robustbench_aa.antialiasing.conversion import Conversion
from robustbench_aa.antialiasing.graph import (
    LEFT_ALONE,
    Replacement,
    arguments,
    call,
    described,
    end_of_stage,
    insert,
    module_of,
    place_of,
    shape_of,
    trace,
)
from robustbench_aa.antialiasing.layers import BlurPool, MaxBlurPool
from robustbench_aa.antialiasing.polyphase import PolyphaseComponent
from robustbench_aa.antialiasing.windows import (
    Window,
    WindowPad,
    dense_average_pool,
    dense_max_pool,
    pair,
)
from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import ConversionError
from robustbench_aa.support.checks import NO_CLASSIFIER, check_type
from robustbench_aa.support.training_seeds import training_seed, with_seed

NO_RULE = f"{LEFT_ALONE}: no rule for it"


def antialias(
    classifier: Classifier,
    filter_size: int | None = None,
    *,
    method: str = "blur",
    first_conv: bool | None = None,
    max_pool_kernel: int | None = None,
    padding_mode: str = "reflect",
) -> Classifier:
    """Convert a classifier to its anti-aliased form; the original stays unchanged.

    The weights stay the same, so the converted classifier is less accurate than the original one
    until it is fine-tuned.

    >>> import robustbench_aa as rb
    >>> rb.antialias(rb.load_model("digits:resnet@baseline-seed0"), filter_size=3).name
    'digits:resnet@baseline+lpf3-seed0'

    Args:
        classifier: Any convolutional network.
        filter_size, method, first_conv, max_pool_kernel, padding_mode: See `Conversion`.

    Returns:
        A classifier with the same weights, named by `…+` and the short form of its conversion, such
        as `…+lpf4`. `replacements` lists the changes to its module.

    Raises:
        ConversionError: The graph of the network cannot be traced, or it does not downsample.
        UnknownName: There is no such method.
        ValueError: The method has no such filter size, or the padding mode is unknown.
    """
    check_type("the model", classifier, Classifier, NO_CLASSIFIER)
    conversion = Conversion(
        filter_size, first_conv, max_pool_kernel, cast(Any, padding_mode), method
    )
    model, seed = training_seed(classifier.name)
    return dataclasses.replace(
        classifier,
        module=convert(classifier.module, conversion, classifier.input_size),
        name=with_seed(f"{model}+{conversion}", seed),
        weights_sha256="",
        source_sha256=str(classifier.source_sha256),  # the graph contains the code of the network
    )


def replacements(module: nn.Module) -> list[Replacement]:
    """List every downsampling of a converted network: replaced, or left alone and why.

    With circular padding also what was done to paddings and, for `aps` and `lps`, what prevents
    exact invariance.

    Raises:
        ValueError: The network was not converted.
    """
    if not isinstance(module, fx.GraphModule) or "replacements" not in module.meta:
        raise ValueError(f"{type(module).__name__} is not a converted network")
    return cast(list[Replacement], module.meta["replacements"])


def convert(module: nn.Module, conversion: Conversion, input_size: int = 224) -> fx.GraphModule:
    """Convert a network that takes images [N, 3, input_size, input_size].

    Functional dropout is traced in evaluation mode and so disappears; dropout modules still switch
    between training and evaluation. New parameters, of `lps` and `ddac`, are random with seed 0.

    Raises:
        ConversionError: The graph of the network cannot be traced, or it does not downsample.
    """
    images = torch.zeros(1, 3, input_size, input_size)
    try:
        return _converted(copy.deepcopy(module), conversion, images)
    except ConversionError:
        like = next((one for one in module.parameters() if one.is_floating_point()), images)
        if (like.dtype, like.device) == (images.dtype, images.device):
            raise
    # new layers are on the CPU in float32, so another network is converted there and put back
    graph = _converted(copy.deepcopy(module).to(images), conversion, images)
    graph.to(like.device, like.dtype)
    weights = {name: one.clone() for name, one in module.state_dict().items()}
    graph.load_state_dict(weights, strict=False, assign=True)
    return graph


def _converted(module: nn.Module, conversion: Conversion, images: Tensor) -> fx.GraphModule:
    """Return a converted module, whose parts it takes over."""
    name, input_size, training = type(module).__name__, images.shape[-1], module.training
    graph = trace(module.eval(), images)
    converter = _Converter(graph, conversion, input_size)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        found = [converter.convert(node) for node in list(graph.graph.nodes)]
    done = [replacement for replacement in found if replacement]
    if all(replacement.now.startswith(LEFT_ALONE) for replacement in done):
        raise ConversionError(f"{name} has no downsampling that can be replaced")
    if conversion.circular:
        done += make_circular(graph, global_means=conversion.polyphase)

    graph.recompile()
    call(lambda: graph.eval()(images), f"{name} fails after its conversion")
    if conversion.polyphase:
        call(lambda: ShapeProp(graph).propagate(images), f"{name} fails after its conversion")
        done = share_components(graph, converter.sites, done)
        if conversion.circular:
            done += obstacles(graph)
    graph.delete_all_unused_submodules()
    graph.recompile()
    graph.meta |= {"replacements": done, "conversion": str(conversion), "fine_tuned": False}
    return graph.train(training)


@dataclass
class _Converter:
    """The conversion of a graph, node by node.

    Attributes:
        graph: The graph; it is changed.
        conversion: The options.
        input_size: Height and width of the network's images.
        sites: The places where a polyphase component is kept, in the order of the graph.
    """

    graph: fx.GraphModule
    conversion: Conversion
    input_size: int
    sites: list[Site] = dataclasses.field(default_factory=list)

    def convert(self, node: fx.Node) -> Replacement | None:
        """Convert a node that subsamples; return None for any other node."""
        module = module_of(self.graph, node)
        if isinstance(module, nn.Conv2d):
            return self._convolution(node, module)
        if isinstance(module, nn.MaxPool2d) or node.target in (F.max_pool2d, torch.max_pool2d):
            return self._max_pool(node)
        if isinstance(module, nn.AvgPool2d) or node.target is F.avg_pool2d:
            return self._average_pool(node)
        if node.target is F.conv2d:
            stride = arguments(node, None, ("weight", "bias", "stride")).get("stride", 1)
            if pair(stride) != (1, 1):
                return Replacement(node.name, "functional strided convolution", NO_RULE)
        if node.target is operator.getitem and _has_step(node.args[1]):
            return self._slicing(node)
        return None

    def _convolution(self, node: fx.Node, conv: nn.Conv2d) -> Replacement | None:
        kernel, stride = pair(conv.kernel_size), pair(conv.stride)
        if stride == (1, 1):
            return None
        was = f"{_times(kernel)} convolution of stride {_times(stride)}"
        source = node.all_input_nodes[0]
        if not self.conversion.first_conv and shape_of(source)[-1] >= self.input_size:
            return Replacement(place_of(node), was, f"{LEFT_ALONE}: first high-resolution stage")
        if sum(other.target == node.target for other in self.graph.graph.nodes) > 1:
            raise ConversionError(f"{node.target} is called twice; give each call its own layer")
        whole = self.conversion.polyphase
        subsampling = stride if whole else (_subsampling(stride[0]), _subsampling(stride[1]))
        if self.conversion.circular:
            self._complete(node, conv)
        end, linear = end_of_stage(self.graph, node)
        if linear and kernel == (1, 1) and stride == subsampling:
            result, how = self._subsample(source, node, conv.in_channels, subsampling, True)
            node.replace_input_with(source, result)
        else:
            before = set(end.users)
            result, how = self._subsample(end, node, conv.out_channels, subsampling, False)
            end.replace_all_uses_with(result, delete_user_cb=before.__contains__)
        conv.stride = (stride[0] // subsampling[0], stride[1] // subsampling[1])
        return Replacement(place_of(node), was, f"stride {_times(conv.stride)}, {how}")

    def _complete(self, node: fx.Node, conv: nn.Conv2d) -> None:
        """Pad before a convolution whose own padding cannot keep the size of a dense map."""
        padding = (0, 0) if isinstance(conv.padding, str) else pair(conv.padding)
        dilation = pair(conv.dilation)
        reach = tuple(d * (k - 1) for d, k in zip(dilation, conv.kernel_size, strict=True))
        source = node.all_input_nodes[0]
        if reach == (2 * padding[0], 2 * padding[1]) or is_padding(self.graph, source):
            return
        window = Window(pair(conv.kernel_size), pair(conv.stride), padding, dilation)
        pad = insert(self.graph, source, f"{node.target}_pad", WindowPad(window, "circular"))
        node.replace_input_with(source, pad)
        conv.padding = (0, 0)

    def _max_pool(self, node: fx.Node) -> Replacement | None:
        names = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
        pool = arguments(node, module_of(self.graph, node), names)
        kernel = pair(pool["kernel_size"])
        stride = pair(pool.get("stride") or kernel)
        was = f"{_times(kernel)} max-pool of stride {_times(stride)}"
        if stride == (1, 1):
            return None
        if pool.get("return_indices"):
            return Replacement(place_of(node), was, f"{LEFT_ALONE}: it returns indices")
        padding = pair(pool.get("padding") or 0)
        if self.conversion.max_pool_kernel is not None:
            # this padding keeps a window of another size centred, or half a pixel beside
            kernel = pair(self.conversion.max_pool_kernel)
            padding = pair((self.conversion.max_pool_kernel - 1) // 2)
        dilation, ceil_mode = pair(pool.get("dilation") or 1), bool(pool.get("ceil_mode"))
        channels = shape_of(node)[1]
        if self.conversion.method == "blur":
            module = MaxBlurPool(
                *(channels, kernel, self.conversion.size, stride, padding, dilation, ceil_mode),
                self.conversion.padding_mode,
            )
            result = insert(self.graph, node.all_input_nodes[0], f"{place_of(node)}_blur", module)
            how = described(module[-1])
        else:
            window = Window(kernel, stride, padding, dilation, ceil_mode)
            dense = self._dense(node, dense_max_pool(window, circular=self.conversion.circular))
            result, how = self._subsample(dense, node, channels, stride, False)
        self._replace(node, result)
        return Replacement(place_of(node), was, f"dense {_times(kernel)} max-pool, {how}")

    def _average_pool(self, node: fx.Node) -> Replacement | None:
        names = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
        pool = arguments(node, module_of(self.graph, node), names)
        kernel = pair(pool["kernel_size"])
        stride = pair(pool.get("stride") or kernel)
        if stride == (1, 1) or shape_of(node)[-2:] == (1, 1):
            return None  # an average over the whole map is not subsampling
        source, how = node.all_input_nodes[0], ""
        if self.conversion.polyphase and self.conversion.size == 1:
            padding = pair(pool.get("padding") or 0)
            layers = dense_average_pool(
                Window(kernel, stride, padding, 1, bool(pool.get("ceil_mode"))),
                circular=self.conversion.circular,
                count_include_pad=bool(pool.get("count_include_pad", True)),
            )
            source, how = self._dense(node, layers), f"dense {_times(kernel)} average, "
        result, subsampled = self._subsample(source, node, shape_of(node)[1], stride, True)
        self._replace(node, result)
        was = f"{_times(kernel)} average pool of stride {_times(stride)}"
        return Replacement(place_of(node), was, how + subsampled)

    def _slicing(self, node: fx.Node) -> Replacement:
        """Convert `x[:, :, ::s, ::s]`, a shortcut, so that it follows the main branch."""
        was, stride = "slicing with a step", _strides(node.args[1])
        if stride is None or not self.conversion.polyphase:
            return Replacement(node.name, was, NO_RULE)
        source = node.all_input_nodes[0]
        result, how = self._subsample(source, node, shape_of(source)[1], stride, True)
        self._replace(node, result)
        return Replacement(node.name, was, how)

    def _dense(self, node: fx.Node, layers: list[nn.Module]) -> fx.Node:
        """Insert the dense form of a pool before it."""
        source = node.all_input_nodes[0]
        for layer in layers:
            source = insert(self.graph, source, f"{place_of(node)}_dense", layer)
        return source

    def _subsample(
        self, after: fx.Node, node: fx.Node, channels: int, stride: tuple[int, int], shortcut: bool
    ) -> tuple[fx.Node, str]:
        """Insert subsampling.

        Args:
            after: The node whose result is subsampled.
            node: The strided node, which gives the new layers their names.
            channels: Number of channels of that result.
            stride: Stride of the subsampling.
            shortcut: Whether the branch of this node follows the choice of another branch.

        Returns:
            The node of the result, and a description.
        """
        place = place_of(node)
        layer = self.conversion.layer(channels, stride)
        if not self.conversion.polyphase:
            inserted = insert(self.graph, after, f"{place}_{self.conversion.method}", layer)
            return inserted, described(layer)
        how = ""
        if self.conversion.size > 1:
            padding_mode = self.conversion.padding_mode
            blur = BlurPool(channels, self.conversion.size, 1, padding_mode)
            after, how = insert(self.graph, after, f"{place}_blur", blur), f"{described(blur)}, "
        choice = insert(self.graph, after, f"{place}_choice", layer)
        keep = PolyphaseComponent(stride, self.conversion.padding_mode)
        component = insert(self.graph, choice, f"{place}_component", keep, (after, choice))
        self.sites.append(Site(place, choice, component, shortcut))
        return component, how + described(layer)

    def _replace(self, node: fx.Node, result: fx.Node) -> None:
        result.meta = dict(node.meta)
        node.replace_all_uses_with(result)
        self.graph.graph.erase_node(node)


def _subsampling(stride: int) -> int:
    """Return which part of a stride follows the convolution: 2, or all of an odd stride."""
    return stride if stride % 2 else 2


def _has_step(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, slice) and part.step not in (None, 1) for part in parts)


def _strides(index: Any) -> tuple[int, int] | None:
    """Return the steps of an index `[:, :, ::s, ::t]`; None for any other index."""
    if not isinstance(index, tuple) or len(index) != 4:
        return None
    steps = [part.step or 1 for part in index if isinstance(part, slice)]
    if index != tuple(slice(None, None, part.step) for part in index if isinstance(part, slice)):
        return None  # an index, or a slice with bounds
    known = all(isinstance(step, int) for step in steps)
    return (steps[2], steps[3]) if known and steps[:2] == [1, 1] else None


def _times(sizes: Iterable[int]) -> str:
    return "×".join(map(str, sizes))

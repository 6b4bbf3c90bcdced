"""Circular padding everywhere, and what still prevents exact invariance to circular shifts."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import TensorMetadata

from robustbench_aa.antialiasing.graph import (
    LEFT_ALONE,
    Replacement,
    arguments,
    insert,
    module_of,
    place_of,
    shape_of,
)
from robustbench_aa.antialiasing.polyphase import PolyphaseComponent
from robustbench_aa.antialiasing.windows import (
    Window,
    WindowPad,
    dense_average_pool,
    dense_max_pool,
    pair,
)

_PADS = (nn.ZeroPad2d, nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d)
_CIRCULAR_PADS = (WindowPad, nn.CircularPad2d)
_NAMES = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVERAGE_NAMES = ("kernel_size", "stride", "padding", "ceil_mode")


class GlobalMean(nn.Module):
    """The mean of the whole map, repeated at every place of an output size.

    A linear layer after it computes the mean of its results over all circular shifts of the map.

    Args:
        output_size: Height and width of the result.
    """

    def __init__(self, output_size: int | tuple[int, int]) -> None:
        super().__init__()
        self.output_size = pair(output_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C, *output_size]."""
        return x.mean((2, 3), keepdim=True).expand(-1, -1, *self.output_size)

    def extra_repr(self) -> str:
        """Return the arguments for `repr`."""
        return str(self.output_size)


def make_circular(graph: fx.GraphModule, *, global_means: bool) -> list[Replacement]:
    """Make every padding of a network circular.

    Args:
        graph: The graph, after the conversion of its subsampling; it is changed.
        global_means: Whether an adaptive average pool to several places becomes a global mean. Its
            places are fixed parts of the map, so their means change with a circular shift.

    Returns:
        What was done to pools and functions, and what was left alone and why. Convolutions are
        counted in one line.
    """
    done = _convolutions(graph)
    for node in list(graph.graph.nodes):
        done += _pads(graph, node)
        done += _pools(graph, node)
        if global_means:
            done += _adaptive_pools(graph, node)
    return done


def _convolutions(graph: fx.GraphModule) -> list[Replacement]:
    done, found = 0, []
    for path, conv in graph.named_modules():
        if not isinstance(conv, nn.Conv2d):
            continue
        if type(conv).forward is not nn.Conv2d.forward:
            if type(conv).__name__ != "Conv2d":
                now = f"{LEFT_ALONE}: {type(conv).__name__} pads in its own way"
                found.append(Replacement(path, "convolution", now))
        elif conv.padding not in ("valid", 0, (0, 0)) and conv.padding_mode != "circular":
            conv.padding_mode = "circular"
            done += 1
    count = Replacement("all convolutions", f"padding of {done}", "circular padding")
    return [count, *found] if done else found


def _pads(graph: fx.GraphModule, node: fx.Node) -> Iterator[Replacement]:
    module = module_of(graph, node)
    if isinstance(module, _PADS):
        _swap(graph, node, [nn.CircularPad2d(module.padding)])
        yield Replacement(place_of(node), type(module).__name__, "CircularPad2d")
    elif node.target is F.pad:
        sides = arguments(node, None, ("pad", "mode", "value")).get("pad", ())
        if not any(sides[:4]):
            return  # padding of channels
        if any(sides[4:]) or not all(isinstance(side, int) and side >= 0 for side in sides):
            now = f"{LEFT_ALONE}: its sides depend on the input"
            yield Replacement(node.name, "padding", now)
            return
        node.args, node.kwargs = (node.args[0], tuple(sides[:4])), {"mode": "circular"}
        yield Replacement(node.name, "padding", "circular padding")


def _pools(graph: fx.GraphModule, node: fx.Node) -> Iterator[Replacement]:
    """Convert the pools of stride 1; the others are converted already."""
    module = module_of(graph, node)
    largest = isinstance(module, nn.MaxPool2d) or node.target in (F.max_pool2d, torch.max_pool2d)
    if not largest and not isinstance(module, nn.AvgPool2d) and node.target is not F.avg_pool2d:
        return
    pool = arguments(node, module, _NAMES if largest else _AVERAGE_NAMES)
    padding = pair(pool.get("padding") or 0)
    if padding == (0, 0) or pair(pool.get("stride") or pool["kernel_size"]) != (1, 1):
        return
    window = Window(pool["kernel_size"], 1, padding, pool.get("dilation") or 1)
    build = dense_max_pool if largest else dense_average_pool
    _swap(graph, node, build(window, circular=True))
    yield Replacement(place_of(node), "padding of a pool of stride 1", "circular padding")


def _adaptive_pools(graph: fx.GraphModule, node: fx.Node) -> Iterator[Replacement]:
    module = module_of(graph, node)
    average = isinstance(module, nn.AdaptiveAvgPool2d) or node.target is F.adaptive_avg_pool2d
    if average and shape_of(node)[2:] != (1, 1):
        size = (shape_of(node)[2], shape_of(node)[3])
        _swap(graph, node, [GlobalMean(size)])
        was = f"adaptive average pool to {size[0]}×{size[1]}"
        yield Replacement(place_of(node), was, f"GlobalMean({size}): the same mean at every place")


def _swap(graph: fx.GraphModule, node: fx.Node, layers: list[nn.Module]) -> None:
    """Replace a node by layers."""
    after = node.all_input_nodes[0]
    for layer in layers:
        after = insert(graph, after, f"{place_of(node)}_circular", layer)
    after.meta = dict(node.meta)
    node.replace_all_uses_with(after)
    graph.graph.erase_node(node)


def obstacles(graph: fx.GraphModule) -> list[Replacement]:
    """List what prevents exact invariance to circular shifts.

    Args:
        graph: The converted graph, with the shape of every node's result.
    """
    return [one for node in graph.graph.nodes for one in _obstacle(graph, node)]


def _obstacle(graph: fx.GraphModule, node: fx.Node) -> Iterator[Replacement]:
    sources = node.all_input_nodes
    if not sources or not all(_is_tensor(one) for one in (node, sources[0])):
        return
    module, before, after = module_of(graph, node), shape_of(sources[0]), shape_of(node)
    if len(before) != 4 or before[2:] == (1, 1):
        return
    if isinstance(module, PolyphaseComponent):
        if before[2] % module.stride[0] or before[3] % module.stride[1]:
            size = f"{before[2]}×{before[3]}"
            yield _left(node, f"subsampling of {size}", "its size is no multiple of its stride")
    elif isinstance(module, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        # two paddings in a row would not continue the map but its copies
        alone = module.padding in (0, (0, 0), "valid")
        pad = sources[0] if alone and is_padding(graph, sources[0]) else node
        if shape_of(pad.all_input_nodes[0])[2:] != after[2:]:
            yield _left(node, type(module).__name__, "it shrinks the map at its border")
    elif len(after) == 2 and after[1] == math.prod(before[1:]):
        mean = isinstance(module_of(graph, _before_dropout(graph, sources[0])), GlobalMean)
        if not mean:
            yield _left(node, "flattening of a map", "the classifier knows each place")


def is_padding(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Return whether a node only pads a map."""
    padding = isinstance(module_of(graph, node), (*_PADS, *_CIRCULAR_PADS))
    return padding or node.target is F.pad


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("tensor_meta"), TensorMetadata)


def _before_dropout(graph: fx.GraphModule, node: fx.Node) -> fx.Node:
    while isinstance(module_of(graph, node), nn.Dropout | nn.Identity):
        node = node.all_input_nodes[0]
    return node


def _left(node: fx.Node, was: str, why: str) -> Replacement:
    return Replacement(place_of(node), was, f"{LEFT_ALONE}: not exactly invariant, {why}")

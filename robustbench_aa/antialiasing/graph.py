"""A network's graph: following it, reading it, and putting layers into it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from robustbench_aa.antialiasing.layers import BlurPool
from robustbench_aa.errors import ConversionError, cause

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d, nn.Identity)
_WHOLE = (*NORMS, nn.Conv2d, nn.MaxPool2d, BlurPool)
# randomness that must stay a switch between training and evaluation, not be traced away
_SWITCHES = ("StochasticDepth", "DropPath")


class _Tracer(fx.Tracer):
    """Follows a network down to its convolutions, norms and torch's own layers.

    Args:
        whole: paths of further modules that are not followed into.
    """

    def __init__(self, whole: frozenset[str]) -> None:
        super().__init__()
        self.whole = whole
        self.in_the_way = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, _WHOLE) or type(m).__name__ in _SWITCHES
        listed = module_qualified_name in self.whole
        return whole or listed or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        path = self.path_of_module(m)
        try:
            return attempt(
                lambda: super(_Tracer, self).call_module(m, forward, args, kwargs),
                f"the graph cannot be followed in {path} ({type(m).__name__})",
            )
        except ConversionError:
            self.in_the_way = self.in_the_way or path  # the innermost module is told of first
            raise


def trace(
    module: nn.Module, images: torch.Tensor, whole: frozenset[str] = frozenset()
) -> fx.GraphModule:
    """The graph of a network, every node with the shape that it has for these images.

    A module that cannot be followed into is kept whole, unless it downsamples.

    Raises:
        ConversionError: it cannot be followed; names the innermost module in the way.
    """
    name = type(module).__name__
    tracer = _Tracer(whole)
    try:
        traced = attempt(lambda: tracer.trace(module), f"the graph of {name} cannot be followed")
    except ConversionError as error:
        path = tracer.in_the_way
        if not path or path in whole:
            raise
        graph = trace(module, images, whole | {path})
        if any(node.target == path and _downsamples(node) for node in graph.graph.nodes):
            raise error from None
        return graph
    graph = fx.GraphModule(tracer.root, traced, name)
    attempt(lambda: ShapeProp(graph).propagate(images), f"{name} does not run")
    return graph


def _downsamples(node: fx.Node) -> bool:
    """Whether a node's result is a smaller map than its input, and more than one place."""
    before, after = (shape_of(one)[2:] for one in (node.all_input_nodes[0], node))
    return after != before and any(size > 1 for size in after)


def attempt(action: Callable[[], Any], told: str) -> Any:
    """Does what a user's network may answer with any error.

    Raises:
        ConversionError: with what is told, unless a deeper place was already told.
    """
    try:
        with torch.no_grad():
            return action()
    except ConversionError:
        raise
    except Exception as error:
        raise ConversionError(f"{told}: {cause(error)}") from error


def insert(graph: fx.GraphModule, after: fx.Node, name: str, module: nn.Module) -> fx.Node:
    """Calls a new module, under this name or one like it, on a node's result."""
    path, taken = name, set(dict(graph.named_modules()))
    while path in taken:
        path += "_"
    graph.add_submodule(path, module)
    with graph.graph.inserting_after(after):
        node = graph.graph.call_module(path, (after,))
    node.meta = dict(after.meta)
    return node


def substitute(graph: fx.GraphModule, node: fx.Node, module: nn.Module) -> None:
    """Calls a new module in a node's place."""
    new = insert(graph, node.all_input_nodes[0], f"{place_of(node)}_blur", module)
    new.meta = dict(node.meta)
    node.replace_all_uses_with(new)
    graph.graph.erase_node(node)


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The module that a node calls, if it calls one."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def place_of(node: fx.Node) -> str:
    """The path of the module that a node calls, or the name of its function."""
    return str(node.target) if node.op == "call_module" else node.name


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """The shape of a node's result."""
    return tuple(node.meta["tensor_meta"].shape)


def arguments(node: fx.Node, module: nn.Module | None, names: tuple[str, ...]) -> dict[str, Any]:
    """The arguments of an operation behind its input, whether it is a module or a function."""
    if module is not None:
        return {name: getattr(module, name, None) for name in names}
    return dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)

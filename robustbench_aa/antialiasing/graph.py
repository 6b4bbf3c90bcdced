"""Trace the graph of a network, read its nodes, and insert layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from robustbench_aa.antialiasing.adaptive import AdaptiveBlurPool
from robustbench_aa.antialiasing.fourier import FourierPool
from robustbench_aa.antialiasing.layers import BlurPool
from robustbench_aa.antialiasing.polyphase import Polyphase
from robustbench_aa.errors import ConversionError, cause

NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm, nn.InstanceNorm2d, nn.Identity)
NON_LINEARITIES = (
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU),
    *(nn.Mish, nn.Hardswish, nn.Hardtanh, nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardsigmoid),
    *(F.relu, F.relu6, F.leaky_relu, F.elu, F.selu, F.celu, F.gelu, F.silu, F.mish, F.hardswish),
    *(F.hardtanh, F.sigmoid, F.tanh, torch.relu, torch.relu_, torch.sigmoid, torch.tanh),
    *("relu", "relu_", "sigmoid", "tanh", "clamp"),
)
"""Modules, functions, and names of tensor methods."""
LEFT_ALONE = "left alone"
"""The start of the description of an operation that is not replaced."""
_SUBSAMPLING = (BlurPool, Polyphase, FourierPool, AdaptiveBlurPool)
_WHOLE = (*NORMS, nn.Conv2d, nn.MaxPool2d, *_SUBSAMPLING)
# these act only in training; tracing them in evaluation mode would remove them
_SWITCHES = ("StochasticDepth", "DropPath")


@dataclass(frozen=True)
class Replacement:
    """The conversion of one operation.

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


class _Tracer(fx.Tracer):
    """A tracer that stops at convolutions, norms and torch's own layers.

    Args:
        whole: Paths of further modules that are not traced into.
    """

    def __init__(self, whole: frozenset[str]) -> None:
        super().__init__()
        self.whole = whole
        self.blocking_path = ""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, _WHOLE) or type(m).__name__ in _SWITCHES
        listed = module_qualified_name in self.whole
        return whole or listed or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        path = self.path_of_module(m)
        try:
            return call(
                lambda: super(_Tracer, self).call_module(m, forward, args, kwargs),
                f"the graph cannot be traced in {path} ({type(m).__name__})",
            )
        except ConversionError:
            # the innermost module raises first
            self.blocking_path = self.blocking_path or path
            raise


def trace(
    module: nn.Module, images: torch.Tensor, whole: frozenset[str] = frozenset()
) -> fx.GraphModule:
    """Return the graph of a network, with the shape of every node's result for these images.

    A module that cannot be traced into stays one node, unless it downsamples.

    Raises:
        ConversionError: The network cannot be traced. The message names the innermost module that
            prevents it.
    """
    name = type(module).__name__
    tracer = _Tracer(whole)
    try:
        traced = call(lambda: tracer.trace(module), f"the graph of {name} cannot be traced")
    except ConversionError as error:
        path = tracer.blocking_path
        if not path or path in whole:
            raise
        graph = trace(module, images, whole | {path})
        if any(node.target == path and _downsamples(node) for node in graph.graph.nodes):
            raise error from None
        return graph
    graph = fx.GraphModule(tracer.root, traced, name)
    call(lambda: ShapeProp(graph).propagate(images), f"{name} fails on images of its input size")
    return graph


def _downsamples(node: fx.Node) -> bool:
    """Return whether a node's result is a smaller map than its input, and not one pixel."""
    before, after = (shape_of(one)[2:] for one in (node.all_input_nodes[0], node))
    return after != before and any(size > 1 for size in after)


def call(action: Callable[[], Any], failure: str) -> Any:
    """Call code of a user's network, which may raise anything, without gradients.

    Args:
        action: The call.
        failure: Start of the error message.

    Raises:
        ConversionError: The call failed. An error of a nested `call` passes unchanged.
    """
    try:
        with torch.no_grad():
            return action()
    except ConversionError:
        raise
    except Exception as error:
        raise ConversionError(f"{failure}: {cause(error)}") from error


def insert(
    graph: fx.GraphModule,
    after: fx.Node,
    name: str,
    module: nn.Module,
    inputs: tuple[fx.Node, ...] = (),
) -> fx.Node:
    """Insert a module after a node, whose result it takes unless other inputs are given.

    If the name is taken, underscores are appended to it.
    """
    path, taken = name, set(dict(graph.named_modules()))
    while path in taken:
        path += "_"
    graph.add_submodule(path, module)
    with graph.graph.inserting_after(after):
        node = graph.graph.call_module(path, inputs or (after,))
    node.meta = dict(after.meta)
    return node


def described(module: nn.Module) -> str:
    """Return a layer as its type and arguments."""
    return f"{type(module).__name__}({module.extra_repr()})"


def module_of(graph: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """Return the module that a node calls, or None."""
    return graph.get_submodule(str(node.target)) if node.op == "call_module" else None


def place_of(node: fx.Node) -> str:
    """Return the path of the module that a node calls, or the node's name for a function."""
    return str(node.target) if node.op == "call_module" else node.name


def shape_of(node: fx.Node) -> tuple[int, ...]:
    """Return the shape of a node's result."""
    return tuple(node.meta["tensor_meta"].shape)


def arguments(node: fx.Node, module: nn.Module | None, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the arguments after the input, of a module or of a function call."""
    if module is not None:
        return {name: getattr(module, name, None) for name in names}
    return dict(zip(names, node.args[1:], strict=False)) | dict(node.kwargs)


def end_of_stage(graph: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, bool]:
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

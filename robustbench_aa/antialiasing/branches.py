"""Branches that meet keep the same polyphase component.

A residual block subsamples its main branch and its shortcut. If each kept a component of its own,
the sum would join places that were never neighbours. So the branches share the choice of one of
them: the main branch, or the first one where no branch is a mere shortcut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from torch import fx
from torch.fx.passes.shape_prop import TensorMetadata

from robustbench_aa.antialiasing.graph import LEFT_ALONE, Replacement, module_of, place_of
from robustbench_aa.errors import ConversionError

_IMAGES = -1
"""The phase of the images; the others are numbers of sites."""


@dataclass(frozen=True)
class Site:
    """A place in a graph where a polyphase component is kept.

    Attributes:
        where: Path of the strided layer that it replaces.
        choice: The node that chooses the component.
        component: The node that keeps it.
        shortcut: Whether the layer is a linear 1×1 convolution or an average, as in shortcuts.
    """

    where: str
    choice: fx.Node
    component: fx.Node
    shortcut: bool


def share_components(
    graph: fx.GraphModule, sites: list[Site], replacements: Iterable[Replacement]
) -> list[Replacement]:
    """Make all sites whose results meet keep the same component.

    Args:
        graph: The graph, with the shape of every node's result; it is changed.
        sites: All sites of the graph.
        replacements: The conversions of the sites.

    Returns:
        The replacements. If a site follows another one, its replacement says so. Branches that
        meet after a different number of subsamplings are listed as left alone.

    Raises:
        ConversionError: A choice depends on the branch that would have to follow it.
    """
    phases = _Phases(graph, sites)
    groups: dict[int, list[int]] = {}
    for number in range(len(sites)):
        groups.setdefault(phases.find(number), []).append(number)
    order = {node: place for place, node in enumerate(graph.graph.nodes)}
    leaders: dict[str, str] = {}
    for group in groups.values():
        members = [sites[number] for number in group]
        leader = min(members, key=lambda site: (site.shortcut, order[site.choice]))
        for site in members:
            if site is not leader:
                leaders[site.where] = leader.where
                _follow(graph, site, leader)
    listed = [
        dataclasses.replace(one, now=f"{_without_choice(one.now)}component of {leaders[one.where]}")
        if one.where in leaders and not one.now.startswith(LEFT_ALONE)
        else one
        for one in replacements
    ]
    return listed + phases.conflicts


def _without_choice(now: str) -> str:
    """Return a description up to the layer that chooses, which is the last one."""
    head, _, _ = now.rpartition(", LargestNorm(")
    head = head or now.rpartition(", LearnedChoice(")[0]
    return f"{head}, " if head else ""


def _follow(graph: fx.GraphModule, site: Site, leader: Site) -> None:
    """Make a site keep the component that the leader chose."""
    nodes = list(graph.graph.nodes)
    start, end = nodes.index(site.component), nodes.index(leader.choice)
    site.component.args = (site.component.args[0], leader.choice)
    if not site.choice.users:
        graph.graph.erase_node(site.choice)
    if start > end:
        return
    # what depends on the component has to wait for the choice
    later = {site.component}
    for node in nodes[start + 1 : end + 1]:
        if later & set(node.all_input_nodes):
            later.add(node)
    if leader.choice in later:
        raise ConversionError(f"{leader.where} depends on {site.where}, which meets its result")
    after = leader.choice
    for node in nodes[start : end + 1]:
        if node in later:
            after.append(node)
            after = node


class _Phases:
    """Which map of a graph was subsampled by which sites, and which sites must agree.

    Args:
        graph: The graph, with the shape of every node's result.
        sites: All sites of the graph.
    """

    def __init__(self, graph: fx.GraphModule, sites: list[Site]) -> None:
        self.same = {number: number for number in range(_IMAGES, len(sites))}
        self.before: dict[int, int] = {}
        self.strides = [module_of(graph, site.component) for site in sites]
        self.conflicts: list[Replacement] = []
        numbers = {site.component: number for number, site in enumerate(sites)}
        choices = {site.choice for site in sites}
        phase: dict[fx.Node, int] = {}
        for node in graph.graph.nodes:
            inputs = [phase[one] for one in node.all_input_nodes if one in phase]
            if node.op == "placeholder":
                phase[node] = _IMAGES
            elif node in numbers:
                # a map of one place, whose phase nothing depends on, has none
                self.before[numbers[node]] = phase.get(node.all_input_nodes[0], _IMAGES)
                phase[node] = numbers[node]
            elif inputs and node not in choices and _is_map(node):
                phase[node] = self._joined(node, inputs)

    def find(self, number: int) -> int:
        """Return the number that stands for all sites that agree with this one."""
        while self.same[number] != number:
            number = self.same[number]
        return number

    def _joined(self, node: fx.Node, phases: list[int]) -> int:
        first, *others = dict.fromkeys(self.find(phase) for phase in phases)
        for other in others:
            if self._agree(first, other):
                self.same[other] = first
            else:
                now = f"{LEFT_ALONE}: its branches were subsampled in different steps"
                self.conflicts.append(Replacement(place_of(node), "meeting of branches", now))
        return first

    def _agree(self, one: int, other: int) -> bool:
        """Return whether two sites subsample maps of the same phase, by the same stride."""
        if _IMAGES in (one, other):
            return False
        strides = (getattr(self.strides[number], "stride", None) for number in (one, other))
        return self.find(self.before[one]) == self.find(self.before[other]) and len({*strides}) == 1


def _is_map(node: fx.Node) -> bool:
    """Return whether a node's result has places, or is a collection of such results."""
    meta = node.meta.get("tensor_meta")
    if isinstance(meta, TensorMetadata):
        return len(meta.shape) == 4 and tuple(meta.shape[2:]) != (1, 1)
    return meta is not None

"""Measure layers in training: `python -m benchmarks.speed.training_cost`.

All layers that subsample by 2 run in turn in one process, forward alone (in inference mode) and
forward and backward, on shapes of ResNet50. The result is the time of ours divided by the time of
each public blur (the `peers` extra). The columns of a peer that is not installed are empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch
from torch import Tensor, nn

from benchmarks.rows import device_name, write_table
from benchmarks.speed.antialias_cost import METHOD_LAYERS, PEERS, installed, variants
from benchmarks.timing import medians
from robustbench_aa.antialiasing import BlurPool
from robustbench_aa.support.devices import choose_device

OUTPUT = Path("results/performance/training_cost.csv")
SHAPES = ((64, 112), (256, 56), (512, 28), (1024, 14))
"""Channels and height."""
FILTER_SIZE = 3
"""With an even size, two of the peers have another number of outputs."""
LAYERS: dict[str, Callable[[int], nn.Module]] = METHOD_LAYERS | {
    "blur": lambda channels: BlurPool(channels, FILTER_SIZE)
}


def layer_rows(
    device: str, batch: int, repetitions: int, shapes: tuple[tuple[int, int], ...] = SHAPES
) -> Iterator[dict[str, Any]]:
    """Measure all layers, and yield a row for each of ours in each configuration."""
    peers = {name: installed(name) for name in PEERS}
    for (format_name, dtype_name, target), (channels, size) in product(variants(device), shapes):
        x = torch.randn(batch, channels, size, size, device=device).to(**target)
        layers = {name: build(channels) for name, build in LAYERS.items()}
        for name, peer in peers.items():
            if peer:
                layers[name] = PEERS[name][1](peer, channels, FILTER_SIZE)
        moved = {name: layer.to(**target) for name, layer in layers.items()}
        found = {
            "forward": medians(
                {name: partial(predict, layer, x) for name, layer in moved.items()}, repetitions
            ),
            "training": medians(
                {name: partial(train, layer, x) for name, layer in moved.items()}, repetitions
            ),
        }
        for name in LAYERS:
            row: dict[str, Any] = {
                "layer": name,
                "shape": f"{channels}x{size}x{size}",
                "memory_format": format_name,
                "dtype": dtype_name,
            }
            for kind, times in found.items():
                row[f"{kind}_ms"] = times[name]
                for peer in PEERS:
                    ratio = times[name] / times[peer] if peer in times else float("nan")
                    row[f"{kind}_over_{peer.partition('.')[0]}"] = ratio
            yield row


@torch.inference_mode()
def predict(layer: nn.Module, x: Tensor) -> None:
    """Run a layer forward, in evaluation mode."""
    layer.eval()(x)


def train(layer: nn.Module, x: Tensor) -> None:
    """Run a layer forward and backward, in training mode."""
    layer.train().zero_grad(set_to_none=True)
    y = layer(x.detach().requires_grad_())
    y.backward(torch.ones_like(y))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return the median ratio over all shapes, a row for each layer and a column for each type."""
    ratio = "training_over_antialiased_cnns"
    columns = ["dtype", "memory_format"]
    grouped = table.groupby(["layer", *columns], sort=False)[ratio].median()
    # a pivot table would sort the layers
    return grouped.unstack(columns)  # noqa: PD010


@click.command()
@click.option("--device", default=choose_device)
@click.option("--batch", default=8, show_default=True)
@click.option("--repetitions", default=7, show_default=True)
@click.option("--shape", "shapes", multiple=True, type=(int, int), help="Channels and height.")
@click.option("--output", default=OUTPUT, type=click.Path(path_type=Path), show_default=True)
def main(
    device: str, batch: int, repetitions: int, shapes: tuple[tuple[int, int], ...], output: Path
) -> None:
    """Measure all layers, and write a row for each of ours in each configuration."""
    rows: list[dict[str, Any]] = []
    for row in layer_rows(device, batch, repetitions, shapes or SHAPES):
        rows.append(row)
        table = pd.DataFrame(rows)
        table["device"] = device_name(device)
        table["threads"], table["batch"] = torch.get_num_threads(), batch
        write_table(table, output)
    click.echo("time of forward and backward, relative to the blur of antialiased-cnns")
    click.echo(summary(pd.DataFrame(rows)).to_string(float_format="%.2f"))
    click.echo(output)


if __name__ == "__main__":
    main()

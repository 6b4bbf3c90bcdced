"""Measure the cost of anti-aliasing: `python -m benchmarks.speed.antialias_cost`.

For networks: the forward time of the anti-aliased form, divided by the time of the plain form. For
layers: BlurPool and the layers of its peers (the `peers` extra; a peer that is not installed is
omitted), on shapes of ResNet50. All candidates run in turn in one process, and the result is the
ratio of their medians.

`--methods` measures all methods instead: networks against their plain form, and layers against the
blur of antialiased-cnns. With `--conversion`, only the named conversions of networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from itertools import chain, product
from pathlib import Path
from typing import Any

import click
import pandas as pd
import torch
import torchvision
from torch import Tensor, nn

from benchmarks.rows import device_name, publish, write_table
from benchmarks.timing import medians
from robustbench_aa.antialiasing import (
    AdaptiveBlurPool,
    BlurPool,
    Conversion,
    FourierPool,
    PolyphaseDownsample,
    convert,
)
from robustbench_aa.antialiasing.layers import PaddingMode
from robustbench_aa.models.crop_selected import CropSelection
from robustbench_aa.models.plain_module import PREPROCESSING
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.process import keep_freed_memory

OUTPUT = Path("results/performance/antialias_cost.csv")
METHODS_OUTPUT = Path("results/performance/method_cost.csv")
FILTER_SIZES = (2, 3, 4, 5)
NETWORKS = ("resnet18", "resnet50", "mobilenet_v2", "vgg16_bn")
SHAPES = ((64, 112), (128, 56), (256, 56), (256, 28), (512, 28), (512, 14), (1024, 14))
"""Channels and height of ResNet50's blurs."""

PADDINGS: tuple[PaddingMode, ...] = ("reflect", "zero")
PEERS: dict[str, tuple[str, Callable[[Any, int, int], nn.Module]]] = {
    "antialiased_cnns": ("reflect", lambda peer, c, m: peer.BlurPool(c, filt_size=m, stride=2)),
    "timm.layers": ("reflect", lambda peer, c, m: peer.BlurPool2d(c, filt_size=m, stride=2)),
    "kornia.filters": ("zero", lambda peer, c, m: peer.BlurPool2D(m, stride=2)),
}
"""Module → its padding, and a function that makes its layer. Only equal paddings are compared."""
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
METHOD_NETWORKS = ("resnet18", "resnet50", "mobilenet_v2")
METHOD_FORMS = (
    *("lpf4", "aps-nofirstconv", "aps3-nofirstconv", "lps-nofirstconv", "flc", "asap", "ddac"),
    *("lpf4-firstconv", "aps", "aps-circular"),
)
"""Conversions without a dense first convolution, which costs most, and with one."""
SELECTED = "crop-selected"
"""The name of crop selection among the conversions."""
METHOD_LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "blur": lambda channels: BlurPool(channels, 4),
    "aps": PolyphaseDownsample,
    "aps3": lambda channels: PolyphaseDownsample(channels, 3),
    "lps": lambda channels: PolyphaseDownsample(channels, learned=True),
    "flc": lambda channels: FourierPool(),
    "asap": lambda channels: FourierPool(window=True),
    "ddac": AdaptiveBlurPool,
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def forward_medians(modules: dict[str, nn.Module], x: Tensor, repetitions: int) -> dict[str, float]:
    """Return the median time of each module's forward pass in ms."""
    with torch.inference_mode():
        return medians({name: partial(one, x) for name, one in modules.items()}, repetitions)


def variants(device: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield every memory format and dtype, with the arguments of `Tensor.to` for both."""
    for format_name, memory_format in FORMATS.items():
        for dtype_name, dtype in DTYPES.items():
            yield (
                format_name,
                dtype_name,
                {"device": device, "dtype": dtype, "memory_format": memory_format},
            )


def layer_rows(device: str, batch: int, repetitions: int) -> Iterator[dict[str, Any]]:
    """Measure BlurPool and its peers, and yield a row for each configuration."""
    peers = {name: peer for name in PEERS if (peer := installed(name))}
    for format_name, dtype_name, target in variants(device):
        for (channels, size), m, padding in product(SHAPES, FILTER_SIZES, PADDINGS):
            x = torch.randn(batch, channels, size, size, device=device).to(**target)
            candidates: dict[str, nn.Module] = {"ours": BlurPool(channels, m, 2, padding)}
            for name, peer in peers.items():
                if PEERS[name][0] == padding:
                    candidates[name] = PEERS[name][1](peer, channels, m)
            candidates = {name: module.to(**target) for name, module in candidates.items()}
            _check_agreement(candidates, x)
            found = forward_medians(candidates, x, repetitions)
            ours = found.pop("ours")
            fastest = min(found, key=found.__getitem__, default=None)
            yield {
                "operation": f"BlurPool {padding} {channels}x{size}x{size}",
                "filter_size": m,
                "memory_format": format_name,
                "dtype": dtype_name,
                "ours_ms": ours,
                "reference": fastest,
                "reference_ms": found.get(fastest or ""),
            }


def _check_agreement(candidates: dict[str, nn.Module], x: Tensor) -> None:
    """Raise AssertionError if outputs differ by more than 1e-5 or, in bfloat16, the last bits."""
    # with TF32, a GPU's convolutions keep only ten bits of float32 values
    exact = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        outputs = {name: module(x).float() for name, module in candidates.items()}
    atol = 1e-5 if x.dtype == torch.float32 else 8 * torch.finfo(x.dtype).eps
    for output in outputs.values():
        if output.shape != outputs["ours"].shape:
            continue  # timm and kornia pad even filters symmetrically: one more output
        torch.testing.assert_close(output, outputs["ours"], rtol=0, atol=atol)


def network_rows(device: str, batch: int, repetitions: int) -> Iterator[dict[str, Any]]:
    """Measure networks with random weights, anti-aliased and plain, and yield a row for each."""
    for format_name, dtype_name, target in variants(device):
        for name in NETWORKS:
            plain = torchvision.models.get_model(name, weights=None).eval()
            networks = {"plain": plain} | {
                str(m): convert(plain, Conversion(m)) for m in FILTER_SIZES
            }
            x = torch.randn(batch, 3, 224, 224, device=device).to(**target)
            networks = {name: module.to(**target) for name, module in networks.items()}
            found = forward_medians(networks, x, repetitions)
            for m in FILTER_SIZES:
                yield {
                    "operation": name,
                    "filter_size": m,
                    "memory_format": format_name,
                    "dtype": dtype_name,
                    "ours_ms": found[str(m)],
                    "reference": "plain",
                    "reference_ms": found["plain"],
                }


def method_rows(device: str, batch: int, repetitions: int) -> Iterator[dict[str, Any]]:
    """Measure every method as a layer and in networks, and yield a row for each comparison."""
    peer = installed("antialiased_cnns")
    for channels, size in SHAPES:
        x = torch.randn(batch, channels, size, size, device=device)
        layers = {name: build(channels).eval() for name, build in METHOD_LAYERS.items()}
        if peer:
            layers["antialiased_cnns"] = peer.BlurPool(channels, filt_size=4, stride=2)
        operation, reference = f"layer {channels}x{size}x{size}", "antialiased_cnns"
        yield from _against(reference, layers, x, repetitions, operation)
    conversions = (SELECTED, *METHOD_FORMS)
    yield from conversion_rows(METHOD_NETWORKS, conversions, device, batch, repetitions)


def conversion_rows(
    networks: Iterable[str], conversions: Iterable[str], device: str, batch: int, repetitions: int
) -> Iterator[dict[str, Any]]:
    """Measure conversions of networks with random weights, and yield a row for each."""
    for name in networks:
        plain = torchvision.models.get_model(name, weights=None).eval()
        candidates = {"plain": plain}
        for conversion in conversions:
            candidates[conversion] = (
                CropSelection(plain, 224, PREPROCESSING).eval()
                if conversion == SELECTED
                else convert(plain, Conversion.parse(conversion))
            )
        x = torch.randn(batch, 3, 224, 224, device=device)
        yield from _against("plain", candidates, x, repetitions, name)


def _against(
    reference: str, candidates: dict[str, nn.Module], x: Tensor, repetitions: int, operation: str
) -> Iterator[dict[str, Any]]:
    """Measure candidates, and yield a row for each but the reference."""
    moved = {name: module.to(x.device) for name, module in candidates.items()}
    found = forward_medians(moved, x, repetitions)
    for name in moved:
        if name != reference:
            yield {
                "operation": operation,
                "conversion": name,
                "ours_ms": found[name],
                "reference": reference if reference in found else None,
                "reference_ms": found.get(reference),
            }


def installed(name: str) -> Any:
    """Return a module, or None if it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


@click.command()
@click.option("--device", default=choose_device)
@click.option("--batch", default=8, show_default=True)
@click.option("--repetitions", default=7, show_default=True)
@click.option("--layers-only", is_flag=True, help="Measure no networks.")
@click.option("--methods", is_flag=True, help="Measure all methods instead of blurs.")
@click.option("--conversion", "conversions", multiple=True, help="Measure only this conversion.")
@click.option("--network", "networks", multiple=True, help="Convert only this network.")
@click.option("--output", type=click.Path(path_type=Path), help=f"{OUTPUT} by default.")
def main(
    device: str,
    batch: int,
    repetitions: int,
    layers_only: bool,
    methods: bool,
    conversions: tuple[str, ...],
    networks: tuple[str, ...],
    output: Path | None,
) -> None:
    """Measure layers and networks, and write a row for each comparison."""
    if networks and not conversions:
        raise click.UsageError("--network chooses what to convert; add --conversion")
    keep_freed_memory()  # as the command line does
    output = output or (METHODS_OUTPUT if methods else OUTPUT)
    if conversions:
        chosen = networks or METHOD_NETWORKS
        measured = conversion_rows(chosen, conversions, device, batch, repetitions)
    else:
        measured = (method_rows if methods else layer_rows)(device, batch, repetitions)
    if not layers_only and not methods and not conversions:
        measured = chain(measured, network_rows(device, batch, max(3, repetitions // 2)))
    rows: list[dict[str, Any]] = []
    table = pd.DataFrame()
    for row in measured:
        rows.append(row)
        table = pd.DataFrame(rows).astype({"reference_ms": float})  # empty without a peer
        table["ours_over_reference"] = table["ours_ms"] / table["reference_ms"]
        table["device"] = device_name(device)
        table["threads"], table["batch"] = torch.get_num_threads(), batch
        write_table(table, output)
    publish(table, output)


if __name__ == "__main__":
    main()

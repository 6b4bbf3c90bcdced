"""Tables of measurements."""

from __future__ import annotations

from pathlib import Path

import click
import pandas as pd
import torch

from robustbench_aa.store.storage import write_whole


def write_table(table: pd.DataFrame, output: Path, digits: int = 3) -> None:
    """Write a CSV file so that a process that is killed leaves the new file or the earlier one."""
    write_whole(
        output, lambda beside: table.to_csv(beside, index=False, float_format=f"%.{digits}f")
    )


def publish(table: pd.DataFrame, output: Path, digits: int = 3) -> None:
    """Write a CSV file, and print the table and the path."""
    write_table(table, output, digits)
    click.echo(table.to_string(index=False))
    click.echo(output)


def harmonic_mean(rates: pd.Series[float]) -> float:
    """Return the mean of rates, each for the same amount of work."""
    return len(rates) / float((1 / rates).sum())


def device_name(device: str) -> str:
    """Return the name of a GPU, or the type of another device."""
    kind = torch.device(device).type
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind

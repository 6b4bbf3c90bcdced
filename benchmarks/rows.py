"""How benchmarks keep what they measured."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch

from robustbench_aa.store.storage import write_whole


def write_table(table: pd.DataFrame, output: Path, digits: int = 3) -> None:
    """Write a CSV file so that a process that is killed leaves the new one or the one before."""
    write_whole(
        output, lambda beside: table.to_csv(beside, index=False, float_format=f"%.{digits}f")
    )


def device_name(device: str) -> str:
    """Return the name of a GPU, or the kind of another device."""
    kind = torch.device(device).type
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind

"""Devices: the default one, and the check of one that a user names."""

from __future__ import annotations

import torch

from robustbench_aa.errors import UsageError, cause

KNOWN = ("cpu", "cuda", "mps", "xpu")
"""Types of devices that a message names; torch has more, but they run no benchmark."""


def choose_device(device: str | None = None) -> str:
    """Return the device to compute on.

    Args:
        device: A torch device, such as `cpu` or `cuda:1`. None means a GPU if there is one,
            otherwise the CPU.

    Raises:
        UsageError: The device cannot be used.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        if device.partition(":")[0] not in KNOWN:
            raise UsageError(
                f"device {device!r} cannot be used; name one of {', '.join(KNOWN)}"
            ) from error
        raise UsageError(f"device {device!r} cannot be used ({cause(error)}); try cpu") from error
    return "cpu" if torch.device(device).type == "cpu" else device

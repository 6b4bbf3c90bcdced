"""The weights and the printed form of a module, which identify it."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


class Computed(str):
    """A digest that was computed of a module, not given; it can be computed again."""


def weights_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and of the buffers in a module's state.

    For a wrapper without weights of its own, hash the weights of its `network_of_wrapper`.
    """
    import torch

    module = getattr(module, "network_of_wrapper", module)
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):  # get_extra_state may return anything
            digest.update(f"{name} {without_addresses(tensor)}\n".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def without_addresses(value: object) -> str:
    """Return the printed form of an object without memory addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))

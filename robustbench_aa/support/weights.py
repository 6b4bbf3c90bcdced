"""The weights, the code and the printed form of a module, which identify it."""

from __future__ import annotations

import hashlib
import inspect
import re
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


PACKAGE = Path(__file__).parents[1]


class Computed(str):
    """A digest that was computed of a module, not given; it can be computed again."""


def weights_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of all parameters and of the buffers in a module's state."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        if not isinstance(tensor, torch.Tensor):  # get_extra_state may return anything
            digest.update(f"{name} {without_addresses(tensor)}\n".encode())
            continue
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def code_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of the source of a module's classes, and those of its parts.

    Classes of this package and of installed packages do not count. A class without a source, such
    as one typed into an interpreter, is identified by the bytecode of its methods.

    Returns:
        The digest; empty if no class counts.
    """
    sources = {
        f"{one.__module__}.{one.__qualname__}\n{source}"
        for part in module.modules()
        for one in type(part).__mro__
        if (source := _source(one))
    }
    return hashlib.sha256("\n".join(sorted(sources)).encode()).hexdigest() if sources else ""


def _source(one: type) -> str:
    """Return the source of a user's class; empty for a class of an installed package."""
    try:
        file = Path(inspect.getfile(one)).resolve()
        paths = sysconfig.get_paths()
        installed = {Path(paths[name]).resolve() for name in ("stdlib", "purelib", "platlib")}
        if any(file.is_relative_to(folder) for folder in (PACKAGE, *installed)):
            return ""
        return inspect.getsource(one)
    except (OSError, TypeError):
        if one.__module__ != "__main__":
            return ""  # built in, or made by a package while it ran
        codes = (getattr(method, "__code__", None) for method in vars(one).values())
        return repr([(code.co_code, code.co_names, code.co_consts) for code in codes if code])


def without_addresses(value: object) -> str:
    """Return the printed form of an object without memory addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))

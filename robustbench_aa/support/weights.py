"""The weights, the code and the printed form of a module, which identify it."""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import sysconfig
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


PACKAGE = Path(__file__).resolve().parents[1]
STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"]).resolve()
INSTALLED = {"site-packages", "dist-packages"}
"""Names of the folders of installed packages, of which a virtual environment may use several."""


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
        f"{one.__qualname__}\n{source}"  # a script may be run or imported: no module name
        for part in module.modules()
        for one in type(part).__mro__
        if (source := _source(one))
    }
    return hashlib.sha256("\n".join(sorted(sources)).encode()).hexdigest() if sources else ""


def _source(one: type) -> str:
    """Return the code of a user's class; empty for a class of an installed package."""
    try:
        file = Path(inspect.getfile(one)).resolve()
        ours = any(file.is_relative_to(folder) for folder in (PACKAGE, STANDARD_LIBRARY))
        if ours or INSTALLED.intersection(file.parts):
            return ""
        # without comments, which change nothing
        return ast.unparse(ast.parse(textwrap.dedent(inspect.getsource(one))))
    except (OSError, TypeError, SyntaxError):
        if one.__module__ != "__main__":
            return ""  # built in, or made by a package while it ran
        codes = (getattr(method, "__code__", None) for method in vars(one).values())
        return without_addresses(
            [(code.co_code, code.co_names, code.co_consts) for code in codes if code]
        )


def without_addresses(value: object) -> str:
    """Return the printed form of an object without memory addresses."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))

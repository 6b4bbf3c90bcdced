"""The import of torchvision without torch's compiler."""

from __future__ import annotations

import sys
from contextlib import suppress
from importlib import import_module
from types import ModuleType

COMPILER = "torch._dynamo.utils"
"""The module of the compiler that torchvision imports."""


def import_torchvision() -> None:
    """Import torchvision, and postpone the compiler until its one function in question is called.

    torchvision's networks for detection use this function. The compiler takes about as long to
    import as torch, and would nearly double the time in which a command starts.
    """
    if COMPILER in sys.modules or "torchvision" in sys.modules:
        return
    postponed = ModuleType(COMPILER)
    vars(postponed)["is_compile_supported"] = _is_compile_supported
    sys.modules[COMPILER] = postponed
    with suppress(ImportError):  # a version that needs more of the compiler imports it later
        import_module("torchvision")
    del sys.modules[COMPILER]


def _is_compile_supported(device: str) -> bool:
    """Return whether the compiler supports a device."""
    supported: bool = import_module(COMPILER).is_compile_supported(device)
    return supported

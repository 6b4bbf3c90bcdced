"""The user's own code: `python:package.module:function`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from robustbench_aa.errors import UnknownName, UsageError, cause
from robustbench_aa.models.bare import bare
from robustbench_aa.types import Classifier


def names() -> list[str]:
    """None: the code is the user's."""
    return []


def load(name: str, weights: str | None) -> Classifier:
    """Calls a function without arguments for a model.

    Args:
        name: `package.module:function`; the current folder is searched too. The function returns
            a `Classifier`, which is taken as it is but for its name, or an `nn.Module`, which is
            taken for ImageNet's: 224 px, from a shorter side of 256 px, mean
            (0.485, 0.456, 0.406), standard deviation (0.229, 0.224, 0.225).
        weights: None; the function knows its own.

    Raises:
        UnknownName: the module has no such function.
        UsageError: the module cannot be imported, or the function fails or returns anything else.
    """
    module, _, function = name.partition(":")
    if not module or not function or weights is not None:
        raise UsageError(f"python:{name} is not of the form python:package.module:function")
    specification = f"python:{name}"
    call = _find(module, function)
    try:
        made = call()
    except Exception as error:  # the function is the user's
        raise UsageError(
            f"{specification} raised {type(error).__name__} ({cause(error)}); "
            "it is called without arguments"
        ) from error
    if isinstance(made, Classifier):
        return dataclasses.replace(made, name=specification, module=made.module.eval())
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{specification} returned {type(made).__name__}; "
            "return a torch.nn.Module or a robustbench_aa.Classifier"
        )
    return bare(made, specification)


def _find(module: str, function: str) -> Any:
    try:
        with _current_folder():
            found = import_module(module)
    except Exception as error:  # so is the module
        raise UsageError(
            f"module {module} cannot be imported ({type(error).__name__}: {cause(error)}); "
            "it is looked for in the current folder and among the installed packages"
        ) from error
    call = getattr(found, function, None)
    if not callable(call):
        known = [key for key, value in vars(found).items() if callable(value)]
        raise UnknownName(f"function of {module}", function, known)
    return call


@contextmanager
def _current_folder() -> Iterator[None]:
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)

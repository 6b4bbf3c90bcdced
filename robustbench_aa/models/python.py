"""Models from the user's code: `python:package.module:function`."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UnknownName, UsageError, cause
from robustbench_aa.models.plain_module import bare


def names() -> list[str]:
    """Return no names, since the code is the user's."""
    return []


def load(name: str, weights: str | None) -> Classifier:
    """Call a function without arguments and return its model.

    Args:
        name: `package.module:function`; the current folder is searched as well. The function
            returns a `Classifier`, which only gets a new name, or an `nn.Module`, which gets
            ImageNet's preprocessing: 224 px, from a shorter side of 256 px, mean
            (0.485, 0.456, 0.406), standard deviation (0.229, 0.224, 0.225).
        weights: None, since the function loads its own.

    Raises:
        UnknownName: the module has no such function.
        UsageError: the module cannot be imported, or the function fails or returns another type.
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
    source = source_sha256(sys.modules[module])
    if isinstance(made, Classifier):
        return dataclasses.replace(
            made, name=specification, module=made.module.eval(), source_sha256=source
        )
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{specification} returned {type(made).__name__}; "
            "return a torch.nn.Module or a robustbench_aa.Classifier"
        )
    return dataclasses.replace(bare(made, specification), source_sha256=source)


def source_sha256(module: ModuleType) -> str:
    """Return the SHA-256 of a module's source and of what it imports from the same folder.

    A change of the code can change predictions while weights and architecture stay the same.
    """
    if not module.__file__:
        return ""
    first = Path(module.__file__)
    digest = hashlib.sha256()
    waiting, seen = [first], {first}
    while waiting:
        path = waiting.pop(0)
        content = path.read_bytes()
        digest.update(f"{path.relative_to(first.parent)} {len(content)}\n".encode() + content)
        found = sorted({*_imported(content, path, first.parent)} - seen)
        seen.update(found)
        waiting += found
    return digest.hexdigest()


def _imported(content: bytes, path: Path, folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that a file's import statements may load."""
    if path.suffix != ".py":
        return
    for node in ast.walk(ast.parse(content)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module or ''}.{a.name}" for a in node.names)]
        for name in names:
            parts = [part for part in name.split(".") if part]
            # absolute from the folder or its parent, or relative to the file
            for base in (folder, folder.parent, path.parent):
                for place in (base.joinpath(*parts), base.joinpath(*parts, "__init__")):
                    file = place.with_name(f"{place.name}.py")
                    if parts and file.is_relative_to(folder) and file.is_file():
                        yield file


def _find(module: str, function: str) -> Any:
    try:
        with _current_folder():
            found = import_module(module)
    except Exception as error:  # the module is the user's as well
        raise UsageError(
            f"module {module} cannot be imported ({type(error).__name__}: {cause(error)}); "
            "put it into the current folder or install it"
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

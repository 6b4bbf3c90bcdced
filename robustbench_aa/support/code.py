"""The code of a user's functions and classes, which identifies them.

This package's own code is identified by its version, and that of its distortions by theirs.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sysconfig
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

PACKAGE = Path(__file__).resolve().parents[1]
STANDARD_LIBRARY = Path(sysconfig.get_paths()["stdlib"]).resolve()
INSTALLED = {"site-packages", "dist-packages"}
"""Names of the folders of installed packages, of which a virtual environment may use several."""


def source_of(function: Callable[..., Any]) -> str:
    """Return the SHA-256 of the file that defines a function; empty for this package's own.

    The package's definitions are identified by their versions. A definition in a user's script may
    change without a new version, so the whole file is part of a run's identity. A function without
    a file, such as one typed into an interpreter, is identified by its bytecode.
    """
    try:
        path = Path(inspect.getfile(inspect.unwrap(function)))
        content = path.read_bytes()
    except (OSError, TypeError):
        code = (_compiled(getattr(function, name, None)) for name in ("__code__", "__defaults__"))
        return hashlib.sha256(repr([*code]).encode()).hexdigest()
    return "" if path.is_relative_to(PACKAGE) else hashlib.sha256(content).hexdigest()


def code_sha256(module: nn.Module) -> str:
    """Return the SHA-256 of the source code of the classes of a module and its submodules.

    Comments do not count, nor do classes of this package and of installed packages. A class without
    a source, such as one typed into an interpreter, is identified by the bytecode of its methods.

    Returns:
        The digest; empty if no class counts.
    """
    classes = {one for part in module.modules() for one in type(part).__mro__}
    # a script may be run or imported, so the name of the module does not count
    found = {f"{one.__qualname__}\n{code}" for one in classes if (code := _code(one))}
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest() if found else ""


def _code(one: type) -> str:
    """Return the code of a user's class; empty for a class of an installed package."""
    try:
        file = Path(inspect.getfile(one)).resolve()
        ours = any(file.is_relative_to(folder) for folder in (PACKAGE, STANDARD_LIBRARY))
        if ours or INSTALLED.intersection(file.parts):
            return ""
        source = inspect.getsource(one)
    except (OSError, TypeError):
        # a class of another module without a source is built in, or a package made it
        return repr(_methods(one)) if one.__module__ == "__main__" else ""
    try:
        return ast.unparse(ast.parse(textwrap.dedent(source)))
    except SyntaxError:  # a text in it begins at the left margin
        return source


def _methods(one: type) -> list[object]:
    """Return the bytecode of a class's methods and properties, by name."""
    found: list[object] = []
    for name, value in vars(one).items():
        function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        if code := getattr(function, "__code__", None):
            found.append((name, _compiled(code)))
    return found


def _compiled(value: object) -> object:
    """Return the bytecode, names and constants of code, which is printed with its address."""
    if isinstance(value, CodeType):
        constants = [_compiled(constant) for constant in value.co_consts]
        return value.co_code, value.co_names, constants
    if isinstance(value, frozenset):  # its order depends on the process
        return sorted(map(repr, value))
    return repr(value)

"""Packages that only some model sources or engines need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from robustbench_aa.errors import UsageError, cause


def extra(package: str, name: str) -> ModuleType:
    """Imports a package that the extra `name` of this one installs.

    Raises:
        UsageError: it cannot be imported; the text has the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(
            f"{name} needs {package} ({cause(error)}); pip install 'robustbench-aa[{name}]'"
        ) from error

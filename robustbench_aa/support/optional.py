"""Optional packages, which only some model sources, engines and storages need."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from robustbench_aa.errors import UsageError, cause


def extra(package: str, name: str) -> ModuleType:
    """Import an optional package.

    Args:
        package: the package to import.
        name: the extra of this package that installs it.

    Raises:
        UsageError: the package cannot be imported; the text has the command that installs it.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(
            f"{name} needs {package} ({cause(error)}); pip install 'robustbench-aa[{name}]'"
        ) from error

"""The version of this package."""

from __future__ import annotations

from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

CHECKOUT = Path(__file__).parents[2] / "setup.cfg"
"""The file with the version, beside a package that is used from its working copy."""


def package_version() -> str:
    """Return the version, such as `0.1.0`.

    A working copy that is not installed has the version of its `setup.cfg` and `+checkout`.
    """
    try:
        return version("robustbench-aa")
    except PackageNotFoundError:
        config = ConfigParser()
        config.read(CHECKOUT, encoding="utf-8")
        return f"{config.get('metadata', 'version', fallback='0')}+checkout"

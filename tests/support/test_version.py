from __future__ import annotations

from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import NoReturn

import pytest

from robustbench_aa.support import version


def test_a_working_copy_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> NoReturn:
        raise PackageNotFoundError(name)

    config = ConfigParser()
    config.read(Path(__file__).parents[2] / "setup.cfg")
    monkeypatch.setattr(version, "version", absent)
    assert version.package_version() == f"{config['metadata']['version']}+checkout"

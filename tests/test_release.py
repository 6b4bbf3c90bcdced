"""The published archives hold the right files, and the citation can be read."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "data_prep", "docs", "examples", "robustbench_aa", "tests")
FILES = (
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile"),
    *("README.md", "conftest.py", "constraints.txt", "pyproject.toml", "setup.cfg"),
)
RESULTS = (
    "cifar10/report/leaderboard.csv",
    "cifar10/report/figures/overview.png",
    "cifar10/features/feature_maps.png",
    "digits/report/leaderboard.csv",
    "digits/report/figures/overview.png",
    "digits/features/feature_maps.png",
)
"""Results that the README shows or links to; there may be more."""
NOT_SOURCE = shutil.ignore_patterns("__pycache__", "_build", "predictions", "samples", "*.tmp")
needs_setuptools = pytest.mark.skipif(
    not importlib.util.find_spec("setuptools"), reason="setuptools is not installed"
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, because a build leaves files in its folder."""
    folder = tmp_path_factory.mktemp("source")
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    for name in (*FOLDERS, "results"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=NOT_SOURCE)
    return folder


def files(folder: Path, *below: str) -> set[str]:
    """Return the relative paths of the files below some folders of a folder."""
    found = (path for name in below for path in (folder / name).rglob("*"))
    return {path.relative_to(folder).as_posix() for path in found if path.is_file()}


def build_wheel(source: Path, to: Path) -> set[str]:
    """Build a wheel without a network, and return the names of its files."""
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation"]
    command += ["--quiet", "--disable-pip-version-check", "-w", to]
    subprocess.run(command, cwd=source, check=True)
    (wheel,) = to.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {*archive.namelist()}


@needs_setuptools
def test_the_wheel_is_the_package_and_the_source_distribution_builds_the_same(
    source: Path, tmp_path: Path
) -> None:
    code = "import sys; from setuptools.build_meta import build_sdist; build_sdist(sys.argv[1])"
    subprocess.run(
        [sys.executable, "-c", code, tmp_path], cwd=source, check=True, capture_output=True
    )
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert files(source, *FOLDERS) - files(unpacked, *FOLDERS) == set()
    assert {*FILES} <= {path.name for path in unpacked.iterdir()}
    assert {*RESULTS} <= files(unpacked / "results", ".")
    # results/published, a link to the package's data, holds what it links to
    assert files(unpacked / "results" / "published", ".") == files(
        unpacked / "robustbench_aa" / "metrics" / "published", "."
    )
    wheel = build_wheel(source, tmp_path / "wheel")
    package = files(source, "robustbench_aa")
    assert {name for name in wheel if ".dist-info/" not in name} == package
    assert build_wheel(unpacked, tmp_path / "again") == wheel
    for name in (
        *("py.typed", "datasets/digits.npz", "datasets/imagenet_wnids.txt"),
        *(f"suites/{suite}.toml" for suite in ("digits", "imagenet-c", "imagenet-p", "paper")),
        *("metrics/published/leaderboard.csv", "report/template/page.html.jinja"),
        "models/weights/vgg-lpf5-seed2.safetensors",
    ):
        assert f"robustbench_aa/{name}" in package


def test_pinned_versions_satisfy_the_requirements() -> None:
    packaging = import_module("packaging.requirements")
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    pins = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    parts = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    required = [packaging.Requirement(line) for part in parts for line in part.split("\n") if line]
    checked = [one for one in required if one.name in pins]
    assert {"torch", "numpy", "av", "pytest"} <= {one.name for one in checked}
    assert not [str(one) for one in checked if not one.specifier.contains(pins[one.name])]


def test_the_tools_build_on_the_extras_instead_of_repeating_them() -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    everything = "docs,hf,lightning,lite,objects,onnx,open-clip,ray,timm,video"
    assert f"robustbench-aa[{everything}]" in extras["dev"]
    for extra in ("docs", "hf", "objects", "onnx", "open-clip", "ray", "timm", "video"):
        for requirement in extras[extra].split():
            assert requirement not in extras["dev"].split(), requirement


def test_the_citation_can_be_read_and_names_this_version() -> None:
    yaml = import_module("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "license"} <= citation.keys()
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    metadata = config["metadata"]
    assert (citation["version"], citation["license"]) == (metadata["version"], metadata["license"])
    for reference in citation["references"]:
        assert {"type", "title", "authors", "year"} <= reference.keys()
        assert reference.keys() & {"url", "doi"}
    cited = [reference["authors"][0]["family-names"] for reference in citation["references"]]
    assert cited == ["Zhang", "Hendrycks", "Michaelis", "Alpaydin"]
    assert f"## [{metadata['version']}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

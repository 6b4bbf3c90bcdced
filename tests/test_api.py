"""The public names: each of `dir(rb)` works, has an example and is documented."""

from __future__ import annotations

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import robustbench_aa as rb

ROOT = Path(__file__).parents[1]
MODULES = {"antialiasing", "callbacks", "metrics", "transforms"}
CONTRACT = {
    *("corrupt", "perturb", "load", "load_model", "antialias", "BlurPool", "MaxBlurPool"),
    *("Classifier", "Preprocessing", "ImageArrays", "ImageFolder", "load_dataset", "benchmark"),
    *("Inference", "Suite", "read_suite", "Run", "merge_runs", "register_corruption"),
    *("register_dataset", "register_perturbation", "RobustbenchError", "select_crop"),
}
EACH = """
import sys

import robustbench_aa

for name in dir(robustbench_aa):
    for module in [module for module in sys.modules if module.startswith("robustbench_aa")]:
        del sys.modules[module]
    import robustbench_aa

    getattr(robustbench_aa, name)
    exec(f"from robustbench_aa import {name}")
"""


def test_the_names_are_those_of_the_contract() -> None:
    assert set(dir(rb)) == CONTRACT | MODULES | {"__version__"}
    assert set(rb.__all__) == CONTRACT
    assert rb.__all__ == sorted(rb.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = rb.nothing


def test_each_name_is_found_by_a_fresh_import() -> None:
    subprocess.run([sys.executable, "-c", EACH], check=True)


def test_the_import_of_the_package_loads_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, robustbench_aa as rb; dir(rb); rb.__version__; rb.Suite; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert not {"torch", "pandas", "numpy"} & set(loaded.stdout.split())


@pytest.mark.parametrize("name", sorted(CONTRACT))
def test_each_name_has_an_example_that_uses_it(name: str) -> None:
    found = inspect.getdoc(getattr(rb, name)) or ""
    examples = doctest.DocTestParser().get_examples(found)
    shown = "load_model" if name == "load" else name  # two names of one function
    assert any(f"rb.{shown}" in example.source for example in examples), name


def test_the_page_shows_exactly_these_names() -> None:
    page = (ROOT / "docs" / "api.md").read_text()
    shown = re.findall(r"auto(?:function|class|exception):: robustbench_aa\.(\w+)$", page, re.M)
    assert sorted(shown) == sorted(CONTRACT)
    for name in (*MODULES, "__version__"):
        assert f"`rb.{name}`" in page, name


def test_the_first_names_remain() -> None:
    assert rb.load is rb.load_model

"""The import rules of docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import robustbench_aa

PACKAGE = Path(robustbench_aa.__file__).parent

# each part may import from those listed, and from the shared words
SHARED = {"types", "classifier", "preprocessing", "errors", "support"}
ARROWS = {
    "types": set(),
    "classifier": set(),
    "preprocessing": set(),
    "errors": set(),
    "support": set(),
    "antialiasing": set(),
    "models": {"antialiasing"},
    "distortions": set(),
    "datasets": {"distortions"},
    "store": set(),
    "evaluation": {"datasets", "distortions", "models", "run", "store", "suite"},
    "metrics": {"gate", "store"},
    "report": {"gate", "metrics", "store"},
    "export": {"metrics", "report", "run", "store"},
    "run": {"gate", "metrics", "report", "store"},
    "joint_run": {"report", "run", "store"},
    "gate": set(),
    "pytest_plugin": {"gate", "report", "run"},
    "suite": {"gate"},
    "features": {"antialiasing", "datasets", "models", "report", "store"},
    "preview": {"datasets", "distortions"},
    "stability": {"datasets", "evaluation", "metrics", "models", "report"},
    "images": {"distortions"},
    "callbacks": {"datasets", "evaluation", "metrics", "models", "suite"},
    "transforms": {"distortions", "images"},
    "cli": {
        *("antialiasing", "datasets", "distortions", "evaluation", "export", "features", "gate"),
        *(
            "joint_run",
            "metrics",
            "models",
            "preview",
            "report",
            "run",
            "stability",
            "store",
            "suite",
        ),
    },
    "__init__": {
        *("antialiasing", "callbacks", "datasets", "distortions", "evaluation", "images"),
        *("metrics", "models", "run", "suite", "transforms"),
    },
    "__main__": {"cli"},
}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "robustbench_aa":
            parts |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("robustbench_aa."):
            parts.add((node.module or "").split(".")[1])
    return parts


FILES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_follow_the_arrows(path: Path) -> None:
    own = part(PACKAGE / path)
    assert imported(PACKAGE / path) - {own} - SHARED <= ARROWS[own]


def test_every_part_is_in_the_plan() -> None:
    assert {part(path) for path in PACKAGE.rglob("*.py")} == set(ARROWS)


@pytest.mark.parametrize(
    "module",
    [
        *("metrics.per_image", "report.plots", "run", "store.merge", "cli.main", "suite"),
        *("export", "pytest_plugin"),
    ],
)
def test_reports_need_no_torch(module: str) -> None:
    code = f"import sys, robustbench_aa.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""Run the commands and the Python code of README.md with an installed wheel, in an empty folder.

`python -I .ci/follow_readme.py`: the environment of this Python has the wheel and its dependencies
alone, and the checkout is on no path. What takes hours is shortened (`ADDED`), and what needs
downloads is replaced (`STAND_INS`).
"""

from __future__ import annotations

import functools
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"
PROGRAM = Path(sys.executable).with_name("robustbench-aa")
TOOLS = ("av", "onnxruntime", "pytest", "ray", "s3fs", "sklearn", "timm")
"""Packages that the core must do without."""
NOT_RUN = (
    "pip",
    "make",
    *(f"robustbench-aa benchmark {suite}" for suite in ("imagenet-c", "imagenet-p", "paper")),
)
"""Commands that are carried out elsewhere, or that need the weights of published networks."""
ADDED = {
    "benchmark": ["--limit", "5"],
    "download": ["--help"],
    "evaluate": ["--limit", "5"],
    "features": ["--limit", "1", "--max-shift", "3"],
}
STAND_INS = {
    "torchvision:resnet50@IMAGENET1K_V1": "torchvision:squeezenet1_1@random",
    "antialiased:resnet50@lpf5": "torchvision:mobilenet_v2@random",
    "/data/": "data/",
}
PREPARED = (
    "robustbench-aa make imagenet-c --source data/imagenet/val --output-dir data/imagenet-c",
)
"""Commands that make what the README supposes to be there."""
ASSUMED = """
from torch import nn
my_module = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 15**2, 10)
)
"""
"""What the README supposes to be defined."""


def main() -> None:
    """Follow the README and exit with status 1 at the first command that fails."""
    found = [name for name in TOOLS if find_spec(name)]
    if found:
        sys.exit(
            f"error: {sys.prefix} has more than the core ({', '.join(found)}); name a new VENV"
        )
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_pictures()
        for command in PREPARED:
            run(shlex.split(command))
        follow(README.read_text(encoding="utf-8"))


def write_pictures() -> None:
    """Write a picture, and a validation set of two photographs."""
    from PIL import Image

    from robustbench_aa.datasets.labels import wnids

    picture = Image.effect_mandelbrot((280, 260), (-2, -1, 1, 1), 50).convert("RGB")
    picture.save("picture.jpg")
    for place in range(2):
        file = Path("data/imagenet/val", wnids()[place], f"{place}.JPEG")
        file.parent.mkdir(parents=True)
        picture.save(file)


def follow(text: str) -> None:
    """Run the fenced blocks of a document in their order; Python blocks share their names."""
    import robustbench_aa

    assert Path(robustbench_aa.__file__).is_relative_to(sys.prefix), robustbench_aa.__file__
    robustbench_aa.benchmark = functools.partial(robustbench_aa.benchmark, limit=5)
    names: dict[str, object] = {}
    exec(ASSUMED, names)
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        if language == "sh":
            for words in commands(block):
                run(words)
        elif language == "toml":
            file = re.match(r"# (\S+\.toml)\n", block)
            assert file, block
            Path(file[1]).write_text(block, encoding="utf-8")
        elif language == "python":
            start = time.perf_counter()
            exec(compile(replaced(block), str(README), "exec"), names)
            print(
                f"{time.perf_counter() - start:6.1f} s  {len(block.splitlines())} lines of Python"
            )
        else:
            raise AssertionError(f"unknown language {language}")


def commands(block: str) -> Iterator[list[str]]:
    """Yield the words of each command of a shell block that is run here."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(replaced(line), comments=True)
        if words and not line.startswith(NOT_RUN):
            yield words


def replaced(text: str) -> str:
    """Return a text with everything replaced that would need a download."""
    for name, stand_in in STAND_INS.items():
        text = text.replace(name, stand_in)
    return text


def run(words: list[str]) -> None:
    """Run a command of this package, and stop with its output if it fails."""
    program, command, *rest = words
    assert program == "robustbench-aa", words
    added = ADDED.get(command, [])
    start = time.perf_counter()
    result = subprocess.run(
        [PROGRAM, command, *rest, *added], capture_output=True, text=True, check=False
    )
    print(f"{time.perf_counter() - start:6.1f} s  {shlex.join([*words, *added])}", flush=True)
    if result.returncode:
        sys.exit(f"error: exit status {result.returncode}\n{result.stdout}{result.stderr}")


if __name__ == "__main__":
    main()

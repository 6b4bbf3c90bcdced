"""The documents can be built, their links work, and so do their commands and their code.

The blocks of a document run in their order, in one folder. A block that starts with the name of a
file is that file (`# name`), or a change to it (`+++ name`).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import click
import pytest
import torch
import yaml
from click.testing import CliRunner
from markdown_it import MarkdownIt
from PIL import Image

import robustbench_aa
from robustbench_aa import suite as suites
from robustbench_aa.cli import main as cli
from robustbench_aa.datasets import DATASETS, archives
from robustbench_aa.datasets.cifar import NAMES as CIFAR10
from robustbench_aa.datasets.labels import wnids
from robustbench_aa.datasets.videos import encode_video
from robustbench_aa.distortions import corruptions_at, perturbations_at
from robustbench_aa.models import known_models
from robustbench_aa.suite import Suite, read_suite
from robustbench_aa.support.download import Download

ROOT = Path(__file__).parents[1]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
EXTENDING = ROOT / "docs" / "extending.md"
"""Changes the package, so it runs in a copy of the repository."""

LIMIT = 5
"""The number of images unless a document names another."""
ADDED = {  # commands that are run, and options that make them quick
    "make": "-n",
    "export": "",
    "robustbench-aa --import my_things.py": f"--limit {LIMIT}",
    "robustbench-aa antialias": "",
    "robustbench-aa benchmark": f"--limit {LIMIT}",
    "robustbench-aa compare": "",
    "robustbench-aa datasets": "",
    "robustbench-aa doctor": "",
    "robustbench-aa download": "",
    "robustbench-aa export": "",
    "robustbench-aa evaluate": f"--limit {LIMIT}",
    "robustbench-aa gate": "",
    "robustbench-aa features": "--limit 1 --max-shift 3",
    "robustbench-aa make": "",
    "robustbench-aa merge": "",
    "robustbench-aa models": "",
    "robustbench-aa preview": "",
    "robustbench-aa report": "",
    "robustbench-aa stability": "",
    "robustbench-aa verify": "",
    "pip install": "",
    "python -m benchmarks.fidelity.backend_agreement": "",
    "python -m benchmarks.speed.cluster_simulation": "--help",
    "python -m benchmarks.reliability.coverage": "--help",
    "python -m benchmarks.speed.engines": "--help",
    "python -m benchmarks.speed.evaluation_speed": "--help",
    "python -m benchmarks.reliability.faults": "--help",
    "python -m benchmarks.reliability.ray_throughput": "--help",
    "python -m benchmarks.reliability.fuzz": "--cases=10",
    "python -m benchmarks.reliability.gate_simulation": "--help",
    "python -m benchmarks.gpu": "--help",
    "python -m benchmarks.page.many_models": "--models 2 --images 4",
    "python -m benchmarks.page.opening": "--help",
    "python -m benchmarks.page.screenshots": "--help",
    "python -m benchmarks.speed.scaling": "--help",
    "python -m benchmarks.speed.side_by_side": "--help",
    "python -m benchmarks.speed.switches": "--help",
    "python -m benchmarks.speed.synthetic_run": "--help",
    "python -m benchmarks.speed.training_cost": "--help",
    "python -m data_prep.download": "",
    "python -m benchmarks.fidelity.video_agreement": "",
    "python -m data_prep.make_imagenet_c": "",
    "python -m data_prep.make_imagenet_p": "",
    "python -m pytest": "-q",
}
"""`--help` replaces commands that take minutes; their options are still checked."""
ON_A_CLUSTER = "--engine ray"
"""Commands that are only planned here; `tests/evaluation/engines/` runs them."""
STAND_INS = {  # replacements of models that are not embedded; their sources must know the names
    "torchvision:resnet50@IMAGENET1K_V1": "python:stand_in:plain",
    "torchvision:mobilenet_v2@IMAGENET1K_V1": "python:stand_in:plain",
    "antialiased:resnet50@lpf5": "python:stand_in:smooth",
    "hf:microsoft/resnet-50": "python:stand_in:plain",
    "/data/": "data/",
    "/shared/imagenet.toml": "imagenet.toml",
    "/shared/": "shared/",
    "s3://": "memory://",
}
AFTER = {  # commands with the output of commands that are not run
    "make benchmark": "robustbench-aa evaluate -m digits:resnet@lpf2 -m digits:resnet@baseline "
    "-d digits-c --corruption fog --output-dir results/digits",
    "robustbench-aa benchmark imagenet.toml --engine ray --output-dir s3://bucket/runs/imagenet": (
        "robustbench-aa evaluate -m digits:resnet@lpf2-seed0 -d digits-c --corruption fog "
        "--output-dir s3://bucket/runs/imagenet"
    ),
}
ASSUMED = """
from torch import nn
my_module = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 15**2, 10)
)
"""  # defined before the Python blocks of a document
STAND_IN = """
from torch import nn
from robustbench_aa.models.untrained import untrained

def plain():
    layers = lambda: (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000))
    return untrained(lambda: nn.Sequential(*layers()))

smooth = plain
"""
PICTURE = Image.effect_mandelbrot((280, 260), (-2, -1, 1, 1), 50).convert("RGB")


class Block(NamedTuple):
    """A fenced block: its language, such as `sh` or `python`, its text, and its file if any."""

    language: str
    text: str
    file: str | None


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=relative)


@functools.cache
def parsed(document: Path) -> list[Any]:
    return MarkdownIt("commonmark").enable("table").parse(document.read_text())


def blocks(document: Path) -> Iterator[Block]:
    for token in parsed(document):
        if token.type == "fence":
            found = re.match(r"(?:#|\+\+\+) (\S+\.\w+)\n", token.content)
            yield Block(token.info, token.content, found[1] if found else None)


def links(document: Path) -> Iterator[str]:
    for token in parsed(document):
        for child in token.children or ():
            if target := child.attrGet("href") or child.attrGet("src"):
                yield str(target)


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    tokens = parsed(document)
    titles = [
        "".join(child.content for child in after.children)
        for token, after in itertools.pairwise(tokens)
        if token.type == "heading_open"
    ]
    found: Counter[str] = Counter()
    result = set()
    for title in titles:
        slug = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        result.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return result


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Compute on one thread, which is faster for a few small images."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.skipif(not importlib.util.find_spec("sphinx"), reason="sphinx is not installed")
def test_the_pages_are_built_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", tmp_path / "cache"]
    command += [ROOT / "docs", tmp_path / "html"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    api = (tmp_path / "html" / "api.html").read_text()
    for name in robustbench_aa.__all__:
        assert f'id="robustbench_aa.{name}"' in api


@every_document
def test_links_lead_somewhere(document: Path) -> None:
    for link in links(document):
        url = urlsplit(link)
        if url.scheme:
            assert url.scheme == "https", link
            assert re.fullmatch(r"([\w-]+\.)+\w+", url.netloc), link
            continue
        target = (document.parent / unquote(url.path)).resolve() if url.path else document
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if url.fragment:
            assert url.fragment in anchors(target), link


def test_the_models_that_are_replaced_exist() -> None:
    for name in STAND_INS:
        if "/" not in name:
            assert name in known_models(name.partition(":")[0])


@pytest.mark.parametrize("document", [d for d in DOCUMENTS if d != EXTENDING], ids=relative)
def test_the_commands_of_a_document_work(document: Path, tmp_path: Path) -> None:
    prepare(document, tmp_path)
    run_blocks(document, tmp_path)


def test_the_examples_of_extending_work(tmp_path: Path) -> None:
    for name in ("robustbench_aa", "data_prep", "tests", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    prepare(EXTENDING, tmp_path)
    code = "from tests.test_docs import *; run_blocks(EXTENDING, ROOT)"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)


@pytest.mark.parametrize(
    "command",
    ["rm -rf results", "robustbench-aa fly", "python -m benchmarks.speed.corruption_speed"],
)
def test_a_command_that_is_not_listed_is_refused(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssertionError, match=f"add to ADDED: {command}"):
        run_command(command.split(), monkeypatch)


def prepare(document: Path, folder: Path) -> None:
    """Write the files of a document, and those that it assumes."""
    (folder / "stand_in.py").write_text(STAND_IN)
    for file in ("picture.jpg", "data/photographs/picture.jpg"):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        PICTURE.save(folder / file)
    for name in CIFAR10:
        (folder / "cifar10/test" / name).mkdir(parents=True, exist_ok=True)
        PICTURE.resize((32, 32)).save(folder / "cifar10/test" / name / "0.png")
    for place in range(2):
        write_picture(folder / "data/imagenet/val" / wnids()[place] / f"{place}.JPEG")
    for block in blocks(document):
        if block.language == "diff":
            assert block.file, f"a change starts with +++ and a file's name:\n{block.text}"
            change(folder / block.file, block.text)
        elif block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(stood_in(block.text))


def change(file: Path, diff: str) -> None:
    """Replace the lines that start with a space or − by those that start with a space or +."""
    lines = [line or " " for line in diff.splitlines()[1:]]
    before, after = (
        "".join(f"{line[1:]}\n" for line in lines if line[0] in f" {sign}") for sign in "-+"
    )
    text = file.read_text()
    assert text.count(before) == 1, f"{file} contains {text.count(before)} times\n{before}"
    file.write_text(text.replace(before, after))


def run_blocks(document: Path, folder: Path) -> None:
    """Run the blocks of a document in its prepared folder."""
    names: dict[str, Any] = {}
    exec(ASSUMED, names)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(archives, "fetch", fetched)
        limited = functools.partial(robustbench_aa.benchmark, limit=LIMIT)
        patch.setattr(robustbench_aa, "benchmark", limited)
        patch.setattr(suites, "read_suite", without_downloads)
        for block in blocks(document):
            if block.language == "sh":
                for words in lines(block.text):
                    run_command(words, patch)
            elif block.language == "sbatch":
                subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
                for words in lines(block.text):
                    if words[0] == "robustbench-aa":
                        run_command(words, patch)
            elif block.language == "yaml":
                run_command(shlex.split(yaml.safe_load(block.text)["spec"]["entrypoint"]), patch)
            elif block.language == "toml":
                assert block.file, f"a suite starts with # and a file's name:\n{block.text}"
                read_suite(block.file)
            elif block.language == "python" and not block.file:
                execute(block.text, document, names)
            else:
                ignored = block.file or not block.language or block.language.startswith("{")
                assert ignored, f"unknown language in a document: {block.language}"


def execute(text: str, document: Path, names: dict[str, Any]) -> None:
    """Execute a block of Python with the names of the blocks before it, and add its own."""
    with warnings.catch_warnings():
        if "lightning" in text:  # it warns of its own calls of torch
            warnings.simplefilter("ignore")
        exec(compile(text, str(document), "exec"), names)


def lines(script: str) -> Iterator[list[str]]:
    """Yield the words of each command."""
    for line in script.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def run_command(words: list[str], patch: pytest.MonkeyPatch) -> None:
    """Run a command in this process; see `ADDED`."""
    known = {" ".join(words[:count]) for count in (1, 2, 3)} & ADDED.keys()
    assert known, f"unknown command in a document, add to ADDED: {shlex.join(words)}"
    added = ADDED[known.pop()].split()
    program, *rest = map(stood_in, words)
    if not set(added) & set(rest):
        rest += added
    if ON_A_CLUSTER in " ".join(rest):
        rest.append("--dry-run")
    print("$", shlex.join([program, *rest]))
    if program == "export":
        for variable in rest:
            patch.setenv(*variable.split("="))
    elif program == "make":
        subprocess.run([program, *rest], cwd=ROOT, check=True)
    elif program == "pip":  # check that the extras exist
        named = re.findall(r"\[([\w,-]+)\]", words[-1])
        assert set(",".join(named).split(",")) <= {"", *extras()}
    elif program == "robustbench-aa":
        invoke(cli.commands, rest)
    elif rest[1] == "pytest":  # a separate process, because pytest rewrites imported modules
        subprocess.run([sys.executable, *rest], check=True)
    else:
        invoke(importlib.import_module(rest[1]).main, rest[2:])
    if after := AFTER.get(shlex.join(words)):
        run_command(after.split(), patch)


def extras() -> list[str]:
    """Return the extras of the package."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return [*config["options.extras_require"]]


def test_the_tables_of_extras_are_complete() -> None:
    for document in (ROOT / "README.md", ROOT / "docs" / "installation.md"):
        named = re.findall(r"^\| `([\w-]+)` \|", document.read_text(), re.MULTILINE)
        assert set(extras()) <= set(named), document


def invoke(command: click.Command, arguments: list[str]) -> None:
    result = CliRunner().invoke(command, arguments, catch_exceptions=False, standalone_mode=False)
    print(result.output)
    assert not result.return_value


def without_downloads(name: str) -> Suite:
    """Read a suite, and replace published networks by stand-ins."""
    suite = read_suite(name)
    if not any(f"{model}" in STAND_INS for model in suite.models):
        return suite
    models = [STAND_INS[f"{model}"] for model in suite.models if f"{model}" in STAND_INS]
    return dataclasses.replace(suite, models=[*dict.fromkeys(models)], baseline=models[0])


def stood_in(text: str) -> str:
    for real, stand_in in STAND_INS.items():
        text = text.replace(real, stand_in)
    return text


def fetched(archive: Download, to: Path) -> None:
    """Write the files of an archive of ImageNet-C or ImageNet-P, for two photographs."""
    if archive in DATASETS["imagenet-c"].archives.values():
        family = Path(archive.url).stem
        cells = [f"{cell}" for cell in corruptions_at(224) if cell.group == family]
    else:
        cells = [f"{cell}" for cell in perturbations_at(224) if not cell.held_out]
    suffix = "JPEG" if cells[0].endswith("/1") else "mp4"
    for cell in cells:
        for place in range(2):
            write_picture(to / cell / wnids()[place] / f"{place}.{suffix}")


def write_picture(file: Path) -> None:
    """Write a photograph, or a video of three frames."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".mp4":
        encode_video(torch.zeros(3, 3, 224, 224, dtype=torch.uint8), file, {})
    elif "val" in file.parts:
        PICTURE.save(file)
    else:
        PICTURE.resize((224, 224)).save(file, "JPEG")

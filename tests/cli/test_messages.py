"""Wrong usage of the command line: one line with what is wrong, where, and the way out.

Each call runs in this process, as `main` runs it.
"""

from __future__ import annotations

import importlib
import importlib.util
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustbench_aa.cli.main import main
from tests.conftest import tree
from tests.forged import forge

EVALUATE = "evaluate -m digits:resnet -d digits"
WRONG = {
    # commands and options
    "": "no command is given; see robustbench-aa --help",
    "bench": "unknown command 'bench'; did you mean benchmark?",
    "zzz": "unknown command 'zzz'; known: antialias, benchmark,",
    "-x": "unknown option '-x'; see robustbench-aa --help",
    "evaluate": "missing option '--model' / '-m'; see robustbench-aa evaluate --help",
    "evaluate --modle x": "unknown option '--modle'; did you mean --model?",
    "benchmark --bach-size 3": "unknown option '--bach-size'; did you mean --batch-size?",
    "evaluate --keep-rankings": "unknown option '--keep-rankings'; did you mean --keep-ranking",
    "evaluate --zzz": "unknown option '--zzz'; see robustbench-aa evaluate --help",
    "evaluate -m": "option '-m' requires an argument",
    "report": "name a RUN to report on, or a folder of runs by --index",
    "report --index . run": "--index writes into its own FOLDER; leave out RUN and --output-dir",
    "report run --figures jpg": "unknown --figures 'jpg'; known: pdf",
    "report a b": "a report on several runs needs a folder; name it by --output-dir",
    "compare run a b c": "got unexpected extra argument (c); see robustbench-aa compare --help",
    "compare run a b --format xml": "unknown --format 'xml'; known: table, csv, json",
    "compare run a b --format jsn": "unknown --format 'jsn'; did you mean json?",
    f"{EVALUATE} --limit many": "invalid value for '--limit': 'many' is not a valid integer; see",
    f"{EVALUATE} --limit 0": "limit 0 leaves nothing to measure; use at least 1",
    f"{EVALUATE} --workers 0": "workers 0 are too few; use at least 1",
    f"{EVALUATE} --batch-size 0": "batch size 0 is too small; use at least 1",
    f"{EVALUATE} --threads 0": "threads 0 is too small; use at least 1",
    f"{EVALUATE} --amp-dtype float8": "unknown amp dtype 'float8'; did you mean float16",
    f"{EVALUATE} --device gpu": "device 'gpu' cannot be used; name one of cpu, cuda,",
    f"{EVALUATE} --engine rya": "unknown engine 'rya'; did you mean ray?",
    f"{EVALUATE} --ray-address x": "--ray-address has no effect with --engine local; use --engine",
    f"{EVALUATE} --corruption-backend torhc": "unknown corruption backend 'torhc'; did you mean to",
    f"{EVALUATE} --baseline digts:resnet": "suite) 'digts:resnet'; did you mean digits:resnet@",
    f"{EVALUATE} --own-preprocessing": "does not keep their shape; leave out --own",
    f"{EVALUATE} --output-dir file": "cannot write to file (File exists); choose another --output",
    # suites
    "benchmark digit": "unknown suite (a shipped name or a .toml file) 'digit'; did you mean digit",
    "benchmark lost.toml": "cannot read suite lost.toml (No such file or directory); check the",
    "benchmark wrong.toml": "unknown key 'modles'; did you mean models?",
    # data sets and distortions
    "evaluate -m digits:resnet -d digit": "unknown data set 'digit'; did you mean digit",
    f"{EVALUATE} -d digits": "data set digits is named twice; leave one out",
    "evaluate -m digits:resnet -d imagenet-c": "name their folder by --data-dir or IMAGENET_C_DIR",
    "evaluate -m digits:resnet -d cifar10-c --data-dir lost": "no folder lost; check --data-dir",
    "evaluate -m digits:resnet -d digits-c --corruption snwo": (
        "unknown corruption of digits-c 'snwo'; did you mean snow?"
    ),
    "evaluate -m digits:resnet -d digits-p --perturbation tiltt": (
        "unknown perturbation of digits-p 'tiltt'; did you mean tilt?"
    ),
    "evaluate -m digits:resnet -d digits-c --severity 6": (
        "severity 6 does not exist; choose from 1 to 5"
    ),
    f"{EVALUATE} --corruption fog": "digits has no corruptions to choose from; leave out --corr",
    "verify -d imagenet_c --data-dir .": "data set of files 'imagenet_c'; did you mean imagenet-c",
    "verify -d imagenet-c --data-dir lost": "no folder lost; check --data-dir",
    "verify -d imagenet-c --data-dir . --deep run --sample 3": "leave out --sample",
    "verify": "verify needs a SUBMISSION, or --dataset and --data-dir",
    "verify -d imagenet-c --data-dir . -m digits:resnet": "--model is for a SUBMISSION; leave it",
    "verify -d imagenet-c --data-dir . --seed 1": "--seed is for a SUBMISSION; leave it out",
    "verify file --sample 3": "--sample and --deep are for data sets; leave them out",
    "verify file -d digits": "--images are for an evaluation; name a --model as well",
    "verify file": "file is no submission (",
    "verify lost.tar": "File 'lost.tar' does not exist; see robustbench-aa verify --help",
    # models
    "evaluate -m digts:resnet -d digits": "unknown model source 'digts'; did you mean digits?",
    "evaluate -m resnet50 -d digits": "did you mean torchvision:resnet50",
    "evaluate -m digits -d digits": "is not of the form SOURCE:NAME[@WEIGHTS], such as digits:",
    "evaluate -m =digits:resnet -d digits": "needs a name without outer spaces before the =; write",
    "evaluate -m mine=resnet -d digits": "model 'resnet' is not of the form SOURCE:NAME[@WEIGHTS]",
    "evaluate -m a=digits:vgg@lpf3-seed0 -m b=digits:vgg@lpf3-seed0 -d digits": (
        "model digits:vgg@lpf3-seed0 has two names, a and b; leave one out"
    ),
    f"{EVALUATE} -m digits:resnet@baseline": "baseline-seed0 is named twice; leave one out",
    "evaluate -m digits:resnt -d digits": "unknown digits model 'resnt'; did you mean resnet?",
    "evaluate -m digits:resnet@lpf9 -d digits": "unknown weights of digits:resnet 'lpf9'; did you",
    "evaluate -m torchvision:resnet5 -d digits": "torchvision model 'resnet5'; did you mean resn",
    "evaluate -m torchvision:resnet18@IMAGENET -d digits": "'IMAGENET'; did you mean IMAGENET1K_V1",
    "evaluate -m antialiased:resnet5 -d digits": "architecture 'resnet5'; did you mean resnet",
    "evaluate -m torchvision:squeezenet1_1@random -d digits": "px; leave one of them out",
    "evaluate -m file:resnet50 -d digits": "file:resnet50 needs a checkpoint; write file:resnet50@",
    "evaluate -m file:resnet50@lost.pth -d digits": "no weights at lost.pth; check the path",
    "evaluate -m file:mine/resnet50@lost.pth -d digits": "unknown library of architectures 'mine';",
    "evaluate -m python:lost:make -d digits": "put it into the current folder or install it",
    "evaluate -m python:lost -d digits": "is not of the form python:package.module:function",
    "evaluate -m onnx:lost.onnx -d digits": "no model at lost.onnx; check the path",
    "models torchvison:*": "unknown model 'torchvison:*'; ",
    # antialias, features, preview
    "antialias digits:resnet -o a.pth": "a.pth does not end in .safetensors; use that suffix",
    "antialias digits:resnet -o no/a.safetensors": "choose another path",
    "antialias digits:resnet --filter-size 9 -o a.safetensors": "choose from 1, 2, 3, 4, 5, 6, 7",
    "features -m digits:resnet -d digits-shift -o f": "has no clean images; name one that has",
    "features -m digits:resnet -d digits -o f --layers blok": "unknown layer 'blok'; known: 0, 1",
    "features -m digits:resnet -d digits -o f --max-shift 99": "and 31, the last pixel; choose",
    "features -m digits:resnet -d digits -o file": "file is not a folder; choose another --output",
    "preview lost.jpg": "File 'lost.jpg' does not exist; see robustbench-aa preview --help",
    # runs
    "report run run -o new": "run run is named twice; leave one out",
    "report run -o run": "run holds a run; choose another --output-dir for the report",
    "export run -o a --format pfd": "unknown --format 'pfd'; known: timm-csv, hf-eval",
    "export run -o a --format latex -m mine": "format latex has no --model; leave it out",
    "export run -o no/where/a --format markdown --baseline mien": "did you mean mine?",
    "report lost": "no run in lost (there is no run.json); check the path",
    "report run --baseline mien": "baseline (a model of the run) 'mien'; did you mean mine?",
    "compare run mine othr": "unknown model of the run 'othr'; did you mean other?",
    "merge lost -o new": "no run in lost (there is no run.json); check the path",
    "merge run -o files": "files is not empty and holds no run; choose another --output-dir",
    f"{EVALUATE} --output-dir run": "run was made with shards of 5 images, not 1000; choose",
}


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Restore the signal handlers that the command line sets."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "file").write_text("")
    (folder / "files").mkdir()
    (folder / "files" / "note.txt").write_text("")
    (folder / "wrong.toml").write_text('modles = ["digits:resnet"]\ndatasets = ["digits"]\n')
    forge(folder / "run", ["mine", "other"], ["image-folder"])
    return folder


def refusal(call: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a call, check that it is refused in one line, and return the line."""
    monkeypatch.setattr(sys, "argv", ["robustbench-aa", *shlex.split(call)])
    with pytest.raises(SystemExit) as stopped:
        main()
    error = capsys.readouterr().err
    assert stopped.value.code == 2, error
    assert error.startswith("error: ")
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    assert " at 0x" not in error
    return error.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(("call", "message"), WRONG.items(), ids=[*WRONG])
def test_wrong_usage_is_explained(
    call: str,
    message: str,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(files)
    before = tree(files)
    line = refusal(call, monkeypatch, capsys)
    assert message in line
    assert not line.endswith(".")
    assert tree(files) == before


@pytest.mark.parametrize(
    ("call", "package", "extra"),
    [
        ("evaluate -m timm:resnet18 -d digits", "timm", "timm"),
        ("models timm:*", "timm", "timm"),
        ("evaluate -m hf:someone/model -d digits", "transformers", "hf"),
        ("evaluate -m open-clip:RN50@openai -d digits", "open_clip", "open-clip"),
        ("models open-clip:*", "open_clip", "open-clip"),
        ("evaluate -m onnx:file -d digits", "onnxruntime", "onnx"),
        (f"{EVALUATE} --output-dir s3://bucket/run", "upath", "objects"),
    ],
)
def test_a_missing_extra_is_named(
    call: str,
    package: str,
    extra: str,
    files: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def import_module(name: str, *arguments: str) -> object:
        if name == package:
            raise ModuleNotFoundError(f"No module named {package!r}")
        return importlib.import_module(name, *arguments)

    monkeypatch.setattr("robustbench_aa.support.optional.import_module", import_module)
    found = importlib.util.find_spec
    for user in ("cli.models", "models.timm"):
        monkeypatch.setattr(
            f"robustbench_aa.{user}.find_spec",
            lambda name: None if name == package else found(name),
        )
    monkeypatch.chdir(files)
    line = refusal(call, monkeypatch, capsys)
    assert f"{extra} needs {package} (No module named '{package}'); pip install" in line
    assert line.endswith(f"pip install 'robustbench-aa[{extra}]'")

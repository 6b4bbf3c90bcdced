from __future__ import annotations

import configparser
import platform
import re
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
import torch
from click.testing import CliRunner

from robustbench_aa.cli import doctor
from robustbench_aa.cli.main import commands
from robustbench_aa.datasets import DATASETS, Request, open_dataset
from robustbench_aa.models import load
from robustbench_aa.types import Shard

ROOT = Path(__file__).parents[2]
CONSISTENCY = "digits-shift/circular consistency"


def consult() -> tuple[int, list[str]]:
    """Run the doctor; return its exit status and the lines that it prints."""
    result = CliRunner().invoke(commands, ["doctor"], catch_exceptions=False, standalone_mode=False)
    return result.return_value, result.output.splitlines()


@pytest.fixture
def _untested(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the self-test, which takes seconds."""
    monkeypatch.setattr(doctor, "_devices", list)


def test_a_sound_machine_is_described_and_passes() -> None:
    status, lines = consult()
    assert status == 0, lines
    assert {f"python: {platform.python_version()}", f"torch: {version('torch')}"} <= {*lines}
    for name in ("platform", "libjpeg", "cores", "temporary directory", "torch hub cache"):
        assert any(line.startswith(f"{name}: ") for line in lines), name
    headings = [line for line in lines if line and ": " not in line]
    assert headings == [*doctor.SECTIONS, "self-test"]
    assert any(
        re.fullmatch(r"distortions: (all 30 are identical|\d+ of 30 differ) .*", line)
        for line in lines
    )
    assert re.fullmatch(r"\w+: ok \(\d+\.\d s\)", lines[-1])
    assert not any(": unknown (" in line for line in lines)


def test_metrics_that_differ_are_named_with_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = {name: doctor.EXPECTED[name] for name in ("digits-c fog/3 correct", CONSISTENCY)}
    assert [type(value) for value in changed.values()] == [int, float]
    for name, value in changed.items():
        monkeypatch.setitem(doctor.EXPECTED, name, value + (1 if name != CONSISTENCY else 0.01))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    status, lines = consult()
    assert status == 1
    *_, count, consistency, verdict = lines
    was = changed["digits-c fog/3 correct"]
    assert count == f"cpu, digits-c fog/3 correct: {was}, expected {was + 1}"
    assert consistency.startswith(f"cpu, {CONSISTENCY}: ")
    assert verdict.startswith(f"cpu: 2 of {len(doctor.EXPECTED)} metrics differ")


def test_no_count_depends_on_a_tie() -> None:
    model, data = load(doctor.MODEL), open_dataset("digits-c", Request(limit=doctor.LIMIT))
    whole, cpu = Shard(0, doctor.LIMIT), torch.device("cpu")
    for distortion in data.distortions:
        if f"digits-c {distortion} correct" in doctor.EXPECTED:
            (batch,) = data.read(distortion, whole, doctor.LIMIT, cpu)
            with torch.inference_mode():
                logits = model.module(model.preprocessing.normalised(batch.frames[:, 0]))
            first, second = logits.topk(2).values.unbind(1)
            # logits are a few units, and rounding changes their sixth digit
            assert (first - second).min() > 1e-3, distortion


def test_a_broken_fact_is_a_line_and_fails_the_self_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> NoReturn:
        raise RuntimeError("the driver is too old\nand so on")

    monkeypatch.setattr("robustbench_aa.store.environment.environment", broken)
    monkeypatch.setattr(torch.cuda, "is_available", broken)
    monkeypatch.setattr(torch.hub, "get_dir", broken)
    monkeypatch.setattr("robustbench_aa.evaluation.session.prepare", broken)
    status, lines = consult()
    assert status == 1
    assert f"torch: {version('torch')}" in lines
    assert lines[-1] == "cpu: failed (the driver is too old)"
    for name in ("decoders", "cuda", "torch hub cache"):
        assert f"{name}: unknown (the driver is too old)" in lines


@pytest.mark.usefixtures("_untested")
def test_data_set_folders_are_listed_with_their_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "val" / "n01440764").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for entry in DATASETS.values():
        monkeypatch.delenv(entry.variable or "-", raising=False)
    named = {"IMAGENET_DIR": "val", "CIFAR10_DIR": "empty", "IMAGENET_C_DIR": "file"}
    for variable, name in (named | {"IMAGENET_P_DIR": "gone"}).items():
        monkeypatch.setenv(variable, str(tmp_path / name))
    _, lines = consult()
    assert {
        f"IMAGENET_DIR: {tmp_path}/val, has files",
        f"CIFAR10_DIR: {tmp_path}/empty, empty",
        f"IMAGENET_C_DIR: {tmp_path}/file, which cannot be read (Not a directory)",
        f"IMAGENET_P_DIR: {tmp_path}/gone, which cannot be read (No such file or directory)",
        "CIFAR10_C_DIR: not set",
    } <= {*lines}


@pytest.mark.usefixtures("_untested")
def test_gpus_are_listed_with_their_memory_or_the_reason_for_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    assert "cuda: none (torch is built for CUDA 12.6)" in consult()[1]
    gpu = SimpleNamespace(name="NVIDIA H200", total_memory=140 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: gpu)
    assert {f"cuda:{place}: NVIDIA H200, 140.0 GiB" for place in (0, 1)} <= {*consult()[1]}


@pytest.mark.usefixtures("_untested")
def test_every_extra_has_its_version() -> None:
    lines = consult()[1]
    for extra, package in doctor.EXTRAS.items():
        assert f"{extra}: {package} {version(package)}" in lines


@pytest.mark.usefixtures("_untested")
def test_an_extra_that_cannot_be_imported_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    (line,) = (line for line in consult()[1] if line.startswith("onnx: "))
    assert line.startswith("onnx: cannot be imported (")


def test_the_extras_are_those_of_setup_cfg() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    for_developers = {"dev", "docs", "peers"}
    assert set(config["options.extras_require"]) == {*doctor.EXTRAS} | for_developers
    for extra, package in doctor.EXTRAS.items():
        assert config["options.extras_require"][extra].strip().startswith(package)

"""Faults of contents: pictures that change between two commands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from benchmarks.reliability.sandbox import Fault, Sandbox, expect

WIDE = """
import torch, robustbench_aa as rb

def made(seed):
    torch.manual_seed(seed)
    layers = torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 1000)
    how = rb.Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    module = torch.nn.Sequential(*layers)
    form = {"input_size": 224, "classes": 1000, "preprocessing": how}
    return rb.Classifier(module, name=f"wide{seed}", **form)

def first():
    return made(0)

def second():
    return made(1)
"""
PICTURES = """
models = ["python:wide:first"{}]
datasets = ["imagenet-c"]
corruptions = ["fog"]
shard_size = 2
data_dir = "{}"
"""
ARRAYS = """
models = ["digits:resnet@lpf3-seed0"{}]
datasets = ["cifar10-c"]
corruptions = ["contrast"]
data_dir = "{}"
"""
CLASSES = ("n01440764", "n01443537", "n01484850", "n01491361")


def write_pictures(folder: Path) -> None:
    """Write fog of all severities into files of one size."""
    random = np.random.default_rng(0)
    for severity in range(1, 6):
        for name in CLASSES:
            path = folder / "fog" / str(severity) / name / "a.bmp"
            path.parent.mkdir(parents=True)
            Image.fromarray(random.integers(256, size=(224, 224, 3), dtype=np.uint8)).save(path)


def exchange_pictures(folder: Path) -> None:
    """Exchange the pictures of severities 1 and 2."""
    one, two, spare = (folder / "fog" / name for name in ("1", "2", "spare"))
    one.rename(spare)
    two.rename(one)
    spare.rename(two)


def write_array(folder: Path) -> None:
    """Write an array of CIFAR-10-C and its labels."""
    folder.mkdir()
    random = np.random.default_rng(0)
    np.save(folder / "labels.npy", np.tile(np.arange(4, dtype=np.uint8), 5))
    images = random.integers(256, size=(20, 32, 32, 3), dtype=np.uint8)
    np.save(folder / "contrast.npy", images)


def exchange_array(folder: Path) -> None:
    """Exchange the images of severities 1 and 2."""
    images = np.load(folder / "contrast.npy")
    images[:4], images[4:8] = images[4:8].copy(), images[:4].copy()
    np.save(folder / "contrast.npy", images)


class DataSet(NamedTuple):
    """A data set of files.

    Attributes:
        name: its content, `pictures` or `arrays`.
        suite: a suite of one model, with places for a further one and for the folder.
        second: the further model.
        write: writes the files.
        exchange: exchanges two severities.
    """

    name: str
    suite: str
    second: str
    write: Callable[[Path], None]
    exchange: Callable[[Path], None]


def exchanged(sandbox: Sandbox, dataset: DataSet, keep_times: bool) -> Iterator[str]:
    """Exchange two severities of a data set before a second model is added.

    Args:
        keep_times: whether the files have the same times afterwards.
    """
    name = f"{dataset.name}-{keep_times}"
    data = sandbox.folder / name
    dataset.write(data)
    (sandbox.folder / "wide.py").write_text(WIDE)
    for place, more in (("one", ""), ("both", f', "{dataset.second}"')):
        folder = sandbox.folder / f"{name}-{place}"
        folder.mkdir()
        (folder / f"{name}.toml").write_text(dataset.suite.format(more, data))
    both = f"{name}-both/{name}"
    sandbox.expect_tables(f"{name}-expected", both)
    run = sandbox.folder / name / "run"
    one = sandbox.benchmark(str(run), suite=f"{name}-one/{name}").wait()
    expect(one.status, 0, one.last)

    _exchange(data, dataset.exchange, keep_times)
    refused = sandbox.benchmark(str(run), suite=both).wait()
    message = "different pictures" if keep_times else "have changed since"
    expect((refused.status, message in refused.last), (2, True), refused.last)
    again = sandbox.benchmark(str(run), suite=both).wait()
    expect((again.status, again.last), (2, refused.last), "the same command again")

    _exchange(data, dataset.exchange, keep_times)
    if keep_times:  # the second model saw the wrong pictures; the message says what to delete
        first = refused.last.removeprefix("error: ").partition(" and ")[0]
        for folder in (run / "predictions").iterdir():
            if folder.name != first:
                shutil.rmtree(folder)
    sandbox.check_resumes(str(run), suite=both, where=run)
    yield f"exit status 2, {refused.last.replace(f'{sandbox.folder}{os.sep}', '')!r}"


def _exchange(data: Path, exchange: Callable[[Path], None], keep_times: bool) -> None:
    files = [path for path in data.rglob("*") if path.suffix in (".bmp", ".npy")]
    times = {path: path.stat().st_mtime_ns for path in files}
    exchange(data)
    for path, time in times.items():
        time = time if keep_times else time + 10**9
        os.utime(path, ns=(time, time))


DATA_SETS = (
    DataSet("pictures", PICTURES, "python:wide:second", write_pictures, exchange_pictures),
    DataSet("arrays", ARRAYS, "digits:resnet@baseline-seed0", write_array, exchange_array),
)
FAULTS: dict[str, Fault] = {
    f"{dataset.name} are exchanged, {times}": partial(
        exchanged, dataset=dataset, keep_times=keep_times
    )
    for dataset in DATA_SETS
    for times, keep_times in (("with new times", False), ("with the same times", True))
}

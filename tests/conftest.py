from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import settings
from torch import nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.preprocessing import Preprocessing

# a test must not fail because the machine is busy
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class Linear(nn.Module):
    """A classifier that is a fixed function of its input, and quick."""

    def __init__(self, seed: int, size: int = 32, classes: int = 10) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(classes, 3 * size * size, generator=generator)
        self.weight = nn.Parameter(weight - weight.mean(dim=1, keepdim=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # in float64, so that no batch size rounds differently
        return (x.flatten(1).double() @ self.weight.T.double()).float()


def make_classifier(name: str, seed: int = 0, **changes: object) -> Classifier:
    given = {"input_size": 32, "classes": 10, "preprocessing": PLAIN} | changes
    return Classifier(Linear(seed), name=name, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def _unflushed() -> Iterator[None]:
    """Leave files in the system's cache: no test needs to survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def _one_plot(request: pytest.FixtureRequest) -> Iterator[None]:
    """Draw one plot except in the tests of reports: all of them take most of a report's time."""
    from robustbench_aa.report import plots

    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name != "report":
            patch.setattr(plots, "PLOTS", {"ranking": plots.PLOTS["ranking"]})
        yield


@pytest.fixture
def classifier() -> Callable[..., Classifier]:
    return make_classifier


@pytest.fixture(scope="session")
def photographs() -> torch.Tensor:
    """Two real photographs, [2, 3, 224, 224] uint8 (scikit-image's and scikit-learn's)."""
    return cut_photographs(224)


def cut_photographs(size: int) -> torch.Tensor:
    """Return squares of the same two, [2, 3, size, size] uint8, of at most 299 px."""
    from skimage.data import astronaut
    from sklearn.datasets import load_sample_image

    pictures = [
        astronaut()[40 : 40 + size, 100 : 100 + size],
        load_sample_image("china.jpg")[100 : 100 + size, 200 : 200 + size],
    ]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let torch compute on this number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def made_elsewhere(folder: Path, **changes: str | None) -> None:
    """Change the recorded environment of the prediction files below a folder.

    Args:
        changes: to the environment, or `decoded_sha256`; None takes an entry away.
    """
    for path in folder.rglob("*.parquet"):
        table = pq.read_table(path)
        metadata = dict(table.schema.metadata)
        footer = json.loads(metadata[b"robustbench_aa"])
        for key, value in changes.items():
            part = footer if key in footer else footer["environment"]
            part.pop(key, None)
            if value is not None:
                part[key] = value
        metadata[b"robustbench_aa"] = json.dumps(footer).encode()
        pq.write_table(table.replace_schema_metadata(metadata), path, write_page_checksum=True)

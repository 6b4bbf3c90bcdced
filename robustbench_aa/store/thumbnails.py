"""Samples: what the models saw of a run's first image, a small picture a cell.

They lie in `RUN/samples/<data set>/<distortion>.webp` and are there to be looked at: nothing is
computed from them. A sequence is a strip of some of its frames.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from robustbench_aa.errors import DatasetError, cause, one_line
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import exists, patiently, write_whole
from robustbench_aa.types import Shard

if TYPE_CHECKING:
    from robustbench_aa.datasets import Dataset

FRAMES = 5
"""How many of a sequence are shown."""
SIDE = 112
"""The largest height and width of a frame, in pixels."""

LARGEST = 2**20
"""Bytes of a sample."""

_log = logging.getLogger(__name__)
Samples = dict[str, dict[str, list[bytes]]]
"""By data set and name of a distortion: WebP files, one a severity."""


def write_samples(directory: Path, cells: Iterable[Cell], datasets: Mapping[str, Dataset]) -> None:
    """Writes the samples of some cells that a run does not have yet."""
    import torch  # only here: reading needs none

    for cell in cells:
        path = _path(directory, cell)
        first = Shard(0, 1)
        try:
            if exists(path) or path.is_symlink():  # a link would be written through
                continue
            batches = datasets[cell.dataset].read(cell.distortion, first, 1, torch.device("cpu"))
            frames = next(iter(batches)).frames[0].permute(0, 2, 3, 1).numpy()
            strip = _strip(frames)
            write_whole(path, partial(Path.write_bytes, data=strip))
        except DatasetError:  # the cell has failed, and its failure names the cause
            continue
        except Exception as error:  # a small picture is not worth a run
            _log.warning("%s is not written (%s)", path, cause(error))


def read_samples(store: Store) -> Samples:
    """The samples of a run, in the order of its data sets and their distortions."""
    found: Samples = {}
    for dataset in store.manifest.datasets:
        for cell in store.cells(dataset):
            path = _path(store.directory, cell)
            if (strip := _read(path, store.directory)) is not None:
                of = found.setdefault(dataset, {}).setdefault(cell.distortion.name, [])
                of.append(strip)
    return found


def _read(path: Path, directory: Path) -> bytes | None:
    """The file of a sample; None where none was written by a run: the page carries it away."""
    with suppress(Exception):
        if not patiently(path, path.is_file):
            return None
        size = patiently(path, path.stat).st_size
        if path.resolve().is_relative_to(directory.resolve()) and size <= LARGEST:
            content = patiently(path, path.read_bytes)
            with Image.open(io.BytesIO(content), formats=["WEBP"]) as picture:
                if picture.width <= FRAMES * SIDE and picture.height <= SIDE:
                    return content
    _log.warning("%s is no sample of a run or cannot be read; it is left out", one_line(str(path)))
    return None


def _path(directory: Path, cell: Cell) -> Path:
    return directory / "samples" / cell.dataset / f"{cell.distortion}.webp"


def _strip(frames: np.ndarray) -> bytes:
    """Some frames [F, H, W, 3] side by side."""
    chosen = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).astype(int)
    strip = Image.fromarray(np.ascontiguousarray(np.concatenate(frames[chosen], axis=1)))
    if strip.height > SIDE:
        strip = strip.resize((SIDE * len(chosen), SIDE), Image.Resampling.BOX)
    file = io.BytesIO()
    strip.save(file, "webp", quality=85)
    return file.getvalue()

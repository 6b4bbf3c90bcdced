"""Thumbnails: what the models saw of a run's first image, a small picture for each cell.

They lie in `RUN/samples/<data set>/<distortion>.webp` for people to look at; no metric depends on
them. A sequence is shown as a strip of some of its frames.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from robustbench_aa.errors import DatasetError, cause, one_line
from robustbench_aa.store.shards import Cell, Store
from robustbench_aa.store.storage import exists, patiently, write_whole

FRAMES = 5
"""The largest number of frames shown of a sequence."""
SIDE = 112
"""The largest height and width of a frame, in pixels."""
LARGEST = 2**20
"""The largest size of a thumbnail file, in bytes."""

_log = logging.getLogger(__name__)
Samples = dict[str, dict[str, list[bytes]]]
"""By data set and name of a distortion: WebP files, one for each severity."""


def write_samples(
    directory: Path, cells: Iterable[Cell], first_frames: Callable[[Cell], np.ndarray]
) -> None:
    """Write the thumbnails of cells that do not have one yet.

    Args:
        directory: of the run.
        cells: the cells to show.
        first_frames: returns the frames of a cell's first image, [F, H, W, 3] uint8.
    """
    for cell in cells:
        path = _path(directory, cell)
        try:
            if exists(path) or path.is_symlink():  # writing would follow a link
                continue
            strip = _strip(first_frames(cell))
            write_whole(path, partial(Path.write_bytes, data=strip))
        except DatasetError:  # the cell has failed, and its failure names the cause
            continue
        except Exception as error:  # a thumbnail must not stop a run
            _log.warning("%s is not written (%s)", path, cause(error))


def read_samples(store: Store) -> Samples:
    """Return the thumbnails of a run, in the order of its data sets and their distortions."""
    found: Samples = {}
    for dataset in store.manifest.datasets:
        for cell in store.cells(dataset):
            path = _path(store.directory, cell)
            if (strip := _read(path, store.directory)) is not None:
                strips = found.setdefault(dataset, {}).setdefault(cell.distortion.name, [])
                strips.append(strip)
    return found


def _read(path: Path, directory: Path) -> bytes | None:
    """Return a thumbnail file; None if no run can have written it, since pages embed it."""
    with suppress(Exception):
        if not patiently(path, path.is_file):
            return None
        size = patiently(path, path.stat).st_size
        if path.resolve().is_relative_to(directory.resolve()) and size <= LARGEST:
            content = patiently(path, path.read_bytes)
            with Image.open(io.BytesIO(content), formats=["WEBP"]) as picture:
                if picture.width <= FRAMES * SIDE and picture.height <= SIDE:
                    return content
    _log.warning(
        "%s is not a thumbnail of a run or cannot be read; it is left out", one_line(str(path))
    )
    return None


def _path(directory: Path, cell: Cell) -> Path:
    return directory / "samples" / cell.dataset / f"{cell.distortion}.webp"


def _strip(frames: np.ndarray) -> bytes:
    """Return a WebP file with some frames, [F, H, W, 3] uint8, side by side."""
    chosen = np.linspace(0, len(frames) - 1, min(FRAMES, len(frames))).astype(int)
    strip = Image.fromarray(np.ascontiguousarray(np.concatenate(frames[chosen], axis=1)))
    if strip.height > SIDE:
        strip = strip.resize((SIDE * len(chosen), SIDE), Image.Resampling.BOX)
    file = io.BytesIO()
    strip.save(file, "webp", quality=85)
    return file.getvalue()

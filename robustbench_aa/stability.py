"""The stability of predictions along any video, which needs no labels.

A video has no true classes here: a change of the top-1 class may be right, if the content changes.
Compare models on the same video, or look at the frames where a model changes its mind. One-pixel
shifts of a frame never change its content.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from robustbench_aa.classifier import Classifier
from robustbench_aa.datasets.video_file import Clip, read_clip
from robustbench_aa.evaluation.inference import Inference, Predictor
from robustbench_aa.metrics.flip_rate import flip_probability
from robustbench_aa.models import load_all
from robustbench_aa.report.strips import draw_strips
from robustbench_aa.support.checks import whole_number
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.process import full_float32, restored
from robustbench_aa.types import CLEAN, NO_LABEL, Batch

SHIFTS = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))
"""The offsets of the crops of a frame, down and to the right in pixels; the first is no shift."""
IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Stability:
    """Predictions along a video.

    Attributes:
        frames: one row per `model` and `frame`: its time in `seconds`, the number `top1` and the
            name `class` of the predicted class and its `probability`; `changed`, whether the
            class differs from that of the previous frame; and `shifts_changed`, the share of the
            four one-pixel shifts that change the class.
        summary: one row per model: the number of `frames` and of predicted `classes`, the
            `flip_probability` (the share of frames that are `changed`), the
            `shift_flip_probability` (the mean of `shifts_changed`) and the `mean_probability`.
        cut: whether the video has more frames.
    """

    frames: pd.DataFrame
    summary: pd.DataFrame
    cut: bool

    def write(self, folder: Path) -> list[Path]:
        """Write `frames.csv`, `summary.csv`, `strips.png` and `strips.svg`; return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        tables = {"frames": self.frames, "summary": self.summary}
        for name, table in tables.items():
            table.to_csv(
                folder / f"{name}.csv", index=False, float_format="%.6f", lineterminator="\n"
            )
        written = [folder / f"{name}.csv" for name in tables]
        return [*written, *draw_strips(self.frames).write(folder / "strips")]


def measure_stability(
    models: Sequence[str | Classifier],
    video: Path,
    *,
    limit: int = 1000,
    every: int = 1,
    batch_size: int = 256,
    device: str | None = None,
) -> Stability:
    """Predict the frames of a video, each also shifted by one pixel in four directions.

    The shorter side of a frame is resized as the model specifies, or to two pixels more than its
    input. The model sees the middle.

    Args:
        models: specifications or classifiers.
        video: the file.
        limit: the largest number of frames.
        every: 2 to measure every second frame, and so on.
        batch_size: crops that go through a model at once.
        device: a torch device; None for a GPU if there is one, otherwise the CPU.

    Raises:
        UsageError: an argument is wrong or there is no such video.
        DatasetError: the video cannot be decoded.
    """
    limit, every = whole_number("limit", limit, least=1), whole_number("every", every, least=1)
    device, inference = choose_device(device), Inference(batch_size=batch_size)
    classifiers, _ = load_all(models)
    clips: dict[tuple[int, int], Clip] = {}
    tables = []
    for classifier in classifiers.values():
        size = classifier.input_size + 2
        geometry = size, max(size, classifier.preprocessing.resize or 0)
        if geometry not in clips:
            clips[geometry] = read_clip(video, *geometry, limit, every)
        clip = clips[geometry]
        with full_float32(), restored(classifier.module):
            predictor = Predictor(classifier, inference, device)
            parts = [*_predicted(predictor, clip.frames.to(device), batch_size)]
        top1, probability = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        tables.append(_table(classifier, clip, every, top1, probability))
    summary = pd.DataFrame([_summary(table) for table in tables])
    return Stability(pd.concat(tables, ignore_index=True), summary, clip.cut)


def _predicted(
    predictor: Predictor, frames: Tensor, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the top-1 class of each frame under each of `SHIFTS` and its probability, [B, 5]."""
    size = frames.shape[-1] - 2
    for part in frames.split(max(1, batch_size // len(SHIFTS))):
        crops = [part[..., 1 + y : 1 + y + size, 1 + x : 1 + x + size] for y, x in SHIFTS]
        index = np.arange(len(part))
        batch = Batch(CLEAN, index, np.full_like(index, NO_LABEL), torch.stack(crops, dim=1))
        columns = predictor.predict(batch)
        shape = len(part), len(SHIFTS)
        yield columns["top1"].reshape(shape), columns["top1_probability"].reshape(shape)


def _table(
    classifier: Classifier, clip: Clip, every: int, top1: np.ndarray, probability: np.ndarray
) -> pd.DataFrame:
    names = class_names(classifier.classes)
    changed = np.append(np.nan, (top1[1:, 0] != top1[:-1, 0]).astype(float))
    return pd.DataFrame(
        {
            "model": classifier.name,
            "frame": np.arange(len(top1)) * every,
            "seconds": clip.seconds,
            "top1": top1[:, 0],
            "class": [names[place] for place in top1[:, 0]],
            "probability": probability[:, 0],
            "changed": changed,
            "shifts_changed": (top1[:, 1:] != top1[:, :1]).mean(axis=1),
        }
    )


def _summary(table: pd.DataFrame) -> dict[str, object]:
    top1 = table["top1"].to_numpy()
    flips = flip_probability(top1[None], noise=False).item() if len(top1) > 1 else np.nan
    return {
        "model": table["model"].iloc[0],
        "frames": len(table),
        "classes": table["top1"].nunique(),
        "flip_probability": flips,
        "shift_flip_probability": table["shifts_changed"].mean(),
        "mean_probability": table["probability"].mean(),
    }


def class_names(classes: int) -> list[str]:
    """Return the names of ImageNet's classes for 1,000 classes, and numbers for others."""
    if classes != IMAGENET_CLASSES:
        return [str(number) for number in range(classes)]
    from torchvision.models import ResNet50_Weights

    names: list[str] = ResNet50_Weights.DEFAULT.meta["categories"]
    return names

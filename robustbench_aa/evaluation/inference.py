"""Inference: how frames go through a classifier and become predictions."""

from __future__ import annotations

import dataclasses
import logging
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.errors import ModelError, UnknownName, UsageError
from robustbench_aa.store.predictions import RANKING
from robustbench_aa.types import Batch, Classifier

CPU_PIXELS = 2**21
"""How many pixels of frames a CPU sends through a model at once: 41 of 224 × 224."""
AMP_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inference:
    """How frames go through models. All but `amp_dtype` changes the time alone, up to ties.

    Attributes:
        batch_size: frames that go through a model at once, halved where memory does not suffice.
        amp_dtype: `bfloat16` or `float16` for what torch's autocast computes in it; None for
            float32 throughout.
        channels_last: whether images lie in memory pixel by pixel instead of colour by colour.
        compiled: whether modules go through `torch.compile` first.
        threads: CPU cores that a process computes on; None for all, or one for each of several.

    Raises:
        UsageError: the batch size or the threads are not positive.
        UnknownName: no such dtype.
    """

    batch_size: int = 256
    amp_dtype: str | None = None
    channels_last: bool = False
    compiled: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        for what, number in (("batch size", self.batch_size), ("threads", self.threads)):
            if number is not None and number < 1:
                raise UsageError(f"{what} {number} is too small; use at least 1")
        if self.amp_dtype is not None and self.amp_dtype not in AMP_DTYPES:
            raise UnknownName("amp dtype", self.amp_dtype, AMP_DTYPES)

    def told(self) -> dict[str, str]:
        """What of it could move a prediction, for the run's environment."""
        return {
            "amp_dtype": self.amp_dtype or "none",
            "channels_last": str(self.channels_last),
            "compiled": str(self.compiled),
        }


def compute_in_full() -> None:
    """Keeps a GPU from rounding float32 to TF32, a 10-bit mantissa that moves accuracies."""
    torch.backends.cudnn.allow_tf32 = False


class Predictor:
    """A classifier on its device, ready to predict.

    Args:
        classifier: its module is moved to the device and into evaluation mode.
        inference: how frames are to go through it.
        device: a torch device.
    """

    def __init__(
        self, classifier: Classifier, inference: Inference, device: torch.device | str = "cpu"
    ) -> None:
        self._inference = inference
        self._device = torch.device(device)
        self._layout = torch.channels_last if inference.channels_last else torch.contiguous_format
        module: Any = classifier.module.to(self._device).eval()
        if inference.channels_last:
            module = module.to(memory_format=torch.channels_last)
        if inference.compiled:
            module = torch.compile(module)
        self.classifier = dataclasses.replace(classifier, module=module)
        self._batch_size = inference.batch_size
        if self._device.type == "cpu":  # larger parts would leave its cache
            frame = classifier.input_size**2
            self._batch_size = min(self._batch_size, max(1, CPU_PIXELS // frame))

    @torch.inference_mode()
    def predict(self, batch: Batch, keep_ranking: bool = False) -> dict[str, np.ndarray]:
        """Predictions for every frame of a batch, as the columns of a prediction file.

        Raises:
            ModelError: the module returned something other than finite logits [N, classes].
        """
        logits = self._logits(batch.frames.flatten(0, 1))
        return _columns(logits, batch, keep_ranking)

    def _logits(self, frames: Tensor) -> Tensor:
        """float32 [N, classes] for uint8 frames [N, 3, H, W]."""
        while True:
            try:
                return torch.cat([self._part(part) for part in frames.split(self._batch_size)])
            except (RuntimeError, MemoryError) as error:
                if self._batch_size == 1 or not is_out_of_memory(error):
                    raise
            self._batch_size = halved(self._batch_size, self.classifier.name)

    def _part(self, frames: Tensor) -> Tensor:
        classifier, dtype = self.classifier, self._inference.amp_dtype
        pixels = classifier.preprocessing.normalised(frames).contiguous(memory_format=self._layout)
        lower = torch.autocast(self._device.type, AMP_DTYPES[dtype]) if dtype else nullcontext()
        with lower:
            logits = classifier.module(pixels)
        expected = (len(frames), classifier.classes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(f"returned {found} instead of logits of shape {expected}")
        if not logits.isfinite().all():
            raise ModelError("returned logits that are not finite")
        return logits.float()


def halved(batch_size: int, what: str) -> int:
    """Half the batch size, to go on with after memory ran out for something; says so."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # what it keeps is in pieces of the larger size
    half = batch_size // 2
    _log.warning("%s: out of memory with %d frames; going on with %d", what, batch_size, half)
    return half


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on a GPU or a CPU, for which torch has no error of its own."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or "DefaultCPUAllocator" in str(error)


def _columns(logits: Tensor, batch: Batch, keep_ranking: bool) -> dict[str, np.ndarray]:
    images, frames = batch.frames.shape[:2]
    label = np.repeat(batch.label, frames)
    probabilities = logits.softmax(dim=1)
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    places = torch.column_stack((top[:, 0], torch.from_numpy(label).to(logits.device)))
    certain = probabilities.gather(1, places).cpu().numpy()
    top5 = np.full((len(logits), 5), -1)
    top5[:, : top.shape[1]] = top.cpu().numpy()
    columns = {
        "image": np.repeat(batch.index, frames),
        "frame": np.tile(np.arange(frames), images),
        "label": label,
        **{f"top{rank + 1}": top5[:, rank] for rank in range(5)},
        "top1_probability": certain[:, 0],
        "label_probability": certain[:, 1],
    }
    if keep_ranking:
        columns[RANKING] = logits.argsort(dim=1, descending=True).cpu().numpy()
    return columns

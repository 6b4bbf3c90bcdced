"""Inference: frames go through a model and become predictions."""

from __future__ import annotations

import copy
import dataclasses
import logging
from collections.abc import Sequence
from concurrent.futures import Executor, wait
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import DatasetError, ModelError, UnknownName, UsageError
from robustbench_aa.store.predictions import RANKING, UNSHIFTED_PROBABILITY
from robustbench_aa.types import NO_LABEL, Batch, unshifted

CPU_PIXELS = 2**21
"""Pixels that go through a model at once on a CPU, about 41 frames of 224 × 224."""
SMALL = 64
"""Largest height and width of small frames, in pixels. On a CPU they go through a model in parts,
each on one core: all cores together are hardly faster than one on layers of so little work."""
LEAST = 16
"""Fewest frames for which a core of its own is worthwhile."""
AMP_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",
    "unable to find an engine",  # no algorithm of cuDNN fits into the memory that is left
)
"""Words in the messages of general errors when memory runs out."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inference:
    """The settings of a forward pass.

    Only `amp_dtype` moves predictions; the other settings change the speed, and ties between
    classes at most.

    >>> import robustbench_aa as rb
    >>> rb.Inference(batch_size=64, channels_last=True).amp_dtype is None
    True

    Attributes:
        batch_size: Frames that go through a model at once; halved when memory runs out.
        amp_dtype: `bfloat16` or `float16` for torch's autocast. None means float32 throughout.
        channels_last: Whether to use the channels-last memory format.
        compiled: Whether to compile modules with `torch.compile`.
        threads: CPU cores for each process. None means all cores, or one for each process of
            several.

    Raises:
        UsageError: The batch size or the number of threads is not positive.
        UnknownName: There is no such dtype.
    """

    batch_size: int = 256
    amp_dtype: str | None = None
    channels_last: bool = False
    compiled: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        for noun, number in (("batch size", self.batch_size), ("threads", self.threads)):
            if number is not None and number < 1:
                raise UsageError(f"{noun} {number} is too small; use at least 1")
        if self.amp_dtype is not None and self.amp_dtype not in AMP_DTYPES:
            raise UnknownName("amp dtype", self.amp_dtype, AMP_DTYPES)

    def provenance(self) -> dict[str, str]:
        """Return the settings that could move a prediction, as the run records them."""
        return {
            "amp_dtype": self.amp_dtype or "none",
            "channels_last": str(self.channels_last),
            "compiled": str(self.compiled),
        }

    def switches(self) -> dict[str, bool]:
        """Return whether each option that makes a model faster is on."""
        return {
            "--amp": self.amp_dtype is not None,
            "--channels-last": self.channels_last,
            "--compile": self.compiled,
        }


class Predictor:
    """A model on its device, ready to predict.

    Args:
        classifier: The model. Its module is moved to the device and set to evaluation mode.
        inference: How frames go through it.
        device: A torch device.
        cores: Threads that compute on one core each (`support.process.one_core_each`), for small
            frames. None computes everything in the thread that calls.
    """

    def __init__(
        self,
        classifier: Classifier,
        inference: Inference,
        device: torch.device | str = "cpu",
        cores: Executor | None = None,
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
        if self._device.type == "cpu":  # larger batches would not stay in its cache
            frame = classifier.input_size**2
            self._batch_size = min(self._batch_size, max(1, CPU_PIXELS // frame))
        self._cores = cores
        self._replicas: Sequence[Any] = [module]
        if cores is not None and classifier.input_size <= SMALL and not inference.compiled:
            self._replicas = _replicated(module, torch.get_num_threads())

    @torch.inference_mode()
    def predict(self, batch: Batch, keep_ranking: bool = False) -> dict[str, np.ndarray]:
        """Return predictions for every frame of a batch, as columns of a prediction file.

        Args:
            batch: Frames [B, F, 3, H, W], uint8.
            keep_ranking: Whether to include the order of all classes.

        Raises:
            ModelError: The module returned something other than finite logits [N, classes].
            DatasetError: A label is not one of the classes.
        """
        _check_labels(batch, self.classifier.classes)
        logits = _among(self._logits(batch.frames.flatten(0, 1)), batch)
        return _columns(logits, batch, keep_ranking)

    def _logits(self, frames: Tensor) -> Tensor:
        """Return logits [N, classes], float32, for frames [N, 3, H, W], uint8."""
        while True:
            try:
                whole = [self._whole(part) for part in frames.split(self._batch_size)]
                return torch.cat(whole)
            except (RuntimeError, MemoryError) as error:
                if self._batch_size == 1 or not is_out_of_memory(error):
                    raise
            self._batch_size = halved(self._batch_size, self.classifier.name)

    def _whole(self, frames: Tensor) -> Tensor:
        """Return the logits of frames that go through the model at once."""
        parts = min(len(self._replicas), max(1, len(frames) // LEAST))
        if self._cores is None or parts == 1:
            return self._part(self._replicas[0], frames)
        split = frames.tensor_split(parts)
        compute = torch.inference_mode()(self._part)  # the mode belongs to a thread
        running = [
            self._cores.submit(compute, *each) for each in zip(self._replicas, split, strict=False)
        ]
        wait(running)  # after an error, too, no other thread may be using a replica
        return torch.cat([part.result() for part in running])

    def _part(self, module: Any, frames: Tensor) -> Tensor:
        classifier, dtype = self.classifier, self._inference.amp_dtype
        pixels = classifier.preprocessing.normalised(frames).contiguous(memory_format=self._layout)
        lower = torch.autocast(self._device.type, AMP_DTYPES[dtype]) if dtype else nullcontext()
        with lower:
            logits = module(pixels)
        expected = (len(frames), classifier.classes)
        if not isinstance(logits, Tensor) or logits.shape != expected:
            found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(f"returned {found} instead of logits of shape {expected}")
        if not logits.isfinite().all():
            raise ModelError("returned logits that are not finite")
        return logits.float()


def _replicated(module: Any, copies: int) -> list[Any]:
    """Return a module and copies of it, since a module may not be called by two threads at once.

    A module that cannot be copied stands alone.
    """
    try:
        return [module, *(copy.deepcopy(module) for _ in range(copies - 1))]
    except Exception:  # a model may be the user's code
        return [module]


def halved(batch_size: int, subject: str) -> int:
    """Return half the batch size after memory ran out, and log a warning.

    Args:
        batch_size: Number of frames that did not fit.
        subject: The model or cell, for the warning.
    """
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # cached blocks have the larger size
    half = batch_size // 2
    _log.warning("%s: out of memory with %d frames; going on with %d", subject, batch_size, half)
    return half


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, for which torch has a special error in some cases only."""
    kinds = (torch.OutOfMemoryError, MemoryError)
    return isinstance(error, kinds) or any(words in str(error) for words in OUT_OF_MEMORY)


def _check_labels(batch: Batch, classes: int) -> None:
    """Refuse labels without a logit; on a GPU, reading their probability would end the process."""
    if (batch.label == NO_LABEL).all():
        return
    for label in (batch.label.min(), batch.label.max()):
        if not 0 <= label < classes:
            raise DatasetError(
                f"an image has the label {label}, and {classes} classes end at {classes - 1}"
            )


def _among(logits: Tensor, batch: Batch) -> Tensor:
    """Return logits [N, classes] that are −∞ for classes that the data set does not compare."""
    if batch.among is None:
        return logits
    compared = torch.full_like(logits, -torch.inf)
    classes = torch.from_numpy(batch.among).to(logits.device)
    compared[:, classes] = logits[:, classes]
    return compared


def _labels(batch: Batch, top1: Tensor) -> np.ndarray:
    """Return the label of each frame, [N] int64.

    Where an image has several labels, it is the predicted class if that is one of them, and
    otherwise the label in the batch. A prediction is thus right if it equals its label.

    Args:
        batch: Images and labels.
        top1: Most likely class of each frame, [N].
    """
    frames = batch.frames.shape[1]
    label = np.repeat(batch.label, frames)
    if batch.accepted is None:
        return label
    accepted = np.repeat(batch.accepted, frames, axis=0)
    predicted = top1.cpu().numpy()
    return np.where((accepted == predicted[:, None]).any(axis=1), predicted, label)


def _columns(logits: Tensor, batch: Batch, keep_ranking: bool) -> dict[str, np.ndarray]:
    images, frames = batch.frames.shape[:2]
    probabilities = logits.softmax(dim=1)
    top = logits.topk(min(5, logits.shape[1]), dim=1).indices
    label = _labels(batch, top[:, 0])
    known = torch.from_numpy(label).clamp(min=0).to(logits.device)
    places = torch.column_stack((top[:, 0], known))
    certain = probabilities.gather(1, places).cpu().numpy()
    certain[label == NO_LABEL, 1] = np.nan
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
    reference = unshifted(batch.distortion, frames)
    if reference is not None:
        classes = top[reference::frames, :1].repeat_interleave(frames, dim=0)
        columns[UNSHIFTED_PROBABILITY] = probabilities.gather(1, classes)[:, 0].cpu().numpy()
    if keep_ranking:
        columns[RANKING] = logits.argsort(dim=1, descending=True).cpu().numpy()
    return columns

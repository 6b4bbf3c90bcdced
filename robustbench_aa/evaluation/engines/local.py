"""The evaluation loop in this process, on one device."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence

import torch

from robustbench_aa.datasets import Dataset
from robustbench_aa.evaluation.inference import Inference, Predictor
from robustbench_aa.evaluation.loop import Failure, Progress, Work, evaluate
from robustbench_aa.store.shards import Store
from robustbench_aa.types import Classifier

Engine = Callable[
    [
        Sequence[Work],
        Mapping[str, Dataset],
        Mapping[str, Classifier],
        Store,
        Inference,
        str,
        Progress,
    ],
    list[Failure],
]


def run(
    work: Sequence[Work],
    datasets: Mapping[str, Dataset],
    classifiers: Mapping[str, Classifier],
    store: Store,
    inference: Inference,
    device: str,
    progress: Progress,
) -> list[Failure]:
    """Does all the work, data set by data set.

    Args:
        device: a torch device, such as `cpu` or `cuda:1`.
    """
    pending = {name for item in work for name in item.pending}
    chosen = {name: of for name, of in classifiers.items() if name in pending}
    predictors = make_predictors(chosen, inference, device)
    return evaluate_all(work, datasets, predictors, store, inference, device, progress)


def make_predictors(
    classifiers: Mapping[str, Classifier], inference: Inference, device: str
) -> dict[str, Predictor]:
    """The classifiers on their device, in a process that is set up for them."""
    if torch.device(device).type == "cpu":
        _keep_memory()
    if inference.threads:
        torch.set_num_threads(inference.threads)
    return {name: Predictor(of, inference, device) for name, of in classifiers.items()}


def evaluate_all(
    work: Sequence[Work],
    datasets: Mapping[str, Dataset],
    predictors: Mapping[str, Predictor],
    store: Store,
    inference: Inference,
    device: str,
    progress: Progress,
) -> list[Failure]:
    """Evaluates work on several data sets."""
    failures = []
    for name, dataset in datasets.items():
        part = [item for item in work if item.cell.dataset == name]
        failures += evaluate(
            part,
            dataset,
            predictors,
            store,
            batch_size=inference.batch_size,
            device=torch.device(device),
            progress=progress,
        )
    return failures


def _keep_memory() -> None:
    """Lets glibc keep what is freed, for this process.

    Otherwise it maps every large activation anew, and networks of photographs spend more than half
    of their time in the kernel clearing pages.
    """
    trim_threshold, mmap_max = -1, -4  # the numbers of mallopt(3)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # there is none on other systems
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(mmap_max, 0)

"""The evaluation loop on a Ray cluster, or on all GPUs or cores of this machine.

Ray hands out the tasks, restarts what dies and tries again; nothing of that is ours. A process that
has loaded the models keeps them for its next tasks.
"""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any, TypeVar

from robustbench_aa.datasets import Dataset
from robustbench_aa.datasets.pictures import cores
from robustbench_aa.engines import local
from robustbench_aa.errors import UsageError, cause
from robustbench_aa.evaluation import Failure, Progress, Work
from robustbench_aa.extras import extra
from robustbench_aa.inference import Inference, compute_in_full
from robustbench_aa.store import Store
from robustbench_aa.types import Classifier

T = TypeVar("T")
TASKS = 8
"""How many tasks a worker has at least, so that none waits long for the others in the end."""
RETRIES = 3
"""How often a task is tried again whose worker or node was lost."""
Session = tuple[Mapping[str, Dataset], Mapping[str, Classifier], Store, Inference, str]


def run(
    work: Sequence[Work],
    datasets: Mapping[str, Dataset],
    classifiers: Mapping[str, Classifier],
    store: Store,
    inference: Inference,
    device: str,
    progress: Progress,
) -> list[Failure]:
    """Does all the work in processes of one GPU each, or of some cores where there is none.

    A running cluster is found by the environment variable `RAY_ADDRESS`; else this machine is one.
    The run's directory must be the same on all of its machines.

    Args:
        device: `cpu`, or `cuda` for a GPU each; Ray chooses which.

    Raises:
        UsageError: Ray is not installed, no cluster answers, or a model cannot be sent to another
            process.
    """
    ray = extra("ray", "ray")
    started = not ray.is_initialized()
    if started:
        _start(ray)
    try:
        threads = inference.threads or 1
        gpus = 0 if device == "cpu" else 1
        inference = dataclasses.replace(inference, threads=threads)
        store = Store(store.directory.resolve(), store.manifest)
        session = _sent(ray, (datasets, classifiers, store, inference, device))
        evaluate = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES, max_calls=0)(
            _evaluate
        )
        tasks = {
            evaluate.remote([session], task): task
            for task in tasks_of(work, _workers(ray, threads, gpus))
        }
        return _gathered(ray, tasks, progress)
    finally:
        if started:
            ray.shutdown()


def tasks_of(work: Sequence[Work], workers: int) -> list[list[Work]]:
    """The work in parts that are evaluated as one, each of a single shard of a data set.

    A shard stays whole where there are many, since its images are decoded once for each part, and
    so do a distortion's models, since they share its frames. The longest come first, so that no
    worker is still at one when the others have ended.
    """
    shards = [list(of) for _, of in groupby(work, key=lambda item: (item.cell.dataset, item.shard))]
    parts = math.ceil(TASKS * workers / max(1, len(shards)))
    tasks = [task for items in shards for task in _divided(items, parts)]
    return sorted(tasks, key=lambda task: -sum(item.passes for item in task))


def _divided(items: list[Work], parts: int) -> list[list[Work]]:
    """A shard's work in about so many parts, of some distortions or of some models under one."""
    if parts <= len(items):
        return [list(part) for part in _parts(items, parts)]
    of_one = math.ceil(parts / len(items))
    return [
        [dataclasses.replace(item, pending=tuple(names))]
        for item in items
        for names in _parts(item.pending, of_one)
    ]


def _parts(things: Sequence[T], parts: int) -> list[Sequence[T]]:
    """At most so many parts of about the same length."""
    size = math.ceil(len(things) / parts)
    return [things[start : start + size] for start in range(0, len(things), size)]


def _start(ray: Any) -> None:
    address = os.environ.get("RAY_ADDRESS")
    here = {} if address else {"num_cpus": cores(), "include_dashboard": False}
    # Ray takes SIGTERM for a crash
    ours = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address or "")
        ray.init(log_to_driver=False, logging_level="error", **here)
        if ours is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ours)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"no Ray cluster at {address or 'this machine'} ({cause(error)}); check RAY_ADDRESS"
        ) from error


def _knock(address: str) -> None:
    """Raises OSError: nobody listens at a host and port, where Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _sent(ray: Any, session: Session) -> Any:
    try:
        return ray.put(session)
    except Exception as error:  # whatever a module's own pickling raises
        raise UsageError(
            f"a model or data set cannot be sent to other processes ({cause(error)}); "
            "use --engine local"
        ) from error


def _workers(ray: Any, threads: int, gpus: int) -> int:
    """How many tasks the cluster can do at once."""
    resources = ray.cluster_resources()
    by_cores = int(resources.get("CPU", 0)) // threads
    workers = min(by_cores, int(resources.get("GPU", 0))) if gpus else by_cores
    if not workers:
        what = "GPU" if gpus else f"machine with {threads} free cores"
        raise UsageError(f"the Ray cluster has no {what}; check --device and --threads")
    return workers


def _gathered(ray: Any, tasks: dict[Any, list[Work]], progress: Progress) -> list[Failure]:
    """The failures of all tasks, as they end."""
    failures: list[Failure] = []
    waiting = list(tasks)
    while waiting:
        (done, *_), waiting = ray.wait(waiting)
        try:
            failures += ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:  # the worker died, and so did its successors
            failures += [
                Failure(name, item.cell, item.shard, cause(error))
                for item in tasks[done]
                for name in item.pending
            ]
        for item in tasks[done]:
            progress(item.cell, item.passes)
    return failures


def _evaluate(session: Sequence[Any], work: Sequence[Work]) -> list[Failure]:
    """A task: what the local engine does, in a process that keeps its models."""
    return _loaded(session[0])(work)


@lru_cache(maxsize=1)
def _loaded(session: Any) -> Callable[[Sequence[Work]], list[Failure]]:
    """A process that is ready for all tasks of a session."""
    import ray

    found: Session = ray.get(session)
    datasets, classifiers, store, inference, device = found
    compute_in_full()
    manifest = store.manifest.made_here(datasets, device, inference.told())
    store = Store(store.directory, manifest)
    predictors = local.make_predictors(classifiers, inference, device)
    return lambda work: local.evaluate_all(
        work, datasets, predictors, store, inference, device, lambda cell, frames: None
    )

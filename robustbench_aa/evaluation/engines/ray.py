"""The evaluation loop on a Ray cluster, or on all GPUs or cores of this machine.

Ray hands out the tasks, restarts what dies and tries again; nothing of that is ours. A process that
has loaded the models keeps them for its next tasks.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from robustbench_aa.datasets import Dataset
from robustbench_aa.datasets.pictures import cores
from robustbench_aa.errors import UsageError, cause
from robustbench_aa.evaluation.engines import local
from robustbench_aa.evaluation.inference import Inference, compute_in_full
from robustbench_aa.evaluation.loop import Failure, Progress, Work
from robustbench_aa.store.shards import Store
from robustbench_aa.support.optional import extra
from robustbench_aa.types import Classifier

T = TypeVar("T")
PACKAGE = Path(__file__).parents[2]
"""Where this package lies."""
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
    with _private():
        return _run(work, (datasets, classifiers, store, inference, device), progress)


def _run(work: Sequence[Work], session: Session, progress: Progress) -> list[Failure]:
    datasets, classifiers, store, inference, device = session
    ray = extra("ray", "ray")
    started = not ray.is_initialized()
    if started:
        _start(ray)
    try:
        threads = inference.threads or 1
        gpus = 0 if device == "cpu" else 1
        inference = dataclasses.replace(inference, threads=threads)
        store = Store(store.directory.resolve(), store.manifest)
        sent = _sent(ray, (signature(datasets), (datasets, classifiers, store, inference, device)))
        evaluate = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES, max_calls=0)(
            _evaluate
        )
        tasks = {
            evaluate.remote([sent], task): task
            for task in tasks_of(work, _workers(ray, threads, gpus))
        }
        return _gathered(ray, tasks, progress)
    finally:
        if started:
            ray.shutdown()


def signature(datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """Return what the pixels of this process depend on: its package's version, code, distortions.

    What else differs between machines, such as torch or the device, moves pixels by rounding at
    most; every prediction file says it, and a report warns of it.
    """
    found = {"package version": version("robustbench-aa"), "package code": code_digest()}
    for name, dataset in datasets.items():
        told = [f"{of} {of.version} {of.source}" for of in dataset.distortions]
        found[f"distortions of {name}"] = hashlib.sha256("\n".join(told).encode()).hexdigest()
    return found


@cache
def code_digest() -> str:
    """Return the SHA-256 of this package's source files."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def check_signature(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Refuse a worker that would make other pixels than the process that asked it to.

    Raises:
        UsageError: something differs; names the machine and what.
    """
    for what, value in expected.items():
        if found.get(what) != value:
            raise UsageError(
                f"a Ray worker on {socket.gethostname()} has another {what} "
                f"({found.get(what, 'none')[:12]}, not {value[:12]}) in {PACKAGE}; install the "
                "same robustbench-aa on all machines"
            )


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


@contextmanager
def _private() -> Iterator[None]:
    """Let a Ray that this process starts listen on loopback alone, and to those with its token.

    Otherwise whoever reaches the machine could run code on it. Nothing changes for a cluster that
    `RAY_ADDRESS` names, nor for the environment afterwards.
    """
    asked = {
        # Ray reads it when it is imported; without clusters it binds to loopback
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    if os.environ.get("RAY_ADDRESS"):
        asked = {}
    before = {name: os.environ.get(name) for name in asked}
    os.environ.update(asked)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _start(ray: Any) -> None:
    address = os.environ.get("RAY_ADDRESS")
    here: dict[str, Any] = {}
    if not address:
        here = {"num_cpus": cores(), "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
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


def _sent(ray: Any, session: tuple[dict[str, str], Session]) -> Any:
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

    expected, found = ray.get(session)
    datasets, classifiers, store, inference, device = found
    check_signature(expected, signature(datasets))
    compute_in_full()
    manifest = store.manifest.made_here(datasets, device, inference.told())
    store = Store(store.directory, manifest)
    predictors = local.make_predictors(classifiers, inference, device)
    return lambda work: local.evaluate_all(
        work, datasets, predictors, store, inference, device, lambda cell, frames: None
    )

"""The evaluation loop on a Ray cluster, or on all GPUs or cores of this machine.

Ray schedules the tasks, restarts workers that die and repeats their tasks. A worker keeps the
models that it has loaded for its next tasks.
"""

from __future__ import annotations

import hashlib
import math
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from robustbench_aa.datasets import Dataset
from robustbench_aa.datasets.pictures import cores
from robustbench_aa.distortions.corruptions.registered import again, registered
from robustbench_aa.distortions.registered_perturbations import (
    again_perturbations,
    registered_perturbations,
)
from robustbench_aa.errors import UsageError, cause
from robustbench_aa.evaluation.identity import with_provenance
from robustbench_aa.evaluation.inference import Predictor
from robustbench_aa.evaluation.loop import Work, evaluate, unfinished
from robustbench_aa.store.shards import Store
from robustbench_aa.support.optional import extra
from robustbench_aa.support.process import (
    environment_variables,
    full_float32,
    keep_freed_memory,
    thread_count,
)
from robustbench_aa.support.scripts import imported_scripts
from robustbench_aa.support.version import package_version
from robustbench_aa.types import Failure

if TYPE_CHECKING:
    from robustbench_aa.evaluation.session import Progress, Session

T = TypeVar("T")
PACKAGE = Path(__file__).parents[2]
"""Directory of this package."""
TASKS = 8
"""Least number of tasks for each worker, so that none waits long for the others at the end."""
RETRIES = 3
"""How often Ray repeats a task whose worker or node was lost."""


def run(session: Session) -> list[Failure]:
    """Do all the work of a session in processes with one GPU each, or with some cores each.

    The environment variable `RAY_ADDRESS` names a running cluster; without it, Ray is started on
    this machine. All machines must reach the run's directory under the same path. On the device
    `cuda`, Ray chooses the GPU of each process.

    Raises:
        UsageError: Ray is not installed, no cluster answers, the device has a number, or a model
            cannot be sent to another process.
    """
    threads = session.inference.threads or 1
    gpus = 0 if session.device == "cpu" else 1
    kind, numbered, _ = session.device.partition(":")
    if numbered:
        raise UsageError(
            f"Ray chooses the GPU of each process; give --device {kind}, not {session.device}"
        )
    with _connected() as ray:
        sent = _send(ray, session, threads)
        remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=RETRIES, max_calls=0)(
            _evaluate
        )
        tasks = {
            remote.remote([sent], task): task
            for task in tasks_of(session.work, _workers(ray, threads, gpus))
        }
        return _gather(ray, tasks, session.progress)


def signature(datasets: Mapping[str, Dataset]) -> dict[str, str]:
    """Return what the pixels of this process depend on: its package's version, code, distortions.

    Other differences between machines, such as torch or the device, move pixels by rounding at
    most. Every prediction file records them, and a report warns of them.
    """
    found = {"package version": package_version(), "package code": code_digest()}
    for name, dataset in datasets.items():
        lines = [f"{each} {each.version} {each.source}" for each in dataset.distortions]
        found[f"distortions of {name}"] = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return found


@cache
def code_digest() -> str:
    """Return the SHA-256 of this package's source files."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def check_signature(expected: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Check that this worker makes the same pixels as the process that started the evaluation.

    Raises:
        UsageError: Something differs; the message names it and the machine.
    """
    for part, value in expected.items():
        if found.get(part) != value:
            raise UsageError(
                f"a Ray worker on {socket.gethostname()} has another {part} "
                f"({found.get(part, 'none')[:12]}, not {value[:12]}) in {PACKAGE}; install the "
                "same robustbench-aa on all machines"
            )


def tasks_of(work: Sequence[Work], workers: int) -> list[list[Work]]:
    """Return the work in tasks, each on a single shard of a data set, the longest first.

    Every task decodes its shard's images, so a shard is divided only where there are too few
    shards for the workers. The models under one distortion share its frames, so they are divided
    last. With the longest tasks first, all workers finish at about the same time.
    """
    shards = [
        list(group) for _, group in groupby(work, key=lambda item: (item.cell.dataset, item.shard))
    ]
    parts = math.ceil(TASKS * workers / max(1, len(shards)))
    tasks = [task for items in shards for task in _divided(items, parts)]
    return sorted(tasks, key=lambda task: -sum(item.passes for item in task))


def _divided(items: list[Work], parts: int) -> list[list[Work]]:
    """Return one shard's work in about this many parts, divided by distortion, then by model."""
    if parts <= len(items):
        return [list(part) for part in _parts(items, parts)]
    models = math.ceil(parts / len(items))
    return [
        [replace(item, pending=tuple(names))]
        for item in items
        for names in _parts(item.pending, models)
    ]


def _parts(sequence: Sequence[T], parts: int) -> list[Sequence[T]]:
    """Return at most this many parts of about the same length."""
    size = math.ceil(len(sequence) / parts)
    return [sequence[start : start + size] for start in range(0, len(sequence), size)]


@contextmanager
def _connected() -> Iterator[Any]:
    """Connect to the cluster of `RAY_ADDRESS` or start Ray here, and leave it on exit."""
    with _private():
        ray = extra("ray", "ray")
        if ray.is_initialized():
            yield ray
            return
        _start(ray)
        try:
            yield ray
        finally:
            ray.shutdown()


@contextmanager
def _private() -> Iterator[None]:
    """Make a Ray that this process starts listen on loopback only and require its token.

    Otherwise anyone who reaches the machine could run code on it. Nothing changes for a cluster
    that `RAY_ADDRESS` names. The environment is restored on exit.
    """
    settings = {
        # Ray reads it when it is imported; without clusters it binds to loopback
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    with environment_variables({} if os.environ.get("RAY_ADDRESS") else settings):
        yield


def _start(ray: Any) -> None:
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {}
    if not address:
        # without "local", Ray joins any cluster that it finds on this machine
        options = {"address": "local", "num_cpus": cores()}
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    handler = signal.getsignal(signal.SIGTERM)
    in_main_thread = threading.current_thread() is threading.main_thread()
    terminated = False
    try:
        _check_listener(address or "")
        ray.init(log_to_driver=False, logging_level="error", **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"no Ray cluster at {address or 'this machine'} ({cause(error)}); check RAY_ADDRESS"
        ) from error
    except SystemExit as error:
        terminated = error.code == signal.SIGTERM
        if not terminated:
            raise
    finally:
        # Ray installs a handler that turns SIGTERM into SystemExit
        if handler is not None and in_main_thread:
            signal.signal(signal.SIGTERM, handler)
    if terminated:
        signal.raise_signal(signal.SIGTERM)


def _check_listener(address: str) -> None:
    """Raise OSError if nobody listens at a host and port; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _send(ray: Any, session: Session, threads: int) -> Any:
    """Put what all tasks share into Ray's object store and return the reference to it."""
    from robustbench_aa.evaluation.session import no_progress

    shared = replace(
        session,
        store=Store(session.store.directory.resolve(), session.store.manifest),
        classifiers=session.pending(),
        work=(),
        inference=replace(session.inference, threads=threads),
        progress=no_progress,
    )
    scripts = imported_scripts()
    try:
        for script in scripts:  # a worker cannot import them by their names
            ray.cloudpickle.register_pickle_by_value(script)
        own = registered(), registered_perturbations()
        return ray.put((signature(session.datasets), own, shared))
    except Exception as error:  # a module's own pickling may raise anything
        raise UsageError(
            f"a model or data set cannot be sent to other processes ({cause(error)}); "
            "use --engine local"
        ) from error
    finally:
        for script in scripts:
            ray.cloudpickle.unregister_pickle_by_value(script)


def _workers(ray: Any, threads: int, gpus: int) -> int:
    """Return how many tasks the cluster can run at once."""
    resources = ray.cluster_resources()
    by_cores = int(resources.get("CPU", 0)) // threads
    workers = min(by_cores, int(resources.get("GPU", 0))) if gpus else by_cores
    if not workers:
        missing = "GPU" if gpus else f"machine with {threads} free cores"
        raise UsageError(f"the Ray cluster has no {missing}; check --device and --threads")
    return workers


def _gather(ray: Any, tasks: dict[Any, list[Work]], progress: Progress) -> list[Failure]:
    """Wait for all tasks and return their failures."""
    failures: list[Failure] = []
    waiting = list(tasks)
    while waiting:
        (done, *_), waiting = ray.wait(waiting)
        try:
            failures += ray.get(done)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:  # the worker died in every attempt
            failures += [
                Failure(name, item.cell.dataset, item.cell.distortion, item.shard, cause(error))
                for item in tasks[done]
                for name in item.pending
            ]
        for item in tasks[done]:
            progress(item.cell, item.passes)
    return failures


def _evaluate(reference: Sequence[Any], work: Sequence[Work]) -> list[Failure]:
    """Run one task in a worker, or what is left of it if a worker was lost."""
    with full_float32():
        session, predictors = _load(reference[0])
        work = unfinished(work, session.store)
        with thread_count(session.inference.threads):
            return evaluate(replace(session, work=work), predictors)


@lru_cache(maxsize=1)
def _load(reference: Any) -> tuple[Session, dict[str, Predictor]]:
    """Load a session's models in a worker, once for all of its tasks."""
    import ray

    expected, (corruptions, perturbations), session = ray.get(reference)
    again(*corruptions)
    again_perturbations(perturbations)
    check_signature(expected, signature(session.datasets))
    if session.device.startswith("cpu"):
        keep_freed_memory()
    session.store.manifest = with_provenance(
        session.store.manifest,
        session.datasets,
        session.device,
        session.inference.provenance(),
    )
    predictors = {
        name: Predictor(classifier, session.inference, session.device)
        for name, classifier in session.classifiers.items()
    }
    return session, predictors

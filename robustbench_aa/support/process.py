"""Settings of the process and of a caller's module, changed for a while and then restored."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn


@contextmanager
def full_float32() -> Iterator[None]:
    """Keep products and convolutions from rounding float32 to TF32 or bfloat16.

    Their short mantissas move accuracies and the pixels of blurs.
    """
    backends = torch.backends
    # each kind of operation has a setting of its own since torch 2.9, beside the older two
    owners = [(backends.cudnn, "conv"), (backends.cudnn, "rnn")]
    owners += [(backends.cuda, "matmul"), (backends.mkldnn, "matmul")]
    parts = [part for owner, name in owners if (part := getattr(owner, name, None)) is not None]
    parts = [part for part in parts if hasattr(part, "fp32_precision")]
    precisions = [part.fp32_precision for part in parts]
    try:
        allowed = backends.cudnn.allow_tf32
    except RuntimeError:  # it contradicts the settings of the operations
        allowed = set(precisions[:2]) != {"tf32"}
    try:
        products = torch.get_float32_matmul_precision()
    except RuntimeError:
        products = "highest"
    backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        backends.cudnn.allow_tf32 = allowed
        torch.set_float32_matmul_precision(products)
        for part, precision in zip(parts, precisions, strict=True):
            if part.fp32_precision != precision:
                part.fp32_precision = precision


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Compute on this many CPU cores; None changes nothing."""
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        yield
    finally:
        if threads is not None:
            torch.set_num_threads(before)


@contextmanager
def one_core_each() -> Iterator[Executor]:
    """Provide as many threads as torch uses cores, each of which computes on one core."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)  # also of threads that start later


@contextmanager
def environment_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, and restore the earlier values on exit."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def restored(module: nn.Module) -> Iterator[None]:
    """Restore a module's mode, device and memory format on exit.

    The tensors it has now are kept and put back, so that other references to them stay valid.
    """
    modes = [(part, part.training) for part in module.modules()]
    tensors = [
        (part, name, tensor, tensor.data, _gradient(tensor))
        for part in module.modules()
        for name, tensor in chain(
            part.named_parameters(recurse=False), part.named_buffers(recurse=False)
        )
    ]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training
        for part, name, tensor, data, gradient in tensors:
            tensor.data = data
            if gradient is not None and tensor.grad is not None:
                tensor.grad.data = gradient
            if getattr(part, name) is not tensor:
                setattr(part, name, tensor)


def _gradient(tensor: Tensor) -> Tensor | None:
    return tensor.grad.data if tensor.is_leaf and tensor.grad is not None else None


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the rest of this process.

    Otherwise it returns every large activation to the system and maps it again, and networks for
    photographs spend more than half of their time in the kernel, which clears the pages.
    """
    trim_threshold, mmap_max = -1, -4  # constants of mallopt(3)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):  # no glibc; Windows even has no CDLL(None)
        return
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(mmap_max, 0)

"""Weights in files: reading them safely and fitting them to a module."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robustbench_aa.antialiasing import Conversion, convert
from robustbench_aa.errors import CheckpointError, cause

CONVERSION = "robustbench_aa.antialias"
SUFFIXES = (".safetensors", ".pth", ".pt")
WRAPPERS = ("state_dict", "model")
"""What training scripts call the weights among an epoch, an optimiser's state and the like."""
PARALLEL = "module."
"""What torch's data-parallel wrappers put before every key."""
OLD_DENSENET = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""`norm.1` was what is `norm1` now; files with the old keys are published still."""


def is_path(weights: str) -> bool:
    """Whether weights are meant as a file rather than as a name."""
    return weights.endswith(SUFFIXES) or "/" in weights


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint without ever executing anything in it.

    Raises:
        CheckpointError: there is no such file, it is no checkpoint, or it carries code.
    """
    if not path.is_file():
        raise CheckpointError(f"no weights at {path}; check the path")
    try:
        if path.suffix == ".safetensors":
            return unwrap(load_file(path), path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler that is fed noise can raise anything
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise CheckpointError(
                f"{path} carries code ({code[1]}), not just tensors, and is not opened; "
                "save module.state_dict() alone"
            ) from error
        why = "no torch file" if isinstance(error, pickle.UnpicklingError) else cause(error)
        raise CheckpointError(f"{path} holds no readable weights ({why})") from error
    return unwrap(content, path)


def unwrap(content: object, origin: object) -> dict[str, Tensor]:
    """The state dict within what a training script saved, by the keys that modules have today.

    Args:
        origin: what the message calls the content.

    Raises:
        CheckpointError: there is none.
    """
    if isinstance(content, dict):
        wrapped = (content[key] for key in WRAPPERS if isinstance(content.get(key), dict))
        content = next(wrapped, content)
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    ):
        raise CheckpointError(f"{origin} holds no state dict of tensors; save module.state_dict()")
    parallel = all(key.startswith(PARALLEL) for key in content)
    plain = {key.removeprefix(PARALLEL) if parallel else key: content[key] for key in content}
    return {OLD_DENSENET.sub(r"\1\2", key): tensor for key, tensor in plain.items()}


def write_converted(module: nn.Module, path: Path, how: dict[str, object]) -> None:
    """Writes the weights of a converted network, and how it was converted beside them.

    Args:
        path: ends in `.safetensors`.
        how: the arguments of `antialias()`.

    Raises:
        CheckpointError: the path ends otherwise, or cannot be written.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} does not end in .safetensors; name a file that does")
    state = {key: tensor.contiguous() for key, tensor in module.state_dict().items()}
    try:
        save_file(state, path, metadata={CONVERSION: json.dumps(how)})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {path} ({cause(error)})") from error


def load_weights(module: nn.Module, path: Path, input_size: int) -> nn.Module:
    """A network with the weights of a file, converted first if those in the file are.

    Raises:
        CheckpointError: the file cannot be read, or does not fit.
    """
    state = read_state_dict(path)
    how = _conversion(path)
    if how is not None:
        module = convert(module, Conversion(**how), input_size)
    fit(module, state, str(path))
    return module


def is_converted(path: Path) -> bool:
    """Whether the weights in a file are those of a converted network."""
    return path.is_file() and _conversion(path) is not None


def _conversion(path: Path) -> dict[str, Any] | None:
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            told = (file.metadata() or {}).get(CONVERSION)
            return cast(dict[str, Any], json.loads(told)) if told else None
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} holds no readable weights ({cause(error)})") from error


def fit(module: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Loads a state dict whose keys and shapes must be exactly the module's.

    Args:
        origin: what the message calls the weights.

    Raises:
        CheckpointError: naming the first keys that are missing, unexpected or of another shape.
    """
    own = module.state_dict()
    faults = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [k for k in own if k in state and own[k].shape != state[k].shape],
    }
    told = [
        f"{len(keys)} {fault}: {', '.join(keys[:3])}{', …' if len(keys) > 3 else ''}"
        for fault, keys in faults.items()
        if keys
    ]
    if told:
        raise CheckpointError(f"{origin} does not fit {type(module).__name__} ({'; '.join(told)})")
    module.load_state_dict(state)

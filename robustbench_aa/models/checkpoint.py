"""Weights in files: reading them safely and fitting them to a module."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robustbench_aa.antialiasing import Conversion, convert
from robustbench_aa.antialiasing.layers import PaddingMode
from robustbench_aa.errors import CheckpointError, cause
from robustbench_aa.support.files import is_plain

CONVERSION = "robustbench_aa.antialias"
SUFFIXES = (".safetensors", ".pth", ".pt")
WRAPPERS = ("state_dict", "model")
"""What training scripts call the weights among an epoch, an optimiser's state and the like."""
PARALLEL = "module."
"""What torch's data-parallel wrappers put before every key."""
OLD_DENSENET = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""`norm.1` was what is `norm1` now; files with the old keys are published still."""


SMALL = 2**28
"""Bytes that weights may claim whatever the size of their file; some tensors repeat a value."""
KNOWN: dict[str, tuple[object, ...]] = {
    "filter_size": tuple(range(1, 8)),
    "first_conv": (False, True),
    "max_pool_kernel": (None, *range(1, 17)),
    "padding_mode": get_args(PaddingMode),
}
"""What a file may say of how its network was converted."""


def is_path(weights: str) -> bool:
    """Whether weights are meant as a file rather than as a name."""
    return weights.endswith(SUFFIXES) or "/" in weights


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads the weights of a checkpoint without ever executing anything in it.

    Raises:
        CheckpointError: there is no such file, it is no checkpoint, or it carries code.
    """
    if not is_plain(path):
        raise CheckpointError(f"no weights at {path}; check the path")
    try:
        content = _loaded(path)
    except Exception as error:  # an unpickler that is fed noise can raise anything
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise CheckpointError(
                f"{path} carries code ({code[1]}), not just tensors, and is not opened; "
                "save module.state_dict() alone"
            ) from error
        why = "no torch file" if isinstance(error, pickle.UnpicklingError) else cause(error)
        raise CheckpointError(f"{path} holds no readable weights ({why})") from error
    state = unwrap(content, path)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > max(SMALL, 2 * path.stat().st_size):
        raise CheckpointError(f"{path} holds far fewer values than it says; save state_dict()")
    return state


def _loaded(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # torch's are not compressed
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it would unpack to {unpacked:,} bytes")
    return torch.load(path, map_location="cpu", weights_only=True)


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
        or not all(isinstance(key, str) and _is_dense(of) for key, of in content.items())
    ):
        raise CheckpointError(f"{origin} holds no state dict of tensors; save module.state_dict()")
    parallel = all(key.startswith(PARALLEL) for key in content)
    plain = {key.removeprefix(PARALLEL) if parallel else key: content[key] for key in content}
    return {OLD_DENSENET.sub(r"\1\2", key): tensor for key, tensor in plain.items()}


def _is_dense(of: object) -> bool:
    """Whether it is a tensor whose values can be copied."""
    if not isinstance(of, Tensor) or of.layout is not torch.strided:
        return False
    return of.device.type == "cpu" and not of.is_quantized


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
    return is_plain(path) and _conversion(path) is not None


def _conversion(path: Path) -> dict[str, Any] | None:
    if path.suffix != ".safetensors":
        return None
    try:
        with safe_open(path, framework="pt") as file:
            told = (file.metadata() or {}).get(CONVERSION)
        how = json.loads(told) if told else None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} holds no readable weights ({cause(error)})") from error
    if how is not None and not _is_known(how):
        raise CheckpointError(f"{path} was converted in no way that is known ({told})")
    return cast(dict[str, Any] | None, how)


def _is_known(how: object) -> bool:
    return isinstance(how, dict) and all(
        any(value == known and type(value) is type(known) for known in KNOWN.get(key, ()))
        for key, value in how.items()
    )


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
    try:
        module.load_state_dict(state)
    except (RuntimeError, NotImplementedError) as error:  # values of a type that is no number
        raise CheckpointError(f"{origin} cannot be copied ({cause(error)})") from error

"""Checkpoints: reading weights from files safely and loading them into a module."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any, cast

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robustbench_aa.antialiasing import Conversion, convert
from robustbench_aa.antialiasing.layers import PaddingMode
from robustbench_aa.errors import CheckpointError, UsageError, cause
from robustbench_aa.support.files import is_plain

CONVERSION = "robustbench_aa.antialias"
SUFFIXES = (".safetensors", ".pth", ".pt")
WRAPPERS = ("state_dict", "model")
"""The keys under which training scripts save the weights beside other state."""
PARALLEL = "module."
"""The prefix that torch's data-parallel wrappers add to every key."""
OLD_DENSENET = re.compile(r"(\.denselayer\d+\.(?:norm|conv))\.([12]\.)")
"""Old keys, `norm.1` for today's `norm1`; files with them are still published."""
SMALL = 2**28
"""Bytes of weights that any file may hold; some tensors repeat a value, so files can be smaller."""


class ConversionEntry(BaseModel):
    """The metadata of a converted network's file: the arguments of its conversion."""

    model_config = ConfigDict(strict=True, extra="forbid")

    method: str = Conversion.method
    # files of the first edition name no method, and have the options that it wrote
    filter_size: int | None = Field(Conversion.filter_size, ge=1, le=7)
    first_conv: bool | None = Conversion.first_conv
    max_pool_kernel: int | None = Field(Conversion.max_pool_kernel, ge=1, le=16)
    padding_mode: PaddingMode = Conversion.padding_mode
    fine_tuned: bool = False

    def conversion(self) -> Conversion:
        """Return the conversion.

        Raises:
            UsageError: the method does not exist.
            ValueError: the method has no such filter size.
        """
        return Conversion(**self.model_dump(exclude={"fine_tuned"}))


def is_path(weights: str) -> bool:
    """Return whether weights are given as a path rather than as a name."""
    return weights.endswith(SUFFIXES) or "/" in weights


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint, without executing any code in it.

    Raises:
        CheckpointError: there is no such file, it is not a checkpoint, or it contains code.
    """
    if not is_plain(path):
        raise CheckpointError(f"no weights at {path}; check the path")
    try:
        content = _loaded(path)
    except Exception as error:  # unpickling a damaged file can raise anything
        if code := re.search(r"GLOBAL (\S+)", str(error)):
            raise CheckpointError(
                f"{path} contains code ({code[1]}), not just tensors, and is not opened; "
                "save module.state_dict() alone"
            ) from error
        why = "not a torch file" if isinstance(error, pickle.UnpicklingError) else cause(error)
        raise _unreadable(path, why) from error
    state = unwrap(content, path)
    claimed = sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    if claimed > max(SMALL, 2 * path.stat().st_size):
        raise CheckpointError(f"{path} holds far fewer values than it claims; save state_dict()")
    return state


def _loaded(path: Path) -> object:
    if path.suffix == ".safetensors":
        return load_file(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:  # torch does not compress its files
            unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > path.stat().st_size:
            raise ValueError(f"it would unpack to {unpacked:,} bytes")
    return torch.load(path, map_location="cpu", weights_only=True)


def unwrap(content: object, origin: object) -> dict[str, Tensor]:
    """Return the state dict in what a training script saved, with today's keys.

    Args:
        content: what the file holds.
        origin: the name of the content in error messages.

    Raises:
        CheckpointError: the content has no state dict.
    """
    if isinstance(content, dict):
        wrapped = (content[key] for key in WRAPPERS if isinstance(content.get(key), dict))
        content = next(wrapped, content)
    if (
        not isinstance(content, dict)
        or not content
        or not all(isinstance(key, str) and _is_dense(value) for key, value in content.items())
    ):
        raise CheckpointError(f"{origin} holds no state dict of tensors; save module.state_dict()")
    parallel = all(key.startswith(PARALLEL) for key in content)
    plain = {key.removeprefix(PARALLEL) if parallel else key: content[key] for key in content}
    return {OLD_DENSENET.sub(r"\1\2", key): tensor for key, tensor in plain.items()}


def _is_dense(value: object) -> bool:
    """Return whether a value is a tensor whose elements can be copied."""
    if not isinstance(value, Tensor) or value.layout is not torch.strided:
        return False
    return value.device.type == "cpu" and not value.is_quantized


def write_converted(module: nn.Module, path: Path, *, fine_tuned: bool = False) -> None:
    """Write the weights of a converted network, with its conversion as metadata.

    Args:
        module: the converted network.
        path: a path that ends in `.safetensors`.
        fine_tuned: whether the network was trained after its conversion.

    Raises:
        CheckpointError: the path has another suffix, or cannot be written.
    """
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path} does not end in .safetensors; use that suffix")
    how = dataclasses.asdict(Conversion.parse(cast(Any, module).meta["conversion"]))
    how["fine_tuned"] = fine_tuned
    state = {key: tensor.contiguous() for key, tensor in module.state_dict().items()}
    try:
        save_file(state, path, metadata={CONVERSION: json.dumps(how)})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot write {path} ({cause(error)}); choose another path"
        ) from error


def load_weights(module: nn.Module, path: Path, input_size: int) -> nn.Module:
    """Load the weights of a file into a network, which is converted first if the file's was.

    Args:
        module: the plain network; it is changed unless it is converted.
        path: of the checkpoint.
        input_size: height and width of the network's images, in pixels.

    Returns:
        The network with the weights.

    Raises:
        CheckpointError: the file cannot be read, or does not fit the network.
    """
    state = read_state_dict(path)
    entry = _conversion(path)
    if entry is not None:
        module = converted = convert(module, entry.conversion(), input_size)
        converted.meta["fine_tuned"] = entry.fine_tuned
    fit(module, state, str(path))
    return module


def is_converted(path: Path) -> bool:
    """Return whether a file holds the weights of a converted network."""
    return is_plain(path) and _conversion(path) is not None


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata of a `.safetensors` file; another file has none.

    Raises:
        CheckpointError: the file cannot be read.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, cause(error)) from error


def _conversion(path: Path) -> ConversionEntry | None:
    """Return the conversion that a file's metadata describes; None if there is none."""
    text = read_metadata(path).get(CONVERSION)
    if not text:
        return None
    try:
        entry = ConversionEntry.model_validate_json(text)
        entry.conversion()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join([CONVERSION, *map(str, first["loc"])])
        raise CheckpointError(
            f"{path} has unusable metadata ({place}: {first['msg']}); convert the network again"
        ) from error
    except (ValueError, UsageError) as error:
        raise CheckpointError(
            f"{path} has unusable metadata ({cause(error)}); convert the network again"
        ) from error
    return entry


def _unreadable(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path} holds no readable weights ({why}); save module.state_dict()")


def fit(module: nn.Module, state: dict[str, Tensor], origin: str) -> None:
    """Load a state dict into a module that has exactly the same keys and shapes.

    Args:
        module: the network.
        state: its weights.
        origin: the name of the weights in error messages.

    Raises:
        CheckpointError: keys are missing, unexpected or of another shape; names the first ones.
    """
    own = module.state_dict()
    faults = {
        "missing": [key for key in own if key not in state],
        "unexpected": [key for key in state if key not in own],
        "of another shape": [k for k in own if k in state and own[k].shape != state[k].shape],
    }
    found = [
        f"{len(keys)} {fault}: {', '.join(keys[:3])}{', …' if len(keys) > 3 else ''}"
        for fault, keys in faults.items()
        if keys
    ]
    if found:
        raise CheckpointError(
            f"{origin} does not fit {type(module).__name__} ({'; '.join(found)}); name the "
            "architecture that it was saved from"
        )
    try:
        module.load_state_dict(state)
    except (RuntimeError, NotImplementedError) as error:  # for example elements that are bits
        raise CheckpointError(
            f"{origin} cannot be copied ({cause(error)}); save module.state_dict()"
        ) from error

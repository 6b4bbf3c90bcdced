"""Image classifiers of the Hugging Face Hub, or in a local folder: `hf:microsoft/resnet-50`.

Weights are read from safetensors files only, and code in a repository is never run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor, nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UsageError, cause
from robustbench_aa.models.untrained import untrained
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.support.optional import extra

VOLATILE = ("transformers_version", "_name_or_path", "dtype", "architectures")
"""Entries of a configuration that do not change the function of a network."""
TOLERANCE = 1e-3
"""The largest difference between values of a processor and of the preprocessing read from it."""
LEVELS = 1.0
"""The same for resized pictures, in levels of 8 bits on average: resizing rounds differently."""


def names() -> list[str]:
    """Return no names, since the hub has too many."""
    return []


class Logits(nn.Module):
    """A module that returns the logits of a classifier of transformers.

    Args:
        network: maps `pixel_values` to an output with `logits`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to logits [N, classes]."""
        logits: Tensor = self.network(pixel_values=x).logits
        return logits


def load(name: str, weights: str | None) -> Classifier:
    """Load an image classifier of transformers, with the preprocessing of its image processor.

    The preprocessing is checked: a test picture must become the same values as by the processor.

    Args:
        name: a repository of the hub, such as `microsoft/resnet-50`, or a folder with a model and
            its `preprocessor_config.json`.
        weights: None for those of the repository or folder; `random`; or the revision of a
            repository: a branch, a tag or a commit.

    Raises:
        UsageError: transformers is not installed, the files are missing or cannot be downloaded, or
            the processor does something else than normalise each channel.
    """
    specification = f"hf:{name}" + (f"@{weights}" if weights else "")
    place = f"{name}@{weights}" if weights and Path(f"{name}@{weights}").is_dir() else name
    local = Path(place).is_dir()
    if local and weights not in (None, "random") and place == name:
        raise UsageError(f"{specification}: a folder has no revisions; leave out @{weights}")
    revision = None if local or weights == "random" else weights
    transformers = extra("transformers", "hf")
    with _no_progress_bar(transformers):
        try:
            processor = transformers.AutoImageProcessor.from_pretrained(place, revision=revision)
            config = transformers.AutoConfig.from_pretrained(place, revision=revision)
            network = _network(transformers, place, config, revision, weights == "random")
        except Exception as error:  # those of the hub's clients have no common base class
            raise UsageError(
                f"{specification} cannot be loaded ({cause(error)}); a folder needs config.json, "
                "preprocessor_config.json and model.safetensors, as save_pretrained writes them"
            ) from error
    size, preprocessing = _preprocessing(processor, specification)
    return Classifier(
        Logits(network).eval(),
        name=specification,
        input_size=size,
        classes=int(config.num_labels),
        preprocessing=preprocessing,
        source_sha256=_digest(config),
    )


def _network(
    transformers: Any, place: str, config: Any, revision: str | None, random: bool
) -> nn.Module:
    model = transformers.AutoModelForImageClassification
    network: nn.Module
    if random:
        network = untrained(lambda: model.from_config(config, dtype=torch.float32))
    else:
        network = model.from_pretrained(
            place, config=config, revision=revision, dtype=torch.float32, use_safetensors=True
        )
    return network


@contextmanager
def _no_progress_bar(transformers: Any) -> Iterator[None]:
    logging = transformers.utils.logging
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def _digest(config: Any) -> str:
    """Return the SHA-256 of a configuration, whose values the printed network need not show."""
    values = {key: value for key, value in config.to_diff_dict().items() if key not in VOLATILE}
    text = json.dumps(values, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _preprocessing(processor: Any, specification: str) -> tuple[int, Preprocessing]:
    """Return the size of a processor's images, and its preprocessing.

    Raises:
        UsageError: the images are not square, or the values are not those of a normalisation.
    """
    shape = _processed(processor, _picture(400, 300), specification).shape
    if len(shape) != 4 or shape[1] != 3 or shape[2] != shape[3]:
        raise UsageError(
            f"{specification} has a processor that makes images of {tuple(shape[1:])}, not square "
            "ones with 3 channels; choose another model"
        )
    size = int(shape[2])
    normalises = getattr(processor, "do_normalize", False)
    rescales = getattr(processor, "do_rescale", False)
    # (pixel · factor − mean) / std, on the scale of 0 to 1
    factor = 255 * processor.rescale_factor if rescales else 255.0
    mean = np.broadcast_to(processor.image_mean if normalises else 0.0, 3) / factor
    std = np.broadcast_to(processor.image_std if normalises else 1.0, 3) / factor
    resize, interpolation = _resizing(processor)
    plain = Preprocessing(
        mean=tuple(mean.tolist()), std=tuple(std.tolist()), interpolation=interpolation
    )
    picture = _picture(size, size)
    found = _processed(processor, picture, specification, do_resize=False, do_center_crop=False)
    expected = plain.normalised(_frames(picture))
    if found.shape != expected.shape or (found - expected).abs().max() > TOLERANCE:
        raise UsageError(
            f"{specification} has a {type(processor).__name__} that does more than to normalise "
            "each channel, which cannot be reproduced; choose another model"
        )
    resized = Preprocessing(plain.mean, plain.std, resize, interpolation)
    if resize is None or not _resizes_so(processor, size, resized, specification):
        return size, plain
    return size, resized


def _resizing(processor: Any) -> tuple[int | None, str]:
    """Return the shorter side of resized pictures and the interpolation, as far as they are known.

    The side is None if pictures are not resized, or not with their shape.
    """
    interpolation = Resampling(getattr(processor, "resample", None) or Resampling.BILINEAR)
    size = dict(getattr(processor, "size", None) or {})
    side = size.get("shortest_edge")
    if not getattr(processor, "do_resize", False) or side is None or size.get("longest_edge"):
        return None, interpolation.name.lower()
    share = getattr(processor, "crop_pct", None)
    return int(side / share) if share else int(side), interpolation.name.lower()


def _resizes_so(
    processor: Any, size: int, preprocessing: Preprocessing, specification: str
) -> bool:
    """Return whether a processor resizes a picture by its shorter side and crops its centre."""
    side = preprocessing.resize or size
    if side < size:
        return False
    long = side + side // 8
    picture = _picture(2 * long, 2 * side)
    found = preprocessing.pixels(_processed(processor, picture, specification))
    left, top = (long - size) // 2, (side - size) // 2
    whole = picture.resize((long, side), Resampling[preprocessing.interpolation.upper()])
    expected = _frames(whole.crop((left, top, left + size, top + size)))
    return bool((found - expected.float()).abs().mean() <= LEVELS)


def _processed(processor: Any, picture: Image.Image, specification: str, **changes: bool) -> Tensor:
    changes = {key: value for key, value in changes.items() if getattr(processor, key, None)}
    try:
        values = processor(picture, return_tensors="pt", **changes)["pixel_values"]
    except Exception as error:  # a processor may be for something else than one picture
        raise UsageError(
            f"{specification} has a processor that fails on a picture ({cause(error)}); choose "
            "another model"
        ) from error
    return torch.as_tensor(values).float()


def _picture(width: int, height: int) -> Image.Image:
    """Return a smooth picture of random colours."""
    colours = np.random.default_rng(0).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height), Resampling.BICUBIC)


def _frames(picture: Image.Image) -> Tensor:
    """Return a picture as 8-bit frames [1, 3, H, W]."""
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None]

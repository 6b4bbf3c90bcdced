"""Networks of timm, with published weights, weights in a file, or random ones."""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UnknownName, UsageError, cause
from robustbench_aa.models.checkpoint import is_path, load_weights
from robustbench_aa.models.untrained import untrained
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.support.optional import extra


def names() -> list[str]:
    """Return every network with published weights; none if timm is not installed."""
    return list(_timm().list_pretrained()) if find_spec("timm") else []


def load(name: str, weights: str | None) -> Classifier:
    """Load a network of timm, with the preprocessing of timm's data configuration.

    Args:
        name: a model, such as `resnet18.a1_in1k`, or `hf-hub:ORGANISATION/MODEL`.
        weights: None for the published ones, `random`, or a path.

    Raises:
        UnknownName: there is no such model or weights.
        UsageError: timm is not installed, the weights are not published or cannot be downloaded,
            or the network does not accept square images with three channels.
        CheckpointError: the file does not fit the architecture.
    """
    if weights is None:
        module = _downloaded(name)
    elif weights == "random" or is_path(weights):
        module = build(name)
    else:
        raise UnknownName(f"weights of timm:{name}", weights, ["random", "a path"])
    specification = f"timm:{name}" + (f"@{weights}" if weights else "")
    how, classes = _timm().data.resolve_model_data_config(module), module.num_classes
    channels, height, width = how["input_size"]
    if channels != 3 or height != width:
        raise UsageError(
            f"{specification} expects images of {channels} × {height} × {width}, "
            "not square ones with 3 channels; choose another model"
        )
    if weights and weights != "random":
        module = load_weights(module, Path(weights), height)
    return Classifier(
        module.eval(),
        name=specification,
        input_size=height,
        classes=classes,
        preprocessing=Preprocessing(
            mean=tuple(how["mean"]),
            std=tuple(how["std"]),
            resize=resized_side(how),
            interpolation=how["interpolation"],
        ),
    )


def build(name: str, classes: int | None = None) -> Any:
    """Return an architecture with random weights.

    Args:
        name: a model of timm.
        classes: the number of classes; None for that of the published weights.

    Raises:
        UnknownName: there is no such model.
        UsageError: timm is not installed, or the description of a hub's model cannot be downloaded.
    """
    arguments = {} if classes is None else {"num_classes": classes}
    return _created(name, **arguments)


def resized_side(config: Mapping[str, Any]) -> int | None:
    """Return the shorter side of resized pictures, in pixels; None if it is not known.

    Args:
        config: a data configuration of timm. Its `crop_mode` is `center`, or else `squash`, which
            changes the shape of pictures, or `border`, which pads them.
    """
    crop, mode = config.get("crop_pct"), config.get("crop_mode") or "center"
    return math.floor(config["input_size"][-1] / crop) if crop and mode == "center" else None


def _timm() -> Any:
    return extra("timm", "timm")


def _downloaded(name: str) -> Any:
    timm = _timm()
    if not _on_a_hub(name) and timm.is_model(name) and not timm.is_model_pretrained(name):
        raise UsageError(f"timm:{name} has no published weights; use timm:{name}@random or @PATH")
    return _created(name, pretrained=True)


def _created(name: str, **arguments: Any) -> Any:
    timm = _timm()
    if not _on_a_hub(name) and name not in {*timm.list_models(), *timm.list_pretrained()}:
        raise UnknownName("timm model", name, [*timm.list_models(), *timm.list_pretrained()])
    try:
        return untrained(lambda: timm.create_model(name, **arguments))
    except Exception as error:  # errors of the hub's clients have no common base class
        raise UsageError(
            f"timm:{name} cannot be created ({cause(error)}); if its weights cannot be downloaded, "
            "fetch them elsewhere and give the file as timm:NAME@PATH"
        ) from error


def _on_a_hub(name: str) -> bool:
    return ":" in name

"""Zero-shot classifiers of open_clip: `open-clip:ViT-B-32@laion2b_s34b_b79k`.

The logits are scale · cos(image, class) + bias, as the model was trained. The vector of a class is
the mean of the normalised vectors of its texts, one for each template, and normalised itself
(Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021,
section 3.1.4). The vectors are computed once and kept in torch's hub folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import UnknownName, UsageError, cause
from robustbench_aa.models.checkpoint import is_path, load_weights
from robustbench_aa.models.untrained import untrained
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.support.devices import choose_device
from robustbench_aa.support.files import read_text
from robustbench_aa.support.optional import extra
from robustbench_aa.support.weights import weights_sha256

LARGEST = 2**20
"""The largest size of a file of class names or templates, in bytes."""
KEY = "text_features"
_log = logging.getLogger(__name__)


class Texts(NamedTuple):
    """The texts that describe the classes.

    Attributes:
        classes: the name of each class, in the order of the labels.
        templates: texts with `{}` in place of the class.
    """

    classes: tuple[str, ...]
    templates: tuple[str, ...]


class ZeroShot(nn.Module):
    """A classifier that compares images with texts.

    Args:
        model: a model of open_clip.
        text_features: the normalised vector of each class, [classes, D].
    """

    text_features: Tensor

    def __init__(self, model: nn.Module, text_features: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("text_features", text_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to logits [N, classes]."""
        model: Any = self.model
        features = model.encode_image(x, normalize=True)
        logits: Tensor = model.logit_scale.exp() * (features @ self.text_features.T)
        bias = getattr(model, "logit_bias", None)
        return logits if bias is None else logits + bias


def names() -> list[str]:
    """Return every model with each of its published weights; none without open_clip."""
    try:
        open_clip = _open_clip()
    except UsageError:
        return []
    return [f"{model}@{weights}" for model, weights in open_clip.list_pretrained()]


def load(name: str, weights: str | None) -> Classifier:
    """Load a zero-shot classifier, with the preprocessing that its weights were trained with.

    Class names and templates are read from text files, one a line. Without such files, they are
    open_clip's for ImageNet: 1000 names, two of them equal, and OpenAI's 80 templates, with which
    accuracies are published.

    Args:
        name: a model of open_clip, or `hf-hub:ORGANISATION/MODEL`; `?classes=FILE` and
            `&templates=FILE` may follow.
        weights: published weights, `random`, or a path. None for a model of a hub.

    Raises:
        UnknownName: there is no such model, or no such weights.
        UsageError: open_clip is not installed, the weights cannot be downloaded, the images are
            not square, or a file of names or templates cannot be used.
        CheckpointError: the file of the weights does not fit the architecture.
    """
    open_clip = _open_clip()
    plain, _, options = name.partition("?")
    specification = f"open-clip:{name}" + (f"@{weights}" if weights else "")
    texts = _texts(open_clip, options, specification)
    _check(open_clip, plain, weights)
    model = _model(open_clip, plain, weights)
    size, preprocessing = _preprocessing(open_clip, model, specification)
    if weights is not None and weights != "random" and is_path(weights):
        model = load_weights(model, Path(weights), size)
    model = model.eval()
    digest = _digest(model, texts)
    features = _text_features(digest, texts, lambda: _encoded(open_clip, plain, model, texts))
    return Classifier(
        ZeroShot(model, features).eval(),
        name=specification,
        input_size=size,
        classes=len(texts.classes),
        preprocessing=preprocessing,
        # of weights and texts: the vectors of the texts may differ by rounding between machines
        weights_sha256=digest,
    )


def _open_clip() -> Any:
    return extra("open_clip", "open-clip")


def _texts(open_clip: Any, options: str, specification: str) -> Texts:
    files = dict(option.partition("=")[::2] for option in options.split("&") if option)
    for key in files:
        if key not in Texts._fields:
            raise UnknownName(f"option of {specification}", key, Texts._fields)
    read = {key: _lines(key, Path(file)) for key, file in files.items()}
    classes = read.get("classes", tuple(open_clip.IMAGENET_CLASSNAMES))
    own = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
    templates = read.get("templates", own)
    if wrong := [template for template in templates if template.count("{}") != 1]:
        raise UsageError(f"{files['templates']}: {wrong[0]!r} needs {{}} once, for the class")
    repeated = [one for one in read.get("classes", ()) if classes.count(one) > 1]
    if repeated:
        raise UsageError(
            f"{files['classes']} names {repeated[0]!r} twice, and equal texts cannot be told "
            "apart; give each class a name of its own"
        )
    return Texts(classes, templates)


def _lines(key: str, path: Path) -> tuple[str, ...]:
    """Return the lines of a file that are not empty."""
    try:
        lines = [line.strip() for line in read_text(path, LARGEST).splitlines()]
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read ({cause(error)}); check {key}=") from error
    found = tuple(line for line in lines if line)
    if not found:
        raise UsageError(f"{path} is empty; write the {key}, one a line")
    return found


def _check(open_clip: Any, name: str, weights: str | None) -> None:
    """Check that a model and its weights exist, before anything is downloaded."""
    if ":" in name:
        if weights is not None:
            raise UsageError(f"open-clip:{name} has its own weights; leave out @{weights}")
        return
    if name not in open_clip.list_models():
        raise UnknownName("open-clip model", name, open_clip.list_models())
    published = open_clip.list_pretrained_tags_by_model(name)
    if weights is None:
        known = ", ".join([*published, "random", "a path"])
        raise UsageError(f"open-clip:{name} needs weights after an @: {known}")
    if weights not in (*published, "random") and not is_path(weights):
        noun = f"weights of open-clip:{name}"
        raise UnknownName(noun, weights, [*published, "random", "a path"])


def _model(open_clip: Any, name: str, weights: str | None) -> nn.Module:
    """Return a model with its published weights; with random ones if they are a file's."""
    published = weights is not None and weights != "random" and not is_path(weights)
    create: Callable[..., nn.Module] = open_clip.create_model
    try:
        if published or ":" in name:
            return create(name, pretrained=weights, require_pretrained=True)
        with _without_warning():
            return untrained(lambda: create(name, pretrained_text=False))
    except Exception as error:  # errors of the hub's clients have no common base class
        raise UsageError(
            f"open-clip:{name} cannot be created ({cause(error)}); if its weights cannot be "
            "downloaded, fetch them elsewhere and give the file as open-clip:NAME@PATH"
        ) from error


@contextmanager
def _without_warning() -> Iterator[None]:
    """Leave out open_clip's warning of random weights, which are asked for or replaced later."""

    def is_other(record: logging.LogRecord) -> bool:
        return "initialized randomly" not in record.getMessage()

    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)


def _preprocessing(
    open_clip: Any, model: nn.Module, specification: str
) -> tuple[int, Preprocessing]:
    """Return the size of a model's images, and its preprocessing."""
    how = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    _, height, width = how.input_size
    if height != width:
        raise UsageError(
            f"{specification} expects images of {height} × {width}, not square ones; choose "
            "another model"
        )
    return height, Preprocessing(
        mean=how.mean,
        std=how.std,
        # other modes do not keep the shape of a picture, or pad it
        resize=height if how.resize_mode == "shortest" else None,
        interpolation=how.interpolation,
    )


def _digest(model: nn.Module, texts: Texts) -> str:
    """Return the SHA-256 of a model's architecture and weights, the class names and templates."""
    parts = [repr(model), weights_sha256(model), texts.classes, texts.templates]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _encoded(open_clip: Any, name: str, model: nn.Module, texts: Texts) -> Tensor:
    """Return the normalised vector of each class, [classes, D], on the CPU."""
    device = choose_device()
    tokenizer = open_clip.get_tokenizer(name)
    encoder: Any = model.to(device)
    try:
        with torch.no_grad():
            vectors = [_vector(encoder, tokenizer, one, texts.templates) for one in texts.classes]
    finally:
        model.to("cpu")
    return torch.stack(vectors).cpu()


def _vector(model: Any, tokenizer: Any, name: str, templates: Sequence[str]) -> Tensor:
    tokens = tokenizer([template.replace("{}", name) for template in templates])
    features = model.encode_text(tokens.to(model.logit_scale.device), normalize=True)
    return F.normalize(features.float().mean(dim=0), dim=0)


def _text_features(digest: str, texts: Texts, compute: Callable[[], Tensor]) -> Tensor:
    """Return the vectors of texts from the cache, or compute them and keep them there."""
    file = Path(torch.hub.get_dir(), "robustbench_aa", f"{KEY}-{digest}.safetensors")
    try:
        found = load_file(file)[KEY]
        if len(found) == len(texts.classes):
            return found
    except (OSError, SafetensorError, KeyError):  # missing, or left by a full disk
        pass
    features = compute().contiguous()
    beside = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file({KEY: features}, beside)
        beside.replace(file)
    except (OSError, SafetensorError) as error:
        _log.warning("%s is not written (%s); the texts are encoded each time", file, cause(error))
    return features

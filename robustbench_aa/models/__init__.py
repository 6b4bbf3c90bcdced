"""Models by specification, `SOURCE:NAME[@WEIGHTS]`. A source is one file, registered here."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from robustbench_aa.errors import UsageError
from robustbench_aa.support.registry import Registry
from robustbench_aa.types import Classifier, training_seed

__all__ = ["SOURCES", "Source", "expand", "known_models", "load"]


@dataclass(frozen=True)
class Source:
    """A place that models come from: a file of this folder, imported when it is first used.

    Attributes:
        file: its name, without `.py`; it has the functions `load` and `names`.
        seeds: whether its names have training seeds.
    """

    file: str
    seeds: bool = False

    def load(self, name: str, weights: str | None) -> Classifier:
        """The classifier of that name; None are the weights that the source takes by default."""
        classifier: Classifier = self._module().load(name, weights)
        return classifier

    def names(self) -> list[str]:
        """Every `NAME@WEIGHTS` that the source knows."""
        return list(self._module().names())

    def _module(self) -> Any:
        return import_module(f"{__name__}.{self.file}")


SOURCES: Registry[Source] = Registry("model source")
SOURCES.register("digits", Source("digits", seeds=True))
SOURCES.register("torchvision", Source("torchvision"))
SOURCES.register("antialiased", Source("antialiased"))
SOURCES.register("timm", Source("timm"))
SOURCES.register("file", Source("file"))
SOURCES.register("python", Source("python"))
SOURCES.register("onnx", Source("onnx"))


def load(specification: str) -> Classifier:
    """Loads a model in evaluation mode.

    Args:
        specification: `SOURCE:NAME[@WEIGHTS]`; weights are a name that the source knows, a path
            to a `.safetensors` or `.pth` file, or `random`. Where a model has several training
            seeds and none is named, the first; the classifier's name tells which.

    Raises:
        UsageError: the specification has no source, or the source cannot give what it asks for.
        UnknownName: an unknown source, name or weights.
        CheckpointError: the weights cannot be read or do not fit.
    """
    source, name, weights = _parse(specification)
    return SOURCES[source].load(name, weights)


def expand(specification: str) -> list[str]:
    """All training seeds of the model that a specification names, or just itself.

    >>> expand("digits:resnet@lpf3")
    ['digits:resnet@lpf3-seed0', 'digits:resnet@lpf3-seed1', 'digits:resnet@lpf3-seed2']
    """
    source, _, _ = _parse(specification)
    known = known_models(source) if SOURCES[source].seeds else []
    return [name for name in known if training_seed(name)[0] == specification] or [specification]


def known_models(source: str) -> list[str]:
    """The specifications that a source lists."""
    return [f"{source}:{name}" for name in SOURCES[source].names()]


def _parse(specification: str) -> tuple[str, str, str | None]:
    source, colon, rest = specification.partition(":")
    name, at, weights = rest.partition("@")
    if not colon or not name or (at and not weights):
        raise UsageError(
            f"model {specification!r} is not of the form SOURCE:NAME[@WEIGHTS], "
            f"such as digits:resnet@lpf3; sources: {', '.join(SOURCES)}"
        )
    return source, name, weights or None

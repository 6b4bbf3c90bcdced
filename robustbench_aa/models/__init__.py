"""Models by specification, `SOURCE:NAME[@WEIGHTS][+CONVERSION]`; each source is one file."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from robustbench_aa.errors import UsageError
from robustbench_aa.models.converted import check_short, converted, joined, split
from robustbench_aa.support.registry import Registry
from robustbench_aa.types import Classifier, training_seed

__all__ = ["SOURCES", "Source", "expand", "known_models", "load"]


@dataclass(frozen=True)
class Source:
    """A source of models, imported at its first use.

    Attributes:
        file: the name of the source's file, without `.py`; it has the functions `load` and `names`.
        seeds: whether the source's names have training seeds.
    """

    file: str
    seeds: bool = False

    def load(self, name: str, weights: str | None) -> Classifier:
        """Return a classifier; None as weights means the source's default."""
        classifier: Classifier = self._module().load(name, weights)
        return classifier

    def names(self) -> list[str]:
        """Return every `NAME@WEIGHTS` of the source."""
        return list(self._module().names())

    def _module(self) -> Any:
        return import_module(f"{__name__}.{self.file}")


SOURCES: Registry[Source] = Registry("model source")
SOURCES.register("digits", Source("digits", seeds=True))
SOURCES.register("cifar10", Source("cifar10", seeds=True))
SOURCES.register("torchvision", Source("torchvision"))
SOURCES.register("antialiased", Source("antialiased"))
SOURCES.register("timm", Source("timm"))
SOURCES.register("file", Source("file"))
SOURCES.register("python", Source("python"))
SOURCES.register("onnx", Source("onnx"))


def load(specification: str) -> Classifier:
    """Load a model in evaluation mode.

    Args:
        specification: `SOURCE:NAME[@WEIGHTS]`. Weights are a name of the source, a path to a
            `.safetensors` or `.pth` file, or `random`. A final `+` and the short form of a
            conversion, such as `+lpf4` or `+aps-circular`, converts the model after loading. If a
            model has several training seeds and the specification names none, the first one is
            loaded; the classifier's name holds it.

    Raises:
        UsageError: the specification has no source, or the source cannot provide the model.
        UnknownName: the source, the name or the weights are unknown.
        CheckpointError: the weights cannot be read or do not fit.
        ConversionError: the network cannot be converted.
    """
    plain, short = split(specification)
    if short is not None:
        check_short(short)
        return converted(load(plain), short)
    source, name, weights = _parse(specification)
    return SOURCES[source].load(name, weights)


def expand(specification: str) -> list[str]:
    """Return the specifications of all training seeds of a model, or the given one alone.

    >>> expand("digits:resnet@lpf3")
    ['digits:resnet@lpf3-seed0', 'digits:resnet@lpf3-seed1', 'digits:resnet@lpf3-seed2']
    """
    plain, short = split(specification)
    if short is not None:
        seeds = map(training_seed, expand(plain))
        return [joined(f"{model}+{short}", seed) for model, seed in seeds]
    source, _, _ = _parse(specification)
    known = known_models(source) if SOURCES[source].seeds else []
    return [name for name in known if training_seed(name)[0] == specification] or [specification]


def known_models(source: str) -> list[str]:
    """Return all specifications of a source."""
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

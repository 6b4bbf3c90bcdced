"""Models by specification, `SOURCE:NAME[@WEIGHTS][+CONVERSION]`; each source is one file.

A specification may be given a short name, as `SHORT=SOURCE:NAME[@WEIGHTS]`. A short name contains
neither `:` nor `=`, so that paths and URLs in a specification may contain `=`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import SuiteError, UsageError, near_matches
from robustbench_aa.models.converted import check_short, converted, split
from robustbench_aa.support.checks import check_type
from robustbench_aa.support.registry import Registry
from robustbench_aa.support.training_seeds import training_seed, with_seed

__all__ = ["SOURCES", "Source", "expand", "known_models", "load", "load_all", "load_model"]


@dataclass(frozen=True)
class Source:
    """A source of models, imported at its first use.

    Attributes:
        file: the name of the source's file, without `.py`; it has the functions `load` and `names`.
        seeds: whether the source's names have training seeds.
        wraps: whether its names are specifications of other sources.
    """

    file: str
    seeds: bool = False
    wraps: bool = False

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
SOURCES.register("lps", Source("lps"))
SOURCES.register("timm", Source("timm"))
SOURCES.register("hf", Source("hf"))
SOURCES.register("open-clip", Source("open_clip"))
SOURCES.register("efficientnet-lite", Source("efficientnet_lite"))
SOURCES.register("file", Source("file"))
SOURCES.register("python", Source("python"))
SOURCES.register("onnx", Source("onnx"))
SOURCES.register("crop-selected", Source("crop_selected", wraps=True))


def load(specification: str) -> Classifier:
    """Load a model in evaluation mode.

    >>> import robustbench_aa as rb
    >>> model = rb.load_model("digits:resnet@lpf3")
    >>> model.name, model.input_size, model.classes
    ('digits:resnet@lpf3-seed0', 32, 10)

    Args:
        specification: `[SHORT=]SOURCE:NAME[@WEIGHTS][+CONVERSION]`. Weights are a name of the
            source, a path to a `.safetensors` or `.pth` file, or `random`. A conversion, such as
            `lpf4` or `aps-circular`, is applied after loading. If a model has several training
            seeds and the specification names none, the first one is loaded. The classifier has the
            short name or, without one, the name of what was loaded.

    Raises:
        UsageError: the specification has no source, or the source cannot provide the model.
        UnknownName: the source, the name or the weights are unknown.
        CheckpointError: the weights cannot be read or do not fit.
        ConversionError: the network cannot be converted.
    """
    check_type("the specification of a model", specification, str, "a classifier needs no loading")
    short, rest = split_name(specification)
    plain, conversion = _split_conversion(rest)
    if conversion is not None:
        check_short(conversion)
        classifier = converted(load(plain), conversion)
    else:
        source, name, weights = _parse(plain)
        classifier = SOURCES[source].load(name, weights)
    return replace(classifier, name=short) if short else classifier


def load_all(
    models: Iterable[str | Classifier],
) -> tuple[dict[str, Classifier], dict[str, str]]:
    """Load models with all their training seeds.

    Args:
        models: specifications, or classifiers, which stay as they are.

    Returns:
        The classifiers by name, and the specifications of those with a short name.

    Raises:
        SuiteError: two have the same name, or a model has two names.
    """
    classifiers: dict[str, Classifier] = {}
    names: dict[str, str] = {}
    for model in models:
        for classifier, specification in _loaded(model):
            name = classifier.name
            if name in classifiers:
                raise SuiteError(f"model {name} is named twice; leave one out")
            if specification in names:
                both = f"{names[specification]} and {name}"
                raise SuiteError(f"model {specification} has two names, {both}; leave one out")
            classifiers[name], names[specification] = classifier, name
    return classifiers, {name: one for one, name in names.items() if one != name}


def _loaded(model: str | Classifier) -> Iterator[tuple[Classifier, str]]:
    """Yield classifiers, each with the specification that it was loaded from or else its name."""
    if not isinstance(model, str):
        yield model.current(), model.name
        return
    for seed in expand(model):
        short, specification = split_name(seed)
        classifier = load(specification)
        yield replace(classifier, name=short or classifier.name), classifier.name


load_model = load
"""The public name; `load` remains as another one."""


def expand(specification: str) -> list[str]:
    """Return the specifications of all training seeds of a model, or the given one alone.

    >>> expand("digits:resnet@lpf3")
    ['digits:resnet@lpf3-seed0', 'digits:resnet@lpf3-seed1', 'digits:resnet@lpf3-seed2']
    >>> expand("mine=digits:resnet@lpf3")[0]
    'mine-seed0=digits:resnet@lpf3-seed0'
    """
    short, rest = split_name(specification)
    plain, conversion = _split_conversion(rest)
    found = _with_seeds(plain)
    if conversion is not None:
        seeds = map(training_seed, found)
        found = [with_seed(f"{model}+{conversion}", seed) for model, seed in seeds]
    if found == [rest]:
        return [specification]
    if short is None:
        return found
    return [f"{with_seed(short, training_seed(one)[1])}={one}" for one in found]


def _split_conversion(specification: str) -> tuple[str, str | None]:
    """Split off a conversion, unless it belongs to the specification of another source inside."""
    source = specification.partition(":")[0]
    wraps = source in SOURCES and SOURCES[source].wraps
    return (specification, None) if wraps else split(specification)


def _with_seeds(specification: str) -> list[str]:
    """Return a plain specification with each training seed that it has and does not name."""
    source, _, _ = _parse(specification)
    if SOURCES[source].wraps:
        return [f"{source}:{one}" for one in expand(specification.removeprefix(f"{source}:"))]
    known = known_models(source) if SOURCES[source].seeds else []
    return [one for one in known if training_seed(one)[0] == specification] or [specification]


def split_name(specification: str) -> tuple[str | None, str]:
    """Return the short name of a model, or None, and its specification without it.

    >>> split_name("mine=file:resnet50@epoch=3.pth")
    ('mine', 'file:resnet50@epoch=3.pth')
    >>> split_name("file:resnet50@epoch=3.pth")
    (None, 'file:resnet50@epoch=3.pth')

    Raises:
        UsageError: the short name is empty or has outer spaces.
    """
    short, equals, rest = specification.partition("=")
    if not equals or ":" in short:
        return None, specification
    if not short or short != short.strip():
        raise UsageError(
            f"model {specification!r} needs a name without outer spaces before the =; "
            "write SHORT=SOURCE:NAME[@WEIGHTS]"
        )
    return short, rest


def known_models(source: str) -> list[str]:
    """Return all specifications of a source."""
    return [f"{source}:{name}" for name in SOURCES[source].names()]


def _parse(specification: str) -> tuple[str, str, str | None]:
    source, colon, rest = specification.partition(":")
    name, at, weights = rest.partition("@")
    if not colon or not name or (at and not weights):
        near = [] if colon else _with_source(specification)
        advice = f"did you mean {' or '.join(near)}?" if near else f"sources: {', '.join(SOURCES)}"
        raise UsageError(
            f"model {specification!r} is not of the form SOURCE:NAME[@WEIGHTS], "
            f"such as digits:resnet@lpf3; {advice}"
        )
    return source, name, weights or None


def _with_source(name: str) -> list[str]:
    """Return the known models that a name without a source may mean."""
    known: dict[str, str] = {}
    for source in SOURCES:
        for specification in known_models(source):
            model, _, weights = specification.partition("@")
            chosen = training_seed(specification)[0] if weights and "@" in name else model
            known.setdefault(chosen.partition(":")[2], chosen)
    return [known[match] for match in near_matches(name, known)]

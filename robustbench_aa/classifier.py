"""A network with all that identifies it. Loads no torch, as `types`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING

from robustbench_aa.errors import UsageError
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.support.checks import whole_number
from robustbench_aa.support.code import code_sha256
from robustbench_aa.support.weights import Computed, weights_sha256, without_addresses

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Classifier:
    """A network with everything that is needed to measure and identify it.

    >>> import torch
    >>> import robustbench_aa as rb
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 32 * 32, 10))
    >>> plain = rb.Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    >>> net = rb.Classifier(network, name="net", input_size=32, classes=10, preprocessing=plain)
    >>> net.parameters
    30730

    Attributes:
        module: maps float32 [N, 3, input_size, input_size] to logits [N, classes].
        name: the name in tables and files. Names that differ only in a final `-seed<N>` are
            training seeds of one model and share a row of the leaderboard.
        input_size: height and width of the input images, in pixels.
        classes: the number of logits.
        preprocessing: the conversion of 8-bit pixels to the module's input.
        weights_sha256: the SHA-256 of the weights, which are the tensors of the state dict;
            computed if not given, and again for each run, since it may have been trained meanwhile.
        trained_on: the corruptions that the network was trained on. Tables mark them, and
            `mean_error_unseen` leaves them out.
        source_sha256: the SHA-256 of the code or file that defines the module, which can change
            its function while weights and printed form stay. If it is not given, that of the
            module's classes; empty if they are this package's or installed packages'.
        parameters: the number of parameters.

    Raises:
        UsageError: an argument has a wrong type or makes no sense.
    """

    module: nn.Module
    _: KW_ONLY
    name: str
    input_size: int
    classes: int
    preprocessing: Preprocessing
    weights_sha256: str = ""
    source_sha256: str = ""
    trained_on: Sequence[str] = ()
    parameters: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._check()
        if not self.weights_sha256:
            object.__setattr__(self, "weights_sha256", Computed(weights_sha256(self.module)))
        if not self.source_sha256:
            object.__setattr__(self, "source_sha256", Computed(code_sha256(self.module)))
        object.__setattr__(self, "parameters", sum(p.numel() for p in self.module.parameters()))

    def _check(self) -> None:
        from torch import nn

        name = self.name
        if not isinstance(name, str) or not name or name != name.strip():
            raise UsageError(f"a classifier needs a name without outer spaces, not {name!r}")
        if not isinstance(self.module, nn.Module):
            found = type(self.module).__name__
            raise UsageError(f"classifier {name} has a {found} as module; give a torch.nn.Module")
        for noun in ("input_size", "classes"):
            number = whole_number(f"{noun} of classifier {name}", getattr(self, noun), least=1)
            object.__setattr__(self, noun, number)
        if isinstance(self.trained_on, str):
            raise UsageError(
                f"trained_on of classifier {name} must be a list; give [{self.trained_on!r}]"
            )
        object.__setattr__(self, "trained_on", tuple(self.trained_on))
        if not isinstance(self.preprocessing, Preprocessing):
            raise UsageError(
                f"preprocessing of classifier {name} is {self.preprocessing!r}; give a "
                "robustbench_aa.Preprocessing"
            )

    def current(self) -> Classifier:
        """Return this classifier with the digests that its module has now, unless given."""
        weights, source = (
            "" if isinstance(digest, Computed) else digest
            for digest in (self.weights_sha256, self.source_sha256)
        )
        return replace(self, weights_sha256=weights, source_sha256=source)

    def architecture(self) -> str:
        """Return the module's printed form without memory addresses."""
        return without_addresses(self.module)

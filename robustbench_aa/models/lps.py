"""The published ResNet-18 with learnable polyphase sampling: `lps:resnet18@PATH`."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from robustbench_aa.antialiasing.published import lps_resnet
from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import CheckpointError, UnknownName, UsageError
from robustbench_aa.models.checkpoint import fit, is_path, read_state_dict
from robustbench_aa.models.plain_module import bare
from robustbench_aa.models.untrained import untrained

NETWORK = "resnet18"
URL = "https://uofi.box.com/s/pql7u3c7x8zifp0m46xhe2uduwwazcad"
FILE = "ResNet18_LPS_circular_basic.ckpt"
HOW = (
    f"download {FILE} from {URL} and, where the authors' code is installed, save its weights alone "
    f"by torch.save(torch.load('{FILE}')['state_dict'], 'lps.pth')"
)
"""The published file contains code, which this package does not run."""
MOST_CLASSES = 2**16


def names() -> list[str]:
    """Return no names, since the authors' files have to be fetched by hand."""
    return []


def load(name: str, weights: str | None) -> Classifier:
    """Load the authors' network, with ImageNet's preprocessing.

    Args:
        name: `resnet18`.
        weights: `random`, or the path of a file with the published state dict.

    Raises:
        UnknownName: there is no such network.
        UsageError: no path is given.
        CheckpointError: there is no such file, or it does not fit.
    """
    if name != NETWORK:
        raise UnknownName("network of lps", name, [NETWORK])
    specification = f"lps:{name}@{weights}"
    if weights == "random":
        return bare(untrained(lambda: lps_resnet.build(lps_resnet.Form())), specification)
    if weights is None or not is_path(weights):
        raise UsageError(f"lps:{name} needs the authors' weights; {HOW}, and write lps:{name}@PATH")
    path = Path(weights)
    if not path.exists():
        raise CheckpointError(f"no weights at {path}; {HOW}")
    state = read_state_dict(path)
    form = _form(state, path)
    module = untrained(lambda: lps_resnet.build(form))
    fit(module, lps_resnet.renamed(state), str(path))
    return bare(module, specification)


def _form(state: dict[str, Tensor], path: Path) -> lps_resnet.Form:
    try:
        form = lps_resnet.form_of(state)
    except ValueError as error:
        raise CheckpointError(f"{path} holds {error}; {HOW}") from error
    if max(form.classes, *form.hidden) > MOST_CLASSES or min(form.classes, *form.hidden) < 1:
        raise CheckpointError(f"{path} has layers of an impossible size; {HOW}")
    return form

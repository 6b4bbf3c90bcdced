"""ONNX files: `onnx:/path/to/model.onnx`, evaluated by onnxruntime on the CPU."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aa.classifier import Classifier
from robustbench_aa.errors import CheckpointError, UsageError, cause
from robustbench_aa.models.plain_module import INPUT_SIZE, bare
from robustbench_aa.support.files import is_plain
from robustbench_aa.support.optional import extra


def names() -> list[str]:
    """Return no names, since the files are the user's."""
    return []


class Session(nn.Module):
    """A module around an onnxruntime session.

    Args:
        session: a session with one input, float32 [N, 3, H, W], and logits [N, classes] as its
            first output.
    """

    def __init__(self, session: Any) -> None:
        super().__init__()
        self.session = session
        self.input = session.get_inputs()[0]

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to logits [N, classes], on the device of x.

        Raises:
            RuntimeError: onnxruntime rejects the images.
        """
        batch = self.input.shape[0]
        fixed = batch if isinstance(batch, int) else len(x)
        return torch.cat([self._run(part, fixed) for part in x.split(fixed)])

    def _run(self, part: Tensor, batch: int) -> Tensor:
        """Run one part, filled up with black images, since graphs may fix N."""
        full = torch.cat([part, part.new_zeros(batch - len(part), *part.shape[1:])])
        try:
            logits = self.session.run(None, {self.input.name: full.cpu().numpy()})[0]
        except Exception as error:  # onnxruntime's errors have no common base class
            raise RuntimeError(cause(error)) from error
        return torch.from_numpy(logits).to(part.device)[: len(part)]


def load(name: str, weights: str | None) -> Classifier:
    """Load an ONNX file, whose SHA-256 becomes the classifier's.

    The preprocessing is ImageNet's, at the size in the graph or else 224 px: mean
    (0.485, 0.456, 0.406), standard deviation (0.229, 0.224, 0.225).

    Args:
        name: a path, or the part of it before an `@`.
        weights: None, or the part of the path after an `@`.

    Raises:
        CheckpointError: there is no such file, it is not an ONNX file, or its weights are in
            another file.
        UsageError: onnxruntime is not installed, or the input of the graph is not images.
    """
    path = Path(name if weights is None else f"{name}@{weights}")
    if not is_plain(path):
        raise CheckpointError(f"no model at {path}; check the path")
    content = path.read_bytes()
    module = Session(_opened(content, path))
    digest = hashlib.sha256(content).hexdigest()
    return bare(module, f"onnx:{path}", _input_size(module, path), digest)


def _opened(content: bytes, path: Path) -> Any:
    """Return a session of these bytes alone, so that their digest covers all weights."""
    onnxruntime = extra("onnxruntime", "onnx")
    options = onnxruntime.SessionOptions()
    # a digest cannot cover weights in another file: an impossible folder makes loading them fail
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", str(path)
    )
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise CheckpointError(
            f"{path} is not an ONNX file with its weights inside ({cause(error)}); export it as one"
        ) from error


def _input_size(module: Session, path: Path) -> int:
    inputs = module.session.get_inputs()
    shape = module.input.shape
    if len(inputs) > 1 or module.input.type != "tensor(float)" or len(shape) != 4:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise UsageError(
            f"{path} has the inputs {found}; export it with one float32 input [N, 3, H, W]"
        )
    size = shape[2]
    return size if isinstance(size, int) else INPUT_SIZE

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import robustbench_aa as rb
from robustbench_aa.errors import CheckpointError, UnknownName, UsageError
from robustbench_aa.models.plain_module import PREPROCESSING

CHOICE = "component_selection.get_logits"
CLASSES = 7
WIDTHS = {"layer1": (64, 64), "layer2": (64, 128), "layer3": (128, 256), "layer4": (256, 512)}
HIDDEN = {"maxpool": 8, "layer2": 16, "layer3": 32, "layer4": 64}
"""The published numbers of hidden channels."""


class Published(dict[str, Tensor]):
    """A state dict with the names and shapes of the authors' network, and random values."""

    def __init__(self, *, convolution_first: bool) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(3)
        self.conv("core.conv1", 64, 3, 7)
        self.norm("core.bn1", 64)
        self.choice("core.maxpool.0", 64, HIDDEN["maxpool"])
        self.choice("core.maxpool.3", 64, HIDDEN["maxpool"])
        for stage, (inputs, outputs) in WIDTHS.items():
            if stage == "layer1":
                self.block(f"core.{stage}.0", outputs)
            else:
                self.strided(f"core.{stage}.0", inputs, outputs, HIDDEN[stage], convolution_first)
            self.block(f"core.{stage}.1", outputs)
        self["core.fc.weight"] = torch.randn(CLASSES, 512, generator=self.generator)
        self["core.fc.bias"] = torch.randn(CLASSES, generator=self.generator)

    def conv(self, key: str, outputs: int, inputs: int, kernel: int, bias: bool = False) -> None:
        weight = torch.randn(outputs, inputs, kernel, kernel, generator=self.generator)
        self[f"{key}.weight"] = weight * (2 / (inputs * kernel**2)) ** 0.5
        if bias:
            self[f"{key}.bias"] = torch.randn(outputs, generator=self.generator)

    def norm(self, key: str, channels: int) -> None:
        for name in ("weight", "running_var"):
            self[f"{key}.{name}"] = torch.rand(channels, generator=self.generator) + 0.5
        for name in ("bias", "running_mean"):
            self[f"{key}.{name}"] = torch.randn(channels, generator=self.generator) / 4
        self[f"{key}.num_batches_tracked"] = torch.tensor(5)

    def choice(self, key: str, channels: int, hidden: int) -> None:
        self.conv(f"{key}.{CHOICE}.conv1", hidden, channels, 3, bias=True)
        self.conv(f"{key}.{CHOICE}.conv2", hidden, hidden, 3, bias=True)
        self[f"{key}.component_selection.gumbel_tau"] = torch.tensor(0.25)

    def block(self, key: str, channels: int) -> None:
        for layer in (1, 2):
            self.conv(f"{key}.conv{layer}", channels, channels, 3)
            self.norm(f"{key}.bn{layer}", channels)

    def strided(
        self, key: str, inputs: int, outputs: int, hidden: int, convolution_first: bool
    ) -> None:
        self.conv(f"{key}.conv1", outputs, inputs, 3)
        self.norm(f"{key}.bn1", outputs)
        at, pool = (0, 1) if convolution_first else (1, 0)
        self.conv(f"{key}.conv2.{at}", outputs, outputs, 3)
        self.choice(f"{key}.conv2.{pool}", outputs, hidden)
        self.norm(f"{key}.bn2", outputs)
        self[f"{key}.downsample.0.component_selection.gumbel_tau"] = torch.tensor(1.0)
        self.conv(f"{key}.downsample.1", outputs, inputs, 1)
        self.norm(f"{key}.downsample.2", outputs)


class Reference:
    """The network's forward pass for one image, as the paper describes it."""

    def __init__(self, state: dict[str, Tensor], convolution_first: bool) -> None:
        self.state, self.convolution_first = state, convolution_first

    def conv(self, x: Tensor, key: str) -> Tensor:
        weight = self.state[f"{key}.weight"]
        side = weight.shape[-1] // 2
        x = F.pad(x, (side,) * 4, mode="circular") if side else x
        return F.conv2d(x, weight, self.state.get(f"{key}.bias"))

    def norm(self, x: Tensor, key: str) -> Tensor:
        mean, var, weight, bias = (
            self.state[f"{key}.{name}"].view(-1, 1, 1)
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * weight + bias

    def place(self, x: Tensor, key: str) -> tuple[int, int]:
        """The component with the largest mean of its logit maps."""
        logits = {
            (row, column): self.conv(
                self.conv(x[..., row::2, column::2], f"{key}.{CHOICE}.conv1").relu(),
                f"{key}.{CHOICE}.conv2",
            ).mean()
            for row in (0, 1)
            for column in (0, 1)
        }
        return max(logits, key=lambda place: float(logits[place]))

    def pool(self, x: Tensor, key: str) -> Tensor:
        row, column = self.place(x, key)
        return x[..., row::2, column::2]

    def block(self, x: Tensor, key: str) -> Tensor:
        main = self.norm(self.conv(x, f"{key}.conv1"), f"{key}.bn1").relu()
        if f"{key}.downsample.1.weight" not in self.state:
            return (x + self.norm(self.conv(main, f"{key}.conv2"), f"{key}.bn2")).relu()
        if self.convolution_first:
            main = self.conv(main, f"{key}.conv2.0")
        row, column = self.place(main, f"{key}.conv2.{int(self.convolution_first)}")
        main, x = main[..., row::2, column::2], x[..., row::2, column::2]
        if not self.convolution_first:
            main = self.conv(main, f"{key}.conv2.1")
        shortcut = self.norm(self.conv(x, f"{key}.downsample.1"), f"{key}.downsample.2")
        return (self.norm(main, f"{key}.bn2") + shortcut).relu()

    def __call__(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x, "core.conv1"), "core.bn1").relu()
        x = self.pool(x, "core.maxpool.0")
        neighbours = [x.roll(shift, (2, 3)) for shift in ((0, 0), (-1, 0), (0, -1), (-1, -1))]
        x = self.pool(torch.stack(neighbours).amax(0), "core.maxpool.3")
        for stage in WIDTHS:
            for block in (0, 1):
                x = self.block(x, f"core.{stage}.{block}")
        return x.mean((2, 3)) @ self.state["core.fc.weight"].T + self.state["core.fc.bias"]


@pytest.mark.parametrize("convolution_first", [False, True])
def test_the_authors_state_dict_gives_their_network(
    convolution_first: bool, tmp_path: Path
) -> None:
    state, path = dict(Published(convolution_first=convolution_first)), tmp_path / "lps.pth"
    torch.save(state, path)
    model = rb.load_model(f"lps:resnet18@{path}")
    assert (model.input_size, model.classes, model.preprocessing) == (224, CLASSES, PREPROCESSING)
    trained = sum(t.numel() for k, t in state.items() if k.endswith((".weight", ".bias")))
    assert model.parameters == trained
    reference = Reference(state, convolution_first)
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found = model.module(images)
        expected = torch.cat([reference(image[None]) for image in images])
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
        moved = model.module(images.roll((3, -5), (2, 3)))
        torch.testing.assert_close(moved, found, rtol=1e-3, atol=1e-3)


def test_a_missing_file_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"download ResNet18_LPS_circular_basic.ckpt from https"):
        rb.load_model("lps:resnet18")
    with pytest.raises(CheckpointError, match=r"no weights at .*; download ResNet18_LPS"):
        rb.load_model(f"lps:resnet18@{tmp_path}/lps.pth")
    with pytest.raises(UnknownName, match="did you mean resnet18"):
        rb.load_model("lps:resnet18s@lps.pth")


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "lps.pth"
    state = dict(Published(convolution_first=False))
    filtered = {"core.layer2.0.conv2.0._antialias_layer.filt": torch.ones(128, 1, 2, 2)}
    scalar = {"core.fc.bias": torch.tensor(1.0)}
    incomplete = {key: tensor for key, tensor in state.items() if "layer3.1" not in key}
    for content, message in (
        (state | filtered, "a network with filters before its choices"),
        ({"fc.weight": torch.ones(2, 2)}, "no weights of the published ResNet-18"),
        (state | scalar, "no weights of the published ResNet-18"),
        (state | {"core.fc.bias": torch.ones(1).expand(2**20)}, "an impossible size"),
        (incomplete, "missing: layer3.1.conv1.weight"),
    ):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=message):
            rb.load_model(f"lps:resnet18@{path}")


def test_random_weights_show_the_architecture() -> None:
    model = rb.load_model("lps:resnet18@random")
    assert (model.name, model.classes) == ("lps:resnet18@random", 1000)

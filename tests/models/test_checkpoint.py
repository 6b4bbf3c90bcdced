from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from robustbench_aa.errors import CheckpointError
from robustbench_aa.models.checkpoint import fit, read_state_dict


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors"])
def test_a_state_dict_comes_back(tmp_path: Path, name: str) -> None:
    state = nn.Linear(3, 2).state_dict()
    (save_file if name.endswith("safetensors") else torch.save)(state, tmp_path / name)
    module = nn.Linear(3, 2)
    fit(module, read_state_dict(tmp_path / name), name)
    assert torch.equal(module.weight, state["weight"])


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("echo executed > /tmp/robustbench_aa_payload",)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    torch.save({"weight": Payload()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth contains code \(posix\.system\), not just"):
        read_state_dict(tmp_path / "a.pth")
    assert not Path("/tmp/robustbench_aa_payload").exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"text, not weights", b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_a_file_that_is_not_a_checkpoint_is_named(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name) as error:
        fit(nn.Linear(1, 1), read_state_dict(tmp_path / name), name)
    assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth holds no state dict of tensors"):
        read_state_dict(tmp_path / "a.pth")


def test_keys_that_do_not_fit_are_counted_and_the_first_named() -> None:
    state = {f"extra{i}": torch.zeros(1) for i in range(5)} | {"bias": torch.zeros(3)}
    message = (
        r"x\.pth does not fit Linear \(1 missing: weight; "
        r"5 unexpected: extra0, extra1, extra2, …; 1 of another shape: bias\)"
    )
    with pytest.raises(CheckpointError, match=message):
        fit(nn.Linear(3, 2), state, "x.pth")

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from robustbench_aa.cli.main import commands
from robustbench_aa.datasets import Request, open_dataset
from robustbench_aa.datasets.pictures import AS_MADE
from robustbench_aa.errors import DatasetError, UsageError
from robustbench_aa.preview import LABEL, SIZE, write_contact_sheet
from robustbench_aa.types import Shard


def test_the_sheet_has_a_row_per_corruption_and_a_column_per_severity(
    tmp_path: Path, photographs: torch.Tensor
) -> None:
    picture = Image.fromarray(photographs[0].permute(1, 2, 0).numpy())
    picture.save(tmp_path / "a.png")
    result = CliRunner().invoke(
        commands, ["preview", str(tmp_path / "a.png"), "-o", f"{tmp_path}/s.png"]
    )
    assert result.exit_code == 0, result.output
    sheet = np.array(Image.open(tmp_path / "s.png")).astype(int)
    assert sheet.shape == (19 * SIZE, LABEL + 5 * SIZE, 3)
    clean = np.array(AS_MADE.square(picture)).astype(int)
    noise = [
        np.abs(sheet[:SIZE, LABEL + SIZE * s : LABEL + SIZE * (s + 1)] - clean).mean()
        for s in range(5)
    ]
    assert noise == sorted(noise)
    assert noise[0] > 10


def test_the_sheet_shows_what_models_see(tmp_path: Path, photographs: torch.Tensor) -> None:
    """Compare with `imagenet-c-live`, its final JPEG included."""
    (tmp_path / "val" / "cat").mkdir(parents=True)
    Image.fromarray(photographs[0].permute(1, 2, 0).numpy()).save(tmp_path / "val/cat/a.png")
    write_contact_sheet(tmp_path / "val/cat/a.png", tmp_path / "s.png")
    sheet = np.array(Image.open(tmp_path / "s.png"))
    dataset = open_dataset("imagenet-c-live", Request(data_dir=str(tmp_path / "val")))
    names = list(dict.fromkeys(cell.name for cell in dataset.distortions if cell.severity))
    for cell in dataset.distortions[1::7]:
        (batch,) = dataset.read(cell, Shard(0, 1), 1, torch.device("cpu"))
        top, left = SIZE * names.index(cell.name), LABEL + SIZE * ((cell.severity or 1) - 1)
        shown = sheet[top : top + SIZE, left : left + SIZE]
        seen = batch.frames[0, 0].permute(1, 2, 0).numpy()
        inside = shown[:, 8:] == seen[:, 8:]
        assert inside.all(), cell


def test_unreadable_or_unwritable_files_are_named(
    tmp_path: Path, photographs: torch.Tensor
) -> None:
    with pytest.raises(DatasetError, match=r"gone\.png cannot be read"):
        write_contact_sheet(tmp_path / "gone.png", tmp_path / "s.png")
    Image.fromarray(photographs[0].permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"cannot write .*sheet\.txt"):
        write_contact_sheet(tmp_path / "a.png", tmp_path / "sheet.txt")

"""Provenance of a real run whose files are lost, damaged or from another machine."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robustbench_aa import antialias, load
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.models.checkpoint import write_converted
from robustbench_aa.report.provenance import mixtures, provenance, read_origins
from robustbench_aa.run import Run
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.shards import Store
from robustbench_aa.suite import Suite
from robustbench_aa.types import Shard
from tests.conftest import made_elsewhere, make_classifier

NETWORK = "digits:resnet@lpf3-seed0"
MODELS = ["mine-seed0", "mine-seed1", NETWORK]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = [make_classifier(name, seed=seed) for seed, name in enumerate(MODELS[:2])]
    suite = Suite([*models, NETWORK], ["digits-c", "digits-shift"], limit=20, shard_size=10)
    place = tmp_path_factory.mktemp("run")
    prepare(suite, place, "cpu").run()
    return place


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    return shutil.copytree(evaluated, tmp_path / "run")


def values(folder: Path, subject: str, name: str) -> list[str]:
    store = Store.of_run(folder)
    table = provenance(store, read_origins(store))
    return table.loc[(table["subject"] == subject) & (table["property"] == name), "value"].tolist()


def test_provenance_has_all_values_of_run_json(folder: Path) -> None:
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert Run(folder).report()
    table = pd.read_csv(folder / "report" / "provenance.csv", dtype=str)
    assert list(table) == ["subject", "property", "value"]
    assert not table.duplicated(["subject", "property"]).any()
    properties = table.set_index(["subject", "property"])["value"]
    assert properties["run", "seed"] == "0"
    assert properties["run", "shard_size"] == "10"
    for name, value in manifest.environment.items():
        assert properties.get(("run", name), "") == value
    for dataset, identity in manifest.datasets.items():
        assert properties[dataset, "sha256"] == identity["sha256"]
        assert properties[dataset, "decoded_sha256"] == manifest.decoded[dataset]
    for model, identity in manifest.models.items():
        assert properties[model, "weights_sha256"] == identity["weights_sha256"]
    assert Run(folder).tables().warnings == []
    assert not (folder / "report" / "missing.csv").exists()


def test_differing_values_have_a_row_for_each_value_and_model(folder: Path) -> None:
    (here,) = values(folder, "run", "pillow")
    made_elsewhere(folder / "predictions" / NETWORK / "digits-c" / "fog", pillow="1.0")
    assert values(folder, "run", "pillow") == [here, "1.0"]
    assert values(folder, "mine-seed0", "pillow") == [here]
    assert values(folder, NETWORK, "pillow") == [here, "1.0"]
    assert values(folder, NETWORK, "numpy") == []


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("libjpeg", "libjpeg 9", "libjpeg 9"),
        ("libjpeg", None, "not recorded"),
        ("libavcodec", "1.2.3", "1.2.3"),
        ("torch", "1.0", "1.0"),
        ("float32_matmul_precision", "high", "high"),
        ("matmul_tf32", "True", "True"),
        ("cudnn_tf32", "True", "True"),
        ("device", "cuda:1", "cuda"),
    ],
)
def test_models_evaluated_under_other_conditions_cause_a_warning(
    folder: Path, name: str, value: str | None, shown: str
) -> None:
    (here,) = values(folder, "run", name)
    made_elsewhere(folder / "predictions" / NETWORK, **{name: value})
    assert mixtures(read_origins(Store.of_run(folder))) == [
        f"{name} differs between predictions: {here} (mine-seed0, mine-seed1), {shown} "
        f"({NETWORK}); delete those of {NETWORK} and evaluate them again where it is {here}"
    ]


def test_differently_decoded_pictures_cause_a_warning_for_each_data_set(folder: Path) -> None:
    (here,) = values(folder, "digits-c", "decoded_sha256")
    for model in MODELS[1:]:
        made_elsewhere(folder / "predictions" / model / "digits-c", decoded_sha256="f" * 64)
    assert mixtures(read_origins(Store.of_run(folder))) == [
        f"decoded_sha256 of digits-c differs between predictions: {here[:12]} (mine-seed0), "
        f"ffffffffffff (mine-seed1, {NETWORK}); delete those of mine-seed0 and evaluate them again "
        "where it is ffffffffffff"
    ]
    assert values(folder, "digits-c", "decoded_sha256") == [here, "f" * 64]


def test_differences_without_effect_cause_no_warning(folder: Path) -> None:
    made_elsewhere(folder, device="cuda:0")
    made_elsewhere(folder / "predictions" / NETWORK, device="cuda:1", python="3.99", platform="x")
    assert mixtures(read_origins(Store.of_run(folder))) == []


def test_properties_missing_from_earlier_predictions_are_shown_as_not_recorded(
    folder: Path,
) -> None:
    new = ("libjpeg", "libavcodec", "float32_matmul_precision", "matmul_tf32", "cudnn_tf32")
    made_elsewhere(folder, **dict.fromkeys((*new, "decoded_sha256", "command")))
    assert mixtures(read_origins(Store.of_run(folder))) == []
    for name in (*new, "command"):
        assert values(folder, "run", name) == ["not recorded"]
    assert values(folder, "digits-c", "decoded_sha256") == ["not recorded"]


def test_a_run_without_predictions_has_a_provenance(folder: Path) -> None:
    shutil.rmtree(folder / "predictions")
    tables = Run(folder).tables()
    assert tables.warnings == []
    assert set(tables.provenance["subject"]) == {"run", "digits-c", "digits-shift", *MODELS}
    assert len(tables.missing) == 3 * (1 + 75 + 1)
    assert (tables.missing["missing"] == 2).all()


def test_missing_csv_lists_the_lost_predictions(folder: Path) -> None:
    files = sorted((folder / "predictions").rglob("*.parquet"))
    lost = random.Random(0).sample(files, len(files) // 2)
    expected: dict[tuple[str, str, str], list[str]] = {}
    store = Store.of_run(folder)
    held_out = {str(c.distortion) for c in store.cells("digits-c") if c.distortion.held_out}
    for file in sorted(lost, key=lambda path: int(path.stem.split("-")[0])):
        file.unlink()
        model, dataset, *cell = file.relative_to(folder / "predictions").parent.parts
        if "/".join(cell) not in held_out:
            expected.setdefault((model, dataset, "/".join(cell)), []).append(file.stem)
    run = Run(folder)
    run.report()
    table = pd.read_csv(folder / "report" / "missing.csv")
    assert list(table) == [
        *("model", "dataset", "distortion", "shards", "missing", "first_missing")
    ]
    found = {
        (row.model, row.dataset, row.distortion): (row.shards, row.missing, row.first_missing)
        for row in table.itertuples()
    }
    assert found == {cell: (2, len(shards), shards[0]) for cell, shards in expected.items()}
    assert not run.leaderboard()["complete"].any()


def test_holdouts_are_never_missing(folder: Path) -> None:
    shutil.rmtree(folder / "predictions" / NETWORK / "digits-c" / "spatter")
    tables = Run(folder).tables()
    assert tables.missing.empty
    assert tables.leaderboard["complete"].all()


def test_a_damaged_file_is_missing_also_where_its_footer_is_whole(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store.of_run(folder)
    cells = {str(cell.distortion): cell for cell in store.cells("digits-c")}
    cut = store.path(NETWORK, cells["fog/2"], Shard(0, 10))
    cut.write_bytes(cut.read_bytes()[:-5])
    flipped = store.path("mine-seed1", cells["clean"], Shard(10, 20))
    content = np.frombuffer(flipped.read_bytes(), np.uint8).copy()
    content[60] ^= 0x55  # among the first column's values
    flipped.write_bytes(content.tobytes())
    assert store.origin("mine-seed1", cells["clean"], Shard(10, 20)) is not None
    tables = Run(folder).tables()
    assert tables.missing.to_numpy().tolist() == [
        ["mine-seed1", "digits-c", "clean", 2, 1, "10-20"],
        [NETWORK, "digits-c", "fog/2", 2, 1, "0-10"],
    ]
    assert not tables.leaderboard["complete"].any()
    assert f"damaged prediction file {flipped}" in caplog.text


def test_models_that_were_converted_but_not_trained_are_marked_and_warned_of(
    tmp_path: Path,
) -> None:
    plain = load(NETWORK.replace("lpf3", "baseline"))
    tuned = antialias(plain, 3)
    write_converted(tuned.module, tmp_path / "tuned.safetensors", fine_tuned=True)
    models = [plain, antialias(plain, method="aps"), f"digits:resnet@{tmp_path}/tuned.safetensors"]
    prepare(Suite(models, ["digits"], limit=5), tmp_path / "run", "cpu").run()
    tables = Run(tmp_path / "run").tables()
    board = tables.leaderboard.set_index("model")["conversion"]
    found = {name.rpartition("/")[2]: value for name, value in board.items()}
    assert found == {
        "digits:resnet@baseline-seed0": "",
        "digits:resnet@baseline+aps-seed0": "aps, not fine-tuned",
        "tuned.safetensors": "lpf3, fine-tuned",
    }
    (warning,) = (text for text in tables.warnings if "fine-tuned" in text)
    assert warning.startswith("digits:resnet@baseline+aps-seed0: converted but not fine-tuned")
    store = Store.of_run(tmp_path / "run")
    rows = provenance(store, read_origins(store))
    assert rows.loc[rows["property"] == "conversion", "value"].tolist() == ["aps", "lpf3"]

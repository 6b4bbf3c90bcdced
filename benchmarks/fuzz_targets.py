"""What `benchmarks/fuzz.py` tries: sound files of every kind, which are changed and read.

A target makes its files in a folder and gives a function that changes them by chance and has the
program read them. No case names a `python:` model, which is code.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.damage import ODD, damaged, twisted
from robustbench_aa.datasets import DATASETS, Request, open_dataset
from robustbench_aa.datasets.cifar import BATCH, read_array, read_labels
from robustbench_aa.datasets.pictures import Geometry, decode
from robustbench_aa.datasets.videos import decode_video, encode_video
from robustbench_aa.errors import DamagedShard
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.models import load
from robustbench_aa.run import Run
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.store.shards import Store
from robustbench_aa.suite import SHIPPED, Suite, read_suite
from robustbench_aa.types import CLEAN, Shard

MODEL = "digits:resnet@baseline-seed0"
Try = Callable[[np.random.Generator], None]
"""Makes a case and tries it."""


def suites(folder: Path) -> Try:
    """Suite files."""
    seeds = [path.read_bytes() for path in sorted(SHIPPED.glob("*.toml"))]
    words = [b"[" * 3000, b"9" * 5000, b"0x" + b"f" * 9000, b'seed = "0"\n', b"limit = 0\n", b"{"]
    file = folder / "suite.toml"

    def attempt(random: np.random.Generator) -> None:
        content = damaged(seeds[random.integers(len(seeds))], random)
        if random.random() < 0.3:
            place = random.integers(len(content) + 1)
            content = content[:place] + words[random.integers(len(words))] + content[place:]
        file.write_bytes(content)
        read_suite(str(file))

    return attempt


def models(_folder: Path) -> Try:
    """Specifications of models; none of code or of weights that are published."""
    seeds = (
        *("digits:resnet@random", "digits:vgg@x.pth", "torchvision:none@a/b", "timm:none@random"),
        *("file:alexnet@/dev/zero", "file:timm/x@a.pth", "antialiased:none", "onnx:/dev/zero"),
        *("onnx:a", "digits:", ":", "@", "a:b:c@d@e"),
    )

    def attempt(random: np.random.Generator) -> None:
        name = damaged(seeds[random.integers(len(seeds))].encode(), random).decode(errors="replace")
        if random.random() < 0.1:
            name += str(ODD[random.integers(len(ODD))])
        if not name.startswith("python:"):
            load(name)

    return attempt


def datasets(folder: Path) -> Try:
    """Folders of data sets, in which something lies where something else should."""
    sound = folder / "sound"
    for place in ("n01440764", "fog/1/n01440764", "weather/fog/2/n01440764", "0", "cat"):
        (sound / place).mkdir(parents=True)
        Image.new("RGB", (230, 226)).save(sound / place / "a.png")
    (sound / BATCH).parent.mkdir()
    (sound / BATCH).write_bytes(b"\x80\x02]q\x00.")
    np.save(sound / "labels.npy", np.zeros(5, np.uint8))
    np.save(sound / "fog.npy", np.zeros((5, 32, 32, 3), np.uint8))
    names = [name for name, entry in DATASETS.items() if not entry.embedded]

    def attempt(random: np.random.Generator) -> None:
        root = folder / "changed"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(sound, root)
        for _ in range(random.integers(1, 5)):
            paths = [path for path in sorted(root.rglob("*")) if not path.is_symlink()]
            if paths:
                _replace(paths[random.integers(len(paths))], random)
        name = names[random.integers(len(names))]
        if random.random() < 0.1:
            name = damaged(name.encode(), random).decode(errors="replace")
        dataset = open_dataset(name, Request(data_dir=str(root), workers=1))
        cell = next(cell for cell in dataset.distortions if cell not in dataset.missing)
        next(iter(dataset.read(cell, Shard(0, 1), 1, torch.device("cpu"))))

    return attempt


def _replace(path: Path, random: np.random.Generator) -> None:
    content = path.read_bytes() if path.is_file() else b""
    how = random.integers(6)
    if how == 5:
        path.rename(
            os.fsdecode(os.fsencode(path.parent) + b"/\xff\n" + random.bytes(1).hex().encode())
        )
        return
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if how == 0:
        path.write_bytes(damaged(content, random))
    elif how == 1:
        path.mkdir()
    elif how == 2:
        os.mkfifo(path)
    elif how == 3:
        path.symlink_to(path.parent)


def _run(folder: Path) -> Run:
    """A target's copy of a small run."""
    return Run(shutil.copytree(_evaluated(folder.parent / f"run-{os.getpid()}"), folder / "run"))


@cache
def _evaluated(folder: Path) -> Path:
    """A small run: clean digits, shifts, and one of the corruptions of a set."""
    suite = Suite([MODEL], ["digits", "digits-shift"], limit=6, shard_size=4)
    prepare(suite, folder, "cpu").run()
    suite = Suite([MODEL], ["digits-c"], limit=6, shard_size=4, corruptions=["fog"])
    prepare(suite, folder, "cpu").run()
    return folder


def manifests(folder: Path) -> Try:
    """`run.json`, by its bytes and by its entries."""
    file = _run(folder).directory / "run.json"
    text = file.read_bytes()

    def attempt(random: np.random.Generator) -> None:
        file.write_bytes(_other_manifest(text, random))
        store = Store.of_run(file.parent)
        assert Manifest.read(file.parent) == store.manifest
        _check_paths(store)

    return attempt


def _other_manifest(text: bytes, random: np.random.Generator) -> bytes:
    if random.random() < 0.2:
        return damaged(text, random)
    content = json.loads(text)
    for _ in range(random.integers(1, 3)):
        content = twisted(content, random)
    return json.dumps(content).encode()


def _check_paths(store: Store) -> None:
    """Every prediction file lies where the run's lie, under a name of its own."""
    root = (store.directory / "predictions").resolve()
    places = [
        store.path(model, cell, store.shards(dataset)[0]).resolve()
        for model in store.manifest.models
        for dataset in store.manifest.datasets
        for cell in store.cells(dataset)
    ]
    assert all(place.is_relative_to(root) for place in places), "a path leaves the run"
    assert len(set(places)) == len(places), "two cells share a path"


def reports(folder: Path) -> Try:
    """All tables of a run whose `run.json` or prediction file is another."""
    run = _run(folder)
    file = run.directory / "run.json"
    text = file.read_bytes()
    predictions = sorted(run.directory.rglob("*.parquet"))

    def attempt(random: np.random.Generator) -> None:
        chosen = predictions[random.integers(len(predictions))]
        content = chosen.read_bytes()
        try:
            if random.random() < 0.2:
                chosen.write_bytes(damaged(content, random))
            else:
                file.write_bytes(_other_manifest(text, random))
            Run(run.directory).tables()
        finally:
            chosen.write_bytes(content)
            file.write_bytes(text)

    return attempt


def predictions(folder: Path) -> Try:
    """Prediction files: what is read of a damaged one is what was written."""
    store = Store.of_run(_run(folder).directory)
    (cell,) = (cell for cell in store.cells("digits") if cell.distortion == CLEAN)
    place = (MODEL, cell, Shard(0, 4))
    file = store.path(*place)
    content, sound = file.read_bytes(), store.read_shard(*place)

    def attempt(random: np.random.Generator) -> None:
        file.write_bytes(damaged(content, random))
        store.origin(*place)
        found = store.read_shard(*place)
        if found is None:
            raise DamagedShard("no file")
        assert found.equals(sound), "other predictions"

    return attempt


def pictures(folder: Path) -> Try:
    """Pictures of every form."""
    smooth = np.random.default_rng(0).integers(256, size=(9, 9, 3), dtype=np.uint8)
    whole = Image.fromarray(smooth).resize((64, 56), Image.Resampling.BICUBIC)
    seeds = []
    forms: tuple[tuple[str, str, dict[str, Any]], ...] = (
        *(("JPEG", mode, {"progressive": mode == "L"}) for mode in ("RGB", "L", "CMYK")),
        *(("PNG", mode, {}) for mode in ("RGB", "P", "RGBA", "1")),
        *(("WEBP", "RGB", {"lossless": lossless}) for lossless in (False, True)),
        *(("BMP", mode, {}) for mode in ("RGB", "P")),
        *(("TIFF", "RGB", {"compression": of}) for of in ("raw", "tiff_lzw", "tiff_adobe_deflate")),
        *(("PPM", mode, {}) for mode in ("RGB", "L")),
    )
    for form, mode, how in forms:
        file = io.BytesIO()
        whole.convert(mode).save(file, form, **how)
        seeds.append(file.getvalue())
    path = folder / "a.jpg"
    geometries = (Geometry(32), Geometry(32, 40))

    def attempt(random: np.random.Generator) -> None:
        path.write_bytes(damaged(seeds[random.integers(len(seeds))], random))
        found = decode(path, geometries[random.integers(2)].square)
        assert found.shape == (3, 32, 32)

    return attempt


def videos(folder: Path) -> Try:
    """Videos."""
    frames = torch.arange(5 * 3 * 64 * 64).reshape(5, 3, 64, 64).remainder(251).byte()
    path = folder / "a.mp4"
    encode_video(frames, path, {"preset": "ultrafast"})
    content = path.read_bytes()

    def attempt(random: np.random.Generator) -> None:
        path.write_bytes(damaged(content, random))
        expected = (5, None)[random.integers(2)]
        found = decode_video(path, 32, expected)
        assert len(found) == (expected or len(found))

    return attempt


def arrays(folder: Path) -> Try:
    """CIFAR's arrays and its pickled batch."""
    labels, fog, batch = folder / "labels.npy", folder / "fog.npy", folder / BATCH
    batch.parent.mkdir()
    np.save(labels, np.zeros(5, np.uint8))
    np.save(fog, np.zeros((5, 32, 32, 3), np.uint8))
    content = {b"data": np.zeros((5, 3072), np.uint8), b"labels": [0, 1, 2, 3, 4]}
    seeds = [labels.read_bytes(), fog.read_bytes()]
    seeds += [pickle.dumps(content, protocol=protocol) for protocol in (2, 4)]
    request = Request(data_dir=str(folder), workers=1)

    def attempt(random: np.random.Generator) -> None:
        which = random.integers(4)
        found = damaged(seeds[which][: 200 if random.random() < 0.5 else None], random)
        if which == 0:
            labels.write_bytes(found)
            assert read_labels(folder, 10).max() < 10
        elif which == 1:
            fog.write_bytes(found)
            read_array(fog, 5)
        else:
            batch.write_bytes(found)
            open_dataset("cifar10-c-live", request)

    return attempt


def checkpoints(folder: Path) -> Try:
    """Checkpoints of a network, read and fitted."""
    state = load("digits:resnet@lpf3-seed0").module.state_dict()
    old, new, safe = (folder / name for name in ("old.pth", "new.pth", "a.safetensors"))
    torch.save(state, old, _use_new_zipfile_serialization=False)
    torch.save(state, new)
    save_file(state, safe, {"robustbench_aa.antialias": '{"filter_size": 3}'})
    seeds = {file: file.read_bytes() for file in (old, new, safe)}
    files = list(seeds)

    def attempt(random: np.random.Generator) -> None:
        file = files[random.integers(3)]
        content = seeds[file]
        head = int(random.choice([500, 5000, len(content)]))  # where there is more than weights
        file.write_bytes(damaged(content[:head], random) + content[head:])
        load(f"digits:resnet@{file}")

    return attempt


TARGETS: dict[str, tuple[Callable[[Path], Try], int]] = {
    "suites": (suites, 20),
    "models": (models, 10),
    "datasets": (datasets, 6),
    "run.json": (manifests, 20),
    "reports": (reports, 2),
    "predictions": (predictions, 12),
    "pictures": (pictures, 14),
    "videos": (videos, 4),
    "arrays": (arrays, 8),
    "checkpoints": (checkpoints, 4),
}
"""What is tried, and its percentage of the cases."""

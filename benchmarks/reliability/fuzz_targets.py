"""The targets of `benchmarks/reliability/fuzz.py`: valid files of every kind, damaged and read.

A target writes its files into a folder and returns a function that damages them at random and has
the program read them. No case names a `python:` model, which is code.
"""

from __future__ import annotations

import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.reliability.damage import ODD, damaged
from benchmarks.reliability.fuzz_runs import (
    Try,
    footers,
    manifests,
    merges,
    predictions,
    reports,
)
from robustbench_aa.datasets import DATASETS, Request, open_dataset
from robustbench_aa.datasets.cifar import BATCH, read_array, read_labels
from robustbench_aa.datasets.pictures import Geometry, decode
from robustbench_aa.datasets.videos import decode_video, encode_video
from robustbench_aa.models import load
from robustbench_aa.suite import SHIPPED, read_suite
from robustbench_aa.types import Shard


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
    kind = random.integers(6)
    if kind == 5:
        path.rename(
            os.fsdecode(os.fsencode(path.parent) + b"/\xff\n" + random.bytes(1).hex().encode())
        )
        return
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind == 0:
        path.write_bytes(damaged(content, random))
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        os.mkfifo(path)
    elif kind == 3:
        path.symlink_to(path.parent)


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
        *(
            ("TIFF", "RGB", {"compression": compression})
            for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate")
        ),
        *(("PPM", mode, {}) for mode in ("RGB", "L")),
    )
    for form, mode, options in forms:
        file = io.BytesIO()
        whole.convert(mode).save(file, form, **options)
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
        kind = random.integers(4)
        found = damaged(seeds[kind][: 200 if random.random() < 0.5 else None], random)
        if kind == 0:
            labels.write_bytes(found)
            assert read_labels(folder, 10).max() < 10
        elif kind == 1:
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
    "suites": (suites, 19),
    "models": (models, 8),
    "datasets": (datasets, 6),
    "run.json": (manifests, 20),
    "reports": (reports, 2),
    "predictions": (predictions, 10),
    "pictures": (pictures, 14),
    "videos": (videos, 4),
    "arrays": (arrays, 8),
    "checkpoints": (checkpoints, 4),
    "footers": (footers, 3),
    "merges": (merges, 2),
}
"""What is tried, and its percentage of the cases."""

"""ImageNet's validation set and the natural shifts of it: clean photographs from other sources.

| data set | classes compared | source |
|---|---|---|
| `imagenet-1k` | 1,000 | Russakovsky et al., IJCV 2015 |
| `imagenet-a` | its 200 | Hendrycks et al., "Natural Adversarial Examples", CVPR 2021 |
| `imagenet-r` | its 200 | Hendrycks et al., "The Many Faces of Robustness", ICCV 2021 |
| `imagenet-v2` and variants | 1,000 | Recht et al., ICML 2019 |
| `imagenet-sketch` | 1,000 | Wang et al., NeurIPS 2019 |
| `imagenet-real` | 1,000, several may be right | Beyer et al., arXiv 2006.07159 |

ImageNet-A and ImageNet-R have 200 classes each. Their published errors compare the 200 logits of
these classes only. The rule and the number are part of the column: `error_imagenet_r_200`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from robustbench_aa.datasets.dataset import Request
from robustbench_aa.datasets.entry import DatasetEntry, Track, Verdict
from robustbench_aa.datasets.imagenet import KEPT, REQUEST, verify_clean
from robustbench_aa.datasets.labels import PLAIN, Scoring, wnids
from robustbench_aa.datasets.live import LiveDataset
from robustbench_aa.datasets.pictures import AS_MADE, Pictures, find_pictures
from robustbench_aa.datasets.real_labels import REAL_LABELS, any_label
from robustbench_aa.errors import UsageError
from robustbench_aa.support.download import Download
from robustbench_aa.types import CLEAN, PHOTOGRAPHS

IMAGENET_A = """
    6 11 13 15 17 22 23 27 30 37 39 42 47 50 57 70 71 76 79 89 90 94 96 97 99 105 107 108
    110 113 124 125 130 132 143 144 150 151 207 234 235 254 277 283 287 291 295 298 301 306
    307 308 309 310 311 313 314 315 317 319 323 324 326 327 330 334 335 336 347 361 363 372
    378 386 397 400 401 402 404 407 411 416 417 420 425 428 430 437 438 445 456 457 461 462
    470 472 483 486 488 492 496 514 516 528 530 539 542 543 549 552 557 561 562 569 572 573
    575 579 589 606 607 609 614 626 627 640 641 642 643 658 668 677 682 684 687 701 704 719
    736 746 749 752 758 763 765 768 773 774 776 779 780 786 792 797 802 803 804 813 815 820
    823 831 833 835 839 845 847 850 859 862 870 879 880 888 890 897 900 907 913 924 932 933
    934 937 943 945 947 951 954 956 957 959 971 972 980 981 984 986 987 988
"""
IMAGENET_R = """
    1 2 4 6 8 9 11 13 22 23 26 29 31 39 47 63 71 76 79 84 90 94 96 97 99 100 105 107 113 122
    125 130 132 144 145 147 148 150 151 155 160 161 162 163 171 172 178 187 195 199 203 207
    208 219 231 232 234 235 242 245 247 250 251 254 259 260 263 265 267 269 276 277 281 288
    289 291 292 293 296 299 301 308 309 310 311 314 315 319 323 327 330 334 335 337 338 340
    341 344 347 353 355 361 362 365 366 367 368 372 388 390 393 397 401 407 413 414 425 428
    430 435 437 441 447 448 457 462 463 469 470 471 472 476 483 487 515 546 555 558 570 579
    583 587 593 594 596 609 613 617 621 629 637 657 658 701 717 724 763 768 774 776 779 780
    787 805 812 815 820 824 833 847 852 866 875 883 889 895 907 928 931 932 933 934 936 937
    943 945 947 948 949 951 953 954 957 963 965 967 980 981 983 988
"""


Score = Callable[[Pictures, Path], tuple[Pictures, Scoring]]
"""(pictures, folder) → (the pictures that count, the class rule); raises for other classes."""


def open_photographs(
    entry: DatasetEntry, request: Request, score: Score, inner: str = ""
) -> LiveDataset:
    """Return clean photographs in class folders, resized and cropped as ImageNet-C was made.

    Args:
        entry: the data set.
        request: the part to open, and its folder: that of the class folders, or the one above.
        score: the class rule.
        inner: name of the folder of class folders in the published archive.

    Raises:
        UsageError: the folder is not named, does not exist, or has other classes.
        DatasetError: a file of labels cannot be read.
    """
    root = entry.folder(request)
    if inner and (root / inner).is_dir():
        root = root / inner
    numbered = all(folder.name.isdecimal() for folder in root.iterdir() if folder.is_dir())
    found = find_pictures(root, classes=len(wnids()) if numbered else None)
    if found.labels.rule != "ImageNet wnids" and not (numbered and score is one_of_all):
        raise UsageError(
            f"{root} has class folders that are not ImageNet's wnids; check --data-dir"
        )
    pictures, scoring = score(found, root)
    geometry = request.geometry or AS_MADE
    pictures = dataclasses.replace(pictures, geometry=geometry, workers=request.workers)
    index = request.selected(entry.name, pictures.files, others=found.files)
    if scoring is not PLAIN:
        scoring = dataclasses.replace(scoring, column=_column(entry.name, scoring))
    if request.images and scoring.left_out:
        kept = request.images.positions(entry.name, pictures.files, others=found.files)
        scoring = dataclasses.replace(scoring, left_out=len(request.images.names) - len(kept))
    return LiveDataset(
        name=entry.name,
        classes=pictures.classes,
        labels=pictures.labels,
        collection=PHOTOGRAPHS,
        size=geometry.size,
        distortions=(CLEAN,),
        geometry=str(geometry),
        index=index,
        listed=request.listed,
        clean=pictures.read,
        clean_sha256=f"{pictures.sha256(root)} {scoring.sha256}",
        seed=request.seed,
        backend=request.backend,
        files=pictures.at,
        keep=KEPT,
        scoring=scoring,
    )


def _column(name: str, scoring: Scoring) -> str:
    """Return the end of a data set's columns, with the number of classes if it is not 1,000."""
    classes = [] if scoring.among is None else [str(len(scoring.among))]
    return "_".join([name.replace("-", "_"), *classes])


def validation_set(pictures: Pictures, _root: Path) -> tuple[Pictures, Scoring]:
    """Return ImageNet's own classes, whose error is `clean_error`."""
    return pictures, PLAIN


def one_of_all(pictures: Pictures, _root: Path) -> tuple[Pictures, Scoring]:
    """Return the rule of one label among all classes."""
    return pictures, Scoring(rule=f"one label among {pictures.classes:,} classes")


def one_of(listed: str, pictures: Pictures, root: Path) -> tuple[Pictures, Scoring]:
    """Return the rule of one label among some classes.

    Args:
        listed: positions of the classes among ImageNet's, separated by white space.
        pictures: the pictures.
        root: their folder.

    Raises:
        UsageError: there are pictures of other classes, or a class has none.
    """
    among = np.array(listed.split(), dtype=np.int64)
    other = sorted(set(pictures.label.tolist()) ^ set(among.tolist()))
    if other:
        which = "lacks" if other[0] in among else "has"
        raise UsageError(
            f"{root} {which} class {wnids()[other[0]]}, and differs in {len(other)} classes from "
            f"the {len(among)} of this data set; fetch it again, or check --data-dir"
        )
    rule = f"one label among the {len(among)} classes of the data set"
    return pictures, Scoring(rule=rule, among=among)


def _natural(
    name: str,
    summary: str,
    score: Score,
    download: Download | None = None,
    inner: str = "",
    variable: str = "",
    obtain: str = "",
) -> DatasetEntry:
    """Return the entry of clean photographs.

    Args:
        name, summary, obtain: as in `DatasetEntry`.
        score, inner: as in `open_photographs`.
        download: the published file.
        variable: as in `DatasetEntry`; empty for one that is named like the data set.
    """
    return DatasetEntry(
        name,
        summary,
        partial(open_photographs, score=score, inner=inner),
        form="pictures",
        variable=variable or f"{name.replace('-', '_').upper()}_DIR",
        verifier=partial(verify_inner, inner=inner),
        archives={"all": download} if download else {},
        obtain=obtain,
    )


def verify_inner(root: Path, sample: int | None, track: Track, *, inner: str) -> Verdict:
    """Check class folders of photographs, in the folder of the published archive or without it."""
    inside = root / inner
    return verify_clean(inside if inside.is_dir() else root, sample, track)


_BERKELEY = "https://people.eecs.berkeley.edu/~hendrycks"
_HUB = "https://huggingface.co/datasets"


def _v2(variant: str) -> str:
    return f"{_HUB}/vaishaal/ImageNetV2/resolve/main/imagenetv2-{variant}.tar.gz"


ENTRIES = (
    _natural(
        "imagenet-1k",
        "ImageNet's validation set, clean",
        validation_set,
        variable="IMAGENET_DIR",
        obtain=REQUEST,
    ),
    _natural(
        "imagenet-a",
        "ImageNet-A, scored among its 200 classes",
        partial(one_of, IMAGENET_A),
        Download(
            f"{_BERKELEY}/imagenet-a.tar",
            "sha256",
            "3bb3632277e6ba6392ea64c02ddbf4dd2266c9caffd6bc09c9656d28f012589e",
        ),
        inner="imagenet-a",
    ),
    _natural(
        "imagenet-r",
        "ImageNet-R, scored among its 200 classes",
        partial(one_of, IMAGENET_R),
        Download(
            f"{_BERKELEY}/imagenet-r.tar",
            "sha256",
            "18c6bf493b39a0d975d48e587437f562caab9c52ae6327dcfa9dd8eb54aa1b52",
        ),
        inner="imagenet-r",
    ),
    _natural(
        "imagenet-v2",
        "ImageNetV2, matched frequency",
        one_of_all,
        Download(
            _v2("matched-frequency"),
            "sha256",
            "f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
        ),
        inner="imagenetv2-matched-frequency-format-val",
    ),
    _natural(
        "imagenet-v2-threshold",
        "ImageNetV2, threshold 0.7",
        one_of_all,
        Download(
            _v2("threshold0.7"),
            "sha256",
            "32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2",
        ),
        inner="imagenetv2-threshold0.7-format-val",
    ),
    _natural(
        "imagenet-v2-top",
        "ImageNetV2, top images",
        one_of_all,
        Download(
            _v2("top-images"),
            "sha256",
            "85e4ace30f3f0d660152062254b8759dda66267b27f7ec0fd8d5768f1073a04b",
        ),
        inner="imagenetv2-top-images-format-val",
    ),
    _natural(
        "imagenet-sketch",
        "ImageNet-Sketch",
        one_of_all,
        Download(
            f"{_HUB}/songweig/imagenet_sketch/resolve/main/data/ImageNet-Sketch.zip",
            "sha256",
            "4d3ce6b82a7c48aabf14aeac105eb533e75707f152cc858f55bfc022031a72ed",
        ),
        inner="sketch",
    ),
    _natural(
        "imagenet-real",
        "ImageNet's validation set with the labels of ReaL",
        any_label,
        Download(
            "https://raw.githubusercontent.com/google-research/reassessed-imagenet/"
            f"bcd006fe12e929f055e0ec7fe39dbf4d64a6881a/{REAL_LABELS}",
            "sha256",
            "d83e9bff374c631aae8439eb064c7019acc56e1b3bc3f56b8380c2a710b0220b",
        ),
        variable="IMAGENET_DIR",
    ),
)

"""The kinds of a run's data sets, of which a leaderboard has a column for each metric."""

from __future__ import annotations

from robustbench_aa.errors import SuiteError
from robustbench_aa.store.dataset_schema import distortion_of
from robustbench_aa.store.manifest import Manifest
from robustbench_aa.types import column_of, kind


def kinds_of(manifest: Manifest) -> dict[str, str]:
    """Return a run's data set of each kind, such as `corruption`, `shift` or `clean`.

    A data set whose metrics have columns of their own has those in its key, such as
    `clean:imagenet_r_200`.
    """
    return {_key(manifest, dataset): dataset for dataset in manifest.datasets}


def check_kinds(manifest: Manifest) -> None:
    """Check that one leaderboard can show all data sets of a run.

    A leaderboard has one column for a metric and ranks models on the same images, so a run has one
    data set of each kind, all with the same images. Data sets whose metrics have columns of their
    own come in addition.

    Raises:
        SuiteError: two data sets are of one kind, or have different images; names both.
    """
    kinds = kinds_of(manifest)
    images = {
        name: f"{entry['collection']} of {entry['classes']} classes"
        for name, entry in manifest.datasets.items()
    }
    first = next(iter(images))
    for name in images:
        key = _key(manifest, name)
        if kinds[key] != name:
            raise SuiteError(
                f"{name} and {kinds[key]} both measure {column_of(key) or key}; give them an "
                "--output-dir each"
            )
        if images[name] != images[first]:
            raise SuiteError(
                f"{first} has {images[first]} and {name} has {images[name]}, which cannot share a "
                "leaderboard; give them an --output-dir each"
            )


def _key(manifest: Manifest, dataset: str) -> str:
    entry = manifest.datasets[dataset]
    measured = kind(distortion_of(distortion) for distortion in entry["distortions"])
    column = (entry.get("scoring") or {}).get("column", "")
    return f"{measured}:{column}" if column else measured

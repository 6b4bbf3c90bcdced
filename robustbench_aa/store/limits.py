"""The limit on a run's size: reports take time and memory for missing predictions as well."""

from __future__ import annotations

from pathlib import Path

from robustbench_aa.errors import RunError
from robustbench_aa.store.manifest import RUN, Manifest
from robustbench_aa.store.storage import files_in

SMALL_FILES, SMALL_OUTCOMES = 100_000, 20_000_000
"""The size up to which a run needs no predictions yet."""
FILES_PER_FILE, OUTCOMES_PER_BYTE = 1000, 100
"""How far a larger run may exceed its predictions; a prediction takes several bytes."""


def check_size(directory: Path, manifest: Manifest) -> None:
    """Check that a run does not describe far more predictions than it has.

    Raises:
        RunError: the run is too large for its predictions.
    """
    files = outcomes = 0
    for dataset in manifest.datasets.values():
        pairs = len(manifest.models) * len(dataset["distortions"])
        files += pairs * -(-dataset["images"] // manifest.shard_size)
        outcomes += pairs * dataset["images"]
    if files <= SMALL_FILES and outcomes <= SMALL_OUTCOMES:
        return
    found = files_in(directory / "predictions", "*.parquet")
    sizes = [file.stat().st_size for file in found if not file.is_symlink()]
    if files > max(SMALL_FILES, FILES_PER_FILE * len(sizes)) or outcomes > max(
        SMALL_OUTCOMES, OUTCOMES_PER_BYTE * sum(sizes)
    ):
        raise RunError(
            f"{directory / RUN} describes {files:,} prediction files with {outcomes:,} outcomes, "
            f"but there are {len(sizes):,} files of {sum(sizes):,} bytes; evaluate more of the run "
            "first"
        )

"""The outcomes of a run that holds one model."""

from __future__ import annotations

from pathlib import Path

from robustbench_aa.metrics.per_image import Outcomes, read_models
from robustbench_aa.store.shards import Store


def outcomes(run: Path, kind: str) -> Outcomes:
    """Return the outcomes of the first model of a run on its data set of a kind."""
    model, *_ = read_models(Store.of_run(run)).values()
    first, *_ = model.seeds.values()
    return first[kind]

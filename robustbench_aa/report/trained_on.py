"""Marks of the corruptions that models were trained on.

A model that was trained on the corruptions of the test measures how well it learned them, not how
robust it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import pandas as pd

from robustbench_aa.metrics.per_image import Model
from robustbench_aa.store.shards import Store

COLUMN = "trained_on"
TrainedOn = Mapping[str, Collection[str]]
"""The corruptions that each model was trained on, by its name; only models that declare any."""


def read_trained_on(store: Store, models: Mapping[str, Model]) -> TrainedOn:
    """Return the corruptions that each model, or any of its training seeds, was trained on."""
    identities = store.manifest.models
    found = {
        name: list(
            dict.fromkeys(
                corruption
                for seed in model.seeds
                for corruption in identities[seed].get(COLUMN, ())
            )
        )
        for name, model in models.items()
    }
    return {name: corruptions for name, corruptions in found.items() if corruptions}


def listed(board: pd.DataFrame, trained: TrainedOn) -> pd.DataFrame:
    """Return a leaderboard with a column that lists these corruptions, if there are any."""
    if not trained:
        return board
    texts = {name: ", ".join(corruptions) for name, corruptions in trained.items()}
    place = list(board).index("images")
    found = board.copy()
    found.insert(place, COLUMN, board["model"].map(texts).fillna(""))
    return found


def marked(table: pd.DataFrame, distortion: str, trained: TrainedOn) -> pd.DataFrame:
    """Return a table with a column that is true where a model was trained on a row's corruption.

    Args:
        table: a table with a row for each model and distortion.
        distortion: its column of distortions.
        trained: corruptions by model; without any, the table has no such column.
    """
    if not trained or table.empty:
        return table
    pairs = zip(table["model"], table[distortion], strict=True)
    return table.assign(**{COLUMN: [name in trained.get(model, ()) for model, name in pairs]})


def trained_notes(trained: TrainedOn) -> list[str]:
    """Return a note for each model that was trained on corruptions, and one on their mean."""
    notes = [
        f"{name} was trained on {', '.join(corruptions)}" for name, corruptions in trained.items()
    ]
    if notes:
        notes.append(
            "mean_error_unseen: the mean over the corruptions that no model of the run was trained "
            "on"
        )
    return notes

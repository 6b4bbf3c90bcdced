"""The feature maps on the page: one small picture per layer, with its name as text."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image

COLOURS = "magma"


def feature_parts(maps: pd.DataFrame | None) -> dict[str, Any]:
    """Return the pictures of all models and layers, on one colour scale.

    Args:
        maps: as in `draw_feature_maps`; None for none.

    Returns:
        `largest`, the distance of the brightest colour; `scale`, some colours from the smallest to
        the largest distance; and `models`, which have a `name` and `layers`. A layer has a `name`,
        its mean distance `mean` and a picture `uri`.
    """
    if maps is None or maps.empty:
        return {}
    largest = float(maps["distance"].max()) or 1.0
    return {
        "largest": f"{largest:.2f}",
        "scale": [mpl.colors.to_hex(mpl.colormaps[COLOURS](step / 8)) for step in range(9)],
        "models": [
            {"name": str(model), "layers": list(_layers(rows, largest))}
            for model, rows in maps.groupby("model", sort=False)
        ],
    }


def _layers(rows: pd.DataFrame, largest: float) -> Iterator[dict[str, str]]:
    ordered = rows.sort_values("order", kind="stable")
    for layer, distances in ordered.groupby("layer", sort=False):
        square = distances.pivot_table(index="down", columns="right", values="distance")
        yield {
            "name": str(layer),
            "mean": f"{distances['distance'].mean():.3f}",
            "uri": _picture(square.to_numpy() / largest),
        }


def _picture(shares: np.ndarray) -> str:
    """Return a PNG file as a data URI: a pixel for each offset, [H, W] in [0, 1]."""
    places = np.round(np.nan_to_num(shares) * 255).astype(np.uint8)
    picture = Image.frombytes("P", places.shape[::-1], places.tobytes())
    colours = mpl.colormaps[COLOURS](np.arange(256) / 255, bytes=True)[:, :3]
    picture.putpalette(colours.ravel().tolist())
    file = io.BytesIO()
    picture.save(file, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"

"""A plot of the predictions along a video, a strip for each model."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from robustbench_aa.report.drawing import COLOURS, INK, Plot, legend_label, new_figure

OTHER = "#CCCCCC"
"""The colour of all classes that have none of their own."""
CAPTION = (
    "Predictions along a video. The colour is the top-1 class, the line its probability; marks at "
    "the bottom show frames whose class changes under a shift of one pixel."
)


def draw_strips(frames: pd.DataFrame) -> Plot:
    """Draw the predictions along a video.

    Args:
        frames: the table `frames` of a `Stability`.
    """
    # the most frequent classes have a colour, the same for all models
    classes = frames["class"].value_counts().index[: len(COLOURS) - 1]
    colours = dict(zip(classes, COLOURS[1:], strict=False))
    models = list(frames.groupby("model", sort=False))
    with new_figure((7.0, 0.9 + 1.1 * len(models))) as figure:
        grid = figure.subplots(len(models), sharex=True, squeeze=False)
        for axes, (model, rows) in zip(grid[:, 0], models, strict=True):
            axes.set_title(model, fontsize="small", loc="left")
            _draw_strip(axes, rows, colours)
        grid[-1, 0].set_xlabel("frame")
        shown = dict(colours)
        if frames["class"].nunique() > len(colours):
            shown["other classes"] = OTHER
        patches = [mpl.patches.Patch(color=colour, alpha=0.6) for colour in shown.values()]
        labels = [legend_label(str(name)) for name in shown]
        figure.legend(patches, labels, loc="outside upper center", ncols=4)
    return Plot(figure, CAPTION)


def _draw_strip(axes: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    strip = np.array([mpl.colors.to_rgb(colours.get(name, OTHER)) for name in rows["class"]])
    start, stop = rows["frame"].iloc[0], rows["frame"].iloc[-1]
    half = (stop - start) / max(1, len(rows) - 1) / 2 or 0.5
    axes.imshow(
        strip[None],
        extent=(start - half, stop + half, 0, 1),
        aspect="auto",
        alpha=0.6,
        interpolation="nearest",
    )
    axes.plot(rows["frame"], rows["probability"], color=INK, lw=0.9)
    unstable = rows[rows["shifts_changed"] > 0]
    axes.plot(unstable["frame"], np.full(len(unstable), 0.03), "|", color=INK, ms=6)
    axes.set_ylim(0, 1)
    axes.grid(visible=False)
    axes.set_ylabel("probability", fontsize="small")

"""Every number of every table of a report, computed again from the prediction files alone.

Plain transcriptions of the formulas in docs/metrics.md, which share no line with the package's
metrics. What a report has and these do not is an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import robustbench_aa
from robustbench_aa.evaluation.session import prepare
from robustbench_aa.run import Run
from robustbench_aa.suite import Suite
from tests.conftest import make_classifier
from tests.forged import forge

GROUPS = {
    "noise": ["gaussian_noise", "shot_noise", "impulse_noise"],
    "blur": ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur"],
    "weather": ["snow", "frost", "fog", "brightness"],
    "digital": ["contrast", "elastic_transform", "pixelate", "jpeg_compression"],
    "extra": ["speckle_noise", "gaussian_blur", "spatter", "saturate"],
}
GROUP = {corruption: group for group, corruptions in GROUPS.items() for corruption in corruptions}
HELD_OUT = GROUPS["extra"]
COUNTED = [corruption for corruption in GROUP if corruption not in HELD_OUT]
SEVERITIES = range(1, 6)
PERTURBED = [
    *("gaussian_noise", "shot_noise", "motion_blur", "zoom_blur", "brightness"),
    *("translate", "rotate", "tilt", "scale"),
]
PROTOCOLS = ["crops", "circular", "diagonal", "circular32", "halfpixel", "neighbours"]
SHIFTED = {
    "consistency": (1.0, 0.0),
    "accuracy_worst": (1.0, 0.0),
    "fooled": (1.0, 0.0),
    "accuracy_drop": (1.0, -1.0),
    "probability_change": (1.0, 0.0),
}
"""The largest and the smallest value of what is measured under shifts."""
STATISTICS = ("low", "high", "std")
NOT_RANKED = ("accuracy_drop", "probability_change")
"""What the leaderboard leaves out, of what is measured under shifts."""
MODELS = {model: [f"{model}-seed0", f"{model}-seed1"] for model in ("one", "two")}
PUBLISHED = Path(robustbench_aa.__file__).parent / "metrics" / "published"

Cell = tuple[str, str]
"""The measured quantity and the distortion."""
Outcomes = dict[Cell, np.ndarray]
"""A value per image."""
Means = Mapping[Cell, Any]
"""Means over all images, or over those of each resample."""
Row = dict[str, Any]
Table = dict[tuple[Any, ...], Row]
"""Rows by the columns that identify them."""


# values per image of a prediction file


def frames(folder: Path, network: str, dataset: str, cell: str) -> pd.DataFrame:
    files = sorted((folder / "predictions" / network / dataset / cell).glob("*.parquet"))
    rows = pd.concat([pd.read_parquet(file) for file in files])
    return rows.sort_values(["image", "frame"], ignore_index=True)


def first(rows: pd.DataFrame, images: int) -> pd.DataFrame:
    return rows[rows["image"].isin(rows["image"].unique()[:images])]


def by_image(rows: pd.DataFrame, column: str) -> np.ndarray:
    return rows.pivot_table(index="image", columns="frame", values=column).to_numpy()


def wrong(rows: pd.DataFrame) -> np.ndarray:
    return (rows["top1"] != rows["label"]).groupby(rows["image"]).mean().to_numpy()


def pairs(sequence: list[Any], name: str) -> list[tuple[Any, Any]]:
    earlier = [sequence[0]] * (len(sequence) - 1) if "noise" in name else sequence
    return list(zip(earlier, sequence[1:], strict=False))


def along_sequences(rows: pd.DataFrame, name: str) -> dict[str, np.ndarray]:
    """Flip probability, top-5 distance and, where all classes are kept, Zipf distance."""
    found: dict[str, list[float]] = {"flips": [], "top5": []}
    for _, frame in rows.groupby("image"):
        tops = frame[[f"top{rank}" for rank in range(1, 6)]].to_numpy().tolist()
        moves = [
            sum(abs(i - (b.index(label) if label in b else 5)) for i, label in enumerate(a))
            for a, b in pairs(tops, name)
        ]
        found["flips"].append(np.mean([a[0] != b[0] for a, b in pairs(tops, name)]))
        found["top5"].append(np.mean(moves))
        if "ranking" in frame:
            ranks = [ranking.tolist() for ranking in frame["ranking"]]
            moves = [
                sum(abs(1 / i - 1 / (b.index(label) + 1)) / i for i, label in enumerate(a, start=1))
                for a, b in pairs(ranks, name)
            ]
            found.setdefault("zipf", []).append(np.mean(moves))
    return {outcome: np.array(values) for outcome, values in found.items()}


def calibration_error(rows: pd.DataFrame) -> float:
    bins = pd.cut(rows["top1_probability"], np.arange(16) / 15, include_lowest=True)
    surplus = (rows["top1"] == rows["label"]) - rows["top1_probability"].astype(float)
    return float(surplus.groupby(bins, observed=True).sum().abs().sum() / len(rows))


def confidences(rows: pd.DataFrame) -> np.ndarray:
    """Return the number, the confidence and the correct ones of the predictions in each bin."""
    place = pd.cut(rows["top1_probability"], np.arange(16) / 15, labels=False, include_lowest=True)
    right = (rows["top1"] == rows["label"]).astype(float)
    each = [np.ones(len(rows)), rows["top1_probability"].to_numpy(float), right.to_numpy()]
    return np.array([[column[place == b].sum() for column in each] for b in range(15)])


def outcomes_of(folder: Path, network: str, datasets: Mapping[str, str]) -> Outcomes:
    """Return all outcomes of a network; outcomes of all images together are single numbers."""
    found: Outcomes = {}
    rows = frames(folder, network, datasets["clean"], "clean")
    found["wrong", "clean"], found["ece", "clean"] = wrong(rows), np.array(calibration_error(rows))
    found["bins", "clean"] = confidences(rows)
    for corruption, severity in product(GROUP, SEVERITIES):
        cell = f"{corruption}/{severity}"
        rows = frames(folder, network, datasets["corruption"], cell)
        found["wrong", cell], found["ece", cell] = wrong(rows), np.array(calibration_error(rows))
        found["bins", cell] = confidences(rows)
    for corruption in GROUP:
        cells = [found["wrong", f"{corruption}/{severity}"] for severity in SEVERITIES]
        found["mean", corruption] = np.mean(cells, axis=0)
    for file in (folder / "predictions" / network / datasets["perturbation"]).iterdir():
        rows = frames(folder, network, datasets["perturbation"], file.name)
        for outcome, values in along_sequences(rows, file.name).items():
            found[outcome, file.name] = values
    for file in (folder / "predictions" / network / datasets["shift"] / "shift").iterdir():
        rows = frames(folder, network, datasets["shift"], f"shift/{file.name}")
        found["wrong", file.name] = wrong(rows)
        for of, values in under_shifts(rows, file.name).items():
            found[of, file.name] = values
        if file.name == "diagonal":
            found["diagonal", ""] = by_image(rows, "label_probability").mean(axis=0)
    return found


def under_shifts(rows: pd.DataFrame, protocol: str) -> dict[str, np.ndarray]:
    """Consistency and, where a frame is not shifted, what a shift from there changes."""
    top, found = by_image(rows, "top1"), {}
    if protocol in ("crops", "circular32"):
        return {"consistency": (top[:, 0::2] == top[:, 1::2]).mean(axis=1)}
    middle = protocol in ("circular", "diagonal")
    still = top.shape[1] // 2 if middle else 0
    moved = [frame for frame in range(top.shape[1]) if frame != still]
    near = moved
    if protocol == "circular":
        found["consistency"] = (top[:, :, None] == top[:, None, :]).mean(axis=(1, 2))
        near = [30, 31, 32, 39, 41, 48, 49, 50]  # around 40, in rows of nine
    elif protocol == "diagonal":
        near = [still - 1, still + 1]
    else:
        found["consistency"] = (top[:, moved] == top[:, [still]]).mean(axis=1)
    right = top == by_image(rows, "label")
    certain = by_image(rows, "unshifted_probability")
    change = np.abs(certain[:, moved] - certain[:, [still]])
    return found | {
        "accuracy_worst": right.all(axis=1) * 1.0,
        "fooled": (top[:, near] != top[:, [still]]).any(axis=1) * 1.0,
        "accuracy_drop": right[:, still] - right[:, moved].mean(axis=1),
        "probability_change": change.mean(axis=1),
    }


# values computed from means over images


def positive(values: Any) -> Any:
    return np.where(values > 1e-9, values, np.nan)


def parts(own: Means, base: Means, perturbed: list[str]) -> dict[tuple[str, str], Any]:
    """CE, relative CE, FR and T5D in percent, by metric and distortion."""
    found = {}
    for corruption in COUNTED:
        ours, theirs = (
            sum(errors["wrong", f"{corruption}/{s}"] for s in SEVERITIES) for errors in (own, base)
        )
        loss, base_loss = ours - 5 * own["wrong", "clean"], theirs - 5 * base["wrong", "clean"]
        found["ce", corruption] = 100 * ours / positive(theirs)
        found["relative_ce", corruption] = 100 * loss / positive(base_loss)
    for metric, outcome in (("fr", "flips"), ("t5d", "top5")):
        for name in perturbed:
            found[metric, name] = 100 * own[outcome, name] / positive(base[outcome, name])
    return found


def aggregates(own: Means, baselines: Mapping[str, Means], perturbed: list[str]) -> Row:
    def mean_over(corruptions: list[str]) -> Any:
        cells = product(corruptions, SEVERITIES)
        return np.mean([own["wrong", f"{corruption}/{s}"] for corruption, s in cells], axis=0)

    found = {"clean_error": own["wrong", "clean"], "mean_error": mean_over(COUNTED)}
    found |= {"holdout_error": mean_over(HELD_OUT)}
    found["mean_flip_probability"] = np.mean([own["flips", name] for name in perturbed], axis=0)
    for metric in SHIFTED:
        for protocol in PROTOCOLS:
            if (metric, protocol) in own:
                found[f"{metric}_{protocol}"] = own[metric, protocol]
    for name, base in baselines.items():
        each = with_aggregates(parts(own, base, perturbed))
        found |= {f"{aggregate}_{name}": each[aggregate, ""] for aggregate in AGGREGATES}
    return found


AGGREGATES = {"mce": "ce", "relative_mce": "relative_ce", "mfr": "fr", "mt5d": "t5d"}


def with_aggregates(each: Mapping[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    found = dict(each)
    for aggregate, part in AGGREGATES.items():
        those = [values for (metric, _), values in each.items() if metric == part]
        found[aggregate, ""] = np.mean(those, axis=0)
    return found


# intervals

Z = NormalDist().inv_cdf(0.975)


def unseen(values: np.ndarray) -> tuple[float, float]:
    """Return the number of unseen images with the largest and with the smallest value."""
    n, up, down = len(values), sum(values > min(values) + 1e-9), sum(values < max(values) - 1e-9)
    return (n - up) / n / (up + 1), (n - down) / n / (down + 1)


def wilson(values: np.ndarray, largest: float = 1.0, smallest: float = 0.0) -> tuple[float, float]:
    """Return the p at which (p - mean)² is Z² times the variance of p over effective images."""
    shares = (values - smallest) / (largest - smallest)
    weights, shown = [1.0] * len(shares) + [*unseen(shares)], [*shares, 1.0, 0.0]
    expected = np.average(shown, weights=weights)
    variance = np.average((np.array(shown) - expected) ** 2, weights=weights)
    ratio = Z**2 * variance / (len(shares) * expected * (1 - expected))
    mean = shares.mean()
    low, high = np.sort(np.roots([1 + ratio, -2 * mean - ratio, mean**2]).real)
    return smallest + low * (largest - smallest), smallest + high * (largest - smallest)


@cache
def draws(images: int) -> np.ndarray:
    """Return the images of each of a thousand resamples."""
    random = np.random.default_rng(0)
    return np.array([random.integers(images, size=images) for _ in range(1000)])


def resampled(values: np.ndarray) -> np.ndarray:
    return values[draws(len(values))].mean(axis=1)


def bias_corrected(value: float, spread: np.ndarray) -> tuple[float, float]:
    if np.isnan(value) or np.isnan(spread).any():
        return np.nan, np.nan
    equal = np.isclose(spread, value, rtol=1e-6)
    below = np.where(equal, 0.5, spread < value).sum() + 0.5
    normal, shift = NormalDist(), 2 * NormalDist().inv_cdf(below / 1001)
    ends = [100 * normal.cdf(shift - Z), 100 * normal.cdf(shift + Z)]
    low, high = np.percentile(spread, ends, method="nearest")
    return (min(low, value), max(high, value)) if np.isfinite(high) else (np.nan, np.nan)


def ratio_interval(
    value: float, spread: np.ndarray, by_image: np.ndarray, largest: float, smallest: float
) -> tuple[float, float]:
    """Return the bootstrap's interval, widened to the values with Z² unseen images."""
    (low, high), (up, down) = bias_corrected(value, spread), Z**2 * np.array(unseen(by_image))
    images = len(by_image)
    return (
        np.minimum(low, np.average([value, smallest], weights=[images, down])),
        np.maximum(high, np.average([value, largest], weights=[images, up])),
    )


def difference_interval(differences: np.ndarray) -> tuple[float, float]:
    """Return the interval of 3,999 means over resamples of the images and two extreme ones."""
    means = difference_means(differences)
    return means[98], means[-99]


def difference_means(differences: np.ndarray) -> list[float]:
    random = np.random.default_rng(0)
    largest = max(differences, key=abs) or 1.0
    images = np.array([*differences, largest, -largest])
    n = len(images)
    return sorted(images[random.integers(n, size=n, dtype="int32")].mean() for _ in range(3999))


def difference(ours: np.ndarray, theirs: np.ndarray) -> Row:
    """Return the difference of two models on the same images and its test."""
    means = np.array(difference_means(ours - theirs))
    rarer = min((means <= 1e-12).sum(), (means >= -1e-12).sum())
    row = {"value": ours.mean(), "other_value": theirs.mean(), "p_holm": np.nan}
    row |= {"difference": ours.mean() - theirs.mean(), "p": min(1.0, 2 * (rarer + 1) / 4000)}
    return row | bounds(difference_interval(ours - theirs))


def bounds(found: tuple[float, float], metric: str = "") -> Row:
    return {f"{metric}_low".lstrip("_"): found[0], f"{metric}_high".lstrip("_"): found[1]}


def means(outcomes: Outcomes, mean: Callable[[np.ndarray], Any]) -> Means:
    together = ("ece", "diagonal", "bins")
    return {cell: mean(values) for cell, values in outcomes.items() if cell[0] not in together}


# the tables


class Report:
    """A run's tables, computed again.

    Args:
        folder: of the run.
        datasets: by what they measure.
        perturbed: the perturbations that count.
        own_baseline: baseline of the normalised metrics, a model of the run, if any.
        published: by name, the means of networks that they are relative to as well.
    """

    def __init__(
        self,
        folder: Path,
        datasets: Mapping[str, str],
        perturbed: list[str],
        own_baseline: str | None,
        published: Mapping[str, Means],
    ) -> None:
        self.folder, self.datasets, self.perturbed = folder, datasets, perturbed
        self.seeds = {
            network: outcomes_of(folder, network, datasets)
            for networks in MODELS.values()
            for network in networks
        }
        self.models = {
            model: {
                cell: np.mean([self.seeds[network][cell] for network in networks], axis=0)
                for cell in self.seeds[networks[0]]
            }
            for model, networks in MODELS.items()
        }
        for own, corruption in product(self.models.values(), GROUP):
            cells = [own["wrong", f"{corruption}/{severity}"] for severity in SEVERITIES]
            own["mean", corruption] = np.mean(cells, axis=0)  # the order decides the last bit
        self.published = dict(published)
        self.baselines = dict(published)
        if own_baseline:
            self.baselines[own_baseline] = means(self.models[own_baseline], np.mean)
        every = [*self.models, *published]
        self.ratios = {pair: self.relative_to(*pair) for pair in product(self.models, every)}

    def tables(self) -> dict[str, tuple[list[str], Table]]:
        """Return by name the columns that identify rows, and the rows."""
        return {
            "leaderboard": (["model"], self.leaderboard()),
            "seeds": (
                ["model"],
                {(model,): self.row(model, self.seeds[model]) for model in self.seeds},
            ),
            "intervals": (["model", "metric"], self.intervals()),
            "normalised": (["model", "baseline", "metric", "distortion"], self.normalised()),
            "relative": (["model", "baseline", "metric"], self.relative()),
            "corruptions": (["model", "corruption", "severity"], self.corruptions()),
            "corruption_means": (["model", "corruption"], self.corruption_means()),
            "differences": (["model", "other", "metric", "distortion"], self.differences()),
            "answers": (
                ["model", "dataset", "distortion", "severity", "image", "frame"],
                self.answers(),
            ),
            "reliability": (["model", "severity", "bin_low"], self.reliability()),
            "perturbations": (["model", "perturbation"], self.perturbations()),
            "consistency": (["model", "protocol"], self.consistency()),
            "diagonal": (["model", "offset"], self.diagonal()),
            "calibration": (["model", "severity"], self.calibration()),
        }

    def each(self) -> list[tuple[str, Outcomes, list[Outcomes]]]:
        return [
            (model, self.models[model], [self.seeds[network] for network in MODELS[model]])
            for model in MODELS
        ]

    def estimate(
        self, metric: str, cell: Cell, model: str, largest: float = 1.0, smallest: float = 0.0
    ) -> Row:
        """Return a mean with its interval over images and its spread over training seeds."""
        values = self.models[model][cell]
        spread = np.std([self.seeds[network][cell].mean() for network in MODELS[model]], ddof=1)
        row = {metric: values.mean(), f"{metric}_std": spread}
        return row | bounds(wilson(values, largest, smallest), metric)

    def ece(self, outcomes: Outcomes, severity: int | None = None) -> float:
        severities = [severity] if severity else SEVERITIES
        cells = product(COUNTED, severities)
        return float(np.mean([outcomes["ece", f"{corruption}/{s}"] for corruption, s in cells]))

    def row(self, network: str, outcomes: Outcomes) -> Row:
        found = aggregates(means(outcomes, np.mean), self.baselines, self.perturbed)
        found = {metric: of for metric, of in found.items() if not metric.startswith(NOT_RANKED)}
        known = {"images": len(outcomes["wrong", "clean"]), "params_m": self.parameters(network)}
        return found | known | {"ece": self.ece(outcomes), "complete": True}

    def parameters(self, network: str) -> float:
        file = next((self.folder / "predictions" / network).rglob("*.parquet"))
        known = json.loads(pq.read_metadata(file).metadata[b"robustbench_aa"])
        return float(known["identity"]["model"]["parameters"] / 1e6)

    def by_image(self, model: str) -> Row:
        """Return a model's metrics on every image, without normalised ones."""
        return aggregates(means(self.models[model], lambda values: values), {}, self.perturbed)

    def relative_to(self, model: str, baseline: str) -> dict[tuple[str, str], Row]:
        """Return a model's normalised metrics with their intervals; means have no name."""
        own, constant = self.models[model], baseline in self.published
        base = self.published[baseline] if constant else means(self.models[baseline], np.mean)
        clean = {("wrong", "clean"): own["wrong", "clean"].mean()}
        over = base if constant else means(self.models[baseline], resampled)

        def compute(ours: Means, theirs: Means) -> dict[tuple[str, str], Any]:
            return with_aggregates(parts(ours, theirs, self.perturbed))

        values = compute(means(own, np.mean), base)
        if model == baseline:
            return {
                key: {"value": value} | bounds((np.nan, np.nan)) for key, value in values.items()
            }
        top = {cell: 18.0 if cell[0] == "top5" else 1.0 for cell in own} | clean
        largest, smallest = (compute(ends, base) for ends in (top, dict.fromkeys(own, 0.0) | clean))
        # which images fail most is the same relative to any baseline
        each = {**means(own, lambda values: values), **clean}
        by_image = compute(each, base if constant else top)
        spreads = compute(means(own, resampled), over)
        found = {}
        for key, value in values.items():
            ends = largest[key], smallest[key]
            if constant and not key[0].startswith("relative"):
                interval = wilson(by_image[key], *ends)
            else:
                spread = np.nan_to_num(spreads[key], nan=np.inf, posinf=np.inf)
                interval = ratio_interval(value, spread, by_image[key], *ends)
            found[key] = {"value": value} | bounds(interval)
        return found

    def leaderboard(self) -> Table:
        found: Table = {}
        for model, outcomes, seeds in self.each():
            row = self.row(MODELS[model][0], outcomes)
            rows = [self.row(MODELS[model][0], seed) for seed in seeds]
            for metric in row.keys() - {"images", "params_m", "complete"}:
                row[f"{metric}_std"] = np.std([seed_row[metric] for seed_row in rows], ddof=1)
            row |= bounds(wilson(self.by_image(model)["mean_error"]), "mean_error")
            found[(model,)] = row | {"seeds": len(seeds)}
        ranked = sorted(found, key=lambda key: float(found[key]["mean_error"]))
        for place, key in enumerate(ranked, start=1):
            found[key]["rank"] = place
        first, second = (self.by_image(model)["mean_error"] for (model,) in ranked)
        low, high = difference_interval(second - first)
        alike = low <= 0 <= high
        found[ranked[0]]["rank_group"], found[ranked[1]]["rank_group"] = 1, 1 if alike else 2
        return found

    def intervals(self) -> Table:
        found: Table = {}
        for model in self.models:
            for metric, values in self.by_image(model).items():
                smallest = -1.0 if metric.startswith("accuracy_drop") else 0.0
                interval = wilson(values, smallest=smallest)
                found[model, metric] = {"value": values.mean()} | bounds(interval)
            for baseline in self.baselines:
                for aggregate in AGGREGATES:
                    ratio = self.ratios[model, baseline][aggregate, ""]
                    found[model, f"{aggregate}_{baseline}"] = ratio
        return found

    def normalised(self) -> Table:
        return {
            (model, baseline, metric, distortion): row
            for model, baseline in product(self.models, self.baselines)
            for (metric, distortion), row in self.ratios[model, baseline].items()
            if distortion
        }

    def relative(self) -> Table:
        """Return aggregates relative to every model and every published network."""
        points = {
            model: means(outcomes, np.mean) for model, outcomes in self.models.items()
        } | self.published
        found: Table = {}
        for baseline, base in points.items():
            for model, _, seeds in self.each():
                of_seeds = [
                    with_aggregates(parts(means(seed, np.mean), base, self.perturbed))
                    for seed in seeds
                ]
                for metric in AGGREGATES:
                    spread = np.std([seed[metric, ""] for seed in of_seeds], ddof=1)
                    ratio = self.ratios[model, baseline][metric, ""]
                    found[model, baseline, metric] = ratio | {"std": spread}
        return found

    def corruptions(self) -> Table:
        found = {}
        cells = [(f"{c}/{s}", c, s, GROUP[c]) for c, s in product(GROUP, SEVERITIES)]
        cells.append(("clean", "clean", 0, "clean"))
        for model, outcomes, _ in self.each():
            for cell, corruption, severity, group in cells:
                kind = "corruption" if severity else "clean"
                known = {"dataset": self.datasets[kind], "group": group}
                known |= {"images": len(outcomes["wrong", cell])}
                row = known | self.estimate("error", ("wrong", cell), model)
                found[model, corruption, severity] = row
        return found

    def corruption_means(self) -> Table:
        return {
            (model, corruption): {
                "dataset": self.datasets["corruption"],
                "group": GROUP[corruption],
            }
            | {"images": len(outcomes["mean", corruption])}
            | self.estimate("error", ("mean", corruption), model)
            for model, outcomes, _ in self.each()
            for corruption in GROUP
        }

    def differences(self) -> Table:
        model, other = ("one", "two") if "two" in self.baselines else ("two", "one")
        found: Table = {}
        ours, theirs = self.by_image(model), self.by_image(other)
        for metric in ours:
            found[model, other, metric, ""] = difference(ours[metric], theirs[metric])
        for metric, outcome in (("error", "mean"), ("flip_probability", "flips")):
            names = [name for of, name in self.models[model] if of == outcome]
            rows = {
                name: difference(*(self.models[each][outcome, name] for each in (model, other)))
                for name in names
            }
            ordered, largest = sorted(names, key=lambda name: float(rows[name]["p"])), 0.0
            for place, name in enumerate(ordered):  # Holm, step by step
                largest = max(largest, min(1.0, (len(names) - place) * rows[name]["p"]))
                found[model, other, metric, name] = rows[name] | {"p_holm": largest}
        return found

    def answers(self) -> Table:
        cells = [
            (self.datasets["corruption"], f"{c}/{s}", c, s) for c, s in product(GROUP, SEVERITIES)
        ]
        cells += [(self.datasets["clean"], "clean", "clean", 0)]
        sequences = {name for outcome, name in self.models["one"] if outcome == "flips"}
        perturbed = [(self.datasets["perturbation"], name, name, 0) for name in sequences]
        asked = [
            (network, 1, cell)
            for networks in MODELS.values()
            for network in networks
            for cell in cells
        ]
        asked += [(networks[0], 3, cell) for networks in MODELS.values() for cell in perturbed]
        return {
            (network, dataset, name, severity, row.image, row.frame): {
                "true_class": row.label,
                "predicted_class": row.top1,
                "probability": row.top1_probability,
            }
            for network, images, (dataset, path, name, severity) in asked
            for row in first(frames(self.folder, network, dataset, path), images).itertuples()
        }

    def reliability(self) -> Table:
        found: Table = {}
        clean = self.datasets["clean"] == self.datasets["corruption"]
        for model, _, seeds in self.each():
            for severity in range(0 if clean else 1, 6):
                cells = [f"{c}/{severity}" for c in COUNTED] if severity else ["clean"]
                bins = sum(seed["bins", cell] for seed in seeds for cell in cells)
                for place, (count, certain, right) in enumerate(np.asarray(bins)):
                    if count:
                        found[model, severity, round(place / 15, 6)] = {
                            "dataset": self.datasets["corruption"],
                            "bin_high": (place + 1) / 15,
                            "predictions": count,
                            "confidence": certain / count,
                            "accuracy": right / count,
                        }
        return found

    def perturbations(self) -> Table:
        found = {}
        columns = {
            "flip_probability": ("flips", 1.0),
            "top5_distance": ("top5", 18.0),
            "zipf_distance": ("zipf", np.pi**2 / 3),
        }
        for model, outcomes, _ in self.each():
            for name in self.perturbed:
                row = {"dataset": self.datasets["perturbation"], "group": "perturbation"}
                row |= {"images": len(outcomes["flips", name])}
                for column, (outcome, largest) in columns.items():
                    if (outcome, name) in outcomes:
                        row |= self.estimate(column, (outcome, name), model, largest)
                found[model, name] = row
        return found

    def consistency(self) -> Table:
        found = {}
        for model, outcomes, seeds in self.each():
            for protocol in (name for name in PROTOCOLS if ("wrong", name) in outcomes):
                error = outcomes["wrong", protocol]
                row = {"dataset": self.datasets["shift"], "images": len(error)}
                row |= {"accuracy": 1 - error.mean()}
                for of, ends in SHIFTED.items():
                    empty = dict.fromkeys((of, *(f"{of}_{end}" for end in STATISTICS)), np.nan)
                    measured = (of, protocol) in outcomes
                    row |= self.estimate(of, (of, protocol), model, *ends) if measured else empty
                among = [
                    seed["consistency", protocol][seed["wrong", protocol] < 1].mean()
                    for seed in seeds
                    if protocol != "diagonal"
                ]
                row["consistency_among_correct"] = np.mean(among) if among else np.nan
                found[model, protocol] = row
        return found

    def diagonal(self) -> Table:
        known = {"dataset": self.datasets["shift"]}
        return {
            (model, offset): known
            | {"images": len(outcomes["wrong", "crops"]), "label_probability": probability}
            for model, outcomes, _ in self.each()
            for offset, probability in enumerate(outcomes.get(("diagonal", ""), []))
        }

    def calibration(self) -> Table:
        found = {}
        clean = self.datasets["clean"] == self.datasets["corruption"]
        for model, outcomes, seeds in self.each():
            known = {
                "dataset": self.datasets["corruption"],
                "images": len(outcomes["wrong", "clean"]),
            }
            for severity in SEVERITIES:
                of_seeds = [self.ece(seed, severity) for seed in seeds]
                row = {"ece": np.mean(of_seeds), "ece_std": np.std(of_seeds, ddof=1)}
                found[model, severity] = known | row
            if clean:
                of_seeds = [float(seed["ece", "clean"]) for seed in seeds]
                row = {"ece": np.mean(of_seeds), "ece_std": np.std(of_seeds, ddof=1)}
                found[model, 0] = known | row
        return found


def published_means() -> dict[str, Means]:
    """Return AlexNet's and ResNet-50's means on ImageNet-C and ImageNet-P from published tables."""
    read = {
        table: pd.read_csv(PUBLISHED / f"{table}.csv") for table in ("corruptions", "perturbations")
    }
    normalised = pd.read_csv(PUBLISHED / "normalised.csv")
    found: dict[str, Means] = {}
    for name, network, clean in (("alexnet", "AlexNet", 0.435), ("resnet50", "ResNet-50", 0.239)):
        of_network = normalised[normalised["model"] == network]
        share = of_network.set_index(["metric", "distortion"])["value"] / 100
        means: dict[Cell, Any] = {("wrong", "clean"): clean}
        for row in read["corruptions"].itertuples():
            if row.corruption in COUNTED:
                error = row.error * share["ce", row.corruption]
                means["wrong", f"{row.corruption}/{row.severity}"] = error
        for row in read["perturbations"].itertuples():
            if ("fr", row.perturbation) in share:
                flips = row.flip_probability * share["fr", row.perturbation]
                means["flips", row.perturbation] = flips
                means["top5", row.perturbation] = row.top5_distance * share["t5d", row.perturbation]
        found[name] = means
    return found


@pytest.fixture(scope="module", params=["digits", "imagenet"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp(request.param)
    networks = [network for members in MODELS.values() for network in members]
    if request.param == "imagenet":
        Run(forge(folder, networks)).report("resnet50")
        kinds = {"corruption": "imagenet-c", "perturbation": "imagenet-p"}
        kinds |= {"shift": "imagenet-shift", "clean": "image-folder"}
        return Report(folder, kinds, [*PERTURBED, "snow"], None, published_means())
    suite = Suite(
        [make_classifier(name, seed=seed) for seed, name in enumerate(networks)],
        ["digits-c", "digits-p", "digits-shift"],
        baseline="two",
        limit=30,
        shard_size=20,
        keep_ranking=True,
        protocols=PROTOCOLS,
    )
    prepare(suite, folder, "cpu").run().report()
    kinds = {"corruption": "digits-c", "perturbation": "digits-p"}
    kinds |= {"shift": "digits-shift", "clean": "digits-c"}
    return Report(folder, kinds, [*PERTURBED, "spatter"], "two", {})


def test_every_number_of_every_table(report: Report) -> None:
    tables = report.tables()
    read = {file.stem: pd.read_csv(file) for file in (report.folder / "report").glob("*.csv")}
    numbers = {name for name, table in read.items() if len(table.select_dtypes("number").columns)}
    assert numbers == {name for name, (_, table) in tables.items() if table}
    for name in numbers:
        key, expected = tables[name]
        table = read[name].fillna({"distortion": ""}) if "distortion" in key else read[name]
        found = table.set_index(key)
        rows = {index if isinstance(index, tuple) else (index,) for index in found.index}
        assert rows == set(expected), name
        assert len(found) == len(expected), name
        for index, row in expected.items():
            assert set(found.columns) == set(row), (name, index)
            shown = found.loc[index if len(index) > 1 else index[0]]
            for column, value in row.items():
                if isinstance(value, str):
                    assert shown[column] == value, (name, index, column)
                else:
                    wanted = pytest.approx(float(value), rel=1e-6, abs=1e-6, nan_ok=True)
                    assert float(shown[column]) == wanted, (name, index, column)

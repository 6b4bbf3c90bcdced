"""The sentences at the top of the page never say more than the intervals allow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_aa.metrics.comparison import holm
from robustbench_aa.report.summary import summarise_run
from robustbench_aa.report.tables import Tables

Pairs = Mapping[tuple[str, str], tuple[float, float, float, float]]
CLEARLY = 0.0005


def tables(
    values: Mapping[str, float],
    pairs: Pairs,
    baseline: str | None = None,
    metric: str = "mean_error",
    std: float = np.nan,
) -> Tables:
    order = sorted(values, key=lambda name: (np.isnan(values[name]), values[name]))
    if metric.startswith("consistency"):
        order = order[::-1]
    ranks = [None if np.isnan(values[name]) else place for place, name in enumerate(order, 1)]
    board = pd.DataFrame(
        {
            "rank": pd.Series(ranks, dtype="Int64"),
            "model": order,
            metric: [values[name] for name in order],
            f"{metric}_std": std,
            "rank_group": pd.Series(ranks, dtype="Int64"),
        }
    )
    intervals = pd.DataFrame(
        [
            {"model": name, "metric": metric, "value": value, "low": value - 0.01}
            | {"high": value + 0.01}
            for name, value in values.items()
        ]
    )
    rows = [
        {"model": a, "other": b, "metric": metric, "distortion": ""}
        | dict(zip(("difference", "low", "high", "p"), numbers, strict=True))
        for (a, b), numbers in pairs.items()
    ]
    differences = pd.DataFrame(rows)
    return Tables(board, intervals=intervals, differences=differences, baseline=baseline)


def test_a_model_that_beats_the_baseline_is_named_with_its_interval() -> None:
    run = tables(
        {"blur": 0.2, "net": 0.221, "wide": 0.222, "old": 0.3},
        {
            ("blur", "net"): (-0.021, -0.024, -0.018, CLEARLY),
            ("wide", "net"): (0.001, -0.002, 0.004, 0.5),
            ("old", "net"): (0.079, 0.07, 0.09, CLEARLY),
        },
        baseline="net",
    )
    assert summarise_run(run) == [
        "blur is better than net.",
        "It fails on 2.1 points (1.8 to 2.4) fewer corrupted images.",
        "These images cannot tell wide from the baseline; old is worse.",
    ]


def test_a_lead_that_images_cannot_confirm_is_no_victory() -> None:
    run = tables({"a": 0.2, "b": 0.201}, {("a", "b"): (-0.001, -0.003, 0.001, 0.4)}, "b")
    assert summarise_run(run) == [
        "No model is shown to be better than b.",
        "These images cannot tell a from the baseline.",
    ]
    run = tables({"a": 0.2, "b": 0.201}, {("b", "a"): (0.001, -0.001, 0.003, 0.4)})
    assert summarise_run(run) == [
        "No model is shown to be the best.",
        "a fails on 20.0% (19.0 to 21.0) of corrupted images, but these images cannot tell b "
        "from it.",
    ]


def test_many_comparisons_need_stronger_evidence() -> None:
    # p = 0.04 in each of three comparisons: none is significant after Holm's correction
    weak = (-0.01, -0.02, -0.0001, 0.04)
    run = tables(
        {"a": 0.2, "b": 0.2, "c": 0.2, "net": 0.21},
        {(name, "net"): weak for name in "abc"},
        baseline="net",
    )
    assert summarise_run(run) == [
        "No model is shown to be better than net.",
        "These images cannot tell 3 other models from the baseline.",
    ]


def test_the_best_of_several_is_named_only_if_it_beats_them() -> None:
    versus_net = {(name, "net"): (-0.1, -0.2, -0.05, CLEARLY) for name in "ab"}
    values = {"a": 0.2, "b": 0.21, "net": 0.31}
    tied = tables(values, versus_net | {("a", "b"): (-0.01, -0.03, 0.01, 0.3)}, "net")
    assert summarise_run(tied)[0] == "a is better than net."
    assert summarise_run(tied)[2:] == [
        "b is better too.",
        "a comes first, but these images cannot tell b from it.",
    ]
    clear = tables(values, versus_net | {("a", "b"): (-0.01, -0.02, -0.001, 0.03)}, "net")
    assert summarise_run(clear)[3] == "a is the best of the 3 models."


def test_higher_is_better_for_consistency() -> None:
    run = tables(
        {"smooth": 0.9, "net": 0.8},
        {("smooth", "net"): (0.1, 0.08, 0.12, CLEARLY)},
        baseline="net",
        metric="consistency_crops",
    )
    assert summarise_run(run) == [
        "smooth is better than net.",
        "It gives the same answer for 10.0 points (8.0 to 12.0) more pairs of shifts.",
    ]


def test_training_seeds_that_matter_more_are_mentioned() -> None:
    pair = {("a", "b"): (-0.01, -0.02, -0.005, CLEARLY)}
    values = {"a": 0.2, "b": 0.21}
    assert len(summarise_run(tables(values, pair, "b", std=0.009))) == 2
    assert "standard deviation 5.0 points" in summarise_run(tables(values, pair, "b", std=0.05))[2]
    # nor is a model worse because of its training alone
    assert len(summarise_run(tables(values, pair, "a", std=0.009))) == 2
    assert "standard deviation 5.0 points" in summarise_run(tables(values, pair, "a", std=0.05))[2]


def test_models_without_a_rank_are_counted() -> None:
    run = tables({"a": 0.2, "b": np.nan}, {}, "b")
    assert summarise_run(run) == [
        "a fails on 20.0% (19.0 to 21.0) of corrupted images.",
        "1 model lacks predictions and has no rank.",
    ]
    assert summarise_run(tables({"a": np.nan}, {})) == [
        "No model has all the predictions that a ranking needs."
    ]


@given(
    st.lists(
        st.tuples(
            st.floats(-0.2, 0.2), st.floats(0.001, 0.1), st.sampled_from([0.0005, 0.02, 0.3])
        ),
        min_size=1,
        max_size=6,
    )
)
def test_no_claim_without_a_significant_interval(rows: list[tuple[float, float, float]]) -> None:
    names = [f"m{place}" for place in range(len(rows))]
    pairs, values = {}, {"net": 0.5}
    for name, (value, width, p) in zip(names, rows, strict=True):
        excludes = p < 0.05
        half = min(width, abs(value) / 2) if excludes else abs(value) + width
        value = value or 0.01
        pairs[name, "net"] = (value, value - half, value + half, p)
        values[name] = 0.5 + value
    corrected = dict(zip(names, holm([p for _, _, p in rows]), strict=True))
    first, *further = summarise_run(tables(values, pairs, "net"))
    rest = " ".join(further)
    better = [n for n in names if corrected[n] < 0.05 and pairs[n, "net"][0] < 0]
    assert ("is better than net." in first) == ("It fails on" in rest) == bool(better)
    if better:
        # of several with the same value, any may be named
        named = first.removesuffix(" is better than net.")
        assert values[named] == min(values[name] for name in better)
    unclear = [n for n in names if corrected[n] >= 0.05]
    assert ("from the baseline" in rest) == bool(unclear)
    worse = [n for n in names if corrected[n] < 0.05 and pairs[n, "net"][0] > 0]
    assert (" worse." in rest) == bool(worse)


@pytest.mark.parametrize("missing", ["differences", "baseline"])
def test_without_pairs_the_groups_of_the_ranking_decide(missing: str) -> None:
    run = tables({"a": 0.2, "b": 0.21}, {}, "b" if missing == "differences" else None)
    assert summarise_run(run) == [
        "a is the best of the 2 models.",
        "It fails on 20.0% (19.0 to 21.0) of corrupted images.",
    ]


RANKING = ["mean_error", "mean_error_subset", "mean_flip_probability_subset", "clean_error"]


@pytest.mark.parametrize("metric", [*RANKING, "error_imagenet_real", "consistency_crops"])
@pytest.mark.parametrize("baseline", [None, "torchvision:resnet50@v2"])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("p", [CLEARLY, 0.5])
def test_the_headline_is_short(metric: str, baseline: str | None, sign: int, p: float) -> None:
    model, other = "antialiased:resnet50@lpf3", "torchvision:resnet50@v2"
    pair = (sign * 0.123, min(sign * 0.1, sign * 0.2), max(sign * 0.1, sign * 0.2), p)
    run = tables({model: 0.4, other: 0.5}, {(model, other): pair}, baseline, metric)
    headline = summarise_run(run)[0]
    assert len(headline) <= 90
    assert headline.count(".") == 1


def test_a_model_that_is_not_first_is_never_the_best() -> None:
    far, near = (-0.035, -0.06, -0.01, CLEARLY), (-0.005, -0.09, 0.08, 0.9)
    run = tables(
        {"a": 0.175, "b": 0.18, "c": 0.215, "net": 0.25},
        {
            ("a", "net"): (-0.075, -0.16, 0.01, 0.2),
            ("b", "net"): (-0.07, -0.1, -0.04, CLEARLY),
            ("c", "net"): far,
            ("b", "c"): far,
            ("a", "b"): near,
        },
        baseline="net",
    )
    text = " ".join(summarise_run(run))
    assert "b is better than net." in text
    assert "best" not in text
    assert text.endswith("These images cannot tell a from b.")

from __future__ import annotations

import re
from importlib import import_module

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_aa.metrics.bootstrap import LEVEL
from robustbench_aa.metrics.comparison import (
    COLUMNS,
    compare,
    format_points,
    holm,
    sign_test,
    summarise,
)
from robustbench_aa.metrics.per_image import Outcomes, OutcomesByKind
from robustbench_aa.types import CLEAN, COUNTED_CORRUPTIONS, Distortion

CELLS = [Distortion("corruption", name, s) for name in COUNTED_CORRUPTIONS for s in (1, 2)]
TILT = Distortion("perturbation", "tilt")


def test_mcnemar_on_a_known_table() -> None:
    # of 25 discordant pairs, 20 on one side: 2 · P(X ≥ 20), X ~ B(25, 1/2)
    assert sign_test(5, 20) == pytest.approx(0.0040773, abs=1e-7)
    assert sign_test(20, 5) == sign_test(5, 20)
    assert sign_test(0, 0) == sign_test(3, 3) == 1.0
    assert sign_test(0, 1) == sign_test(7, 6) == 1.0
    assert sign_test(30, 0) == pytest.approx(2 / 2**30, rel=1e-12)


@pytest.mark.parametrize("tosses", [1, 2, 3, 10, 57, 1000, 50_000])
def test_the_sign_test_is_scipys_binomial_test(tosses: int) -> None:
    stats = import_module("scipy.stats")
    for wins in {0, 1, tosses // 7, tosses // 3, int(0.49 * tosses), tosses // 2, tosses}:
        expected = stats.binomtest(wins, tosses).pvalue
        assert sign_test(wins, tosses - wins) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_holms_correction_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([]).size == 0
    # as the p-values, it is not below the level by rounding
    assert all((holm([0.05 / count] * count) == LEVEL).all() for count in range(1, 100))


def models(shift: float, images: int = 400, seed: int = 0) -> tuple[OutcomesByKind, OutcomesByKind]:
    """Return two models that are wrong on 30% and on 30% + shift of the images, mostly the same."""
    random = np.random.default_rng(seed)
    a: dict[Distortion, np.ndarray] = {}
    b: dict[Distortion, np.ndarray] = {}
    for cell in (CLEAN, *CELLS):
        hard = random.random(images)
        a[cell] = (hard + random.normal(0, 0.05, images) < 0.3).astype(float)
        b[cell] = (hard + random.normal(0, 0.05, images) < 0.3 + shift).astype(float)
    flips = {TILT: random.random(images)}
    return (
        {
            "corruption": Outcomes(a),
            "perturbation": Outcomes(flips, flips=flips, top5_distance=flips),
        },
        {
            "corruption": Outcomes(b),
            "perturbation": Outcomes(flips, flips=flips, top5_distance=flips),
        },
    )


def test_a_difference_that_is_there_is_found() -> None:
    a, b = models(0.1)
    whole = compare(a, b)
    assert list(whole) == list(COLUMNS)
    table = whole.set_index(["metric", "distortion"])
    mean = table.loc[("mean_error", "")]
    assert mean["difference"] == pytest.approx(mean["a"] - mean["b"])
    assert mean["low"] < mean["difference"] < mean["high"] < 0
    assert mean["p"] < 0.001
    assert (table.loc["error"]["p_holm"] < 0.05).all()
    assert (table.loc["error"]["p_holm"] >= table.loc["error"]["p"]).all()
    fog = table.loc[("error", "fog")]
    ours, theirs = (
        np.mean([model["corruption"].wrong[c] for c in CELLS if c.name == "fog"], axis=0)
        for model in (a, b)
    )
    assert (fog["a_better"], fog["b_better"]) == ((ours < theirs).sum(), (ours > theirs).sum())
    assert fog["p_sign"] == sign_test(int(fog["a_better"]), int(fog["b_better"]))
    words = summarise(whole, "one", "other")
    assert words.startswith("one fails less often than other (clean images): -")
    assert "of the mean). one fails less often than other (corrupted images): -" in words
    assert (
        "Of 15 corruptions, one is better under 15 and worse under 0 (paired bootstrap of the "
        "mean, p_holm < 0.05); under 0 these images cannot tell." in words
    )
    assert "Of 1 perturbations, one is better under 0 and worse under 0" in words
    assert summarise(compare(b, a), "other", "one").startswith("other fails more often than one")


def test_a_model_does_not_differ_from_itself() -> None:
    a, _ = models(0.0)
    table = compare(a, a)
    assert (table["difference"] == 0).all()
    assert (table["p"] == 1).all()
    assert (table["p_sign"].dropna() == 1).all()
    assert (table["low"] < 0).all()
    assert (table["high"] > 0).all()
    words = summarise(table, "a", "b")
    assert "These images cannot tell whether a or b fails more often" in words
    assert ": 0.0 points" in words


def test_false_positives_are_as_rare_as_promised() -> None:
    found = outside = 0
    for seed in range(60):
        table = compare(*models(0.0, 200, seed)).set_index(["metric", "distortion"])
        found += (table.loc["error"]["p_holm"] < 0.05).any()
        mean = table.loc[("mean_error", "")]
        outside += not mean["low"] <= 0 <= mean["high"]
    assert found <= 7
    assert outside <= 8


def test_many_small_gains_do_not_outvote_a_few_large_losses() -> None:
    """The sign test favours one model here, and the mean the other."""
    ours, theirs = np.zeros(100), np.full(100, 0.1)
    ours[:30] = 1.0
    a, b = ({"corruption": Outcomes(dict.fromkeys(CELLS, wrong))} for wrong in (ours, theirs))
    table = compare(a, b)
    of_fog = table[table["distortion"] == "fog"].iloc[0]
    assert (of_fog["a_better"], of_fog["b_better"]) == (70, 30)
    assert of_fog["p_sign"] < 0.0001
    assert of_fog["low"] > 0
    words = summarise(table, "a", "b")
    assert "a fails more often than b" in words
    assert "a is better under 0 and worse under 15" in words


NUMBER = r"([+-]?\d+\.\d+)"
SENTENCE = re.compile(
    r"(?:(?P<cannot>These images cannot tell whether A or B) |A )"
    r"(?P<verb>fails|changes its mind) (?P<how>more|less) often(?: than B)? \([a-z ]+\): "
    rf"{NUMBER} points, 95% interval {NUMBER} to {NUMBER}, p = {NUMBER} "
    r"\(paired bootstrap of the mean\)\."
)
COUNTS = re.compile(
    r"Of (\d+) (corruptions|perturbations), A is better under (\d+) and worse under (\d+) "
    r"\(paired bootstrap of the mean, p_holm < 0\.05\); under (\d+) these images cannot tell\."
)
OUTCOMES = (0.0, 1 / 3, 0.5, 1.0, 0.01, 0.99)


@st.composite
def outcomes(draw: st.DrawFn) -> tuple[OutcomesByKind, OutcomesByKind]:
    """Draw two models on a few images: any outcomes, or many small gains and few large losses."""
    images = draw(st.integers(2, 30))

    def values() -> np.ndarray:
        return np.array(draw(st.lists(st.sampled_from(OUTCOMES), min_size=images, max_size=images)))

    if draw(st.booleans()):
        a, b = values(), values()
    else:
        b = np.full(images, draw(st.sampled_from((0.5, 0.1))))
        a = b - draw(st.sampled_from((0.001, 0.01, 0.1)))
        losses = draw(st.integers(0, 4))
        a[:losses] = b[:losses] + draw(st.sampled_from((0.01, 0.2, 0.5)))
    if draw(st.booleans()):
        a, b = b, a
    other = draw(st.permutations(range(images)))
    tables = [
        {cell: values[other] if cell.name == "snow" else values for cell in CELLS}
        for values in (a, b)
    ]
    return tuple(  # type: ignore[return-value]
        {"corruption": Outcomes(wrong), "perturbation": Outcomes({}, {TILT: values})}
        for wrong, values in zip(tables, (a, b), strict=True)
    )


@settings(deadline=None, max_examples=60)
@given(outcomes())
def test_no_sentence_contradicts_the_test_beside_it(
    pair: tuple[OutcomesByKind, OutcomesByKind],
) -> None:
    table = compare(*pair)
    words = summarise(table, "A", "B")
    assert not re.search(r"[+-]0\.0+\b", words)
    sentences = list(SENTENCE.finditer(words))
    counted = list(COUNTS.finditer(words))
    assert " ".join(match.group() for match in (*sentences, *counted)) == words
    means = table[table["metric"].isin(["mean_error", "mean_flip_probability"])]
    for sentence, row in zip(sentences, means.to_dict("records"), strict=True):
        check_sentence(sentence, row)
    for count, metric in zip(counted, ("error", "flip_probability"), strict=True):
        rows = table[table["metric"] == metric]
        significant = rows[rows["p_holm"] < LEVEL]
        better, worse = (significant["difference"] < 0).sum(), (significant["difference"] > 0).sum()
        expected = [len(rows), better, worse, len(rows) - better - worse]
        assert [int(count[place]) for place in (1, 3, 4, 5)] == expected


def check_sentence(sentence: re.Match[str], row: dict[str, object]) -> None:
    """Check that the claim of a sentence agrees with its own numbers and with the table."""
    difference, low, high, p = (float(number) for number in sentence.groups()[-4:])
    assert p == row["p"]
    exact = (row["difference"], row["low"], row["high"])
    for text, value in zip((difference, low, high), exact, strict=True):
        assert text / 100 == pytest.approx(value, abs=0.000501)
    if sentence["cannot"]:
        assert p >= LEVEL
        assert low <= 0 <= high
        assert row["low"] <= 0 <= row["high"]  # type: ignore[operator]
    else:
        assert p < LEVEL
        more = sentence["how"] == "more"
        assert [number > 0 for number in (difference, low, high, *exact)] == [more] * 6  # type: ignore[operator]
        assert [number < 0 for number in (difference, low, high, *exact)] == [not more] * 6  # type: ignore[operator]


@settings(deadline=None, max_examples=40)
@given(outcomes())
def test_exchanging_the_models_changes_the_signs_alone(
    pair: tuple[OutcomesByKind, OutcomesByKind],
) -> None:
    ours, theirs = compare(*pair), compare(*pair[::-1])
    np.testing.assert_allclose(ours["difference"], -theirs["difference"], atol=1e-12)
    np.testing.assert_allclose(ours["low"], -theirs["high"], atol=1e-11)
    for column in ("p", "p_holm", "p_sign"):
        pd.testing.assert_series_equal(ours[column], theirs[column])
    pd.testing.assert_series_equal(ours["a_better"], theirs["b_better"], check_names=False)


def test_points_have_as_many_decimals_as_they_need() -> None:
    assert format_points(0.0123, 0.0004, 0.03, significant=True) == ["+1.23", "+0.04", "+3.00"]
    assert format_points(-0.123, -0.2, -0.01, significant=True) == ["-12.3", "-20.0", "-1.0"]
    assert format_points(0.0001, -0.0004, 0.0, significant=False) == ["0.0", "0.0", "0.0"]
    assert format_points(0.001, -0.001, 0.02, significant=False) == ["+0.1", "-0.1", "+2.0"]


def test_a_missing_cell_has_no_row_and_its_aggregates_no_interval() -> None:
    a, b = models(0.1)
    lost = next(cell for cell in CELLS if cell.name == "fog")
    wrong = dict(a["corruption"].wrong) | {lost: np.full(400, np.nan)}
    table = compare({"corruption": Outcomes(wrong)}, b).set_index(["metric", "distortion"])
    mean = table.loc[("mean_error", "")]
    assert mean[["difference", "low", "high", "p"]].isna().all()
    assert set(table.loc["error"].index) == set(COUNTED_CORRUPTIONS) - {"fog"}
    words = summarise(compare({"clean": Outcomes({CLEAN: wrong[CLEAN]})}, {}), "a", "b")
    assert words == "a and b have no complete metric in common."


def test_what_shifts_do_is_told_by_protocol() -> None:
    neighbours = Distortion("shift", "neighbours")
    often, seldom = np.arange(100) < 60, np.arange(100) < 20
    a, b = (
        {
            "shift": Outcomes(
                {neighbours: np.zeros(100)},
                fooled={neighbours: fooled * 1.0},
                accuracy_worst={neighbours: np.ones(100)},
            )
        }
        for fooled in (often, seldom)
    )
    words = summarise(compare(a, b), "a", "b")
    fooled = "a is fooled by one step more often than b (images under neighbours): +40.0 points"
    assert fooled in words
    same = "These images cannot tell whether a or b is right at every shift more often"
    assert f"{same} (images under neighbours): 0.0 points" in words

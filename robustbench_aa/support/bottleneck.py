"""The bottleneck of an evaluation: the stage that takes most of its time, and what makes it faster.

A stage that runs ahead of the models in another thread costs only the time for which the models
wait. This time is divided among the stages of that thread in proportion to their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

AHEAD = ("decode", "distort", "copy")
"""Stages that run ahead of the models where pictures are prefetched."""
SUBJECTS = {
    "decode": "Decoding",
    "distort": "Distorting",
    "copy": "Copying to the device",
    "forward": "The model",
    "commit": "Writing prediction files",
}
ADVICE = {
    "decode": ("more --workers", "a faster disk"),
    "distort": ("more models in one run, which share the pictures", "the command `make` once"),
    "copy": ("a larger --batch-size",),
    "forward": ("--amp", "--channels-last", "--compile"),
    "commit": ("an --output-dir on a faster disk",),
}
"""Stage → what may make it faster."""
CPU_ADVICE = {"distort": ("--device cuda", *ADVICE["distort"])}
"""The same where a CPU computes, if it differs."""
NOTHING = "Nothing was evaluated, so no stage took time."


def bottleneck(seconds: Mapping[str, float], device: str, used: Collection[str] = ()) -> str:
    """Return a sentence on the stage that bounds an evaluation, and on what may help.

    >>> bottleneck({"decode": 1.0, "forward": 8.0, "wall": 10.0}, "cpu", ["--amp"])
    'The model takes 80% of the time: try --channels-last or --compile.'

    Args:
        seconds: Seconds of each stage, and of the whole evaluation (`wall`).
        device: A torch device, such as `cpu` or `cuda:1`.
        used: Options that the evaluation has used already.
    """
    costs = _costs(seconds)
    slowest = max(costs, key=costs.__getitem__)
    if not costs[slowest]:
        return NOTHING
    share = f"{SUBJECTS[slowest]} takes {costs[slowest] / seconds['wall']:.0%} of the time"
    known = CPU_ADVICE if device.startswith("cpu") else {}
    advice = known.get(slowest, ADVICE[slowest])
    helpful = [one for one in advice if not any(option in one for option in used)]
    return f"{share}: try {_either(helpful)}." if helpful else f"{share}."


def _costs(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return the time that each stage adds to the evaluation, in seconds."""
    ahead = sum(seconds.get(name, 0.0) for name in AHEAD)
    waiting = seconds.get("waiting", 0.0)
    felt = min(1.0, waiting / ahead) if waiting and ahead else 1.0
    costs = {name: felt * seconds.get(name, 0.0) for name in AHEAD}
    costs["forward"] = seconds.get("forward", 0.0)
    # the loop waits for the thread that writes only in the time that no other stage explains
    unexplained = max(0.0, seconds["wall"] - sum(costs.values()))
    return costs | {"commit": min(unexplained, seconds.get("commit", 0.0))}


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)

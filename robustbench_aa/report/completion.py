"""The command that evaluates the missing predictions of a run."""

from __future__ import annotations

import shlex

from robustbench_aa.report.tables import Tables
from robustbench_aa.types import CLEAN


def completing_command(tables: Tables) -> dict[str, str]:
    """Return the command that evaluates the missing predictions, and an explanation of it."""
    if not tables.command:
        return {}
    words = shlex.split(tables.command)
    if words[1:2] not in (["evaluate"], ["benchmark"]):  # a merged run has another command
        return {}
    if not tables.partial:
        return {
            "command": tables.command,
            "how": "The command that started the run evaluates them:",
        }
    whole = [
        word
        for before, word in zip(["", *words], words, strict=False)
        if not {before, word.partition("=")[0]} & {*SUBSET_OPTIONS}
    ]
    if not tables.subset.empty:
        whole += _subset_options(tables)
        how = "The latest session evaluated only a part. This command evaluates the rest:"
    elif whole != words:
        how = "The latest session evaluated only a part. This command evaluates the rest:"
    else:
        how = "The latest session evaluated only a part. Remove corruptions, severities and "
        how += "perturbations from its suite; then this command evaluates the rest:"
    return {"command": shlex.join(whole), "how": how}


def _subset_options(tables: Tables) -> list[str]:
    """Return options that ask for every distortion of the run's subsets."""
    graded = tables.subset[tables.subset["severity"] > 0]
    others = tables.subset[tables.subset["severity"] == 0]
    has_clean = not graded.empty and bool((tables.corruptions["severity"] == 0).any())
    values: dict[str, list[object]] = {
        "--corruption": [*([CLEAN.name] if has_clean else []), *graded["distortion"]],
        "--severity": [*graded["severity"]],
        "--perturbation": [*others["distortion"]],
    }
    return [
        word
        for option, chosen in values.items()
        for value in dict.fromkeys(chosen)
        for word in (option, str(value))
    ]


SUBSET_OPTIONS = ("--corruption", "--severity", "--perturbation", "--protocol")
"""The options that select some of the distortions. Each takes a value."""

"""All errors of the package, as one tree.

RobustbenchError                 the root; its text is one line with the cause and a remedy
├── UsageError                   a request that cannot be fulfilled: exit status 2
│   ├── UnknownName              a name that does not exist; the text suggests similar names
│   ├── SuiteError               a suite that is unreadable, has a wrong type or contradicts itself
│   ├── CheckpointError          a file without weights, or with weights that do not fit
│   ├── DownloadError            a file that cannot be downloaded, or differs from the published one
│   ├── ConversionError          a network that cannot be anti-aliased
│   └── RunError                 an output directory that cannot be written, read or continued
├── StoreError                   predictions that cannot be written or read during a run
├── DamagedShard                 a prediction file that is damaged or belongs to another run
├── DatasetError                 a data set whose images cannot be read or are not as described
└── ModelError                   a classifier that does not return finite logits of its shape
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import ClassVar

LISTED = 20
"""The largest number of names in a message."""
LONGEST = 2000
"""The largest number of characters in a message."""


class RobustbenchError(Exception):
    """The root of this package's errors.

    >>> import robustbench_aa as rb
    >>> try:
    ...     rb.load_model("digits:resnext")
    ... except rb.RobustbenchError as error:
    ...     print(error)
    unknown digits model 'resnext'; did you mean resnet?
    """

    exit_status: ClassVar[int] = 1

    def __str__(self) -> str:
        """Return the text as one line, even if it contains foreign names."""
        return one_line(super().__str__())


class UsageError(RobustbenchError):
    """A request that cannot be fulfilled."""

    exit_status = 2


class UnknownName(UsageError):
    """A name that does not exist.

    Args:
        noun: the kind of thing, as in "unknown corruption".
        name: the unknown name.
        choices: the known names.
    """

    def __init__(self, noun: str, name: object, choices: Iterable[str]) -> None:
        known = [str(choice) for choice in choices]
        near = near_matches(str(name), known)
        listed = known if len(known) <= LISTED else [*known[:LISTED], "…"]
        hint = f"known: {', '.join(listed)}" if known else "there is none"
        hint = f"did you mean {' or '.join(near)}?" if near else hint
        super().__init__(f"unknown {noun} {str(name)!r}; {hint}")


class SuiteError(UsageError):
    """A suite that is unreadable, has a wrong type or contradicts itself.

    Args:
        text: what is wrong, in a line.
        path: the suite's key that is wrong, if it is a single one; for a key of a table in a list,
            the key of the list, the number of the table from zero, and the table's key.
    """

    def __init__(self, text: str, *path: str | int) -> None:
        super().__init__(text)
        self.path = path


class CheckpointError(UsageError):
    """A file without weights, or with weights that do not fit the architecture."""


class DownloadError(UsageError):
    """A file that cannot be downloaded, or differs from the published one."""


class ConversionError(UsageError):
    """A network that cannot be anti-aliased."""


class RunError(UsageError):
    """An output directory that cannot be written, read or continued."""


class StoreError(RobustbenchError):
    """Predictions that cannot be written or read during a run."""


class DamagedShard(RobustbenchError):
    """A prediction file that is damaged or belongs to another run."""


class DatasetError(RobustbenchError):
    """A data set whose images cannot be read or are not as described.

    Args:
        text: what is wrong, in a line.
        faults: one line for each faulty file; by default the text.
    """

    def __init__(self, text: str, faults: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.faults = tuple(faults) or (text,)


class ModelError(RobustbenchError):
    """A classifier that does not return finite logits of its shape."""


def near_matches(name: str, choices: Iterable[str]) -> list[str]:
    """Return the choices that a mistyped name may mean, at most three, the nearest first.

    >>> near_matches("Digits_C", ["digits-p", "digits-c", "imagenet-c"])
    ['digits-c']
    >>> near_matches("digits", ["digits-p", "digits-c", "imagenet-c"])
    ['digits-p', 'digits-c']
    """
    folded = {choice.casefold(): choice for choice in reversed([*choices])}
    # distant choices are only worth naming if there is no close one
    for cutoff in (0.8, 0.5):
        if near := difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=cutoff):
            return [folded[match] for match in near]
    return []


def one_line(text: str) -> str:
    """Return a text as one line for a terminal, with control characters escaped and cut to size."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 4 :]}"
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def cause(error: BaseException) -> str:
    """Return the first line of an error's text, or its type if the text is empty.

    The text has no addresses of objects in memory, which mean nothing to a reader.
    """
    text = re.sub(r" <[^<>]* at 0x[0-9a-fA-F]+>", "", str(error)).strip()
    return (text or type(error).__name__).splitlines()[0]

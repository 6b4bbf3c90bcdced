"""Everything that can go wrong, as one tree.

RobustbenchError                 the root; its text is one line that names the thing and the way out
├── UsageError                   the request cannot be carried out as it stands: exit status 2
│   ├── UnknownName              a name that nothing answers to; its text lists near matches
│   ├── SuiteError               a suite file that is unreadable, ill-typed or contradicts itself
│   ├── CheckpointError          a file that holds no weights, or weights that do not fit
│   ├── DownloadError            a file that cannot be fetched, or is not the published one
│   ├── ConversionError          a network that cannot be brought into its anti-aliased form
│   └── RunError                 an output directory that cannot be written, read or continued
├── StoreError                   predictions that could not be written while a run was at work
├── DamagedShard                 a prediction file that is not whole, or not of this run
├── DatasetError                 a data set that does not give what it promised
└── ModelError                   a classifier that returned something other than finite logits
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import ClassVar

LISTED = 20
"""How many names a message lists at most."""
LONGEST = 2000
"""Characters of a message."""


class RobustbenchError(Exception):
    """The root of this package's errors."""

    exit_status: ClassVar[int] = 1

    def __str__(self) -> str:
        """The text as one line, whatever names of somebody else's are in it."""
        return one_line(super().__str__())


class UsageError(RobustbenchError):
    """The request cannot be carried out as it stands."""

    exit_status = 2


class UnknownName(UsageError):
    """A name that nothing answers to.

    Args:
        noun: what was asked for, as in "unknown corruption".
        name: the name that was given.
        choices: the names that would have been understood.
    """

    def __init__(self, noun: str, name: object, choices: Iterable[str]) -> None:
        known = [str(choice) for choice in choices]
        near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
        listed = known if len(known) <= LISTED else [*known[:LISTED], "…"]
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(listed)}"
        super().__init__(f"unknown {noun} {str(name)!r}; {hint}")


class SuiteError(UsageError):
    """A suite file that is unreadable, ill-typed or contradicts itself.

    Args:
        text: what is wrong, in a line.
        key: the suite's key that is wrong, if it is a single one.
    """

    def __init__(self, text: str, key: str | None = None) -> None:
        super().__init__(text)
        self.key = key


class CheckpointError(UsageError):
    """A file that holds no weights, or weights that do not fit the architecture."""


class DownloadError(UsageError):
    """A file that cannot be fetched, or is not the published one."""


class ConversionError(UsageError):
    """A network that cannot be brought into its anti-aliased form."""


class RunError(UsageError):
    """An output directory that cannot be written, read or continued."""


class StoreError(RobustbenchError):
    """Predictions that could not be written while a run was at work."""


class DamagedShard(RobustbenchError):
    """A prediction file that is not whole, or not of this run."""


class DatasetError(RobustbenchError):
    """A data set that does not give what it promised.

    Args:
        text: what is wrong, in a line.
        faults: what is wrong with each file, a line each; the text alone by default.
    """

    def __init__(self, text: str, faults: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.faults = tuple(faults) or (text,)


class ModelError(RobustbenchError):
    """A classifier that returned something other than finite logits of the promised shape."""


def one_line(text: str) -> str:
    """A text for a terminal: what would steer it or end the line is escaped, its middle is cut."""
    if len(text) > LONGEST:
        text = f"{text[: LONGEST // 2]} … {text[-LONGEST // 4 :]}"
    return "".join(of if of.isprintable() else ascii(of)[1:-1] for of in text)


def cause(error: BaseException) -> str:
    """The first line of what an error says, or its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

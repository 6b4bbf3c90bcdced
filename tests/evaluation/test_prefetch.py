"""Prefetching of items and deferred calls."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from robustbench_aa.evaluation.prefetch import deferred, prefetched

CPU = torch.device("cpu")


def test_items_come_in_their_order() -> None:
    assert list(prefetched(range(100), CPU)) == list(range(100))
    assert list(prefetched([], CPU)) == []


def test_the_next_item_is_made_while_one_is_used_and_no_more() -> None:
    made: list[int] = []
    second = threading.Event()

    def items() -> Iterator[int]:
        for place in range(4):
            made.append(place)
            if place == 1:
                second.set()
            yield place

    parts = prefetched(items(), CPU)
    assert next(parts) == 0
    assert second.wait(10)
    parts.close()  # it waits for all that the thread was given to do
    assert made == [0, 1]


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("two")

    parts = prefetched(items(), CPU)
    assert next(parts) == 1
    with pytest.raises(KeyError, match="two"):
        next(parts)


def test_calls_are_made_one_after_the_other_and_all_of_them() -> None:
    done: list[int] = []
    go_on = threading.Event()

    def slow(number: int) -> None:
        go_on.wait(10)
        done.append(number)

    with deferred() as later:
        later(slow, 1)
        assert done == []
        go_on.set()
        for number in range(2, 20):
            later(slow, number)
    assert done == list(range(1, 20))


def test_a_call_that_fails_stops_the_next() -> None:
    done: list[int] = []

    def fail() -> None:
        raise OSError("no space left")

    def both() -> None:
        with deferred() as later:
            later(fail)
            later(done.append, 1)

    with pytest.raises(OSError, match="no space left"):
        both()
    assert done == []


def test_a_failure_of_the_last_call_is_reported() -> None:
    def fail() -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"), deferred() as later:
        later(fail)

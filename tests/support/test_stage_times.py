"""The trace of a profiled evaluation."""

from __future__ import annotations

import json
import threading

import pytest

from robustbench_aa.support import stage_times
from robustbench_aa.support.stage_times import profiled, stage


def test_a_trace_shows_each_stage_on_its_thread() -> None:
    def commit() -> None:
        with stage("commit"):
            pass

    with profiled() as profile:
        with stage("decode"):
            pass
        thread = threading.Thread(target=commit, name="commit_0")
        thread.start()
        thread.join()
        with stage("forward"):
            pass
    events = json.loads(profile.trace())["traceEvents"]
    threads = {e["tid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
    here = threading.current_thread().name
    found = [(e["name"], threads[e["tid"]]) for e in events if e["ph"] == "X"]
    assert found == [("decode", here), ("commit", "commit_0"), ("forward", here)]
    starts = [e["ts"] for e in events if e["ph"] == "X"]
    assert starts == sorted(starts)
    assert all(
        e["ts"] >= 0 and e["ts"] + e["dur"] <= 1e6 * profile.seconds["wall"] + 1
        for e in events
        if e["ph"] == "X"
    )


def test_a_long_trace_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_times, "MOST_EVENTS", 2)
    with profiled() as profile:
        for _ in range(5):
            with stage("forward"):
                pass
    trace = json.loads(profile.trace())
    assert sum(event["ph"] == "X" for event in trace["traceEvents"]) == 2
    assert trace["otherData"] == {"events_left_out": 3}

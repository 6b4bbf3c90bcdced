"""A pytest plugin: tests that fail when a new model is less robust than an old one.

Nothing is imported before a test asks for a fixture, so that pytest starts as fast as without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustbench_aa.run import Run


@pytest.fixture(scope="session")
def robustbench_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Return a function that evaluates models and returns their run.

    Its arguments are those of `robustbench_aa.benchmark`. Without `output_dir` it evaluates into a
    temporary directory.
    """

    def evaluate(models: Any, datasets: Any, output_dir: Any = None, **options: Any) -> Run:
        import robustbench_aa as rb

        folder = output_dir or tmp_path_factory.mktemp("robustbench") / "run"
        run = rb.benchmark(models, datasets, folder, **options)
        if run.failures:
            pytest.fail("\n".join(map(str, run.failures)), pytrace=False)
        return run

    return evaluate


@pytest.fixture(scope="session")
def assert_no_regression() -> Callable[..., None]:
    """Return a function that fails the test unless a gate passes.

    Its arguments are a `Run` or its directory, and those of `Run.gate`. An undecided rule fails the
    test too, unless `allow_undecided` is true.
    """

    def check(
        run: Any,
        model: Any,
        against: Any = None,
        old_run: Run | None = None,
        *,
        allow_undecided: bool = False,
        **limits: Mapping[str, float],
    ) -> None:
        import robustbench_aa as rb
        from robustbench_aa.gate import FAIL, PASS
        from robustbench_aa.report.gate import explain, summary

        opened = run if isinstance(run, rb.Run) else rb.Run(run)
        gate = opened.gate(model, against, old_run, **limits)
        if gate.verdict == FAIL or (gate.verdict != PASS and not allow_undecided):
            reasons = [explain(result) for result in gate.results if result.verdict != PASS]
            pytest.fail("\n".join([summary(gate), *reasons]), pytrace=False)

    return check

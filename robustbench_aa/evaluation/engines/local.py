"""The evaluation loop in this process, on one device."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from robustbench_aa.errors import UsageError
from robustbench_aa.evaluation.inference import Predictor, is_out_of_memory
from robustbench_aa.evaluation.loop import evaluate
from robustbench_aa.support.process import one_core_each, restored
from robustbench_aa.types import Failure

if TYPE_CHECKING:
    from robustbench_aa.evaluation.session import Session


def run(session: Session) -> list[Failure]:
    """Do all the work of a session; afterwards the models are as they were before.

    Raises:
        UsageError: the models do not fit together into the memory of the device.
    """
    with ExitStack() as stack:
        cores = stack.enter_context(one_core_each()) if session.device == "cpu" else None
        predictors = {}
        for name, classifier in session.pending().items():
            stack.enter_context(restored(classifier.module))
            try:
                predictors[name] = Predictor(classifier, session.inference, session.device, cores)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                raise UsageError(
                    f"{name} does not fit into the memory of {session.device} with "
                    f"{len(predictors)} other models; evaluate fewer models at a time into the run"
                ) from error
        return evaluate(session, predictors)

"""The evaluation loop in this process, on one device."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import torch

from robustbench_aa.errors import UsageError
from robustbench_aa.evaluation.inference import Predictor
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
            except torch.OutOfMemoryError as error:
                raise UsageError(
                    f"{name} does not fit into the memory of {session.device} beside the models "
                    "before it; evaluate it into the same run by a command of its own"
                ) from error
        return evaluate(session, predictors)

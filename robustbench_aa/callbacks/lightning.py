"""A callback of Lightning that logs robustness metrics during training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from robustbench_aa.callbacks.measure import measure
from robustbench_aa.datasets import Openable
from robustbench_aa.errors import UsageError
from robustbench_aa.preprocessing import Preprocessing
from robustbench_aa.suite import Selection
from robustbench_aa.support.checks import whole_number


class LightningRobustness(Callback):
    """Measures robustness at the end of training epochs and logs it by `log_dict`.

    Every logger of Lightning receives the values, and other callbacks can monitor them:
    `ModelCheckpoint(monitor="mean_error", save_on_train_epoch_end=True)`. Only the first process
    of several measures and logs.

    Args:
        datasets: As in `measure`.
        every_n_epochs: Number of epochs between two measurements.
        limit: Number of images of each data set.
        preprocessing: How 8-bit pixels become the input of the network.
        network: Name of the attribute of the LightningModule that maps images to logits; None for
            the module itself.
        seed: Seed of the distortions.
        batch_size: Frames that go through the network at once.

    Raises:
        UsageError: The number of epochs is not positive.
    """

    def __init__(
        self,
        datasets: Sequence[str | Selection | Openable],
        every_n_epochs: int = 1,
        limit: int = 100,
        *,
        preprocessing: Preprocessing | None = None,
        network: str | None = None,
        seed: int = 0,
        batch_size: int = 256,
    ) -> None:
        super().__init__()
        self.datasets = datasets
        self.every_n_epochs = whole_number("every_n_epochs", every_n_epochs, least=1)
        self.network = network
        self.options: dict[str, Any] = {"limit": limit, "preprocessing": preprocessing}
        self.options |= {"seed": seed, "batch_size": batch_size}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the network and log the metrics with their intervals."""
        if (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        found = self._measured(pl_module) if trainer.is_global_zero else {}
        # every process logs the metrics, so that each can choose checkpoints by them
        found = trainer.strategy.broadcast(found, src=0)
        pl_module.log_dict(found, on_step=False, on_epoch=True)

    def _measured(self, pl_module: LightningModule) -> dict[str, float]:
        model: Any = pl_module
        if self.network is not None:
            model = getattr(pl_module, self.network, None)
            if model is None:
                kind = type(pl_module).__name__
                raise UsageError(f"{kind} has no attribute {self.network!r}; give another network")
        return measure(model, self.datasets, **self.options)

"""Measure robustness during training, in any loop or with Lightning.

`LightningRobustness` is imported when it is first used, because Lightning is an extra.

>>> import robustbench_aa as rb
>>> model = rb.load_model("digits:resnet@lpf3-seed0")
>>> found = rb.callbacks.measure(model, ["digits"], limit=20)
>>> sorted(found), found["clean_error"]
(['clean_error', 'clean_error_high', 'clean_error_low'], 0.0)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from robustbench_aa.callbacks.measure import measure
from robustbench_aa.support.optional import extra

if TYPE_CHECKING:
    from robustbench_aa.callbacks.lightning import LightningRobustness as LightningRobustness

__all__ = ["LightningRobustness", "measure"]


def __getattr__(name: str) -> Any:
    if name != "LightningRobustness":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    extra("lightning.pytorch", "lightning")
    return import_module(f"{__name__}.lightning").LightningRobustness


def __dir__() -> list[str]:
    return sorted(__all__)

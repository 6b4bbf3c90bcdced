"""The 23 published anti-aliased networks: torchvision's networks with their downsampling replaced.

State-dict keys, shapes and outputs equal the official ones, so that the official checkpoints load
(Zhang, ICML 2019; github adobe/antialiased-cnns, weights_v0.1).
"""

from robustbench_aa.antialiasing.published.architecture import ARCHITECTURES, Architecture

__all__ = ["ARCHITECTURES", "Architecture"]

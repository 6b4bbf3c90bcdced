"""Anti-aliased downsampling: a low-pass filter before every subsampling (Zhang, ICML 2019).

>>> import robustbench_aa as rb
>>> smooth = rb.antialias(rb.load_model("digits:resnet@baseline"), filter_size=3)
>>> len(rb.antialiasing.replacements(smooth.module))
5
"""

from robustbench_aa.antialiasing.convert import (
    Conversion,
    Replacement,
    antialias,
    convert,
    replacements,
)
from robustbench_aa.antialiasing.layers import BlurPool, BlurPool1d, ConvBlurPool, MaxBlurPool

__all__ = [
    "BlurPool",
    "BlurPool1d",
    "ConvBlurPool",
    "Conversion",
    "MaxBlurPool",
    "Replacement",
    "antialias",
    "convert",
    "replacements",
]

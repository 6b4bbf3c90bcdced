"""Anti-aliased downsampling: a low-pass filter before every subsampling (Zhang, ICML 2019)."""

from robustbench_aa.antialiasing.blurpool import BlurPool, BlurPool1d, ConvBlurPool, MaxBlurPool
from robustbench_aa.antialiasing.convert import (
    Conversion,
    Replacement,
    antialias,
    convert,
    replacements,
)

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

"""Anti-aliased downsampling: a low-pass filter before every subsampling (Zhang, ICML 2019)."""

from robustbench_aa.antialiasing.blurpool import BlurPool, MaxBlurPool

__all__ = ["BlurPool", "MaxBlurPool"]

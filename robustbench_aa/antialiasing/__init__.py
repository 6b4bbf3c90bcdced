"""Anti-aliased downsampling: a low-pass filter before every subsampling (Zhang, ICML 2019)."""

from robustbench_aa.antialiasing.blurpool import BlurPool, BlurPool1d, ConvBlurPool, MaxBlurPool

__all__ = ["BlurPool", "BlurPool1d", "ConvBlurPool", "MaxBlurPool"]

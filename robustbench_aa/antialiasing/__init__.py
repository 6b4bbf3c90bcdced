"""Anti-aliased downsampling: a low-pass filter before every subsampling, and later methods.

>>> import robustbench_aa as rb
>>> smooth = rb.antialias(rb.load_model("digits:resnet@baseline"), filter_size=3)
>>> len(rb.antialiasing.replacements(smooth.module))
5
"""

from robustbench_aa.antialiasing.adaptive import AdaptiveBlurPool
from robustbench_aa.antialiasing.conversion import Conversion
from robustbench_aa.antialiasing.convert import antialias, convert, replacements
from robustbench_aa.antialiasing.fourier import FourierPool
from robustbench_aa.antialiasing.graph import Replacement
from robustbench_aa.antialiasing.layers import BlurPool, BlurPool1d, ConvBlurPool, MaxBlurPool
from robustbench_aa.antialiasing.polyphase import PolyphaseDownsample

__all__ = [
    "AdaptiveBlurPool",
    "BlurPool",
    "BlurPool1d",
    "ConvBlurPool",
    "Conversion",
    "FourierPool",
    "MaxBlurPool",
    "PolyphaseDownsample",
    "Replacement",
    "antialias",
    "convert",
    "replacements",
]

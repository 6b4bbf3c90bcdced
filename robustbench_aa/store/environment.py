"""The environment of a run: versions, decoders, hardware and precision."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    *("robustbench-aa", "torch", "torchvision", "numpy", "pandas", "pyarrow"),
    *("pillow", "av", "imagecorruptions"),
)
"""Packages whose version can move a metric; `av` is optional."""
ABSENT = "not installed"
"""The version of a package that is not installed."""


def environment(device: str) -> dict[str, str]:
    """Return everything outside models and data that predictions can depend on.

    Args:
        device: a torch device.

    Returns:
        Versions of packages, decoders and code, the hardware, and torch's current precision.
    """
    import torch

    return {
        **versions(),
        **_decoders(),
        "commit": _commit(),
        "device": device,
        "cpu": cpu_name(),
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
        **_precision(),
    }


def versions() -> dict[str, str]:
    """Return the versions of Python, the system and `PACKAGES`, without importing a package."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ABSENT


def _decoders() -> dict[str, str]:
    """Return the libraries that decode for Pillow and PyAV, each with its version."""
    from PIL import features

    turbo = features.version("libjpeg_turbo") if features.check("libjpeg_turbo") else None
    return {
        "libjpeg": f"libjpeg-turbo {turbo}" if turbo else f"libjpeg {features.version('jpg')}",
        "libavcodec": _libavcodec(),
    }


def _libavcodec() -> str:
    try:
        import av
    except ImportError:  # the extra `video` installs it
        return ABSENT
    return ".".join(map(str, av.library_versions["libavcodec"]))


def _precision() -> dict[str, str]:
    """Return torch's settings for the precision of float32 on a GPU."""
    import torch

    settings: dict[str, Callable[[], object]] = {
        "float32_matmul_precision": torch.get_float32_matmul_precision,
        "matmul_tf32": lambda: torch.backends.cuda.matmul.allow_tf32,
        "cudnn_tf32": lambda: torch.backends.cudnn.allow_tf32,
    }
    found = {}
    for name, read in settings.items():
        try:
            found[name] = str(read())
        except RuntimeError:  # torch refuses after a mix of its old and new settings
            found[name] = "unclear"
    return found


def cpu_name() -> str:
    """Return the processor's model name, or its architecture if the system gives no name."""
    try:
        description = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # only Linux has this file
        description = ""
    name = re.search(r"^model name\s*: (.+)$", description, re.MULTILINE)
    return name[1] if name else platform.processor() or platform.machine()


def _commit() -> str:
    """Return the commit of the package's working copy; empty for an installed package."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""

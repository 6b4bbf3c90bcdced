"""JPEG as libjpeg encodes and decodes it: 4:2:0, the accurate integer transform."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

STORED_QUALITY = 85
"""Of the published files: every picture of ImageNet-C went through a JPEG of it at last."""


def through_jpeg(images: Tensor, quality: int) -> Tensor:
    """Encodes images [B, 3, H, W] uint8 as JPEG files of a quality from 1 to 100, and decodes."""
    pictures = images.permute(0, 2, 3, 1).cpu().contiguous().numpy()
    result = np.empty_like(pictures)

    def through(place: int) -> None:
        file = BytesIO()
        Image.fromarray(pictures[place]).save(file, "JPEG", quality=int(quality))
        result[place] = Image.open(file)

    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        list(threads.map(through, range(len(pictures))))
    return torch.from_numpy(result).to(images.device).permute(0, 3, 1, 2).contiguous()

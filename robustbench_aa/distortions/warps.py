"""Warps: many rotations, scalings, shears or tilts of one photograph at once; its resizing."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from PIL.Image import Resampling
from torch import Tensor


def affine(
    image: Tensor,
    size: int,
    *,
    degrees: float = 0.0,
    right: float = 0.0,
    scale: float = 1.0,
    shear: float = 0.0,
) -> np.ndarray:
    """Return the matrix [2, 3] from the middle square of a warped image to the image.

    The map is that of torchvision 0.2, with which ImageNet-P was made: its centre is half a pixel
    right of and below the middle, and a shear also lengthens.

    Args:
        image: [3, H, W].
        size: height and width of the square, in pixels.
        degrees: the rotation.
        right: the translation, in pixels.
        scale: the scaling; more than 1 enlarges.
        shear: the shear, in degrees.
    """
    turn, lean = math.radians(degrees), math.radians(shear)
    determinant = math.cos(lean) * scale
    linear = np.array(
        [
            [math.cos(turn + lean), math.sin(turn + lean)],
            [-math.sin(turn), math.cos(turn)],
        ]
    )
    linear /= determinant
    middle = np.array([image.shape[2], image.shape[1]]) * 0.5 + 0.5
    offset = middle - linear @ (middle + np.array([right, 0.0]))
    # the middles of the square's pixels are at halves
    return np.column_stack((linear, offset + linear @ (_corner(image, size) + 0.5)))


def warp(image: Tensor, matrices: np.ndarray, size: int) -> Tensor:
    """Return the middle square of each affine warp of an image, as Pillow computes it.

    Samples are bilinear and truncated to 8 bits. Border pixels continue by half a pixel; beyond
    them the image is black.

    Args:
        image: [3, H, W], uint8.
        matrices: [F, 2, 3], results of `affine`.
        size: height and width of the squares, in pixels.

    Returns:
        [F, 3, size, size], uint8.
    """
    place = _places(torch.from_numpy(matrices).to(image.device), size)
    lengths = torch.tensor((image.shape[2], image.shape[1]), device=image.device)
    inside = ((place >= 0) & (place < lengths)).all(dim=-1)
    grid = (place * 2 / lengths - 1).float()
    sampled = _sampled(image, grid, "border", align_corners=False)
    return (sampled * inside.unsqueeze(1)).add_(1e-3).byte()


def tilt(image: Tensor, degrees: float, size: int) -> np.ndarray:
    """Return the matrix [3, 3] from the middle square of a tilted image to the image.

    The image is tilted about both axes. The distance of the camera is the length of the image's
    diagonal.
    """
    height, width = image.shape[1:]
    turn = math.radians(degrees)
    far = math.hypot(width, height)
    to_plane = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1], [0, 0, 1]])
    cos, sin = math.cos(turn), math.sin(turn)
    about_x = np.array([[1, 0, 0, 0], [0, cos, -sin, 0], [0, sin, cos, 0], [0, 0, 0, 1]])
    about_y = np.array([[cos, 0, -sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]])
    away = np.eye(4)
    away[2, 3] = far
    to_image = np.array([[far, 0, width / 2, 0], [0, far, height / 2, 0], [0, 0, 1, 0]])
    left, top = _corner(image, size)
    shift = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]])
    seen: np.ndarray = np.linalg.inv(to_image @ away @ about_x @ about_y @ to_plane) @ shift
    return seen


def warp_perspective(image: Tensor, matrices: np.ndarray, size: int) -> Tensor:
    """Return the middle square of each perspective warp of an image, as OpenCV computes it.

    Samples are bilinear and rounded to 8 bits; the image is black beyond its border. The arguments
    are those of `warp`, but matrices are [F, 3, 3], results of `tilt`.
    """
    place = _places(torch.from_numpy(matrices).to(image.device), size)
    lengths = torch.tensor((image.shape[2], image.shape[1]), device=image.device)
    grid = ((place[..., :2] / place[..., 2:]) * 2 / (lengths - 1) - 1).float()
    return _sampled(image, grid, "zeros", align_corners=True).add_(0.5).byte()


def resized(image: Tensor, size: int) -> Tensor:
    """Return an image whose shorter side has `size` pixels, resized by Pillow (bilinear)."""
    shorter = min(image.shape[1:])
    if shorter == size:
        return image
    picture = Image.fromarray(image.permute(1, 2, 0).cpu().numpy())
    width, height = (size * length // shorter for length in picture.size)
    pixels = np.array(picture.resize((width, height), Resampling.BILINEAR))
    return torch.from_numpy(pixels).permute(2, 0, 1).to(image.device)


def _corner(image: Tensor, size: int) -> np.ndarray:
    """Return the left and upper edge of the square in the middle, in pixels."""
    return np.array([round((length - size) / 2) for length in (image.shape[2], image.shape[1])])


def _places(matrices: Tensor, size: int) -> Tensor:
    """Return matrices times (x, y, 1) of every pixel, [F, size, size, 2 or 3] float64."""
    line = torch.arange(size, dtype=torch.float64, device=matrices.device)
    right, down, constant = (matrices[:, :, column] for column in range(3))
    rows = torch.einsum("fd,y->fyd", down, line) + constant.unsqueeze(1)
    return torch.einsum("fd,x->fxd", right, line).unsqueeze(1) + rows.unsqueeze(2)


def _sampled(image: Tensor, grid: Tensor, padding: str, *, align_corners: bool) -> Tensor:
    """Sample the image at a grid [F, size, size, 2]: [F, 3, size, size] float32, 0 to 255."""
    frames, size = grid.shape[:2]
    tall = grid.flatten(0, 1).unsqueeze(0)  # one image, its frames one below the other
    found = F.grid_sample(
        image.float().unsqueeze(0), tall, "bilinear", padding, align_corners=align_corners
    )
    return found.view(-1, frames, size, size).transpose(0, 1)

"""Warps: a photograph turned, enlarged, sheared or tilted, many ways at once."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
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
    """Where the middle of a warped image is looked for in the image: a matrix [2, 3].

    The map is that of torchvision 0.2, by which ImageNet-P was made: its centre lies half a pixel
    right of and below the middle, and a shear also lengthens.

    Args:
        image: [3, H, W].
        size: of the square that is cut out of the warped image's middle, in pixels.
        degrees: of the rotation.
        right: of the translation, in pixels.
        scale: more than 1 enlarges.
        shear: in degrees.
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
    # the square's own pixels, whose middles lie at halves
    return np.column_stack((linear, offset + linear @ (_corner(image, size) + 0.5)))


def warp(image: Tensor, matrices: np.ndarray, size: int) -> Tensor:
    """A square of each affine warp of an image, as Pillow computes it.

    Bilinear, the border pixels continued by half a pixel and black beyond, truncated to 8 bits.

    Args:
        image: [3, H, W], uint8.
        matrices: [F, 2, 3], as `affine` gives them.
        size: of the squares, in pixels.

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
    """Where the middle of an image tilted about both axes is looked for: a matrix [3, 3].

    The camera is as far away as the image's diagonal is long.
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
    """A square of each perspective warp of an image, as OpenCV computes it.

    Bilinear with black around the image, rounded to 8 bits. Args as in `warp`, but for matrices
    [F, 3, 3], as `tilt` gives them.
    """
    place = _places(torch.from_numpy(matrices).to(image.device), size)
    lengths = torch.tensor((image.shape[2], image.shape[1]), device=image.device)
    grid = ((place[..., :2] / place[..., 2:]) * 2 / (lengths - 1) - 1).float()
    return _sampled(image, grid, "zeros", align_corners=True).add_(0.5).byte()


def _corner(image: Tensor, size: int) -> np.ndarray:
    """The left and top border of the square in the middle, in pixels."""
    return np.array([round((length - size) / 2) for length in (image.shape[2], image.shape[1])])


def _places(matrices: Tensor, size: int) -> Tensor:
    """[F, size, size, 2 or 3] float64: the matrices' products with (x, y, 1) of every pixel."""
    line = torch.arange(size, dtype=torch.float64, device=matrices.device)
    right, down, constant = (matrices[:, :, column] for column in range(3))
    rows = torch.einsum("fd,y->fyd", down, line) + constant.unsqueeze(1)
    return torch.einsum("fd,x->fxd", right, line).unsqueeze(1) + rows.unsqueeze(2)


def _sampled(image: Tensor, grid: Tensor, padding: str, *, align_corners: bool) -> Tensor:
    """[F, 3, size, size] float32, levels: the image at the places of a grid [F, size, size, 2]."""
    frames, size = grid.shape[:2]
    tall = grid.flatten(0, 1).unsqueeze(0)  # one image, its frames one below the other
    found = F.grid_sample(
        image.float().unsqueeze(0), tall, "bilinear", padding, align_corners=align_corners
    )
    return found.view(-1, frames, size, size).transpose(0, 1)

"""Changes training patches such that they still look like mammograms: small rotations, contrast and brightness.
Patches are mirrored elsewhere, when they are decoded (see `batches`)."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from services.training.schemas import RunSettings

WHITE = 255.0


def draw_changes(settings: RunSettings, generator: np.random.Generator, count: int) -> NDArray[np.float32] | None:
    """Draw an angle in radians, a factor of the contrast and a shift of the grey values for each of `count` patches:
    (count, 3). None if the settings switch all of them off."""
    if not (settings.rotation or settings.contrast or settings.brightness):
        return None
    ranges = np.array([math.radians(settings.rotation), settings.contrast, settings.brightness * WHITE])
    drawn: NDArray[np.float64] = generator.uniform(-1.0, 1.0, (count, 3)) * ranges + (0.0, 1.0, 0.0)
    return drawn.astype(np.float32)


def change(pixels: Tensor, changes: Tensor) -> Tensor:
    """Rotate a (batch, size, size) tensor of grey values about its centre, scale its contrast about its mean, and shift
    its brightness. Return float32 grey values from 0 to WHITE, on the device of the pixels.

    `changes` (batch, 3) is from `draw_changes`, on the CPU. A rotation fills its corners with the patch mirrored at its
    edge: the network would learn from black corners.
    """
    grey = pixels.to(torch.float32)
    if pixels.dtype == torch.uint16:
        grey /= 257.0
    if changes[:, 0].any():
        grey = _rotate(grey, changes[:, 0].to(grey.device))
    mean = grey.mean((1, 2), keepdim=True)
    factor, shift = changes[:, 1:, None, None].to(grey.device).unbind(1)
    return ((grey - mean) * factor + mean + shift).clamp_(0.0, WHITE)


def _rotate(grey: Tensor, angles: Tensor) -> Tensor:
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    maps = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    images = grey[:, None]
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    rotated = functional.grid_sample(images, grid, "bilinear", padding_mode="reflection", align_corners=False)
    return rotated[:, 0]

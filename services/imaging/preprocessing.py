"""Turn encoded patches into the input of a network. A checkpoint stores these settings, so they are never guessed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from services.imaging.decode import decode_exact, resize_grey

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Grey = NDArray[np.uint8] | NDArray[np.uint16]
"""Grey values of 8 or 16 bits; the largest value is white."""


class Preprocessing(BaseModel):
    """Resize to `size` x `size` with PIL's bilinear filter, scale to 0 to 1 in one channel or three equal channels,
    subtract the mean and divide by the std."""

    model_config = ConfigDict(frozen=True)

    size: int
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @model_validator(mode="after")
    def _require_value_per_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"{len(self.mean)} means and {len(self.std)} stds; expected one per channel, {self.channels}"
            )
        return self

    def pixels(self, image: bytes, name: str) -> Grey:
        """Decode and resize a patch to a (size, size) array of grey values: 16 bits if the patch has 16 bits, else
        8."""
        return np.asarray(resize_grey(decode_exact(image, name), self.size))

    def stack(self, patches: Sequence[Grey], rows: int = 0) -> Grey:
        """Stack patches into one (patches, size, size) array, padded with black patches up to `rows` patches.

        If any patch has 16 bits, so has the array, and 8-bit patches are scaled to the full 16-bit range.
        """
        deep = any(patch.dtype == np.uint16 for patch in patches)
        shape = (max(rows, len(patches)), self.size, self.size)
        stacked: Grey = np.zeros(shape, np.uint16) if deep else np.zeros(shape, np.uint8)
        for row, patch in enumerate(patches):
            stacked[row] = patch
            if deep and patch.dtype == np.uint8:
                stacked[row] *= 257
        return stacked

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Convert (batch, size, size) grey values to the (batch, channels, size, size) float32 input of a network.
        White is 65535 in uint16, else 255."""
        grey = pixels.to(torch.float32).div_(65535.0 if pixels.dtype == torch.uint16 else 255.0)[:, None]
        mean = torch.tensor(self.mean, device=grey.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=grey.device).view(1, -1, 1, 1)
        return (grey - mean).div_(std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Batch:
    """Patches ready for a network: ids (batch,), labels (batch,), and grey values `pixels` (batch, size, size)."""

    ids: torch.Tensor
    labels: torch.Tensor
    pixels: torch.Tensor

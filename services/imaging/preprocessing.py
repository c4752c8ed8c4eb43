"""From the bytes of a patch to what a network sees. A checkpoint carries these values, so that nobody guesses them."""

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
"""Grey values of 8 or 16 bits; white is the largest."""


class Preprocessing(BaseModel):
    """Resize to `size` x `size` (bilinear, as PIL does it), one channel or three equal ones from 0 to 1, minus the
    mean, over the std."""

    model_config = ConfigDict(frozen=True)

    size: int
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    @model_validator(mode="after")
    def _of_each_channel(self) -> Self:
        if not len(self.mean) == len(self.std) == self.channels:
            raise ValueError(
                f"{len(self.mean)} means and {len(self.std)} stds; expected one a channel, {self.channels}"
            )
        return self

    def pixels(self, image: bytes, name: str) -> Grey:
        """An encoded patch as a (size, size) array of grey values, of 16 bits where the patch has so many."""
        return np.asarray(resize_grey(decode_exact(image, name), self.size))

    def stack(self, patches: Sequence[Grey], rows: int = 0) -> Grey:
        """Patches as one (patches, size, size) array: of 16 bits if any of them has so many, the others then by their
        whole range. Black ones come after them up to `rows`."""
        deep = any(patch.dtype == np.uint16 for patch in patches)
        shape = (max(rows, len(patches)), self.size, self.size)
        stacked: Grey = np.zeros(shape, np.uint16) if deep else np.zeros(shape, np.uint8)
        for row, patch in enumerate(patches):
            stacked[row] = patch
            if deep and patch.dtype == np.uint8:
                stacked[row] *= 257
        return stacked

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """A (batch, size, size) tensor of grey values as the (batch, channels, size, size) float32 input of a network.
        White is 65535 in uint16, else 255."""
        grey = pixels.to(torch.float32).div_(65535.0 if pixels.dtype == torch.uint16 else 255.0)[:, None]
        mean = torch.tensor(self.mean, device=grey.device).view(1, -1, 1, 1)
        std = torch.tensor(self.std, device=grey.device).view(1, -1, 1, 1)
        return (grey - mean).div_(std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Batch:
    """Patches ready for a network: ids (batch,), labels (batch,), pixels (batch, size, size) in grey values."""

    ids: torch.Tensor
    labels: torch.Tensor
    pixels: torch.Tensor

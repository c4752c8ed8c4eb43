"""From the bytes of a patch to what a network sees. A checkpoint carries these values, so that nobody guesses them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from services.imaging.decode import decode_grey, resize_grey

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocessing(BaseModel):
    """Resize to `size` x `size` (bilinear, as PIL does it), three equal channels, minus the mean, over the std."""

    model_config = ConfigDict(frozen=True)

    size: int
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def pixels(self, image: bytes, name: str) -> NDArray[np.uint8]:
        """An encoded patch as a (size, size) array of grey values."""
        return np.asarray(resize_grey(decode_grey(image, name), self.size))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """A (batch, size, size) tensor of grey values as the (batch, 3, size, size) float32 input of a network."""
        grey = pixels.to(torch.float32).div_(255.0)[:, None]
        mean = torch.tensor(self.mean, device=grey.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=grey.device).view(1, 3, 1, 1)
        return (grey - mean).div_(std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Batch:
    """Patches ready for a network: ids (batch,), labels (batch,), pixels (batch, size, size) in grey values."""

    ids: torch.Tensor
    labels: torch.Tensor
    pixels: torch.Tensor

"""Three ways to train a network for an epoch on the same patches: the service's loop, the bare steps, a plain loop."""

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from bench.tissue import CLASSES, StoredPatches, open_tissue
from services.imaging.architectures import build_network, native_preprocessing
from services.imaging.preprocessing import Preprocessing
from services.training.batches import Batches, Batching
from services.training.learner import start_learner
from services.training.loop import Callbacks, fit
from services.training.schedule import build_optimizer
from services.training.schemas import RunSettings
from services.training.settings import TrainingSettings

Contender = Callable[[], None]
"""Trains on every patch once."""

PLAIN_WORKERS = min(4, os.cpu_count() or 4)
"""Processes that decode for the plain loop: four, as in the original's runs, but not more than cores, which would slow
it."""


@dataclass(frozen=True)
class Epoch:
    """The work of every contender: an epoch of a run, on patches, on a device."""

    settings: RunSettings
    folder: Path
    device: torch.device

    @cached_property
    def patches(self) -> StoredPatches:
        """The patches below the folder, opened by this process."""
        return open_tissue(self.folder)

    @property
    def preprocessing(self) -> Preprocessing:
        """The network's preprocessing."""
        return native_preprocessing(self.settings.architecture, self.settings.image_size)

    def finish(self) -> None:
        """Wait until the device has completed all queued work."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def our_loop(epoch: Epoch, cache_bytes: int = 0) -> Contender:
    """Build the training service's `fit` over batches of a stored data set. It saves nothing."""
    learner = start_learner(epoch.settings, len(CLASSES), epoch.device)
    batching = Batching(epoch.settings.batch_size, cache_bytes=cache_bytes)
    batches = Batches(epoch.patches.dataset, epoch.patches.local, learner.preprocessing, batching)
    callbacks = Callbacks(report=lambda **_: None, save=lambda: None)

    def train() -> None:
        learner.settings = learner.settings.model_copy(update={"epochs": learner.epoch + 1})
        fit(learner, batches, None, math.inf, callbacks)
        epoch.finish()

    return train


def our_loop_cached(epoch: Epoch) -> Contender:
    """Build the same loop with a cache of decoded patches, of the size in the service's settings."""
    return our_loop(epoch, TrainingSettings().cache_mb << 20)


def bare_steps(epoch: Epoch) -> Contender:
    """Build a loop of only forward, backward and step, on one batch that is already on the device. The number of steps
    is that of an epoch."""
    network = _start_network(epoch, torch.channels_last)
    optimizer = build_optimizer(network, epoch.settings)
    size, side = epoch.settings.batch_size, epoch.preprocessing.size
    images = torch.randn((size, 3, side, side), device=epoch.device).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(size, device=epoch.device) % len(CLASSES)

    def train() -> None:
        for _ in range(len(epoch.patches.files) // size):
            _plain_step(network, optimizer, images, labels)
        epoch.finish()

    return train


def plain_loop(epoch: Epoch) -> Contender:
    """Build a loop like the original's: PIL, torchvision's transforms and a DataLoader over files, images as
    N x C x H x W."""
    network = _start_network(epoch, torch.contiguous_format)
    options = epoch.settings
    optimizer = torch.optim.SGD(
        network.parameters(), lr=options.learning_rate, momentum=options.momentum, weight_decay=options.weight_decay
    )
    loader: DataLoader[tuple[Tensor, int]] = DataLoader(
        PatchFiles(epoch.patches.files, epoch.preprocessing),
        batch_size=epoch.settings.batch_size,
        shuffle=True,
        num_workers=PLAIN_WORKERS,
        pin_memory=epoch.device.type == "cuda",
        persistent_workers=True,  # else each epoch would start new ones, which costs too much for a short epoch
    )

    def train() -> None:
        for images, labels in loader:
            here = (images.to(epoch.device, non_blocking=True), labels.to(epoch.device, non_blocking=True))
            _plain_step(network, optimizer, *here)
        epoch.finish()

    return train


class PatchFiles(TorchDataset[tuple[Tensor, int]]):
    """Patches from files, as three equal channels, normalised."""

    def __init__(self, files: Sequence[tuple[Path, int]], preprocessing: Preprocessing) -> None:
        self._files = files
        self._transform = transforms.Compose(
            [
                transforms.Resize((preprocessing.size, preprocessing.size)),
                transforms.ToTensor(),
                transforms.Normalize(preprocessing.mean, preprocessing.std),
            ]
        )

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        path, label = self._files[number]
        image: Tensor = self._transform(Image.open(path).convert("RGB"))
        return image, label


def _start_network(epoch: Epoch, layout: torch.memory_format) -> nn.Module:
    """Build the untrained network in training mode, with its weights in a memory layout."""
    torch.manual_seed(epoch.settings.seed)
    network = build_network(epoch.settings.architecture, len(CLASSES), epoch.settings.weights)
    return network.to(epoch.device, memory_format=layout).train()  # type: ignore[call-overload, no-any-return]


def _plain_step(network: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> None:
    loss = functional.cross_entropy(network(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
